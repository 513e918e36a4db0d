"""Which files are the user's own, and the text of their lines. Looks for modules, reads files."""

from __future__ import annotations

import importlib.util
import os
from itertools import islice

from gunicorn_autoconf.watchdog.stacks import Origins, Stack


def find_origins(app_uri: str | None) -> Origins:
    """
    Return which files are the user's own, for the application *app_uri*, ``module:name``.

    The application's own package is theirs even where it is installed beside the libraries. It is
    looked for and not imported: this runs in the arbiter.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # Not by sysconfig: it takes 2 ms and 160 KiB, and has no other answer for files of Python code.
    libraries = {os.path.dirname(os.__file__), package}
    libraries |= {os.path.realpath(path) for path in libraries}
    top = (app_uri or "").partition(":")[0].partition(".")[0]
    places = [os.path.join(package, "demo.py")]  # Written as a user would.
    try:
        spec = importlib.util.find_spec(top) if top != "gunicorn_autoconf" else None
    except (ImportError, AttributeError, ValueError):
        spec = None
    if spec:
        places += list(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))
    return Origins(libraries=tuple(sorted(libraries)), own=tuple(places))


def add_sources(stack: Stack) -> Stack:
    """Return *stack* with the text of each line."""
    # linecache would keep every file that was ever shown in memory.
    return tuple(frame._replace(source=_read_line(frame.path, frame.line)) for frame in stack)


def _read_line(path: str, number: int) -> str:
    if number < 1 or not path.endswith(".py"):
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return next(islice(file, number - 1, number), "").strip()
    except (OSError, ValueError):
        return ""
