"""What ``preload_app`` leaves in the arbiter before its first fork. Reads the process, logs."""

from __future__ import annotations

import gc
import os
import socket
import stat
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
_DESCRIPTORS = "/dev/fd"


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
    """Describe the sockets that have an address: the pair by which a loop wakes itself has none."""
    try:
        names = os.listdir(_DESCRIPTORS)
    except OSError:  # No /proc.
        return
    for number in sorted({int(name) for name in names} - _sockets_of_the_server(server)):
        with suppress(OSError):  # The one by which the folder was read.
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            # With a default timeout, Python makes a descriptor that it gets non-blocking, and so
            # the application's own.
            blocks = os.get_blocking(number)
            with socket.socket(fileno=os.dup(number)) as found:
                os.set_blocking(number, blocks)
                ends = [_address(found.getsockname())]
                with suppress(OSError):  # It is not connected.
                    ends.append(_address(found.getpeername()))
            if any(ends):
                yield f"an open socket ({' to '.join(filter(None, ends))}, fd {number})"


def _sockets_of_the_server(server: Arbiter) -> set[int]:
    """The standard streams, the sockets that were handed to us, and those of the log."""
    given = os.environ.get("GUNICORN_FD", "").split(",")
    # The standard streams and, after them, what systemd hands over.
    first = range(3 + int(os.environ.get("LISTEN_FDS") or 0))
    log: Any = server.log  # The operator's own may have none of these.
    logs = (getattr(log, name, None) for name in ("error_log", "access_log"))
    handlers = [handler for each in logs for handler in getattr(each, "handlers", ())]
    own: list[Any] = [
        getattr(log, "sock", None),
        *(getattr(each, "socket", None) for each in handlers),
    ]
    return {
        *first,
        *(int(fd) for fd in given if fd.isdigit()),
        *(each.fileno() for each in own if hasattr(each, "fileno")),
    }


def _address(end: Any) -> str:
    """An end of a socket as people write it: host:port, or the path of a Unix socket; or empty."""
    if isinstance(end, tuple):
        return f"{end[0]}:{end[1]}" if end[1] else ""
    return os.fsdecode(end)
