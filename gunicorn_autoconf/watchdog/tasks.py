"""
What an event loop that runs is waiting for: a start or an end that awaits for ever.

Reads the frames of suspended coroutines; runs in the worker, as only that knows its tasks.

Theory of operation. A `TaskWatcher` is called once a second, by a tick of the loop that it looks
at. A worker *starts* from the first call until its lifespan has started up, then *serves*, and
*ends* once it is not alive any more or uvicorn was told to stop. A start and an end that take long
are reported once each. Nothing else is kept; frames are read at a report and thrown away.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from gunicorn_autoconf.watchdog.frames import find_request, name_of
from gunicorn_autoconf.watchdog.sources import add_sources
from gunicorn_autoconf.watchdog.stacks import (
    Frame,
    Origins,
    Say,
    Stack,
    ThreadStack,
    find_own,
    join,
    render_threads,
    trim,
)
from gunicorn_autoconf.watchdog.stamps import SLOW_SECONDS, Stamps, slow_end_seconds

MAX_DEPTH = 100

# What stands between an ``await`` and the coroutine, generator or task that is awaited.
_BETWEEN = frozenset(
    {
        "FutureIter",
        "async_generator_asend",
        "async_generator_athrow",
        "coroutine_wrapper",
        "anext_awaitable",
    }
)
# The objects that run an application's lifespan, and the events that end its start-up.
_LIFESPANS = {"LifespanOn": "startup_event", "LifespanManager": "_startup_complete"}
_SERVERS = ("/uvicorn/", "/gunicorn/")


class TaskWatcher:
    """Reports a start or an end of *worker* that takes long; called once a second."""

    def __init__(self, worker: Any, stamps: Stamps, origins: Origins, say: Say) -> None:
        self._worker = worker
        self._stamps = stamps
        self._origins = origins
        self._say = say
        self._began_at: float | None = None
        self._ending_at: float | None = None
        self._has_reported_start = self._has_reported_end = False

    def __call__(self, now: float) -> None:
        """Look at the tasks where the worker starts or ends."""
        self._began_at = self._began_at or now
        if not self._worker.alive or _uvicorn_leaves():
            self._ending_at = self._ending_at or now
            self._stamps.end(time.monotonic())
            self._look_at_end(now - self._ending_at)
        elif not self._has_reported_start and now - self._began_at >= SLOW_SECONDS:
            self._has_reported_start = True
            self._look_at_start(now - self._began_at)

    def _look_at_start(self, seconds: float) -> None:
        starting = [task for task in read_tasks() if _starts(task)]
        if starting:
            head = f"the lifespan start-up is not complete after {seconds:.0f} s; it awaits"
            self._report("warning", head, starting)

    def _look_at_end(self, seconds: float) -> None:
        if self._has_reported_end or seconds < slow_end_seconds(self._worker.cfg.graceful_timeout):
            return
        self._has_reported_end = True
        waiting = [task for task in read_tasks() if self._holds_up(task)]
        if waiting:
            level = "info" if all(task.request for task in waiting) else "warning"
            self._report(
                level, f"this worker has not exited after {seconds:.1f} s; it awaits", waiting
            )

    def _holds_up(self, task: _Task) -> bool:
        is_servers = task.stack and any(name in task.stack[-1].path for name in _SERVERS)
        is_idle = task.lifespan and task.stack and task.stack[0].function.endswith("get")
        is_receiving = any(f.function.endswith("receive") for f in task.stack[:3])
        has_own = find_own(task.stack, self._origins) is not None
        return bool(is_servers and has_own and not (is_idle and is_receiving))

    def _report(self, level: str, head: str, tasks: list[_Task]) -> None:
        shown = [ThreadStack(t.name, add_sources(t.stack), t.request) for t in tasks]
        lines = render_threads(shown, self._origins, kind="task")
        text = join([f"{head}, innermost line first:", *lines])
        self._say(level, "awaiting", text, tasks=len(tasks))


class _Task:
    """One task of the loop, suspended."""

    def __init__(self, task: Any) -> None:
        self.name: str = task.get_name()
        self.request: str | None = None
        self.lifespan: Any = None
        frames = []
        for frame in await_frames(task.get_coro()):
            frames.append(Frame(frame.f_code.co_filename, frame.f_lineno, name_of(frame.f_code)))
            self.request = self.request or find_request(frame)
            instance = frame.f_locals.get("self") if self.lifespan is None else None
            if type(instance).__name__ in _LIFESPANS:
                self.lifespan = instance
        self.stack: Stack = tuple(reversed(frames))


def read_tasks() -> list[_Task]:
    """Return the tasks of the running loop that are suspended."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:  # noqa: SLF001 - raises nothing
        return []  # A worker class that we do not know, without a loop.
    return [_Task(task) for task in asyncio.all_tasks() if not task.done()]


def read_task(task: Any) -> ThreadStack:
    """Return where *task*, which is suspended, stands: the innermost line is its ``await``."""
    found = _Task(task)
    return ThreadStack(found.name, trim(found.stack), found.request)


def await_frames(awaitable: Any) -> Iterator[FrameType]:
    """Yield the frame of a coroutine, then that of what it awaits, and so on."""
    for _ in range(MAX_DEPTH):
        for prefix, following in (("cr", "await"), ("ag", "await"), ("gi", "yieldfrom")):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                awaitable = getattr(awaitable, f"{prefix}_{following}")
                break
        else:
            awaitable = _behind(awaitable)
        if awaitable is None:
            return


def _behind(awaitable: Any) -> Any:
    """Return the coroutine, generator or task that *awaitable* stands for."""
    if hasattr(awaitable, "get_coro"):
        return awaitable.get_coro()
    if type(awaitable).__name__ not in _BETWEEN:
        return None
    wanted = ("cr_frame", "ag_frame", "gi_frame", "get_coro")
    found = (r for r in gc.get_referents(awaitable) if any(hasattr(r, name) for name in wanted))
    return next(found, None)


def _starts(task: _Task) -> bool:
    """Return whether *task* runs a lifespan whose start-up is not complete."""
    event = getattr(task.lifespan, _LIFESPANS.get(type(task.lifespan).__name__, ""), None)
    return event is not None and not event.is_set()


def _uvicorn_leaves() -> bool:
    """Return whether uvicorn's server, where it handles the signals itself, was told to stop."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))
