"""The worker classes that the plan names: `UvicornWorker` for ASGI, `ThreadWorker` for WSGI.

Each works without the rest of this package. Each is imported when it is asked for: a server of
threads has no use for uvicorn, nor the other way round.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn_autoconf.workers.threads import ThreadWorker
    from gunicorn_autoconf.workers.uvicorn import UvicornWorker

__all__ = ["ThreadWorker", "UvicornWorker"]

_MODULES = {"ThreadWorker": "threads", "UvicornWorker": "uvicorn"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
