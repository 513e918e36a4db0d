"""The threads of this process: where each one is and which request it serves. Reads frames."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
from datetime import datetime
from itertools import islice
from types import CodeType, FrameType
from typing import Any, NamedTuple

from gunicorn_autoconf.watchdog.stacks import (
    Frame,
    Origins,
    Stack,
    ThreadStack,
    is_machinery,
    render_request,
    trim,
)

# By these names each worker class of Gunicorn serves one request.
_SERVING = frozenset({"handle_request", "handle_http2_request"})
_GUNICORN_WORKERS = os.path.join("gunicorn", "workers", "")


class Serving(NamedTuple):
    """A thread that serves a request in Gunicorn's own code."""

    thread_ident: int
    frame_id: int
    """Tells one request from the next; an address, which may come again."""


def find_origins(app_uri: str | None) -> Origins:
    """
    Return which files are the user's own, for the application *app_uri*, ``module:name``.

    The application's own package is theirs even where it is installed beside the libraries.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # Not by sysconfig: it takes 2 ms and 160 KiB in every worker, and has no other answer for
    # files of Python code.
    libraries = {os.path.dirname(os.__file__), package}
    libraries |= {os.path.realpath(path) for path in libraries}
    top = (app_uri or "").partition(":")[0].partition(".")[0]
    loaded = sys.modules.get(top) if top != "gunicorn_autoconf" else None
    places = list(getattr(loaded, "__path__", ()))
    file = getattr(loaded, "__file__", None)
    if file and not places:
        places.append(file)
    places.append(os.path.join(package, "demo.py"))  # Written as a user would.
    return Origins(libraries=tuple(sorted(libraries)), own=tuple(places))


def read_stack(thread_ident: int) -> tuple[Stack, str | None]:
    """Return where a thread is and the request that it serves; nothing where it has ended."""
    frame = sys._current_frames().get(thread_ident)  # noqa: SLF001 - documented, for debuggers
    return (_walk(frame), _find_request(frame)) if frame else ((), None)


def is_in_code(thread_ident: int) -> bool:
    """Return whether a thread runs anything but the event loop's own turning, at this moment."""
    frame = sys._current_frames().get(thread_ident)  # noqa: SLF001 - as above
    # On uvloop, nothing of which shows as a frame, it is who has started the loop.
    return bool(frame and not is_machinery(frame.f_code.co_filename))


def read_threads(only: int | None = None) -> list[ThreadStack]:
    """Return every thread but the calling one, the main thread first; or *only* one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sys._current_frames()  # noqa: SLF001 - as above
    frames.pop(threading.get_ident(), None)
    return [
        ThreadStack(
            name=names.get(ident, f"{ident} (not started by Python)"),
            stack=add_sources(_walk(frame)),
            request=_find_request(frame),
        )
        for ident, frame in sorted(frames.items(), key=lambda item: item[0] != main)
        if only in (None, ident)
    ]


def read_serving() -> list[Serving]:
    """Return the threads that serve a request of Gunicorn's threaded worker."""
    found = []
    own = threading.get_ident()
    main = threading.main_thread().ident
    for ident, innermost in sys._current_frames().items():  # noqa: SLF001 - as above
        if ident not in (own, main) and (frame := _serving_frame(innermost)):
            found.append(Serving(ident, id(frame)))
    return found


def read_request_start(serving: Serving) -> datetime | None:
    """Return since when *serving* serves its request, by the local wall clock; None if unknown."""
    innermost = sys._current_frames().get(serving.thread_ident)  # noqa: SLF001 - as above
    frame = _serving_frame(innermost) if innermost else None
    if frame is None or id(frame) != serving.frame_id:
        return None
    start = frame.f_locals.get("request_start")
    return start if isinstance(start, datetime) else None


def _serving_frame(innermost: FrameType) -> FrameType | None:
    frame: FrameType | None = innermost
    while frame:
        code = frame.f_code
        if code.co_name in _SERVING and _GUNICORN_WORKERS in code.co_filename:
            return frame
        frame = frame.f_back
    return None


def _walk(innermost: FrameType) -> Stack:
    frames = []
    frame: FrameType | None = innermost
    while frame:
        code = frame.f_code
        frames.append(Frame(code.co_filename, frame.f_lineno or 0, _name(code)))
        frame = frame.f_back
    return trim(tuple(frames))


def _name(code: CodeType) -> str:
    qualified: str = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return qualified.replace(".<locals>.", ".")


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


def _find_request(innermost: FrameType) -> str | None:
    """Return the request that the outermost frame with one knows."""
    found = None
    frame: FrameType | None = innermost
    while frame:
        # What is called a request may be anything; a stack without one is better than none.
        with contextlib.suppress(Exception):
            found = _request_in(frame) or found
        frame = frame.f_back
    return found


def _request_in(frame: FrameType) -> str | None:
    # Only where the name is there: to read a frame's variables makes copies of them.
    code = frame.f_code
    names = code.co_varnames
    if "scope" in names:
        return _from_scope(frame.f_locals.get("scope"))
    if code.co_name == "run_asgi" and "self" in names:  # uvicorn's, around any application
        return _from_scope(getattr(frame.f_locals.get("self"), "scope", None))
    if "request" in names:  # Django serves a request in a task of its own, Starlette has both
        return _from_object(frame.f_locals.get("request"))
    if "environ" in names:
        return _from_environ(frame.f_locals.get("environ"))
    if code.co_name in _SERVING and "req" in names:
        return _from_object(frame.f_locals.get("req"))
    return None


def _from_object(request: Any) -> str | None:
    # Not getattr: to ask for an attribute may run code of anybody's.
    method, path, scope = (
        inspect.getattr_static(request, name, None) for name in ("method", "path", "scope")
    )
    if isinstance(method, str) and isinstance(path, str):
        return render_request(method, path)
    return _from_scope(scope)


def _from_scope(scope: Any) -> str | None:
    if isinstance(scope, dict) and scope.get("type") in ("http", "websocket"):
        return render_request(scope.get("method", "WebSocket"), scope.get("path"))
    return None


def _from_environ(environ: Any) -> str | None:
    if isinstance(environ, dict) and "REQUEST_METHOD" in environ:
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        return render_request(environ["REQUEST_METHOD"], path)
    return None
