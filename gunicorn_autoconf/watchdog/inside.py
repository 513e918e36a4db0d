"""What the watchdog adds to a worker once its application is loaded: ticks, watchers, requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.watchdog.pools import PoolWatcher
from gunicorn_autoconf.watchdog.requests import LongRequests, stamp_requests
from gunicorn_autoconf.watchdog.stamps import Stamps, State
from gunicorn_autoconf.watchdog.ticker import Ticker, Watcher
from gunicorn_autoconf.worker_classes import Interface, Slots, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import Meter
    from gunicorn_autoconf.watchdog.patrol import Patrol


class Inside:
    """The watchdog's part in one worker; it does nothing where the arbiter watches none."""

    def __init__(self, worker: Worker, patrol: Patrol, meter: Meter | None) -> None:
        self._stamps: Stamps | None = None
        self._ticker: Ticker | None = None
        own, listener = patrol.own, patrol.listener
        if own is None or listener is None:
            return
        stall_seconds, timeout_seconds, _, origins, request_seconds = own.thresholds

        def say(level: str, event: str, text: str, **fields: object) -> None:
            shown = f"gunicorn-autoconf: {text}"
            log_event(worker.log, level, event, shown, worker=worker.pid, **fields)

        pools = PoolWatcher(origins, say, meter.pool_was_full if meter else None)
        watchers: list[Watcher] = [pools]
        family = family_of(type(worker))
        has_loop = family is None or family.interface is not Interface.WSGI
        if has_loop:
            from gunicorn_autoconf.watchdog.tasks import TaskWatcher

            watchers.append(TaskWatcher(worker, own.stamps, origins, say))
        elif family and family.slots is Slots.THREADS and max(timeout_seconds, request_seconds) > 0:
            watchers.append(
                LongRequests(
                    worker,
                    timeout_seconds,
                    origins,
                    say,
                    limit_seconds=request_seconds,
                    clock=patrol.standstill.now,
                )
            )
        elif family and family.slots is Slots.ONE:
            stamp_requests(worker, own.stamps)
        self._stamps = own.stamps
        self._ticker = Ticker(
            worker,
            own.stamps,
            listener,
            stall_seconds=stall_seconds if has_loop else 0.0,
            watchers=watchers,
            clock=patrol.standstill.now,
        )
        if meter:
            self._ticker.count_busy = meter.loop_was_busy

    def start(self) -> None:
        """Begin; the application is loaded and the worker about to serve."""
        if self._stamps and self._ticker:
            self._ticker.start()
            self._stamps.reach(State.LOADED)

    def leave(self) -> None:
        """Note that the worker has served and ends."""
        if self._stamps and self._ticker:
            self._ticker.stop()
            self._stamps.end(time.monotonic())
