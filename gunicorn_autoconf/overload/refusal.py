"""
Refuses requests that have waited for too long, before the application sees them: 503.

A server that gets more than it can answer serves old requests first, whose clients are about to
give up; the new ones grow old meanwhile, and in the end hardly any answer is in time. With those
refused it answers as many as it can.

Theory of operation. A WSGI application is called where the worker is about to serve the request:
its age is asked for each. An event loop that is well does not let requests wait: `Pulse` runs by a
timer, and only while it is overdue is the kernel asked how old a request is.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn_autoconf.load.queue import TrustedProxies
from gunicorn_autoconf.overload.age import (
    asgi_connection,
    asgi_header_age,
    seconds_since_data,
    wsgi_age,
)

App = Callable[..., Any]

BODY = b"Service Unavailable: the server is overloaded\n"
# A loop that is behind by this share of the limit may hold requests that are too old.
BEHIND_FRACTION = 0.25
PULSES = 8
SHORTEST_SECONDS, LONGEST_SECONDS = 0.005, 0.5


class Refusal:
    """
    What is refused in one worker.

    Args:
        max_seconds: How long a request may have waited.
        health_paths: These are always served: a probe that is refused ends a server.
        allowed: The setting ``forwarded_allow_ips``.
        refused: Called for each request that is refused.
    """

    def __init__(
        self,
        max_seconds: float,
        health_paths: Iterable[str],
        allowed: str | Iterable[str],
        refused: Callable[[], None],
    ) -> None:
        self.max_seconds = max_seconds
        self._health_paths = frozenset(path.rstrip("/") for path in health_paths)
        self._proxies = TrustedProxies(allowed)
        self._refused = refused
        # After so long the load may have passed; this cannot be known.
        self._retry_after = str(max(math.ceil(max_seconds), 1))

    def wsgi(self, app: App, queued_seconds: Callable[[], float] = lambda: 0.0) -> App:
        """Return *app* behind the refusal; *queued_seconds* is what the worker itself knows."""
        max_seconds, proxies = self.max_seconds, self._proxies
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(BODY))),
            ("Retry-After", self._retry_after),
        ]

        def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            age_seconds = wsgi_age(environ, proxies, queued_seconds)
            if age_seconds > max_seconds and self._refuses(environ["PATH_INFO"]):
                start_response("503 Service Unavailable", headers)
                return [BODY]
            return app(environ, start_response)

        return call

    def asgi(self, app: App) -> App:
        """Return *app* behind the refusal."""
        max_seconds, proxies, clock = self.max_seconds, self._proxies, time.monotonic
        behind_seconds = BEHIND_FRACTION * max_seconds
        pulse = Pulse(max_seconds / PULSES)
        headers = [
            (b"content-type", b"text/plain"),
            (b"content-length", str(len(BODY)).encode()),
            (b"retry-after", self._retry_after.encode()),
        ]

        async def call(scope: Any, receive: Any, send: Any) -> Any:
            if scope["type"] == "http":
                age_seconds = asgi_header_age(scope, proxies)
                if age_seconds <= max_seconds and clock() - pulse.well_at > behind_seconds:
                    pulse.start()
                    age_seconds = seconds_since_data(asgi_connection(receive))
                if age_seconds > max_seconds and self._refuses(scope["path"]):
                    start = {"type": "http.response.start", "status": 503, "headers": headers}
                    await send(start)
                    await send({"type": "http.response.body", "body": BODY})
                    return None
            return await app(scope, receive, send)

        return call

    def _refuses(self, path: str) -> bool:
        """Return whether an old request for *path* is refused, and count it."""
        if path.rstrip("/") in self._health_paths and path != "/":
            return False
        self._refused()
        return True


class Pulse:
    """Knows when an event loop last was on time, by a timer that runs in it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
        self._due = 0.0
        self._loop: Any = None
        self.well_at = -math.inf

    def start(self) -> None:
        """Begin, in the loop; the first request that comes does it."""
        if self._loop is None:
            # A WSGI worker has no use for asyncio; here it is loaded.
            self._loop = sys.modules["asyncio"].get_running_loop()
            self.well_at = time.monotonic()
            self._beat()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._due < self._seconds:
            self.well_at = now
        self._due = now + self._seconds
        self._loop.call_later(self._seconds, self._beat)
