"""What the watchdog adds to a worker once its application is loaded: ticks, watchers, requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.watchdog.stamps import State, tick_seconds
from gunicorn_autoconf.watchdog.ticker import Ticker
from gunicorn_autoconf.worker_classes import Interface, class_interface, class_name, is_sync

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.watchdog.patrol import Patrol
    from gunicorn_autoconf.watchdog.stamps import Stamps


class Inside:
    """The watchdog's part in one worker."""

    def __init__(self, worker: Worker, patrol: Patrol) -> None:
        self._stamps: Stamps | None = None
        self._ticker: Ticker | None = None
        own, listener = patrol.own, patrol.listener
        if own is None or listener is None:
            return
        self._stamps = own.stamps
        has_loop = _interface(worker) is not Interface.WSGI
        seconds = own.settings.stall_seconds
        self._ticker = Ticker(
            worker,
            own.stamps,
            listener,
            tick_seconds=tick_seconds(seconds) if has_loop and seconds > 0 else 0.0,
            watchers=[],
        )
        if any(is_sync(class_name(ancestor)) for ancestor in type(worker).__mro__):
            _stamp_requests(worker, own.stamps)

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


def _interface(worker: Worker) -> Interface | None:
    known = (class_interface(ancestor) for ancestor in type(worker).__mro__)
    return next(filter(None, known), None)


def _stamp_requests(worker: Any, stamps: Stamps) -> None:
    """Have a worker that serves one request at a time stamp which."""
    original = worker.handle_request

    def handle_request(listener: Any, request: Any, *rest: Any) -> Any:
        stamps.begin_request(time.monotonic(), request.method, request.path)
        try:
            return original(listener, request, *rest)
        finally:
            stamps.end_request()

    worker.handle_request = handle_request
