"""Serve requests in a loop, without a server. `benchmarks.instructions` runs it in Valgrind."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

from gunicorn.workers.gasgi import ASGIWorker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker

from gunicorn_autoconf.fleet import counted_tasks
from gunicorn_autoconf.fleet.meter import Meter
from gunicorn_autoconf.server.counting import attach

from .instructions import ALONE_REQUESTS, APPLICATION, SLOWER

CLASSES = {"sync": SyncWorker, "gthread": ThreadWorker, "asgi": ASGIWorker}


class Nothing:
    """What the workers do for a request."""

    __init__ = object.__init__
    cfg = SimpleNamespace(forwarded_allow_ips=["127.0.0.1"], asgi_lifespan="off")

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None: ...

    def handle_request(self, first: Any, second: Any, third: Any = 0, last: Any = 0) -> None: ...


async def main(name: str, kind: str) -> None:
    """Serve with counters where *kind* is "counted"."""
    meter = Meter(memoryview(bytearray(512)).cast("d"))
    counted_tasks.SAMPLE_SECONDS *= SLOWER
    names, task, tasks = ("host", "accept"), asyncio.current_task(), set[Any]()
    request = SimpleNamespace(headers=[(each.upper(), "x") for each in names])
    scope = {"type": "http", "headers": [(each.encode(), b"x") for each in names]}
    worker: Any = type(name, (Nothing, CLASSES.get(name, SyncWorker)), {})()
    if kind == "counted" and name in CLASSES:
        attach(worker, meter, lambda: None)
    elif kind == "counted":
        tasks = meter.tasks()

    async def serve() -> None:
        count = 0
        while count < ALONE_REQUESTS or not getattr(tasks, "are_short", True):
            count += 1
            if name == "asgi":
                await worker.asgi(scope, None, None)
            elif name == "gthread":
                worker.handle_request(request, None)
            elif name == "sync":
                worker.handle_request(None, request, None, None)
            else:  # uvicorn does this around each request.
                tasks.add(task)
                tasks.discard(task)
            if not count % 100:
                await asyncio.sleep(0)

    application: dict[str, Any] = {}
    exec(APPLICATION, application)
    await serve()
    application["look"]("/start")
    await serve()
    application["look"]("/stop")


asyncio.run(main(*sys.argv[1:]))
