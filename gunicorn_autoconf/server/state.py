"""The state of one arbiter: what was loaded, what is final, the records of its workers.

Kept as an attribute of Gunicorn's arbiter object, since a reload may bring new hooks but keeps the
arbiter and its workers. Logs, and starts the supervisor's thread.

Theory of operation. There is one `ServerState` for each arbiter process. Gunicorn's main thread
creates it (`on_starting`) and alone changes `loaded` and `final`, by the hooks; a forked worker has
a copy, of which it reads `final` and writes to its own slot of the shared page. `loaded` is what
the configuration file last gave to Gunicorn; `final` is the plan after the arbiter's own settings,
the configuration file's lines and the application were taken into account. All other code reads
`final` here and keeps no copy. `replanned` asks the supervisor's thread to stop before it changes
`final`, and waits for it for a second at most.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.fleet.records import WorkerRecords
from gunicorn_autoconf.fleet.sample import WorkerSample
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.memory.lines import render_exit
from gunicorn_autoconf.memory.oom_lines import render_oom
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.plan.workload import MemoryGuard
from gunicorn_autoconf.server.fork_signals import ForkSignals
from gunicorn_autoconf.server.leftovers import end_children_at_exit
from gunicorn_autoconf.server.load_watch import LoadWatch
from gunicorn_autoconf.server.oom_watch import ServerOom
from gunicorn_autoconf.server.overload import RefusalLog
from gunicorn_autoconf.server.paused_thread import PausedThread
from gunicorn_autoconf.server.supervisor import Supervisor
from gunicorn_autoconf.server.wait_status import wait_status
from gunicorn_autoconf.watchdog.patrol import Patrol
from gunicorn_autoconf.watchdog.watch import was_ended_for_request

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.memory.oom_lines import OomKill
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
        self.load: LoadWatch | None = None
        self.patrol: Patrol | None = None
        self._watching: PausedThread | None = None
        self._refusals: RefusalLog | None = None
        self._oom = ServerOom(loaded.root, timing)

    def replanned(self, loaded: Planned, final: Planned) -> None:
        """Take over a new plan, at the start or at a reload."""
        with self.supervisor.reloading() if self.supervisor else nullcontext():
            self.loaded, self.final = loaded, final

    def start(self, server: Arbiter, replaced: Callable[[], Sequence[str]]) -> None:
        """
        Take care of forks; start the supervisor, where there is something to do.

        Args:
            server: The arbiter.
            replaced: Returns the names of our hooks that the user's own have replaced.
        """
        # A logger of the operator's own may lack what Gunicorn's own has.
        self._fork_signals.install(getattr(server.log, "reopen_files", None) or (lambda: None))
        self.patrol = Patrol(
            server,
            self.records,
            lambda: self.final.declaration.stall_warning_seconds,
            self.final.root,
            request_seconds=lambda: self.final.declaration.request_timeout_seconds,
        )
        self.patrol.start()
        self._refusals = RefusalLog(
            server, self.records, lambda: self.final.declaration.max_queue_seconds
        )
        self._watching = PausedThread(self._watch, 0.0)
        self._watching.start()
        if self._oom.kills_all:
            log_event(
                server.log,
                "warning",
                "oom_group",
                "gunicorn-autoconf: memory.oom.group is 1 here: one OOM kill ends every process of "
                "this cgroup, the arbiter included",
            )
        self.load = LoadWatch(server, lambda: self.final, self.records)
        supervisor = Supervisor(
            server,
            lambda: self.final,
            self.records,
            self._oom,
            replaced,
            load=self.load,
            timing=self._timing,
        )
        declaration = self.final.declaration
        if supervisor.mode is MemoryGuard.OFF and not declaration.memory_log_interval_seconds:
            return
        self.supervisor = supervisor
        supervisor.start()

    def _watch(self, stopping: threading.Event) -> float | None:
        """Look at every worker; return after how many seconds to look again, None for never."""
        if self._refusals:
            with suppress(Exception):  # It is a line of the log.
                self._refusals.look(time.monotonic())
        return self.patrol.step(stopping) if self.patrol else None

    def forking(self, worker: Worker) -> None:
        """Prepare for *worker*; in the arbiter, before the fork."""
        self.records.forking(worker)
        if self.patrol:
            self.patrol.forking(worker)
        self._fork_signals.worker_follows(lambda: self._report_end(worker))

    def exiting(self, worker: Worker) -> None:
        """Tell the arbiter what *worker* uses at its end, and end its children; in the worker."""
        self._report_end(worker)
        end_children_at_exit(worker)

    def _report_end(self, worker: Worker) -> None:
        memory = read_process_memory()
        if memory is not None:
            self.records.exiting(worker, memory)

    def stop(self) -> None:
        """Stop both threads; the server ends."""
        if self.patrol and self._watching:
            self._watching.stop()
            self.patrol.stop()
        if self._refusals:
            self._refusals.look(time.monotonic(), at_once=True)
        if self.supervisor:
            self.supervisor.stop()
            self.supervisor.log_kills(at_once=True)

    def count_changed(self, new: int, old: int | None) -> None:
        """Hear of a change of the worker count."""
        if self.supervisor:
            self.supervisor.executor.count_changed(new, old)

    def ended(self, server: Arbiter, worker: Worker, *, reports_end: bool) -> None:
        """
        Say of a worker that is gone why it is, and what it used last.

        Where *reports_end*, a worker that ends by itself has said so before.
        """
        if self.patrol and self._watching:
            with self._watching.paused():
                self.patrol.ended(worker)
        last, is_orderly = self.records.ended(worker)
        supervisor = self.supervisor
        retired = supervisor is not None and supervisor.executor.worker_ended(worker.pid)
        status = wait_status(worker.pid)
        # Without the status, one that has told of its end is taken to have come to it.
        was_killed = is_orderly is not True if status is None else status == signal.SIGKILL
        not_oom = ", not by the kernel's OOM killer" if self._oom.has_counter else ""
        if was_killed:
            memory = supervisor.memory if supervisor else self.final.machine.memory
            found = self._oom.claim(memory, len(server.WORKERS) + 1, time.monotonic())
            if isinstance(found, str):
                not_oom = f", probably not by the kernel's OOM killer: {found}"
            elif found:
                kill = found._replace(while_ending=is_orderly is True)
                alone = supervisor is None or supervisor.worker_oom_killed(last)
                # Otherwise the supervisor logs one line about many.
                level = "error" if alone else "debug"
                self._log_oom(server, worker, last, kill, level)
                return
        is_odd = worker.aborted or (reports_end and is_orderly is False)
        if worker.aborted:
            cause = f"was killed by Gunicorn after timeout{not_oom}"
            if was_ended_for_request(worker):
                cause = (
                    f"was killed as its request ran longer than GUNICORN_REQUEST_TIMEOUT{not_oom}"
                )
        elif is_odd:
            cause = f"ended without its exit hooks{not_oom}"
        else:
            cause = "was retired by the memory guard" if retired else "exited"
        log_event(
            server.log,
            "warning" if is_odd else "info",
            "worker_timeout" if worker.aborted else "worker_lost" if is_odd else "worker_exited",
            render_exit(worker.pid, last, cause),
            worker=worker.pid,
            retired=retired,
            signal=status,
            **_sizes(last),
        )

    def _log_oom(
        self,
        server: Arbiter,
        worker: Worker,
        last: WorkerSample | None,
        kill: OomKill,
        level: str,
    ) -> None:
        log_event(
            server.log,
            level,
            "worker_oom_killed",
            render_oom(worker.pid, last, kill),
            worker=worker.pid,
            limit_bytes=kill.limit_bytes,
            limit_directory=kill.directory,
            shared_memory_bytes=kill.shared_bytes,
            workers=kill.workers,
            is_certain=kill.shared_counter is None,
            while_ending=kill.while_ending,
            **_sizes(last),
        )


def _sizes(last: WorkerSample | None) -> dict[str, float | None]:
    """What was seen last of a worker, as fields of a record."""
    if last is None:
        return {}
    return {
        "age_seconds": round(last.age_seconds, 1),
        "uss_bytes": last.uss_bytes,
        "pss_bytes": last.pss_bytes,
        "boot_uss_bytes": last.boot_uss_bytes,
    }


def create_state(server: Arbiter, loaded: Planned, timing: Timing = DEFAULT) -> ServerState:
    """Return a new state, kept on *server*."""
    state = ServerState(loaded, timing)
    setattr(server, _NAME, state)
    return state


def state_of(server: Arbiter | None) -> ServerState | None:
    """Return the state of *server*, or None where it has none yet."""
    found: ServerState | None = getattr(server, _NAME, None)
    return found
