"""What still runs in a worker that ends: threads, tasks, child processes. Ends these, logs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

# How long a child process has to end before it is killed.
CHILD_SECONDS = 0.1


def describe_thread(thread: threading.Thread) -> str:
    """Return the name of *thread* and the line that it is at, outside of Python's own library."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, for debuggers
    library = os.path.dirname(os.__file__)
    while frame and frame.f_back and frame.f_code.co_filename.startswith(library):
        frame = frame.f_back
    return f"{thread.name} at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else thread.name


def log_tasks(worker: Any, tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Name the application's own tasks, which end with the event loop: nothing waits for them."""
    names = [_name(task) for task in tasks if not task.done()]
    if names:
        worker.log.warning("Worker (pid:%s) cancels tasks that still run: %s", worker.pid, names)


def _name(task: asyncio.Task[Any]) -> str:
    function = getattr(task.get_coro(), "__qualname__", "")
    return f"{task.get_name()} ({function.replace('.<locals>.', '.')})"


def end_children(worker: Any) -> None:
    """End the processes that *worker* has started, such as a pool's: they would outlive it."""
    multiprocessing: Any = sys.modules.get("multiprocessing")
    children = multiprocessing.active_children() if multiprocessing else []
    if not children:
        return
    pids = [child.pid for child in children]
    worker.log.warning("Worker (pid:%s) ends its child processes: %s", worker.pid, pids)
    for child in children:
        child.terminate()
    for child in children:  # A forked one has the handlers of the worker, and goes on.
        child.join(CHILD_SECONDS)
        child.kill()
