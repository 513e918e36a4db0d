"""Counts the requests of a worker that runs uvicorn, and sees when its application can serve.

Replaces classes in uvicorn's configuration, once it has chosen them: those of its lifespan and of
its connections. A request is a task in uvicorn's set of tasks, from the parsed head until the
application returns; its background tasks are part of it. Each connection takes that set from the
state of the server, which it is given, so the one that counts is put there first. A class of
connections that is not uvicorn's may do without it, and is not counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.fleet.counted_tasks import Sockets
from gunicorn_autoconf.server.wait import Waited, count_wait, wait_counter

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import Meter

Make = Callable[..., Any]


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
            config.http_protocol_class = _counted(http, tasks, wait_counter(worker, meter))
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
            if not count_wait(scope, waited):
                # A proxy says it of each request. To look at all would cost half of the counting.
                connection.app = app
            result: Awaitable[Any] = app(scope, receive, send)
            return result

        connection.app = look
        return connection

    return make_counted


def _apart(make: Make, sockets: Sockets) -> Make:
    """Return what makes WebSockets as *make* does, whose tasks are no requests."""

    def make_apart(*args: Any, **kwargs: Any) -> Any:
        connection = make(*args, **kwargs)
        connection.tasks = sockets
        return connection

    return make_apart
