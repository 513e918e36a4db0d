"""How long a request has waited since a proxy that is trusted got it. Reads the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.load.queue import ASGI_HEADER, TrustedProxies, queue_seconds

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import Meter

Waited = Callable[[str, Any], None]
"""Takes the value of the header and the address of the peer."""


def wait_counter(worker: Worker, meter: Meter) -> Waited:
    """Return what counts how long a request waited."""
    proxies = TrustedProxies(worker.cfg.forwarded_allow_ips)

    def waited(value: str, peer: Any) -> None:
        # Gunicorn has a text or nothing for the peer at a Unix socket, ASGI has None.
        if proxies.trusts(peer[0] if isinstance(peer, (tuple, list)) else None):
            seconds = queue_seconds(value, time.time())
            if seconds is not None:
                meter.queued(seconds)

    return waited


def count_wait(scope: Any, waited: Waited) -> bool:
    """Hand what an ASGI *scope* says of it to *waited*; return whether it says anything."""
    for name, value in scope["headers"]:
        if name == ASGI_HEADER:
            waited(value.decode("latin-1"), scope.get("client"))
            return True
    return False
