"""The state of one arbiter: what was loaded, what is final, the records of its workers.

Kept as an attribute of Gunicorn's arbiter object, since a reload may bring new hooks but keeps the
arbiter and its workers. Logs, and starts the supervisor's thread.

Theory of operation. There is one `ServerState` for each arbiter process. Gunicorn's main thread
creates it (`on_starting`) and is the only one to change it, by the hooks; a forked worker has a
copy, of which it reads `final` and writes to its own slot of the shared page. `loaded` is what the
configuration file last handed to Gunicorn; `final` is the plan after the arbiter's own settings,
the configuration file's lines and the application were taken into account. Everybody else reads
`final` here and keeps no copy. The supervisor's thread reads `final` between two reloads only:
`replanned` stops the thread first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gunicorn_autoconf.fleet.records import WorkerRecords
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.memory.lines import render_exit, render_oom
from gunicorn_autoconf.memory.oom import OomWatch, find_oom_files, read_oom_kills
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.plan.workload import MemoryGuard
from gunicorn_autoconf.server.fork_signals import ForkSignals
from gunicorn_autoconf.server.paused_thread import PausedThread
from gunicorn_autoconf.server.supervisor import Supervisor
from gunicorn_autoconf.watchdog.patrol import Patrol

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.server.planned import Planned

_NAME = "gunicorn_autoconf"


class ServerState:
    """The state of one arbiter."""

    def __init__(self, loaded: Planned, timing: Timing = DEFAULT) -> None:
        # Also what a reload falls back to when its declaration is wrong.
        self.loaded = loaded
        self.final = loaded
        self.has_reloaded = False
        # Our hooks that the user's own have replaced, as far as the log has it.
        self.replaced: tuple[str, ...] = ()
        self._timing = timing
        self.records = WorkerRecords()
        self._fork_signals = ForkSignals()
        self.supervisor: Supervisor | None = None
        self.patrol: Patrol | None = None
        self._watching: PausedThread | None = None
        self._oom_files = find_oom_files(loaded.root)
        files = self._oom_files
        self._oom = OomWatch(lambda: read_oom_kills(files.counter) if files else None, timing)

    def replanned(self, loaded: Planned, final: Planned) -> None:
        """Take over a new plan, at the start or at a reload."""
        if self.supervisor:
            self.supervisor.pause()
        self.loaded, self.final = loaded, final
        if self.patrol:
            self.patrol.stall_seconds = final.declaration.stall_warning_seconds
        if self.supervisor:
            self.supervisor.reloaded()

    def start(self, server: Arbiter, replaced: Callable[[], Sequence[str]]) -> None:
        """
        Take care of forks; start the supervisor, where there is something to do.

        Args:
            server: The arbiter.
            replaced: Returns the names of our hooks that the user's own have replaced.
        """
        self._fork_signals.install(server.log.reopen_files)
        stall_seconds = self.final.declaration.stall_warning_seconds
        self.patrol = Patrol(server, self.records, stall_seconds, self.final.root)
        self.patrol.start()
        self._watching = PausedThread(self.patrol.step, 0.0)
        self._watching.start()
        if self._oom_files and self._oom_files.kills_all:
            server.log.warning(
                "gunicorn-autoconf: memory.oom.group is 1 here: one OOM kill ends every process of "
                "this cgroup, the arbiter included"
            )
        supervisor = Supervisor(
            server, lambda: self.final, self.records, self._oom, replaced, timing=self._timing
        )
        declaration = self.final.declaration
        if supervisor.mode is MemoryGuard.OFF and not declaration.memory_log_interval_seconds:
            return
        self.supervisor = supervisor
        supervisor.start()

    def forking(self, worker: Worker) -> None:
        """Prepare for *worker*; in the arbiter, before the fork."""
        self.records.forking(worker)
        if self.patrol:
            self.patrol.forking(worker)
        self._fork_signals.worker_follows(lambda: self.exiting(worker))

    def exiting(self, worker: Worker) -> None:
        """Tell the arbiter what *worker* uses at its end; in the worker."""
        memory = read_process_memory()
        if memory is not None:
            self.records.exiting(worker, memory)

    def stop(self) -> None:
        """Stop both threads; the server ends."""
        if self.patrol and self._watching:
            self._watching.stop()
            self.patrol.stop()
        if self.supervisor:
            self.supervisor.stop()

    def count_changed(self, new: int, old: int | None) -> None:
        """Hear of a change of the worker count."""
        if self.supervisor:
            self.supervisor.executor.count_changed(new, old)

    def ended(self, server: Arbiter, worker: Worker, *, tells_end: bool) -> None:
        """
        Say of a worker that is gone why it is, and what it used last.

        Where *tells_end*, a worker that ends by itself has said so before.
        """
        if self.patrol and self._watching:
            self._watching.pause()
            self.patrol.ended(worker)
            self._watching.resume()
        last, is_orderly = self.records.ended(worker)
        supervisor = self.supervisor
        retired = supervisor is not None and supervisor.executor.worker_ended(worker.pid)
        if is_orderly is not True and self._oom.claim():
            if supervisor:
                supervisor.worker_oom_killed(last)
            memory = supervisor.memory if supervisor else self.final.machine.memory
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


def create_state(server: Arbiter, loaded: Planned, timing: Timing = DEFAULT) -> ServerState:
    """Return a new state, kept on *server*."""
    state = ServerState(loaded, timing)
    setattr(server, _NAME, state)
    return state


def state_of(server: Arbiter | None) -> ServerState | None:
    """Return the state of *server*, or None where it has none yet."""
    found: ServerState | None = getattr(server, _NAME, None)
    return found
