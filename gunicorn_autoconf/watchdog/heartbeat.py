"""
Does the worker tell the arbiter that it lives, in time? Reads frames; runs in the watchdog.

Gunicorn kills a worker that has not for ``timeout`` seconds, and does not say what it was doing.
The threaded worker tells it although a request is stuck, so requests are looked at there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gunicorn_autoconf.watchdog.stacks import Origins, join, render_threads
from gunicorn_autoconf.watchdog.stall import find_suspect
from gunicorn_autoconf.watchdog.tally import Tally
from gunicorn_autoconf.watchdog.threads import (
    Serving,
    read_request_start,
    read_serving,
    read_threads,
)
from gunicorn_autoconf.watchdog.witnesses import Delay
from gunicorn_autoconf.worker_classes import Slots, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

# The share of ``timeout`` after which the stacks are logged: what is left must suffice to write.
REPORT_FRACTION = 0.8
LOOKS_PER_TIMEOUT = 20
MAX_WAIT_SECONDS = 1.0  # The arbiter looks once a second, too.

Say = Callable[[str], None]


class HeartbeatWatch:
    """Watches the heartbeat of *worker*; *timeout_seconds* is above 0."""

    def __init__(
        self,
        worker: Worker,
        *,
        timeout_seconds: float,
        origins: Origins,
        warn: Say,
        error: Say,
    ) -> None:
        self._worker = worker
        self._timeout = timeout_seconds
        self._period = min(MAX_WAIT_SECONDS, timeout_seconds / LOOKS_PER_TIMEOUT)
        self._origins = origins
        self._warn = warn
        self._error = error
        self._reported: float | None = None
        self._looked = 0.0
        self._requests = (
            _LongRequests(timeout_seconds, origins, warn) if _is_threaded(worker) else None
        )

    def check(self, now: float, delay: Delay) -> float:
        """Look at the heartbeat; return after how many seconds to look again."""
        if now - self._looked < 0.9 * self._period:
            return self._period  # The event loop is looked at more often.
        self._looked = now
        # One round more for a process that the kernel has just let run again.
        if delay.away_seconds < self._period:
            self._look(now)
            if self._requests:
                self._requests.look()
        return self._period

    def _look(self, now: float) -> None:
        try:
            beat = self._worker.tmp.last_update()
        except (OSError, ValueError):  # closed: the worker ends
            return
        # Before the first beat the file has the time of day, which is in the future.
        silent = now - beat
        if self._reported is not None and beat != self._reported:
            self._warn(f"the worker lives again, after {beat - self._reported:.1f} s of silence")
            self._reported = None
        if silent < REPORT_FRACTION * self._timeout or beat == self._reported:
            return
        self._reported = beat
        left = max(0.0, self._timeout - silent)
        stopping = "" if self._worker.alive else "while it stops, "
        headline = (
            f"no sign of life from this worker for {silent:.1f} s: {stopping}Gunicorn will "
            f"kill it in {left:.1f} s (timeout {self._timeout:g}). What its threads do, "
            "innermost line first:"
        )
        self._error(join([headline, *render_threads(read_threads(), self._origins)]))


class _LongRequests:
    """Finds requests of the threaded worker that have run longer than its ``timeout``."""

    def __init__(self, timeout_seconds: float, origins: Origins, warn: Say) -> None:
        self._timeout = timeout_seconds
        self._origins = origins
        self._warn = warn
        self._first_seen: dict[Serving, float] = {}
        self._reported: set[Serving] = set()
        self._tally = Tally()

    def look(self) -> None:
        now = time.monotonic()
        serving = read_serving()
        self._first_seen = {key: self._first_seen.get(key, now) for key in serving}
        self._reported &= set(serving)
        for key, since in self._first_seen.items():
            # Two requests may have frames at the same address, the time of day may jump: only
            # what has run for long by both clocks has.
            if now - since < 0.9 * self._timeout:
                continue
            start = read_request_start(key)
            if start is None:
                continue
            running = datetime.now() - start  # noqa: DTZ005 - as Gunicorn's own
            if running < timedelta(seconds=self._timeout):
                self._reported.discard(key)
            elif key not in self._reported:
                self._reported.add(key)
                self._report(key, running.total_seconds(), now)

    def _report(self, serving: Serving, seconds: float, now: float) -> None:
        threads = read_threads(serving.thread_ident)
        if not threads:
            return
        place = find_suspect([threads[0].stack], self._origins).place
        is_due = self._tally.is_due(place, now)
        unreported = self._tally.report(place, now) if is_due else 0
        self._tally.count(place, seconds)
        if not is_due:
            return
        more = f"; {unreported} more here since the last report" if unreported else ""
        headline = (
            f"a request has run for {seconds:.1f} s, longer than timeout ({self._timeout:g} s), "
            f"which ends no request in this worker class{more}"
        )
        self._warn(join([headline, *render_threads(threads, self._origins)]))


def _is_threaded(worker: Worker) -> bool:
    family = family_of(type(worker))
    return family is not None and family.slots is Slots.THREADS
