"""The limit of a request's time, by a clock that the arbiter sets back after a standstill."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from patience import stretched

from gunicorn_autoconf.overload.limit import TimeLimit


def test_a_request_that_comes_before_the_standstill_is_known_has_no_longer_limit() -> None:
    """A container is continued, the worker runs first, the arbiter notes the standstill then."""
    stood_seconds = 0.0
    reported: list[float] = []
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal stood_seconds
        stood_seconds = 3600.0
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    limit = TimeLimit(
        0.1,
        lambda task, scope, seconds: reported.append(seconds),
        lambda *_: None,
        lambda: time.monotonic() - stood_seconds,
    )
    served = limit.asgi(application)({"type": "http"}, None, send)
    asyncio.run(asyncio.wait_for(served, stretched(5)))

    assert sent[0]["status"] == 504
    assert len(reported) == 1
    assert reported[0] >= 0.1
