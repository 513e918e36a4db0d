"""What ``preload_app`` leaves in the arbiter before its first fork. Reads the process, logs."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter


def freeze_preloaded(server: Arbiter) -> None:
    """
    Move what the application has loaded out of the garbage collector's sight, before any fork.

    A collection would write to each object's header, and a page that is written is shared no more.
    """
    gc.collect()
    gc.freeze()
    for remains in _remains_of_import(server):
        server.log.warning(
            "gunicorn-autoconf: with preload_app, importing the application left %s in the "
            "arbiter; it breaks when it is shared by fork: open it in post_fork instead",
            remains,
        )


def _remains_of_import(server: Arbiter) -> Iterator[str]:
    """Describe the threads and sockets that should not be in an arbiter before its first fork."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            yield f"a running thread ({thread.name})"
    import psutil  # Only with preload_app: it takes 12 ms.

    process = psutil.Process()
    connections = getattr(process, "net_connections", None) or process.connections
    try:
        found = connections(kind="all")
    except (psutil.Error, OSError):
        return
    expected = _sockets_of_the_server(server)
    for connection in found:
        if connection.fd not in expected:
            ends = [_address(end) for end in (connection.laddr, connection.raddr) if end]
            yield f"an open socket ({' to '.join(ends) or 'unnamed'}, fd {connection.fd})"


def _sockets_of_the_server(server: Arbiter) -> set[int]:
    """The standard streams, the sockets that were handed to us, and those of the log."""
    given = os.environ.get("GUNICORN_FD", "").split(",")
    systemd = range(3, 3 + int(os.environ.get("LISTEN_FDS") or 0))
    handlers = (*server.log.error_log.handlers, *server.log.access_log.handlers)
    sockets = [getattr(server.log, "sock", None), *(getattr(h, "socket", None) for h in handlers)]
    return {
        0,
        1,
        2,
        *systemd,
        *(int(fd) for fd in given if fd.isdigit()),
        *(each.fileno() for each in sockets if each),
    }


def _address(end: object) -> str:
    """An end of a socket as people write it: host:port, or the path of a Unix socket."""
    return f"{end[0]}:{end[1]}" if isinstance(end, tuple) else str(end)
