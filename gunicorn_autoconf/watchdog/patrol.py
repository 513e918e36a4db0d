"""
The arbiter's look at every worker. Logs, and prepares workers at forks.

Theory of operation. There is one `Patrol` for each arbiter. Gunicorn's main thread makes it and
tells it of each fork and each end, while the thread is paused that repeats `step`; that thread
alone looks at workers. In a forked worker the copy of the patrol has one more part, the worker's
own side, and no thread. Should a step fail, that is logged once and is the last: the server goes on
without it.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gunicorn_autoconf.fleet.shared_page import Region
from gunicorn_autoconf.fleet.standstill import Heartbeats, Standstill
from gunicorn_autoconf.machine.memory_events import find_memory_events
from gunicorn_autoconf.watchdog.listener import Listener
from gunicorn_autoconf.watchdog.loop import Thresholds
from gunicorn_autoconf.watchdog.quota import QuotaCounters, Throttling, since
from gunicorn_autoconf.watchdog.sources import find_origins
from gunicorn_autoconf.watchdog.stack_pipe import StackPipe
from gunicorn_autoconf.watchdog.stamps import SLOW_SECONDS, Stamps, tick_seconds
from gunicorn_autoconf.watchdog.watch import WorkerWatch

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.plan.declaration import Declaration

# How often event loops are looked at in a threshold, and workers that may yet begin one.
LOOKS_PER_THRESHOLD = 4
NEW_SECONDS = 10.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.005, 0.5
# While an answer is due.
ASKING_SECONDS = 0.02
# A start is reported after `SLOW_SECONDS`, and again after so many times as long.
AGAIN_FACTOR = 6.0
# A quota is reported at most so often.
QUOTA_QUIET_SECONDS = 600.0
# What a quota does below this is how quotas work.
QUOTA_FRACTION, QUOTA_LOST_SECONDS = 0.1, 1.0


class Patrol:
    """
    Looks at the workers of one arbiter.

    *declaration* returns what the operator declared, as it now is. The quotas' work is summed over
    *quota_seconds*, a minute except in a test. *stalled* is called once for each time that code has
    blocked an event loop.
    """

    def __init__(  # noqa: PLR0913 - what it needs to know of the server
        self,
        server: Arbiter,
        records: WorkerRecords,
        declaration: Callable[[], Declaration],
        root: str,
        *,
        quota_seconds: float,
        stalled: Callable[[], None] = lambda: None,
    ) -> None:
        self._server = server
        self._records = records
        self._declaration = declaration
        self._stalled = stalled
        self._quota_seconds = quota_seconds
        self._watches: dict[int, WorkerWatch] = {}
        self._forking: WorkerWatch | None = None
        self.own: WorkerWatch | None = None
        """In a worker, what the arbiter watches it by."""
        self.listener: Listener | None = None
        self.standstill = Standstill()
        """How long the server stood still; workers read it, too."""
        self._heartbeats = Heartbeats()
        self._quota = QuotaCounters(root)
        self._quota_before = self._quota.read()
        self._memory = find_memory_events(root)
        self._quota_at = self.standstill.now()
        self._quota_quiet_until = 0.0
        self._stopping_since: float | None = None
        self._may_signal = True
        self._due = math.inf
        self._has_skipped = False

    @property
    def _stall_seconds(self) -> float:
        return self._declaration().stall_warning_seconds

    def start(self) -> None:
        """Take care of each fork from now on."""
        os.register_at_fork(after_in_parent=self._forked, after_in_child=self._begin_worker)

    def stop(self) -> None:
        """Log what was counted; the server ends."""
        # One that is reaped meanwhile is closed here or by `ended`, never by both.
        watches, self._watches = self._watches, {}
        for watch in list(watches.values()):
            watch.close()

    # The workers, in the main thread

    def forking(self, worker: Worker) -> None:
        """Prepare to watch *worker*, which is about to be forked."""
        timeout_seconds = float(worker.cfg.timeout)
        # Without `timeout` nothing asks for heartbeats regularly, and no gap would mean anything.
        read_beat = self._heartbeats.follow(worker.tmp) if timeout_seconds > 0 else None
        numbers = self._records.doubles(worker, Region.STAMPS)
        line = self._records.raw(worker, Region.REQUEST_LINE)
        self._forking = None
        request_seconds = self._declaration().request_timeout_seconds
        is_off = max(self._stall_seconds, timeout_seconds, request_seconds) <= 0
        if numbers is None or line is None or is_off:
            return
        try:
            pipe = StackPipe()
        except OSError:  # too many open files: this worker is not watched
            return
        self._forking = WorkerWatch(
            worker,
            Stamps(numbers, line, self.standstill.running),
            pipe,
            Thresholds(
                self._stall_seconds,
                timeout_seconds,
                float(worker.cfg.graceful_timeout),
                find_origins(getattr(worker.app, "app_uri", None)),
                request_seconds,
            ),
            read_quota=self._quota.read,
            say=partial(self._say, worker),
            stalled=self._stalled,
            read_waited=self._waited_seconds,
            read_beat=read_beat,
            now=self.standstill.now(),
        )

    def ended(self, worker: Worker) -> None:
        """Log what was counted of *worker*, which is gone."""
        if watch := self._watches.pop(worker.age, None):
            watch.close()

    def _forked(self) -> None:
        watch, self._forking = self._forking, None
        if watch:
            watch.pipe.forked()
            self._watches[watch.worker.age] = watch

    def _begin_worker(self) -> None:
        """Listen from the fork on, in the worker; an import that hangs is seen, too."""
        watch, self._forking = self._forking, None
        for other in self._watches.values():
            other.pipe.close()
        self._watches = {}
        if watch is None:
            return
        self.own = watch
        self.listener = Listener(watch.stamps, watch.pipe.write_fd)
        self.listener.listen()

    # The step, in the thread

    def step(self, stopping: threading.Event, began_at: float = 0.0) -> float | None:
        """
        Look at every worker; return after how many seconds to look again, None for never.

        No step was possible before *began_at*, the end of the last pause, as for a reload.
        """
        now, due, period = time.monotonic(), max(self._due, began_at), self._period
        self.standstill.step(due, now)
        self._heartbeats.step()
        # What kept this thread may have kept the workers: they get time for one tick.
        self._has_skipped = not self._has_skipped and now - due > period / 2
        try:
            skipped, looked = self._has_skipped, self.standstill.running(now)
            seconds = tick_seconds(self._stall_seconds) if skipped else self._look(looked)
        except Exception:
            if stopping.is_set():
                return 0.0  # A fork or an end did not wait: what was looked at may be gone.
            self._server.log.exception("gunicorn-autoconf: the watchdog crashed and is off")
            return None
        self._due = time.monotonic() + seconds
        return seconds

    @property
    def _period(self) -> float:
        wanted = self._stall_seconds / LOOKS_PER_THRESHOLD or LONGEST_SECONDS
        return min(max(wanted, SHORTEST_SECONDS), LONGEST_SECONDS)

    def _look(self, now: float) -> float:
        """Look at every worker; return after how many seconds to look again."""
        server = self._server
        if not server.LISTENERS and not server.cfg.reuse_port and self._stopping_since is None:
            self._stopping_since = now  # Gunicorn has closed them: it stops.
        watches = [watch for watch in self._watches.values() if watch.worker.pid in server.WORKERS]
        if self._may_signal:
            try:
                for watch in watches:
                    watch.look(now, stopping_since=self._stopping_since)
                self._report_boots(watches, now)
            except PermissionError as error:
                self._may_signal = False
                server.log.warning(
                    "gunicorn-autoconf: the watchdog is off: the arbiter may not send signals to "
                    "its workers (%s)",
                    error,
                )
        self._report_quota(watches, now)
        if any(watch.pipe.is_waiting for watch in watches):
            return ASKING_SECONDS
        loops = any(watch.is_ticking or watch.age_seconds(now) < NEW_SECONDS for watch in watches)
        if loops or not watches:  # The first are being forked.
            return self._period
        return min(LONGEST_SECONDS, *(watch.spare_seconds for watch in watches))

    def _report_boots(self, watches: list[WorkerWatch], now: float) -> None:
        booting = [watch for watch in watches if watch.booting_seconds(now) >= SLOW_SECONDS]
        reported_seconds = max((watch.boot_reported_seconds for watch in booting), default=0.0)
        if not booting or booting[0].booting_seconds(now) < AGAIN_FACTOR * reported_seconds:
            return
        preloads = self._server.cfg.preload_app
        booting[0].report_boot(now, len(booting) - 1, preloads=preloads)

    def _report_quota(self, watches: list[WorkerWatch], now: float) -> None:
        if now - self._quota_at < self._quota_seconds:
            return
        before, self._quota_before = self._quota_before, self._quota.read()
        self._quota_at = now
        found = since(before, self._quota_before)
        # A start computes as much as it gets.
        has_booted = all(watch.age_seconds(now) > self._quota_seconds for watch in watches)
        if found and has_booted and is_much(found) and now > self._quota_quiet_until:
            self._quota_quiet_until = now + QUOTA_QUIET_SECONDS
            self._server.log.warning(
                "gunicorn-autoconf: the CPU quota throttled %d of %d periods in the last minute, "
                "%s s over all cores (%s). Raise the limit or run fewer workers",
                found.throttled,
                found.periods,
                f"{found.seconds:.1f}",
                found.path,
                extra={"event_name": "throttled", "throttled_periods": found.throttled},
            )

    def _waited_seconds(self) -> float:
        """Return for how long threads of our cgroup have waited for memory; 0 if it is not told."""
        pressure = self._memory.pressure() if self._memory else None
        return pressure.some_seconds if pressure else 0.0

    def _say(self, worker: Worker, level: str, event: str, text: str, **fields: object) -> None:
        """Log *text* as *worker* would."""
        log, pid = self._server.log, worker.pid
        logger = getattr(log, "error_log", None)
        number = getattr(logging, level.upper())
        if not isinstance(logger, logging.Logger):  # a logger class of the user's
            getattr(log, level)("gunicorn-autoconf: worker %d: %s", pid, text)
        elif logger.isEnabledFor(number):
            extra = {"event_name": event, "worker": pid, **fields}
            record = logger.makeRecord(
                logger.name, number, __file__, 0, "gunicorn-autoconf: %s", (text,), None,
                extra=extra,
            )  # fmt: skip
            record.process = pid
            logger.handle(record)


def is_much(found: Throttling) -> bool:
    """Return whether a quota throttles more than its work requires."""
    return found.throttled >= QUOTA_FRACTION * found.periods and found.seconds >= QUOTA_LOST_SECONDS
