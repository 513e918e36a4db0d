"""Counts the requests of a worker, and sees when its application can serve.

Replaces attributes of Gunicorn's worker object and of uvicorn's configuration; nothing of the
application is changed. The table of worker classes says which call is one request:

- HANDLER: the worker's `handle_request` and `handle_http2_request`. A request lasts from its parsed
  head until the last byte of the response is written.
- ASGI, UVICORN: the application, in `worker.asgi` or once uvicorn has loaded it. A request lasts
  until the application returns; its background tasks are part of it.
- NOTHING: the requests are not counted.

A request that has waited since a proxy of `forwarded_allow_ips` got it is counted with that time.

An ASGI worker can serve once the start-up of the lifespan is
complete, or where the application turns out not to support it; the others, once they run.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.load.queue import (
    ASGI_HEADER,
    WSGI_HEADER,
    TrustedProxies,
    queue_seconds,
)
from gunicorn_autoconf.worker_classes import CountedBy, Slots, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import App, Meter


def attach(worker: Worker, meter: Meter | None, ready: Callable[[], None]) -> bool:
    """
    Count by *meter*, if any, and call *ready* once the application can serve.

    Return False where *worker* can serve as soon as it runs: *ready* is not called then.
    """
    family = family_of(type(worker))
    counted_by = family.counted_by if family else CountedBy.NOTHING
    if counted_by is CountedBy.UVICORN and hasattr(getattr(worker, "config", None), "lifespan"):
        lifespan = _Lifespan(worker, worker.config.lifespan, ready)
        _once_loaded(worker.config, lambda app: _count_asgi(app, worker, meter, lifespan))
    elif counted_by is CountedBy.ASGI:
        lifespan = _Lifespan(worker, getattr(worker.cfg, "asgi_lifespan", "auto"), ready)
        worker.asgi = _count_asgi(worker.asgi, worker, meter, lifespan)
    else:
        # gevent's pywsgi server has handlers of its own.
        has_handlers = getattr(worker, "server_class", None) is None
        if meter and has_handlers and family and counted_by is CountedBy.HANDLER:
            _count_wsgi(worker, meter, threaded=family.slots is Slots.THREADS)
        return False
    return lifespan.mode != "off"


def _count_wsgi(worker: Worker, meter: Meter, *, threaded: bool) -> None:
    enter, leave = meter.edges(threaded=threaded)
    waited = _queue_counter(worker, meter)

    def counting(handle: Callable[..., Any]) -> Callable[..., Any]:
        def handle_counted(*args: Any) -> Any:
            enter()
            # The others' first argument is the listening socket.
            request = args[0] if threaded else args[1]
            for name, value in request.headers:
                if name == WSGI_HEADER:
                    waited(value, request.peer_addr)
                    break
            try:
                return handle(*args)
            finally:
                leave()

        return handle_counted

    for name in ("handle_request", "handle_http2_request"):
        if hasattr(worker, name):
            setattr(worker, name, counting(getattr(worker, name)))


def _queue_counter(worker: Worker, meter: Meter) -> Callable[[str, Any], None]:
    """Return what counts how long a request waited, by its header and the address of its peer."""
    proxies = TrustedProxies(worker.cfg.forwarded_allow_ips)

    def waited(value: str, peer: Any) -> None:
        # Gunicorn has a text or nothing for the peer at a Unix socket, ASGI has None.
        if proxies.trusts(peer[0] if isinstance(peer, (tuple, list)) else None):
            seconds = queue_seconds(value, time.time())
            if seconds is not None:
                meter.queued(seconds)

    return waited


def _count_asgi(app: App, worker: Worker, meter: Meter | None, lifespan: _Lifespan) -> App:
    async def call_other(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] == "lifespan":
            return await lifespan.call(app, scope, receive, send)
        if meter is None:
            return await app(scope, receive, send)
        meter.websocket(1)
        try:
            return await app(scope, receive, send)
        finally:
            meter.websocket(-1)

    if meter is None:
        return call_other
    counted, waited = meter.calls(app, call_other), _queue_counter(worker, meter)

    # Not a coroutine of its own: that would cost a request as much as all the counting does.
    def call(scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == ASGI_HEADER:
                    waited(value.decode("latin-1"), scope.get("client"))
                    break
        return counted(scope, receive, send)

    return call


def _once_loaded(config: Any, wrap: Callable[[App], App]) -> None:
    """Have *wrap* take the application that uvicorn has loaded: whatever it was, ASGI 3 by now."""
    load = config.load

    def load_and_wrap() -> None:
        load()
        app = config.loaded_app
        if type(app).__module__.startswith("uvicorn."):
            # Its middleware is an object; Python calls a bound method faster: 30 of 240 ns.
            app = app.__call__
        config.loaded_app = wrap(app)

    config.load = load_and_wrap


class _Lifespan:
    """
    Sees the start-up of the application end, in one worker.

    It ends once, by the first of: the application's own message, or its return. Everything runs in
    the event loop.
    """

    def __init__(self, worker: Worker, mode: str, ready: Callable[[], None]) -> None:
        self._worker = worker
        self._ready = ready
        self._is_over = False
        self.mode = mode

    async def call(self, app: App, scope: Any, receive: Any, send: Any) -> Any:
        """Call *app* for its lifespan."""

        async def heed(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._end(can_serve=True)
            elif message["type"] == "lifespan.startup.failed":
                self._end(can_serve=False)

        try:
            return await app(scope, receive, heed)
        finally:
            # The server takes an application that ends before that for one without a lifespan.
            self._end(can_serve=self.mode == "auto" and self._worker.alive)

    def _end(self, *, can_serve: bool) -> None:
        if not self._is_over:
            self._is_over = True
            if can_serve:
                self._ready()
