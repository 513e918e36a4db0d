from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Server
