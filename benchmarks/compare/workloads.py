"""What is asked of a server: the table of workloads. Pure."""

from __future__ import annotations

import json
import sys
from typing import Literal, NamedTuple

Interface = Literal["asgi", "wsgi"]

SESSION_KEY = "benchmarkbenchmarkbenchmarkbench"

_LINES = [
    {"name": f"item {i}", "price_cents": 100 * i, "quantity": 1 + i % 3, "tags": ["a", "b"]}
    for i in range(10)
]
_ORDER = json.dumps({"customer": "Ada", "lines": _LINES})


class Workload(NamedTuple):
    """One kind of request and the application that answers it."""

    name: str
    interface: Interface
    application: str
    """In the folder `apps`."""
    declared: str
    """What one who reads our documentation would put into GUNICORN_WORKLOAD."""
    path: str = "/"
    connections: int = 32
    """Open at the same time; where requests wait, enough that waiting could fill the machine."""
    headers: tuple[str, ...] = ()
    body: str = ""
    """Sent by POST; GET where it is empty."""
    environ: tuple[tuple[str, str], ...] = ()
    prepare: tuple[str, ...] = ()
    """Arguments for Python, run once in `apps` before the first server."""
    python: str = sys.executable
    """What runs the server ..."""
    folder: str = ""
    """... and where, if not in `apps`."""


_SESSION = (f"Cookie: sessionid={SESSION_KEY}",)
_SHOP = ("-m", "shop.prepare", SESSION_KEY)
_SHOP_ASGI, _SHOP_WSGI = "shop.asgi:application", "shop.wsgi:application"
_JSON = ("Content-Type: application/json",)

ASGI, WSGI = "plain:asgi_app", "plain:wsgi_app"
SIZED_ASGI, SIZED_WSGI = "sized:asgi_app", "sized:wsgi_app"
SMALL, LARGE = (("COMPARE_APP_MIB", "60"),), (("COMPARE_APP_MIB", "150"),)

_TABLE = [
    Workload("nothing-asgi", "asgi", ASGI, "cpu"),
    Workload("nothing-wsgi", "wsgi", WSGI, "cpu"),
    # 10 ms of computing.
    Workload("compute-asgi", "asgi", ASGI, "cpu", "/compute"),
    Workload("compute-wsgi", "wsgi", WSGI, "cpu", "/compute"),
    # 5 ms of computing and 20 ms of waiting.
    Workload("mixed-asgi", "asgi", ASGI, "async", "/mixed"),
    Workload("mixed-wsgi", "wsgi", WSGI, "io", "/mixed"),
    # 100 ms of waiting: in the event loop, in ASGI's thread pool, in threads.
    Workload("wait-async", "asgi", ASGI, "async", "/wait", connections=200),
    Workload("wait-pool", "asgi", ASGI, "io", "/pool", connections=200),
    Workload("wait-threads", "wsgi", WSGI, "io", "/wait", connections=200),
    # 100 ms of waiting that blocks the event loop.
    Workload("block", "asgi", ASGI, "io", "/block"),
    # A real project: a session, rows of SQLite, a template; a body checked by pydantic.
    # SQLite is in the same process: hardly anything waits.
    Workload("django-asgi", "asgi", _SHOP_ASGI, "cpu", headers=_SESSION, prepare=_SHOP),
    Workload("django-wsgi", "wsgi", _SHOP_WSGI, "cpu", headers=_SESSION, prepare=_SHOP),
    Workload("fastapi", "asgi", "items:app", "cpu", "/orders", headers=_JSON, body=_ORDER),
    # An application of 60 MiB and one of 150 MiB, for runs under a memory limit.
    Workload("60mib-asgi", "asgi", SIZED_ASGI, "async", "/mixed", environ=SMALL),
    Workload("60mib-wsgi", "wsgi", SIZED_WSGI, "io", "/mixed", environ=SMALL),
    Workload("150mib-asgi", "asgi", SIZED_ASGI, "async", "/mixed", environ=LARGE),
    Workload("150mib-wsgi", "wsgi", SIZED_WSGI, "io", "/mixed", environ=LARGE),
]

WORKLOADS = {workload.name: workload for workload in _TABLE}
SIZED = [workload.name for workload in _TABLE if workload.environ]
UNLIMITED = [workload.name for workload in _TABLE if not workload.environ]
