"""
Ends requests of an ASGI application that run too long: cancelled, and answered 504.

Theory of operation. All of it runs in the loop. A request is *running* from the call of the
application; a timer looks at the oldest. One that exceeds the limit is *cancelled*, once: its task
gets a `CancelledError` at the ``await`` where it stands. As a rule the application lets that pass,
and what is left of the task answers 504. One that still runs after `PATIENCE_SECONDS` waits for
something that cannot be interrupted, as a thread: its client is *answered* by the timer, and the
task is left alone. A response that has begun is broken off; work after a complete one has no limit.
WebSockets have none either. Code that blocks the loop is not interrupted: nothing here runs then.
The clock leaves out the time in which the whole server stood still.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from gunicorn_autoconf.fleet.standstill import Looks

App = Callable[..., Any]

BODY = b"Gateway Timeout: the request took too long\n"
HEADERS = [
    (b"content-type", b"text/plain"),
    (b"content-length", str(len(BODY)).encode()),
    (b"connection", b"close"),
]
# How long a cancelled task has to end.
PATIENCE_SECONDS = 1.0
# The timer runs so many times in a limit.
LOOKS = 20
SHORTEST_SECONDS, LONGEST_SECONDS = 0.01, 1.0


# What is kept of a request that runs, as a list: an object of a class of its own would cost each
# request half as much again as the limit does.
_SINCE, _CANCELLED_AT, _IS_ANSWERED, _SCOPE, _RESPONSE, _SEND = range(6)


class _Response:
    """What a response has come to, of a server whose own object does not show it."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self.response_started = self.response_complete = self.disconnected = False

    async def send(self, message: Any) -> None:
        """Send, unless the client was answered meanwhile."""
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self.response_started = True
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self.response_complete = True
        await self._send(message)


class TimeLimit:
    """
    The limit of one worker.

    Args:
        seconds: How long a request may run.
        report: Called before a request is cancelled, with its task, its scope and its seconds.
        report_stuck: Called where it does not end although it is cancelled.
        clock: By what a request runs.
    """

    def __init__(
        self,
        seconds: float,
        report: Callable[[asyncio.Task[Any], Any, float], None],
        report_stuck: Callable[[asyncio.Task[Any], Any, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._report = report
        self._report_stuck = report_stuck
        self._clock = clock
        self._look_seconds = min(max(seconds / LOOKS, SHORTEST_SECONDS), LONGEST_SECONDS)
        self._looks = Looks(self._look_seconds)
        self._running: dict[Any, list[Any]] = {}
        self._answering: set[Any] = set()
        self._is_looking = False

    def asgi(self, app: App) -> App:
        """Return *app* with the limit."""
        running, clock, current_task = self._running, self._clock, asyncio.current_task

        async def call(scope: Any, receive: Any, send: Any) -> Any:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            # uvicorn's own object knows what was sent.
            response = getattr(send, "__self__", None)
            if not hasattr(response, "response_started"):
                response = _Response(send)
                send = response.send
            task: Any = current_task()
            running[task] = request = [clock(), 0.0, False, scope, response, send]
            if not self._is_looking:
                self._looks.begin(request[_SINCE])
                self._begin()
            try:
                return await app(scope, receive, send)
            except asyncio.CancelledError:
                if not request[_CANCELLED_AT]:
                    raise
                if hasattr(task, "uncancel"):  # From Python 3.11 on.
                    task.uncancel()
                # A response that has begun is broken off by the server, as it is not complete.
                await self._answer(request)
                return None
            finally:
                del running[task]

        return call

    def _begin(self) -> None:
        self._is_looking = True
        asyncio.get_running_loop().call_later(self._look_seconds, self._look)

    def _look(self) -> None:
        """Look at the requests, and look again where there are any."""
        now = self._clock()
        if self._looks.may_judge(now):
            self._judge(now)
        self._is_looking = False
        if self._running:
            self._begin()

    def _judge(self, now: float) -> None:
        for task, request in list(self._running.items()):
            # One that came after a standstill, before the arbiter had taken that off the clock.
            request[_SINCE] = min(request[_SINCE], now)
            seconds = now - request[_SINCE]
            if seconds < self._seconds or request[_RESPONSE].response_complete:
                continue
            if not request[_CANCELLED_AT]:
                request[_CANCELLED_AT] = now
                self._report(task, request[_SCOPE], seconds)
                task.cancel("GUNICORN_REQUEST_TIMEOUT")
            elif not request[_IS_ANSWERED] and now - request[_CANCELLED_AT] > PATIENCE_SECONDS:
                request[_IS_ANSWERED] = True
                self._report_stuck(task, request[_SCOPE], seconds)
                answering = asyncio.ensure_future(self._answer(request))
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)

    async def _answer(self, request: list[Any]) -> None:
        """Answer 504, unless a response has begun; what the application sends later is lost."""
        response, send = request[_RESPONSE], request[_SEND]
        if response.response_started:
            return
        await send({"type": "http.response.start", "status": 504, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
        response.disconnected = True
