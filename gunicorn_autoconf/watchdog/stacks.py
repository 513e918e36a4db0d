"""
What a thread is doing, as text, and which line of it is the user's own. Pure.

A stack is innermost first: where the thread is now comes before who called it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gunicorn_autoconf.machine.cgroup_tree import is_within
from gunicorn_autoconf.units import printable

# Logs what a part of the watchdog has found, by level, event and text, with fields of the record.
Say = Callable[..., None]

# Where installed packages live; Debian's own are in dist-packages.
_INSTALLED = frozenset({"site-packages", "dist-packages"})

# Every worker's main thread begins like this, and that says nothing.
_WORKER_BASE = "gunicorn/workers/base.py"
# Our own code around the application's says nothing either.
_OWN = (
    "/gunicorn_autoconf/watchdog/",
    "/gunicorn_autoconf/overload/",
    "/gunicorn_autoconf/fleet/meter.py",
    "/gunicorn_autoconf/server/counting.py",
)
_MACHINERY = re.compile(
    r"/(asyncio/\w+|selectors|uvicorn/_compat|uvicorn_worker/\w+|gunicorn/workers/gasgi"
    r"|gunicorn_autoconf/workers/\w+)\.py$"
)

# Deeper stacks are recursion; what matters is at both ends.
MAX_FRAMES = 40
MAX_THREADS = 40
# A path in a log line; longer ones are data.
MAX_REQUEST_LENGTH = 200


class Frame(NamedTuple):
    """One line of a stack."""

    path: str
    line: int
    function: str
    source: str = ""
    """The text of the line; empty where it is not known."""

    @property
    def place(self) -> str:
        """Which line this is: what stalls are counted by."""
        return f"{self.path}:{self.line} in {self.function}()"

    def __str__(self) -> str:
        """The line as a log shows it."""
        return f"{self.place}: {self.source}" if self.source else self.place


Stack = tuple[Frame, ...]


class ThreadStack(NamedTuple):
    """A thread, where it is, and the request that it serves."""

    name: str
    stack: Stack
    request: str | None = None
    """Method and path, without the query string; None where no request is known."""


class Origins(NamedTuple):
    """Which files are the user's own."""

    libraries: tuple[str, ...] = ()
    """Directories of the standard library, of Gunicorn and the like."""
    own: tuple[str, ...] = ()
    """Files and directories that are the user's wherever they are installed."""

    def is_own(self, path: str) -> bool:
        """
        Return whether the file *path* is the user's own.

        >>> origins = Origins(libraries=("/usr/lib/python3.11",), own=("/venv/site-packages/shop",))
        >>> [origins.is_own(path) for path in ("/srv/shop.py", "/usr/lib/python3.11/json.py")]
        [True, False]
        >>> origins.is_own("/venv/site-packages/shop/views.py")
        True
        >>> origins.is_own("/venv/site-packages/django/views.py")
        False
        """
        if any(is_within(path, directory) for directory in self.own):
            return True
        if path.startswith("<") or not _INSTALLED.isdisjoint(path.split("/")):
            return False
        return not any(is_within(path, directory) for directory in self.libraries)


def find_own(stack: Stack, origins: Origins) -> Frame | None:
    """Return the innermost line of the user's own code, or None where there is none."""
    return next((frame for frame in stack if origins.is_own(frame.path)), None)


def find_culprit(stack: Stack, origins: Origins) -> Frame | None:
    """Return the line to name: the user's own, else a package's, else the innermost."""
    installed = (f for f in stack if not _INSTALLED.isdisjoint(f.path.split("/")))
    return find_own(stack, origins) or next(installed, None) or next(iter(stack), None)


def trim(stack: Stack) -> Stack:
    """
    Return *stack* without the start of the server and the event loop's own turning.

    Nothing is left of a loop that waits or is between two callbacks.
    """
    starts = [n for n, frame in enumerate(stack) if frame.path.endswith(_WORKER_BASE)]
    served = stack[: starts[0] if starts else None]
    kept = [frame for frame in served if not any(own in frame.path for own in _OWN)]
    while kept and is_machinery(kept[-1].path):
        kept.pop()
    return tuple(kept)


def is_machinery(path: str) -> bool:
    """Return whether *path* is what turns an event loop, or starts it."""
    return _MACHINERY.search(path) is not None


def render_stack(stack: Stack, origins: Origins) -> list[str]:
    """
    Return *stack* as lines, innermost first, the user's own lines marked.

    Of what has called the user's code, a framework and its middleware, one line is enough.
    """
    if not stack:
        return ["    (in the event loop itself)"]
    own = [n for n, frame in enumerate(stack) if origins.is_own(frame.path)]
    called_by = own[-1] + 2 if own else len(stack)
    if called_by + 1 >= len(stack):  # A line that stands for one line saves nothing.
        called_by = len(stack)
    shown: list[Frame | None] = list(stack[:called_by])
    if len(shown) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        shown[half:-half] = [None]
    lines = [_render_frame(frame, origins) for frame in shown]
    if rest := len(stack) - called_by:
        lines.append(f"    ... called through {rest} more lines, none of them yours")
    return lines


def _render_frame(frame: Frame | None, origins: Origins) -> str:
    if frame is None:
        return "    ..."
    return f"  {'>' if origins.is_own(frame.path) else ' '} {frame}"


def render_threads(
    threads: Sequence[ThreadStack], origins: Origins, *, kind: str = "thread"
) -> list[str]:
    """Return all *threads*, or tasks, as lines; those at the same place share one stack."""
    groups: dict[tuple[Stack, str | None], list[str]] = {}
    for thread in threads[:MAX_THREADS]:
        groups.setdefault((thread.stack, thread.request), []).append(thread.name)
    lines = []
    for (stack, request), names in groups.items():
        serving = f", serving {request}" if request else ""
        own = find_own(stack, origins)
        at = f", at {own.place}" if own else ""
        lines += [f"  {kind} {', '.join(names)}{serving}{at}", *render_stack(stack, origins)]
    if len(threads) > MAX_THREADS:
        lines.append(f"  and {len(threads) - MAX_THREADS} more {kind}s")
    return lines


def render_request(method: object, path: object) -> str:
    r"""
    Return a request for a log line, whatever a client has sent.

    >>> render_request("GET", "/a?token=secret")
    'GET /a'
    >>> render_request("GET", "/a\nb")
    'GET /a\\nb'
    """
    text = printable(f"{method} {str(path).partition('?')[0]}")
    return text if len(text) <= MAX_REQUEST_LENGTH else f"{text[:MAX_REQUEST_LENGTH]}..."


def join(lines: Iterable[str]) -> str:
    """Return *lines* as one log message."""
    return "\n".join(lines)
