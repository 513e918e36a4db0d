"""Counts the requests of a worker, and sees when its application can serve.

Replaces attributes of Gunicorn's worker object and of uvicorn's configuration; nothing of the
application is changed. The table of worker classes says which call is one request:

- HANDLER: the worker's `handle_request` and `handle_http2_request`. A request lasts from its parsed
  head until the last byte of the response is written.
- UVICORN: a task in uvicorn's set of tasks, from the parsed head until the application returns; its
  background tasks are part of it. Each connection takes that set from the state of the server,
  which is handed to the classes of `uvicorn.Config` when they make one.
- ASGI: a call of the application in `worker.asgi`.
- NOTHING: the requests are not counted.

An ASGI worker can serve once the start-up of the lifespan is
complete, or where the application turns out not to support it; the others, once they run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.fleet.counted_tasks import Sockets
from gunicorn_autoconf.worker_classes import CountedBy, Slots, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import App, Edge, Meter


def attach(worker: Worker, meter: Meter | None, ready: Callable[[], None]) -> bool:
    """
    Count by *meter*, if any, and call *ready* once the application can serve.

    Return False where *worker* can serve as soon as it runs: *ready* is not called then.
    """
    family = family_of(type(worker))
    counted_by = family.counted_by if family else CountedBy.NOTHING
    if counted_by is CountedBy.UVICORN and hasattr(getattr(worker, "config", None), "lifespan"):
        _once_loaded(worker.config, lambda: _count_uvicorn(worker.config, meter, ready))
        return bool(worker.config.lifespan != "off")
    if counted_by is CountedBy.ASGI:
        lifespan = _Lifespan(worker, getattr(worker.cfg, "asgi_lifespan", "auto"), ready)
        worker.asgi = _count_asgi(lifespan.around(worker.asgi), meter)
        return lifespan.mode != "off"
    # gevent's pywsgi server has handlers of its own.
    has_handlers = getattr(worker, "server_class", None) is None
    if meter and has_handlers and family and counted_by is CountedBy.HANDLER:
        _count_wsgi(worker, *meter.edges(threaded=family.slots is Slots.THREADS))
    return False


def _count_wsgi(worker: Worker, enter: Edge, leave: Edge) -> None:
    def counting(handle: Callable[..., Any]) -> Callable[..., Any]:
        def handle_counted(*args: Any) -> Any:
            enter()
            try:
                return handle(*args)
            finally:
                leave()

        return handle_counted

    for name in ("handle_request", "handle_http2_request"):
        if hasattr(worker, name):
            setattr(worker, name, counting(getattr(worker, name)))


def _once_loaded(config: Any, then: Callable[[], None]) -> None:
    """Have *then* run when uvicorn has loaded the application and chosen its own classes."""
    load = config.load

    def load_and_go_on() -> None:
        load()
        then()

    config.load = load_and_go_on


def _count_uvicorn(config: Any, meter: Meter | None, ready: Callable[[], None]) -> None:
    if config.lifespan != "off":
        config.lifespan_class = _heed_startup(config.lifespan_class, ready)
    if meter is None:
        return
    http, websocket = config.http_protocol_class, config.ws_protocol_class
    if not any(each.__module__.startswith("uvicorn.protocols.") for each in http.__mro__):
        # It may do without the set of tasks.
        config.loaded_app = _count_asgi(config.loaded_app, meter)
        return
    tasks = meter.tasks()
    sockets = Sockets(tasks)

    def make_http(*args: Any, server_state: Any, **kwargs: Any) -> Any:
        server_state.tasks = tasks
        return http(*args, server_state=server_state, **kwargs)

    def make_websocket(*args: Any, **kwargs: Any) -> Any:
        connection = websocket(*args, **kwargs)
        connection.tasks = sockets
        return connection

    config.http_protocol_class = make_http
    if websocket is not None:
        config.ws_protocol_class = make_websocket


def _heed_startup(make: Callable[..., Any], ready: Callable[[], None]) -> Callable[..., Any]:
    """Return what makes the lifespan as *make* does, and calls *ready* when it has started."""

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


def _count_asgi(app: App, meter: Meter | None) -> App:
    if meter is None:
        return app

    async def call_other(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "websocket":
            return await app(scope, receive, send)
        meter.websocket(1)
        try:
            return await app(scope, receive, send)
        finally:
            meter.websocket(-1)

    return meter.calls(app, call_other)


class _Lifespan:
    """Sees the start-up of the application end, in one worker of Gunicorn's own ASGI class."""

    def __init__(self, worker: Worker, mode: str, ready: Callable[[], None]) -> None:
        self._worker = worker
        self._ready = ready
        self._is_over = False
        self.mode = mode

    def around(self, app: App) -> App:
        """Return what calls *app*, and heeds what it says of its lifespan."""

        def call(scope: Any, receive: Any, send: Any) -> Awaitable[Any]:
            if scope["type"] == "lifespan":
                return self._call(app, scope, receive, send)
            return app(scope, receive, send)

        return call

    async def _call(self, app: App, scope: Any, receive: Any, send: Any) -> Any:
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
