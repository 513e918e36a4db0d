"""Counts, in a worker, what it does. Reads a clock; writes the worker's slot of the shared page.

Theory of operation. Whenever a request begins or ends, what has passed since the last such change
is added to the sums, times the requests that were in flight meanwhile. Each number is one store,
and the stores come in such an order that a reader in between, or an arbiter that reads after a
SIGKILL, sees a little too little and never too much:

- a first request begins: the time of the change, then one more is started;
- the last one ends: one more is finished, then the sum;
- others are in flight: the time of the change, the sums up to it, then one more of either.

Last, one more is counted among those that took as long: 0.07 us. Of a single request only its
beginning is kept, where Python keeps what a call is about.

Threads keep one such change apart from the next by a lock of the process; an event loop needs none.
What runs here runs for every request of the server, which is why it is written three times, and in
one function each time, which looks for the header as well: to call another is a tenth of what all
this may cost, and so is to pass `*args` on. `CountedTasks` is how uvicorn's requests are counted.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any, NamedTuple

from gunicorn_autoconf.fleet.counted_tasks import CountedTasks
from gunicorn_autoconf.fleet.counters import (
    BUSY_SECONDS,
    CHANGED_AT_SECONDS,
    CPU_SECONDS,
    DURATIONS_AT,
    DURATIONS_SECONDS,
    EXTRA_SECONDS,
    FINISHED,
    LOOP_SECONDS,
    POOL_SECONDS,
    QUEUE_SECONDS,
    QUEUED,
    REJECTED,
    STARTED,
    WEBSOCKETS,
)

SHORTEST_SECONDS = DURATIONS_SECONDS[0]

App = Callable[[Any, Any, Any], Awaitable[Any]]
Handler = Callable[..., Any]


class Header(NamedTuple):
    """One that each request is looked through for."""

    name: str | bytes
    found: Callable[[Any, Any], None]
    """Takes the request, or the scope, and the value."""


class Meter:
    """The counters of one worker, which counts its requests by `handler`, `calls` or `tasks`."""

    def __init__(
        self, numbers: memoryview[float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Count from the first `handler`, `calls` or `tasks` on; a class without any counts nothing.

        Args:
            numbers: The region of the worker's slot, all 0.
            clock: Seconds that the arbiter's clock shows as well.
        """
        self._numbers = numbers
        self._clock = clock
        self._lock = Lock()
        self._tasks: CountedTasks | None = None

    def alone(self, handle: Handler, header: Header) -> Handler:
        """Return what counts the calls of a sync worker's *handle*, one at a time."""
        self._begin()
        return _alone(self._numbers, self._clock, handle, header)

    def handler(self, header: Header, *, is_second: bool = False) -> Callable[[Handler], Handler]:
        """
        Return what makes of a function one of which each call is a request, in any thread.

        The request is the first argument, or the second where *is_second*.
        """
        self._begin()
        return _handler(self._numbers, self._clock, header, is_second)

    def calls(self, app: App, other: App, header: Header) -> App:
        """Return what counts the calls of *app* for HTTP requests, and hands others to *other*."""
        self._begin()
        return _calls(self._numbers, self._clock, app, other, header)

    def tasks(self) -> CountedTasks:
        """Return what counts the requests that uvicorn serves, in the place of its set of tasks."""
        self._tasks = CountedTasks(self._numbers, self._clock)
        return self._tasks

    def websocket(self, change: int) -> None:
        """Count a WebSocket that opens (1) or is closed (-1); its time is no request's."""
        self._add(WEBSOCKETS, change)

    def queued(self, seconds: float) -> None:
        """Count a request that waited for *seconds* before it got here."""
        self._add(QUEUE_SECONDS, seconds)
        self._add(QUEUED, 1)

    def rejected(self) -> None:
        """Count a request that is refused."""
        self._add(REJECTED, 1)

    def loop_was_busy(self, seconds: float) -> None:
        """Count time for which the event loop was found busy."""
        self._add(LOOP_SECONDS, seconds)

    def pool_was_full(self, seconds: float) -> None:
        """Count time for which calls were found to wait for a thread."""
        self._add(POOL_SECONDS, seconds)

    def exiting(self) -> None:
        """Note the last numbers, and the CPU time, which the arbiter reads of the living only."""
        if self._tasks is not None:
            self._tasks.show_ended()
        self._numbers[CPU_SECONDS] = time.process_time()

    def _begin(self) -> None:
        self._numbers[CHANGED_AT_SECONDS] = self._clock()

    def _add(self, index: int, change: float) -> None:
        with self._lock:
            self._numbers[index] += change


def _alone(
    numbers: memoryview[float], clock: Callable[[], float], handle: Handler, header: Header
) -> Handler:
    finished = busy_seconds = shortest = 0.0
    wanted, found = header

    def handle_counted(listener: Any, request: Any, client: Any, address: Any) -> Any:
        nonlocal finished, busy_seconds, shortest
        for name, value in request.headers:
            if name == wanted:
                found(request, value)
                break
        numbers[CHANGED_AT_SECONDS] = began = clock()
        numbers[STARTED] = finished = finished + 1.0
        try:
            return handle(listener, request, client, address)
        finally:
            numbers[FINISHED] = finished
            seconds = clock() - began
            numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
            if seconds > SHORTEST_SECONDS:
                numbers[DURATIONS_AT + bisect_left(DURATIONS_SECONDS, seconds)] += 1.0
            else:
                numbers[DURATIONS_AT] = shortest = shortest + 1.0

    return handle_counted


def _handler(
    numbers: memoryview[float], clock: Callable[[], float], header: Header, is_second: bool
) -> Callable[[Handler], Handler]:
    started = finished = busy_seconds = extra_seconds = changed_at = shortest = 0.0
    wanted, found = header
    lock = Lock()
    # `with` takes twice as long, a fifth of all this. Nothing between the two raises.
    acquire, release = lock.acquire, lock.release

    def count(handle: Handler) -> Handler:
        # gthread hands over two arguments for a request of HTTP/1.1.
        def handle_counted(one: Any, two: Any, *more: Any) -> Any:
            nonlocal started, finished, busy_seconds, extra_seconds, changed_at, shortest
            request = two if is_second else one
            for name, value in request.headers:
                if name == wanted:
                    found(request, value)
                    break
            acquire()
            numbers[CHANGED_AT_SECONDS] = began = clock()
            if started != finished:
                seconds = began - changed_at
                numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
                extra_seconds += (started - finished - 1.0) * seconds
                numbers[EXTRA_SECONDS] = extra_seconds
            changed_at = began
            numbers[STARTED] = started = started + 1.0
            release()
            try:
                return handle(one, two, *more) if more else handle(one, two)
            finally:
                acquire()
                finished += 1.0
                if started == finished:
                    numbers[FINISHED] = finished
                    now = clock()
                    numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + (now - changed_at)
                else:
                    numbers[CHANGED_AT_SECONDS] = now = clock()
                    seconds = now - changed_at
                    numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
                    extra_seconds += (started - finished) * seconds
                    numbers[EXTRA_SECONDS] = extra_seconds
                    changed_at = now
                    numbers[FINISHED] = finished
                if now - began > SHORTEST_SECONDS:
                    numbers[DURATIONS_AT + bisect_left(DURATIONS_SECONDS, now - began)] += 1.0
                else:
                    numbers[DURATIONS_AT] = shortest = shortest + 1.0
                release()

        return handle_counted

    return count


def _calls(
    numbers: memoryview[float], clock: Callable[[], float], app: App, other: App, header: Header
) -> App:
    started = finished = busy_seconds = extra_seconds = changed_at = shortest = 0.0
    wanted, found = header

    async def call_counted(scope: Any, receive: Any, send: Any) -> Any:
        nonlocal started, finished, busy_seconds, extra_seconds, changed_at, shortest
        if scope["type"] != "http":
            return await other(scope, receive, send)
        for name, value in scope["headers"]:
            if name == wanted:
                found(scope, value)
                break
        # As `_handler` does.
        numbers[CHANGED_AT_SECONDS] = began = clock()
        if started != finished:
            seconds = began - changed_at
            numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
            extra_seconds += (started - finished - 1.0) * seconds
            numbers[EXTRA_SECONDS] = extra_seconds
        changed_at = began
        numbers[STARTED] = started = started + 1.0
        try:
            return await app(scope, receive, send)
        finally:
            finished += 1.0
            if started == finished:
                numbers[FINISHED] = finished
                now = clock()
                numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + (now - changed_at)
            else:
                numbers[CHANGED_AT_SECONDS] = now = clock()
                seconds = now - changed_at
                numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
                extra_seconds += (started - finished) * seconds
                numbers[EXTRA_SECONDS] = extra_seconds
                changed_at = now
                numbers[FINISHED] = finished
            if now - began > SHORTEST_SECONDS:
                numbers[DURATIONS_AT + bisect_left(DURATIONS_SECONDS, now - began)] += 1.0
            else:
                numbers[DURATIONS_AT] = shortest = shortest + 1.0

    return call_counted
