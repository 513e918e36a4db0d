"""Refuses a worker class that the installed Gunicorn does not have, where it is declared.

Imports classes of Gunicorn's, of Uvicorn's and of this package, never one of the user's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.declaration import Explicit
from gunicorn_autoconf.worker_classes import GTHREAD, SYNC, UVICORN

# How alike two names are for one to be a slip of the other: gthreads and gthread are (0.93),
# eventlet and gevent are not (0.71).
_ALIKE = 0.8

# Their classes can be looked up without running anything of the user's.
_SERVERS = ("gunicorn", "gunicorn_autoconf", "uvicorn", "uvicorn_worker")

# Those that the plan chooses need no look.
_ALWAYS_THERE = frozenset({SYNC, GTHREAD, UVICORN})


def check_worker_class(explicit: Explicit) -> None:
    """
    Raise if the installed Gunicorn has no such worker class.

    Raises:
        DeclarationError: It has none, or what the class needs is not installed.
    """
    if remedy := remedy_for(explicit.value):
        name, shown = explicit.source, explicit.value
        if name == "GUNICORN_CMD_ARGS":
            shown = f"--worker-class {shown}"
        raise DeclarationError(name, shown, remedy)


def remedy_for(value: object) -> str | None:
    """Return what to do about a worker class that cannot be loaded, or None where it can."""
    if not isinstance(value, str) or value.startswith("egg:") or value in _ALWAYS_THERE:
        return None
    is_alias = "." not in value
    if not is_alias and value.partition(".")[0] not in _SERVERS:
        return None  # Of the user's own: to look it up would run it.
    from gunicorn import __version__, util
    from gunicorn.workers import SUPPORTED_WORKERS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gunicorn shows them when it loads the class.
            util.load_class(value)
    except Exception as error:  # noqa: BLE001 - whatever the class needs and does not find
        if is_alias and value in SUPPORTED_WORKERS:
            said = " ".join(str(error.__context__ or error).split())
            return f"Gunicorn says: {said}"
        remedy = f"Gunicorn {__version__} has no such worker class"
        if nearest := _nearest(value, [*SUPPORTED_WORKERS]):
            return f"{remedy}; did you mean {nearest}?"
        return f"{remedy}; use one of {', '.join(sorted(SUPPORTED_WORKERS))}, or module.Class"
    return None


def alike(text: str, names: Iterable[str]) -> str | None:
    """Return the one of *names* of which *text* may be a slip, or None."""
    from difflib import get_close_matches  # Imported only for a start that ends here.

    return next(iter(get_close_matches(text.lower(), names, n=1, cutoff=_ALIKE)), None)


def _nearest(text: str, aliases: Iterable[str]) -> str | None:
    return UVICORN if "uvicorn" in text.lower() else alike(text, aliases)
