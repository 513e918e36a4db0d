"""What the watchdog adds to a worker once its application is loaded: ticks, watchers, requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.watchdog.pools import PoolWatcher
from gunicorn_autoconf.watchdog.requests import LongRequests, stamp_requests
from gunicorn_autoconf.watchdog.ticker import Ticker, Watcher
from gunicorn_autoconf.worker_classes import Interface, Slots, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import Meter
    from gunicorn_autoconf.watchdog.patrol import Patrol


def watch_inside(worker: Worker, patrol: Patrol, meter: Meter | None) -> Ticker | None:
    """Begin, as *worker* is about to serve; None where the arbiter does not watch it."""
    own, listener, clock = patrol.own, patrol.listener, patrol.standstill.now
    if own is None or listener is None:
        return None
    limits, origins = own.thresholds, own.thresholds.origins

    def say(level: str, event: str, text: str, **fields: object) -> None:
        shown = f"gunicorn-autoconf: {text}"
        log_event(worker.log, level, event, shown, worker=worker.pid, **fields)

    watchers: list[Watcher] = [PoolWatcher(origins, say, meter.pool_was_full if meter else None)]
    family = family_of(type(worker))
    has_loop = family is None or family.interface is not Interface.WSGI
    if has_loop:
        from gunicorn_autoconf.watchdog.tasks import TaskWatcher

        watchers.append(TaskWatcher(worker, own.stamps, origins, say))
    elif family and family.slots is Slots.THREADS:
        if max(limits.timeout_seconds, limits.request_seconds) > 0:
            watchers.append(LongRequests(worker, limits, say, clock))
    elif family and family.slots is Slots.ONE:
        stamp_requests(worker, own.stamps)
    ticker = Ticker(
        worker,
        own.stamps,
        listener,
        stall_seconds=limits.stall_seconds if has_loop else 0.0,
        watchers=watchers,
        clock=clock,
    )
    if meter:
        ticker.count_busy = meter.loop_was_busy
    ticker.start()
    return ticker
