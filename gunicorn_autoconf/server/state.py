"""The state of one arbiter: what was loaded, what is final, the records of its workers.

Kept as an attribute of Gunicorn's arbiter object, since a reload may bring new hooks but keeps the
arbiter and its workers. Logs, and starts the supervisor's thread.

Theory of operation. There is one `ServerState` for each arbiter process. Gunicorn's main thread
creates it (`on_starting`) and alone changes `loaded` and `final`, by the hooks; a forked worker has
a copy, of which it reads `final` and writes to its own slot of the shared page. `loaded` is what
the configuration file last gave to Gunicorn; `final` is the plan after the arbiter's own settings,
the configuration file's lines and the application were taken into account. All other code reads
`final` here and keeps no copy. `replanned` asks the supervisor's thread to stop before it changes
`final`, and waits for it for a second at most. That thread makes the supervisor in its first step;
what happens before is not lost: kills are counted from the start on, and the executor sees by
Gunicorn's count whether an operator has changed it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.fleet.records import WorkerRecords
from gunicorn_autoconf.machine.memory_events import find_memory_events
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.metrics.endings import STALL, Ending
from gunicorn_autoconf.plan.workload import MemoryGuard
from gunicorn_autoconf.server.end_queue import End, EndQueue, wait_status
from gunicorn_autoconf.server.fork_signals import ForkSignals
from gunicorn_autoconf.server.leftovers import end_children_at_exit
from gunicorn_autoconf.server.oom_score import add_points, points_of_arbiter
from gunicorn_autoconf.server.overload import RefusalLog
from gunicorn_autoconf.server.paused_thread import PausedThread, Stopping
from gunicorn_autoconf.watchdog.patrol import Patrol

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.server.endpoints import Endpoints
    from gunicorn_autoconf.server.load_watch import LoadWatch
    from gunicorn_autoconf.server.oom_watch import ServerOom
    from gunicorn_autoconf.server.planned import Planned
    from gunicorn_autoconf.server.status import Status
    from gunicorn_autoconf.server.supervisor import Supervisor

_NAME = "gunicorn_autoconf"

# When the supervisor's thread begins: after the fork of the first workers, before their first end.
SUPERVISE_SECONDS = 0.2


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
        # How often each has happened. The main thread counts the ends, one after the other, and the
        # patrol's thread the stalls.
        self.happened: dict[str, int] = dict.fromkeys([*Ending, STALL], 0)
        self._endpoints: Endpoints | None = None
        self._fork_signals = ForkSignals()
        self.supervisor: Supervisor | None = None
        self._supervising: PausedThread | None = None
        self.load: LoadWatch | None = None
        self._status: Status | None = None
        self.patrol: Patrol | None = None
        self._watching: PausedThread | None = None
        self._refusals: RefusalLog | None = None
        self._events = find_memory_events(loaded.root)
        self._events_before = self._events.read() if self._events else ()
        self._ends = EndQueue()
        self._has_failed = False

    def replanned(self, loaded: Planned, final: Planned) -> None:
        """Take over a new plan, at the start or at a reload."""
        with self._supervising.paused() if self._supervising else nullcontext():
            self.loaded, self.final = loaded, final
            if self.supervisor:
                self.supervisor.reloaded()

    def reloaded(self, server: Arbiter) -> None:
        """Follow what a reload has planned."""
        self.has_reloaded = True
        self._publish(server)

    def start(self, server: Arbiter, replaced: Callable[[], Sequence[str]]) -> None:
        """
        Take care of forks; start the threads.

        Args:
            server: The arbiter.
            replaced: Returns the names of our hooks that the user's own have replaced.
        """
        # A logger of the operator's own may lack what Gunicorn's own has.
        self._fork_signals.install(getattr(server.log, "reopen_files", None) or (lambda: None))
        # Of threads that pause around a fork the first one pauses last and goes on first: a scrape
        # does not wait until the supervisor has taken its sample.
        self._publish(server)
        self.patrol = Patrol(
            server,
            self.records,
            lambda: self.final.declaration,
            self.final.root,
            quota_seconds=self._timing.quota_seconds,
            stalled=self._stalled,
        )
        self.patrol.start()
        self._refusals = RefusalLog(
            server, self.records, lambda: self.final.declaration.max_queue_seconds
        )
        self._watching = PausedThread(self._watch, 0.0)
        self._watching.start()
        if self._events and self._events.kills_all:
            log_event(
                server.log,
                "warning",
                "oom_group",
                "gunicorn-autoconf: memory.oom.group is 1 here: one OOM kill ends every process of "
                "this cgroup, the arbiter included",
            )

        self._supervising = PausedThread(
            lambda stopping: self._supervise(stopping, server, replaced), SUPERVISE_SECONDS
        )
        self._supervising.start()

    def _supervise(
        self, stopping: threading.Event, server: Arbiter, replaced: Callable[[], Sequence[str]]
    ) -> float:
        """Do one step of the supervisor; return the seconds until the next one."""
        try:
            if not (self.supervisor and self._status):
                self._make_supervisor(server, replaced)
                return self._timing.fastest_seconds
            seconds = self.supervisor.try_step(stopping)
            if not stopping.is_set():
                self._status.write()
        except Exception:  # Too many open files, for example: there are modules to import.
            if not self._has_failed:
                self._has_failed = True
                server.log.exception("gunicorn-autoconf: the supervisor failed and will retry")
            return self._timing.retry_seconds
        return seconds

    def _stalled(self) -> None:
        self.happened[STALL] += 1

    def _publish(self, server: Arbiter) -> None:
        """Publish metrics and health answers where the declaration now asks for them."""
        declaration = self.final.declaration
        wants = declaration.metrics or declaration.health or server.cfg.statsd_host
        if self._endpoints is None and wants:
            # Not for every server: what they import takes 30 ms.
            from gunicorn_autoconf.server.endpoints import Endpoints
            from gunicorn_autoconf.server.snapshots import Snapshots

            self._endpoints = Endpoints(server, Snapshots(server, self))
        if self._endpoints:
            self._endpoints.follow(declaration)

    def _make_supervisor(self, server: Arbiter, replaced: Callable[[], Sequence[str]]) -> None:
        """
        Make the supervisor, in its thread, once the first workers are forked.

        They need nothing of what is imported here, and a start waits for no import: 8 ms of it.
        """
        from gunicorn_autoconf.server import (
            load_watch,
            status,
            supervisor,
            worker_ends,  # noqa: F401 - for the first end
        )

        self.load = load_watch.LoadWatch(server, lambda: self.final, self.records)
        self.supervisor = supervisor.Supervisor(
            server,
            lambda: self.final,
            self.records,
            self.oom,
            replaced,
            load=self.load,
            timing=self._timing,
        )
        self._status = status.Status(
            server, lambda: self.final, self.records, self.supervisor, self.load
        )

    @cached_property
    def oom(self) -> ServerOom | None:
        """The OOM kills since the start; None where the kernel does not count them."""
        if self._events is None:
            return None
        from gunicorn_autoconf.server import oom_watch  # See `_make_supervisor`.

        return oom_watch.ServerOom(self._events, self._events_before, self._timing)

    def _watch(self, stopping: Stopping) -> float | None:
        """Look at every worker; return after how many seconds to look again, None for never."""
        if self._refusals:
            with suppress(Exception):  # It is a line of the log.
                self._refusals.look(time.monotonic())
        return self.patrol.step(stopping, stopping.began_at) if self.patrol else None

    @property
    def is_complete(self) -> bool:
        """
        Whether the start is over: all workers have been ready, or nothing looks at them.

        The first workers are forked before the supervisor is made: their start is not over.
        """
        if self._supervising is None:
            return True
        return self.supervisor is not None and self.supervisor.is_complete

    def forking(self, worker: Worker) -> None:
        """Prepare for *worker*; in the arbiter, before the fork."""
        self.records.forking(worker)
        if self.patrol:
            self.patrol.forking(worker)
        is_guarded = self.final.declaration.memory_guard is not MemoryGuard.OFF
        points = points_of_arbiter(self.final.machine.memory) if is_guarded else 0
        self._fork_signals.worker_follows(
            lambda: self._report_end(worker), lambda: add_points(points)
        )

    def exiting(self, worker: Worker) -> None:
        """Report to the arbiter what *worker* uses at its end; end its children. In the worker."""
        self._report_end(worker)
        end_children_at_exit(worker)

    def _report_end(self, worker: Worker) -> None:
        memory = read_process_memory()
        if memory is not None:
            self.records.exiting(worker, memory)

    def stop(self, server: Arbiter) -> None:
        """Stop all threads; the server ends. Name the workers that Gunicorn has killed for it."""
        if self._endpoints:
            self._endpoints.stop()
        if self.patrol and self._watching:
            self._watching.stop()
            self.patrol.stop()
        if self._refusals:
            self._refusals.look(time.monotonic(), at_once=True)
        if self._supervising:
            self._supervising.stop()
        if self.supervisor:
            self.supervisor.log_kills(at_once=True)
        if server.WORKERS:
            from gunicorn_autoconf.server.worker_ends import log_killed  # See `_make_supervisor`.

            log_killed(server)

    def ended(self, server: Arbiter, worker: Worker, *, reports_end: bool) -> None:
        """
        Take note that a worker is gone, and log why.

        Where its class *reports_end*, a worker that ends by itself has reported it before.
        """
        end = End(worker, reports_end, wait_status(worker.pid))
        self._ends.add(end, lambda end: self._end(server, end))

    def _end(self, server: Arbiter, end: End) -> None:
        from gunicorn_autoconf.server.worker_ends import log_end  # See `_make_supervisor`.

        if self.patrol and self._watching:
            with self._watching.paused():
                self.patrol.ended(end.worker)
        ended = self.records.ended(end.worker)
        # An end before the supervisor is there must not make what it is about to make.
        is_early = self._supervising and not self.supervisor
        with self._supervising.paused() if self._supervising and is_early else nullcontext():
            oom, supervisor = self.oom, self.supervisor
        memory = supervisor.memory if supervisor else self.final.machine.memory
        ending = log_end(server, end, ended, oom=oom, supervisor=supervisor, memory=memory)
        self.happened[ending] += 1


def create_state(server: Arbiter, loaded: Planned, timing: Timing = DEFAULT) -> ServerState:
    """Return a new state, kept on *server*."""
    state = ServerState(loaded, timing)
    setattr(server, _NAME, state)
    return state


def state_of(server: Arbiter | None) -> ServerState | None:
    """Return the state of *server*, or None where it has none yet."""
    found: ServerState | None = getattr(server, _NAME, None)
    return found
