"""Counts the requests of a worker, and sees when its application can serve.

Replaces attributes of Gunicorn's worker object and of uvicorn's configuration; nothing of the
application is changed. The table of worker classes says which call is one request:

- HANDLER: the worker's `handle_request` and `handle_http2_request`. A request lasts from its parsed
  head until the last byte of the response is written.
- ASGI: the application, in `worker.asgi`. A request lasts until the application returns; its
  background tasks are part of it.
- UVICORN: see `counting_uvicorn`.
- NOTHING: the requests are not counted.

A request that has waited since a proxy of `forwarded_allow_ips` got it is counted with that time.

An ASGI worker can serve once the start-up of the lifespan is
complete, or where the application turns out not to support it; the others, once they run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.fleet.meter import Header
from gunicorn_autoconf.load.queue import ASGI_HEADER, WSGI_HEADER
from gunicorn_autoconf.server.counting_uvicorn import attach_uvicorn
from gunicorn_autoconf.server.wait import wait_counter
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
        attach_uvicorn(worker, meter, ready)
        return bool(worker.config.lifespan != "off")
    if counted_by is CountedBy.ASGI:
        lifespan = _Lifespan(worker, getattr(worker.cfg, "asgi_lifespan", "auto"), ready)
        worker.asgi = _count_asgi(worker.asgi, worker, meter, lifespan)
        return lifespan.mode != "off"
    # gevent's pywsgi server has handlers of its own.
    has_handlers = getattr(worker, "server_class", None) is None
    if meter and has_handlers and family and counted_by is CountedBy.HANDLER:
        _count_wsgi(worker, meter, family.slots)
    return False


def _count_wsgi(worker: Worker, meter: Meter, slots: Slots) -> None:
    waited = wait_counter(worker, meter)

    def found(request: Any, value: str) -> None:
        waited(value, request.peer_addr)

    header = Header(WSGI_HEADER, found)
    if slots is Slots.ONE:
        worker.handle_request = meter.alone(worker.handle_request, header)
        return
    # Gevent's first argument is the listening socket.
    count = meter.handler(header, is_second=slots is not Slots.THREADS)
    for name in ("handle_request", "handle_http2_request"):
        if hasattr(worker, name):
            setattr(worker, name, count(getattr(worker, name)))


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
    waited = wait_counter(worker, meter)

    def found(scope: Any, value: bytes) -> None:
        waited(value.decode("latin-1"), scope.get("client"))

    return meter.calls(app, call_other, Header(ASGI_HEADER, found))


class _Lifespan:
    """
    Sees the start-up of the application end, in one worker of Gunicorn's own ASGI class.

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
