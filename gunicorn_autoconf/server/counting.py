"""Counts the requests of a worker, and sees when its application can serve.

Replaces attributes of Gunicorn's worker object, and in uvicorn's configuration, once it has chosen
them, the classes of its lifespan and of its connections; nothing of the application is changed.
The table of worker classes says which call is one request:

- HANDLER: the worker's `handle_request` and `handle_http2_request`. A request lasts from its parsed
  head until the last byte of the response is written.
- ASGI: the application, in `worker.asgi`. A request lasts until the application returns; its
  background tasks are part of it.
- UVICORN: a task in uvicorn's set of tasks, from the parsed head until the application returns; its
  background tasks are part of it. Each connection takes that set from the state of the server,
  which it is given, so the one that counts is put there first. A class of connections that is not
  uvicorn's may do without it, and is not counted.
- NOTHING: the requests are not counted.

A request that has waited since a proxy of `forwarded_allow_ips` got it is counted with that time.

An ASGI worker can serve once the start-up of the lifespan is complete, or where the application
turns out not to support it; the others, once they run.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.fleet.counted_tasks import Sockets
from gunicorn_autoconf.fleet.meter import Header
from gunicorn_autoconf.load.queue import ASGI_HEADER, WSGI_HEADER, TrustedProxies, queue_seconds
from gunicorn_autoconf.worker_classes import CountedBy, Slots, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import App, Meter

Waited = Callable[[str, Any], None]
"""Takes the value of the header and the address of the peer."""

Make = Callable[..., Any]


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


def _wait_counter(worker: Worker, meter: Meter) -> Waited:
    """Return what counts how long a request waited."""
    proxies = TrustedProxies(worker.cfg.forwarded_allow_ips)

    def waited(value: str, peer: Any) -> None:
        # Gunicorn has a text or nothing for the peer at a Unix socket, ASGI has None.
        if proxies.trusts(peer[0] if isinstance(peer, (tuple, list)) else None):
            seconds = queue_seconds(value, time.time())
            if seconds is not None:
                meter.queued(seconds)

    return waited


def _count_wsgi(worker: Worker, meter: Meter, slots: Slots) -> None:
    waited = _wait_counter(worker, meter)

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
    waited = _wait_counter(worker, meter)

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


def attach_uvicorn(worker: Worker, meter: Meter | None, ready: Callable[[], None]) -> None:
    """Count by *meter*, if any, and call *ready* once the lifespan of the application has begun."""
    config: Any = worker.config
    load = config.load

    def load_and_attach() -> None:
        load()
        if config.lifespan != "off":
            config.lifespan_class = _heeded(config.lifespan_class, ready)
        http, websocket = config.http_protocol_class, config.ws_protocol_class
        if meter and any(each.__module__.startswith("uvicorn.") for each in http.__mro__):
            tasks = meter.tasks()
            config.http_protocol_class = _counted(http, tasks, _wait_counter(worker, meter))
            config.ws_protocol_class = websocket and _apart(websocket, Sockets(tasks))

    config.load = load_and_attach


def _heeded(make: Make, ready: Callable[[], None]) -> Make:
    """Return what makes the lifespan as *make* does, and calls *ready* when it has begun."""

    def make_heeded(*args: Any) -> Any:
        lifespan = make(*args)
        startup = lifespan.startup

        async def start() -> None:
            await startup()
            if not lifespan.should_exit:
                ready()

        lifespan.startup = start
        return lifespan

    return make_heeded


def _counted(make: Make, tasks: Any, waited: Waited) -> Make:
    """Return what makes connections as *make* does, whose requests are in *tasks*."""

    def make_counted(*args: Any, server_state: Any, **kwargs: Any) -> Any:
        server_state.tasks = tasks
        connection = make(*args, server_state=server_state, **kwargs)
        if not hasattr(connection, "app"):
            # It makes another one for HTTP/1.1 or HTTP/2, which finds its tasks as above.
            return connection
        app = connection.app

        def look(scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
            if not _count_wait(scope, waited):
                # A proxy says it of each request. To look at all would cost half of the counting.
                connection.app = app
            result: Awaitable[Any] = app(scope, receive, send)
            return result

        connection.app = look
        return connection

    return make_counted


def _count_wait(scope: Any, waited: Waited) -> bool:
    """Hand what an ASGI *scope* says of it to *waited*; return whether it says anything."""
    for name, value in scope["headers"]:
        if name == ASGI_HEADER:
            waited(value.decode("latin-1"), scope.get("client"))
            return True
    return False


def _apart(make: Make, sockets: Sockets) -> Make:
    """Return what makes WebSockets as *make* does, whose tasks are no requests."""

    def make_apart(*args: Any, **kwargs: Any) -> Any:
        connection = make(*args, **kwargs)
        connection.tasks = sockets
        return connection

    return make_apart
