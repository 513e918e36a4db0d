"""How the installed Gunicorn takes a setting, as a value. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Spelling(NamedTuple):
    """
    How the installed Gunicorn takes a setting.

    Attributes:
        flag: Its option on the command line, or None where it has none.
        action: What argparse does at the option: ``append``, ``store_true``, ``store_const``, or
            None where a value follows it.
        default: The value where it is not set.
        read: A variable's text to what Gunicorn holds in the end; raises ValueError.
    """

    flag: str | None
    action: str | None
    default: Any
    read: Callable[[str], Any]
