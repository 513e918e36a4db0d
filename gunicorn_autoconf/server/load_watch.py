"""
The load of one arbiter's workers: reads their counters, logs a line an interval. Reads /proc, logs.

Theory of operation. There is one `LoadWatch` for each arbiter. `look` runs in the supervisor's
thread and makes all changes: it takes a reading every few seconds and replaces `minute`, the load
of the last minute, as a whole. Other threads may read `minute` at any time; it is a value
that is never changed. A reload only begins the window anew, while the supervisor's thread is
paused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.load.capacity import Backlog, Load, Reading, Supply
from gunicorn_autoconf.load.evidence import Evidence, Request
from gunicorn_autoconf.load.lines import (
    load_fields,
    render_load,
    render_verdict,
    verdict_fields,
)
from gunicorn_autoconf.load.listeners import read_backlogs
from gunicorn_autoconf.load.verdict import Cause, Serving, Verdict, judge
from gunicorn_autoconf.load.window import LONGEST_SECONDS, MINUTE_SECONDS, Window
from gunicorn_autoconf.machine.process_cpu import read_delay_seconds
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.worker_classes import Slots, family_of

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.server.planned import Planned

# No two readings are closer, unless the log is: the clocks of 300 threads take 3 ms to read.
LOOK_SECONDS = 4.0
# Two verdicts that take turns are not said again and again.
QUIET_SECONDS = 3600.0


_Topic = tuple[Cause, Workload | None]


class Readers(NamedTuple):
    """What is asked of the kernel."""

    delay: Callable[[int], float | None] = read_delay_seconds
    backlogs: Callable[[Iterable[Any]], tuple[Backlog, ...]] = read_backlogs
    clock: Callable[[], float] = time.monotonic


DEFAULT_READERS = Readers()


def slots_per_worker(server: Arbiter) -> int | None:
    """
    Return how many requests one worker of *server* serves at once; None where nothing bounds them.

    With ``worker_connections`` 0 greenlets serve none, which no share can be taken of: None, too.
    """
    cfg, family = server.cfg, family_of(server.worker_class)
    bounds = {
        Slots.ONE: 1,
        Slots.THREADS: cfg.threads,
        Slots.GREENLETS: cfg.worker_connections or None,
    }
    return bounds.get(family.slots) if family else None


class LoadWatch:
    """What the workers of one arbiter are asked for."""

    def __init__(
        self,
        server: Arbiter,
        final: Callable[[], Planned],
        records: WorkerRecords,
        readers: Readers = DEFAULT_READERS,
    ) -> None:
        """Prepare to watch *server*; *final* returns the plan that holds."""
        self._server = server
        self._final = final
        self._records = records
        self._readers = readers
        self._window = Window()
        self._logged_at_seconds: float | None = None
        self._was_idle = True
        self._has_failed = False
        self._evidence = Evidence()
        self._said: _Topic | None = None
        self._quiet_until_seconds: dict[_Topic, float] = {}
        self.memory_forbids = False
        """Whether memory has no room for one worker more, as the memory guard sees it."""
        self.minute: Load | None = None
        """The load of the last minute; None as long as no worker counts its requests."""
        self.verdict: Verdict | None = None
        """What another workload would gain; None where nothing would, or too little is known."""

    @property
    def request(self) -> Request | None:
        """The mean request; None as long as too few are known."""
        return self._evidence.request()

    def begin_again(self) -> None:
        """Forget what was measured of the workers that a reload replaces."""
        self._window = Window()
        self._evidence = Evidence()
        self._said = None
        self.verdict = None

    @property
    def at_seconds(self) -> float | None:
        """When the last reading was taken; None before the first."""
        return self._window.at_seconds

    def last(self, seconds: float) -> Load | None:
        """Return the load of the last *seconds*; only in the supervisor's thread."""
        return self._window.last(seconds, self._supply())

    def try_look(self) -> None:
        """Do one `look`; log once where it fails: memory is guarded all the same."""
        try:
            self.look()
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                self._server.log.exception("gunicorn-autoconf: the load could not be measured")

    def look(self) -> None:
        """Take a reading and log the line of an interval, where they are due."""
        now_seconds = self._readers.clock()
        last_seconds = self._window.at_seconds
        interval_seconds = self._final().declaration.memory_log_interval_seconds
        least_seconds = min(interval_seconds or LOOK_SECONDS, LOOK_SECONDS)
        if last_seconds is not None and now_seconds - last_seconds < least_seconds:
            return
        self._window.add(self._read(now_seconds))
        supply = self._supply()
        self.minute = self._window.last(MINUTE_SECONDS, supply)
        if load := self._window.last(0.0, supply):
            self._evidence.add(load)
            self._judge(now_seconds, supply)
        self._log_line(now_seconds, supply)

    def _judge(self, now_seconds: float, supply: Supply) -> None:
        """Compare what was measured with what is declared; log a verdict that is new."""
        request = self._evidence.request()
        if request is None:
            return
        self.verdict = judge(request, self._serving(supply), self.verdict)
        if self.verdict is None:
            return
        topic = (self.verdict.cause, self.verdict.workload)
        is_quiet = now_seconds < self._quiet_until_seconds.get(topic, 0.0)
        if topic != self._said and not is_quiet:
            self._said = topic
            self._quiet_until_seconds[topic] = now_seconds + QUIET_SECONDS
            text, fields = render_verdict(self.verdict), verdict_fields(self.verdict)
            log_event(self._server.log, "info", "load_verdict", text, **fields)

    def _serving(self, supply: Supply) -> Serving:
        final = self._final()
        declaration = final.declaration
        return Serving(
            interface=final.plan.interface,
            cores=supply.cores,
            workers=supply.workers,
            slots=supply.slots,
            threads=self._server.cfg.threads,
            most_at_once=declaration.max_concurrency,
            sets_workers=declaration.explicit("workers") is not None,
            sets_threads=any(map(declaration.explicit, ("threads", "worker_class"))),
        )

    def _read(self, now_seconds: float) -> Reading:
        tally = self._records.tally(self._server.WORKERS)
        delays = {pid: self._readers.delay(pid) for pid in tally.workers}
        return Reading(
            at_seconds=now_seconds,
            total=tally.total,
            workers=tally.workers,
            delayed_seconds={
                pid: seconds for pid, seconds in delays.items() if seconds is not None
            },
            backlogs=self._readers.backlogs(self._server.LISTENERS),
        )

    def _supply(self) -> Supply:
        final, server = self._final(), self._server
        workers, each = server.num_workers, slots_per_worker(server)
        family = family_of(server.worker_class)
        most = final.declaration.max_concurrency
        return Supply(
            cores=final.declaration.cpus or final.machine.cpu.cores,
            workers=workers,
            slots=each,
            has_loop=not family or family.slots in (Slots.GREENLETS, Slots.UNBOUNDED),
            memory_forbids=self.memory_forbids,
            database_forbids=most is not None and (workers + 1) * (each or 1) > most,
        )

    def _log_line(self, now_seconds: float, supply: Supply) -> None:
        """Log the load once in each interval; of a server that goes on idling only once."""
        interval_seconds = self._final().declaration.memory_log_interval_seconds
        if self._logged_at_seconds is None:
            self._logged_at_seconds = now_seconds
        passed_seconds = now_seconds - self._logged_at_seconds
        if not interval_seconds or passed_seconds < interval_seconds:
            return
        self._logged_at_seconds = now_seconds
        load = self._window.last(min(passed_seconds, LONGEST_SECONDS), supply)
        if load is None:
            return
        is_idle = not (load.requests or load.busy_slots or load.waiting)
        if not (is_idle and self._was_idle):
            log_event(self._server.log, "info", "load", render_load(load), **load_fields(load))
        self._was_idle = is_idle
