"""What ``preload_app`` leaves in the arbiter before its first fork. Reads the process, logs."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.machine.descendants import list_descendants
from gunicorn_autoconf.machine.process_state import read_process_state

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

_TASKS = "/proc/self/task"


def freeze_preloaded(server: Arbiter) -> None:
    """
    Move what the application has loaded out of the garbage collector's sight, before any fork.

    A collection would write to each object's header, and a page that is written is shared no more.
    """
    gc.collect()
    for remains in _remains_of_import(server):
        log_event(
            server.log,
            "warning",
            "preload_left",
            f"gunicorn-autoconf: with preload_app, importing the application left {remains} in "
            "the arbiter; it breaks when it is shared by fork: open it in post_fork instead",
            left=remains,
        )
    gc.freeze()


def _remains_of_import(server: Arbiter) -> Iterator[str]:
    """Describe what should not be in an arbiter before its first fork."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            yield f"a running thread ({thread.name})"
    yield from _native_threads()
    for pid in list_descendants(os.getpid()):
        state = read_process_state(pid)
        if state and not state.is_ending:
            yield f"a child process ({state.name}, pid {pid})"
    yield from _sockets(server)


def _native_threads() -> Iterator[str]:
    """Describe the threads that Python has not started: those of numpy, gRPC, a database driver."""
    known = {thread.native_id for thread in threading.enumerate()}
    names: dict[str, int] = {}
    with suppress(OSError):  # No /proc.
        for tid in sorted(os.listdir(_TASKS)):
            if int(tid) in known:
                continue
            with open(f"{_TASKS}/{tid}/comm", encoding="utf-8", errors="replace") as comm:
                name = comm.read().strip()
            names[name] = names.get(name, 0) + 1
    for name, count in names.items():
        yield f"{count} native thread{'s' * (count > 1)} ({name})"


def _sockets(server: Arbiter) -> Iterator[str]:
    import psutil  # Only with preload_app: it takes 12 ms.

    process = psutil.Process()
    connections = getattr(process, "net_connections", None) or process.connections
    try:
        found = connections(kind="all")
    except (psutil.Error, OSError):
        return
    expected = _sockets_of_the_server(server) | _sockets_of_idle_loops()
    for connection in found:
        if connection.fd not in expected:
            ends = [_address(end) for end in (connection.laddr, connection.raddr) if end]
            yield f"an open socket ({' to '.join(ends) or 'unnamed'}, fd {connection.fd})"


def _sockets_of_the_server(server: Arbiter) -> set[int]:
    """The standard streams, the sockets that were handed to us, and those of the log."""
    given = os.environ.get("GUNICORN_FD", "").split(",")
    systemd = range(3, 3 + int(os.environ.get("LISTEN_FDS") or 0))
    log: Any = server.log  # The operator's own may have none of these.
    logs = (getattr(log, name, None) for name in ("error_log", "access_log"))
    handlers = [handler for each in logs for handler in getattr(each, "handlers", ())]
    own: list[Any] = [
        getattr(log, "sock", None),
        *(getattr(each, "socket", None) for each in handlers),
    ]
    return {
        0,
        1,
        2,
        *systemd,
        *(int(fd) for fd in given if fd.isdigit()),
        *(each.fileno() for each in own if hasattr(each, "fileno")),
    }


def _sockets_of_idle_loops() -> set[int]:
    """
    The pair by which an event loop wakes itself up: nothing is on it while the loop does not run.

    One that runs is told of as a thread.
    """
    if "asyncio" not in sys.modules:
        return set()
    from asyncio.selector_events import BaseSelectorEventLoop

    # By type(): what is asked for its __class__ may be a proxy that does something then.
    loops: list[Any] = [
        each for each in gc.get_objects() if issubclass(type(each), BaseSelectorEventLoop)
    ]
    pairs = [
        getattr(loop, name, None)
        for loop in loops
        if not loop.is_running()
        for name in ("_ssock", "_csock")
    ]
    return {end.fileno() for end in pairs if end is not None}


def _address(end: object) -> str:
    """An end of a socket as people write it: host:port, or the path of a Unix socket."""
    return f"{end[0]}:{end[1]}" if isinstance(end, tuple) else str(end)
