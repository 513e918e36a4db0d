"""
What still runs in a worker that ends: threads, tasks, child processes. Ends these, logs.

Python waits for the processes of a pool, so that a worker with one at work would end only when
their work is done; Gunicorn kills it before, and the processes go on for good, without a parent.
Processes of `subprocess` go on in any case. So a worker ends its children where they are still
there when it has nothing else to do: one second after its last hook, or when the interpreter exits.

A thread that never returns keeps a worker until the arbiter kills it. Without an arbiter, such as
after an OOM kill, the worker would keep the port for good: it ends itself then.

A child in a session or a process group of its own (``start_new_session``, ``setsid``) was meant to
go on: it is left alone. The arbiter's own children are no children of a worker.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.machine.descendants import list_descendants
from gunicorn_autoconf.machine.process_state import read_process_state

if TYPE_CHECKING:
    import asyncio

# How long a pool has to end by itself once the worker's last hook has run.
GRACE_SECONDS = 1.0
# How long a child process has to end before it is killed.
CHILD_SECONDS = 0.5
POLL_SECONDS = 0.02

_ENDING = threading.Lock()
_prepared_for: set[int] = set()


def describe_thread(thread: threading.Thread) -> str:
    """Return the name of *thread* and the line that it is at, outside of Python's own library."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, for debuggers
    library = os.path.dirname(os.__file__)
    while frame and frame.f_back and frame.f_code.co_filename.startswith(library):
        frame = frame.f_back
    return f"{thread.name} at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else thread.name


def log_tasks(worker: Any, tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Name the application's own tasks, which end with the event loop: nothing waits for them."""
    names = [_name(task) for task in tasks if not (task.done() or _is_uvicorns(task))]
    if names:
        text = f"Worker (pid:{worker.pid}) cancels tasks that still run: {names}"
        log_event(worker.log, "warning", "tasks_cancelled", text, worker=worker.pid, tasks=names)


def _is_uvicorns(task: asyncio.Task[Any]) -> bool:
    """Whether uvicorn runs the application's lifespan in *task*."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/uvicorn/" in code.co_filename


def _name(task: asyncio.Task[Any]) -> str:
    function = getattr(task.get_coro(), "__qualname__", "")
    return f"{task.get_name()} ({function.replace('.<locals>.', '.')})"


def end_children_at_exit(worker: Any) -> None:
    """Have *worker*, which has begun to end, end its child processes where they do not by then."""
    if os.getpid() in _prepared_for:
        return
    _prepared_for.add(os.getpid())
    atexit.register(end_children, worker)

    def wait_and_end() -> None:
        time.sleep(GRACE_SECONDS)
        end_children(worker)
        while os.getppid() == worker.ppid:
            time.sleep(GRACE_SECONDS)
        time.sleep(worker.cfg.graceful_timeout)
        kept = ", ".join(map(describe_thread, lasting_threads())) or "its exit functions"
        text = f"Worker (pid:{worker.pid}) ends: its arbiter is gone, and what keeps it is {kept}"
        log_event(worker.log, "warning", "orphan_ended", text, worker=worker.pid, kept=kept)
        os._exit(0)

    threading.Thread(target=wait_and_end, name="gunicorn-autoconf", daemon=True).start()


def end_children(worker: Any) -> None:
    """End the processes that *worker* has started, such as a pool's: they would outlive it."""
    if worker.pid != os.getpid():
        return  # A process that the worker has forked, which runs its exit functions.
    with _ENDING:
        spared = _of_multiprocessing()
        pids = [pid for pid in list_descendants(os.getpid()) if pid not in spared and _goes_on(pid)]
        if not pids:
            return
        text = f"Worker (pid:{worker.pid}) ends its child processes: {pids}"
        log_event(worker.log, "warning", "children_ended", text, worker=worker.pid, children=pids)
        for pid in pids:
            _send(pid, signal.SIGTERM)
        until = time.monotonic() + CHILD_SECONDS
        while any(map(_goes_on, pids)) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        for pid in filter(_goes_on, pids):
            # A forked one may have the handlers of the worker, and goes on.
            _send(pid, signal.SIGKILL)


def lasting_threads() -> list[threading.Thread]:
    """Return the threads for which Python waits at the exit; one that is about to end may do so."""
    main = threading.main_thread()
    threads = [t for t in threading.enumerate() if not t.daemon and t is not main]
    until = time.monotonic() + CHILD_SECONDS
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
    return [thread for thread in threads if thread.is_alive()]


def _of_multiprocessing() -> set[int]:
    """Return its processes that clean up after the others, and then end by themselves."""
    found = (
        getattr(getattr(sys.modules.get(f"multiprocessing.{module}"), name, None), pid, None)
        for module, name, pid in (
            ("resource_tracker", "_resource_tracker", "_pid"),
            ("forkserver", "_forkserver", "_forkserver_pid"),
        )
    )
    return {pid for pid in found if isinstance(pid, int)}


def _goes_on(pid: int) -> bool:
    """Whether the process lives, and has not been set apart from the worker."""
    state = read_process_state(pid)
    with suppress(OSError):
        together = os.getsid(pid) == os.getsid(0) and os.getpgid(pid) == os.getpgid(0)
        return state is not None and not state.is_ending and together
    return False


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(OSError):
        os.kill(pid, number)
