"""Refuses a worker class that the installed Gunicorn does not have, wherever it is written.

Imports classes of Gunicorn's, of Uvicorn's and of this package, never one of the user's.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Iterable
from typing import Any

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.declaration import Explicit
from gunicorn_autoconf.server.gunicorn import default_setting, running_arbiter
from gunicorn_autoconf.server.provenance import source_of
from gunicorn_autoconf.server.reading import frames, is_reading_conf_file, reading
from gunicorn_autoconf.worker_classes import GTHREAD, SYNC, UVICORN

# How alike two names are for one to be a slip of the other: gthreads and gthread are (0.93),
# eventlet and gevent are not (0.71).
_ALIKE = 0.8

# Their classes can be looked up without running anything of the user's.
_SERVERS = ("gunicorn", "gunicorn_autoconf", "uvicorn", "uvicorn_worker")

# Those that the plan chooses need no look.
_ALWAYS_THERE = frozenset({SYNC, GTHREAD, UVICORN})

# Every value comes through these, from each source.
_SETTERS = frozenset({"gunicorn.config", "gunicorn_autoconf.server.provenance", __name__})

_SETTING = "worker_class"
_NAME = "gunicorn_autoconf_checks"


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


def check_what_is_written() -> None:
    """
    Have Gunicorn refuse a wrong class from now on, from each source, in one line.

    By itself it would do so in a traceback, before it calls any hook. A server that reloads keeps
    the class that it has.
    """
    setting_class: Any = type(default_setting(_SETTING))
    take = setting_class.validator
    if hasattr(take, _NAME):
        return

    @functools.wraps(take)
    def check_and_take(value: object) -> Any:
        taken = take(value)
        remedy = None if _is_asked_by_us() or _is_overruled() else remedy_for(taken)
        return taken if remedy is None else _refuse(taken, remedy)

    setattr(check_and_take, _NAME, True)
    setting_class.validator = staticmethod(check_and_take)


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


def _is_asked_by_us() -> bool:
    """Whether this package validates a value, which it refuses itself with a better source."""
    outside = (frame for frame in frames() if frame.f_globals.get("__name__") not in _SETTERS)
    package = __name__.partition(".")[0]
    return str(next(outside).f_globals.get("__name__")).startswith(f"{package}.")


def _is_overruled() -> bool:
    """Whether an option, set after the file that is read now, will replace what is written."""
    given = reading()
    return given is not None and any(
        options.get(_SETTING) is not None for options in (given.options, given.cmd_args)
    )


def _refuse(value: str, remedy: str) -> Any:
    """End the start in one line; return the class that holds where a server runs."""
    source = source_of(default_setting(_SETTING), sys._getframe(2))  # noqa: SLF001 - see there
    error = DeclarationError(f"{source}: {_SETTING}", value, remedy)
    if server := running_arbiter():
        server.log.error("gunicorn-autoconf keeps the worker class: %s", error)
        return server.cfg.settings[_SETTING].get()
    if reading() or is_reading_conf_file():
        sys.exit(f"Error: {error}")
    raise error
