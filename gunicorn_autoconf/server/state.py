"""What lives as long as the arbiter: its ledger, its OOM watch, its supervisor.

Kept on Gunicorn's arbiter object, as a reload may bring new hooks but goes on with the same
workers. Logs, and starts the supervisor's thread.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from gunicorn_autoconf.fleet.records import Ledger
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.memory.lines import render_exit, render_oom
from gunicorn_autoconf.memory.oom import OomWatch, find_oom_files, read_oom_kills
from gunicorn_autoconf.plan.workload import MemoryGuard
from gunicorn_autoconf.server.fork_signals import ForkSignals
from gunicorn_autoconf.server.supervisor import Supervisor

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.server.autoconf import Autoconf

_NAME = "gunicorn_autoconf"


class Attachment:
    """Our side of one arbiter."""

    def __init__(self, handed: Autoconf) -> None:
        # What was last taken over, for a reload whose declaration is wrong.
        self.handed = handed
        self.ledger = Ledger()
        self._fork_signals = ForkSignals()
        self.settled = handed
        self._supervisor: Supervisor | None = None
        self._oom_files = find_oom_files(handed.root)
        files = self._oom_files
        self._oom = OomWatch(lambda: read_oom_kills(files.counter) if files else None)

    def settle(self, handed: Autoconf, settled: Autoconf) -> None:
        """Take over what was planned, after the start or a reload."""
        self.handed = handed
        self.settled = settled
        if self._supervisor:
            self._supervisor.reloaded(settled)

    def start(self, server: Arbiter, replaced: Callable[[], Sequence[str]]) -> None:
        """
        Take care of signals at forks; start the supervisor, where there is something to do.

        Args:
            server: The arbiter.
            replaced: The hooks of ours that a user's own stand in the place of, by name.
        """
        self._fork_signals.install(server.log.reopen_files)
        if self._oom_files and self._oom_files.kills_all:
            server.log.warning(
                "gunicorn-autoconf: memory.oom.group is 1 here: one OOM kill ends every process of "
                "the container, the arbiter included"
            )
        supervisor = Supervisor(server, self.settled, self.ledger, self._oom, replaced)
        declaration = self.settled.declaration
        if supervisor.mode is MemoryGuard.OFF and not declaration.memory_log_interval_seconds:
            return
        self._supervisor = supervisor
        supervisor.start()

    def forking(self, worker: Worker) -> None:
        """Prepare for *worker*; in the arbiter, before the fork."""
        self.ledger.forking(worker)
        self._fork_signals.worker_follows(lambda: self.exiting(worker))

    def exiting(self, worker: Worker) -> None:
        """Tell the arbiter what *worker* uses at its end; in the worker."""
        memory = read_process_memory()
        if memory is not None:
            self.ledger.exiting(worker, memory)

    def stop(self) -> None:
        """Stop the supervisor; the server ends."""
        if self._supervisor:
            self._supervisor.stop()

    def count_changed(self, new: int, old: int | None) -> None:
        """Hear of a change of the worker count."""
        if self._supervisor:
            self._supervisor.hand.count_changed(new, old)

    def ended(self, server: Arbiter, worker: Worker, *, tells_end: bool) -> None:
        """
        Say of a worker that is gone why it is, and what it used last.

        Where *tells_end*, a worker that ends by itself has said so before.
        """
        last, is_orderly = self.ledger.ended(worker)
        supervisor = self._supervisor
        retired = supervisor is not None and supervisor.hand.worker_ended(worker.pid)
        if is_orderly is not True and self._oom.claim():
            memory = supervisor.memory if supervisor else self.settled.machine.memory
            server.log.error("%s", render_oom(worker.pid, last, memory, len(server.WORKERS) + 1))
            return
        is_odd = worker.aborted or (tells_end and is_orderly is False)
        if worker.aborted:
            cause = "was killed by Gunicorn after timeout, not by the kernel's OOM killer"
        elif is_odd:
            known = ", not by the kernel's OOM killer" if self._oom.is_told else ""
            cause = f"ended without its exit hooks{known}"
        else:
            cause = "was retired by the memory guard" if retired else "exited"
        say = server.log.warning if is_odd else server.log.info
        say("%s", render_exit(worker.pid, last, cause))


def attach(server: Arbiter, handed: Autoconf) -> Attachment:
    """Return a new attachment of *server*."""
    attachment = Attachment(handed)
    setattr(server, _NAME, attachment)
    return attachment


def attached(server: Arbiter | None) -> Attachment | None:
    """Return the attachment of *server*, or None where it has none."""
    found: Attachment | None = getattr(server, _NAME, None)
    return found


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
