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
one function each time: a call of another one is a tenth of what all this may cost. `CountedTasks`
is how uvicorn's requests are counted.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any

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

    def handler(self, *, is_alone: bool = False) -> Callable[[Handler], Handler]:
        """
        Return what makes of a function one of which each call is a request, in any thread.

        Where *is_alone* there is one request at a time.
        """
        self._begin()
        return (_alone if is_alone else _handler)(self._numbers, self._clock)

    def calls(self, app: App, other: App) -> App:
        """Return what counts the calls of *app* for HTTP requests, and hands others to *other*."""
        self._begin()
        return _calls(self._numbers, self._clock, app, other)

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


def _alone(numbers: memoryview[float], clock: Callable[[], float]) -> Callable[[Handler], Handler]:
    finished = busy_seconds = 0.0

    def count(handle: Handler) -> Handler:
        def handle_counted(*args: Any) -> Any:
            nonlocal finished, busy_seconds
            numbers[CHANGED_AT_SECONDS] = began = clock()
            numbers[STARTED] = finished = finished + 1.0
            try:
                return handle(*args)
            finally:
                numbers[FINISHED] = finished
                seconds = clock() - began
                numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
                place = bisect_left(DURATIONS_SECONDS, seconds) if seconds > SHORTEST_SECONDS else 0
                numbers[DURATIONS_AT + place] += 1.0

        return handle_counted

    return count


def _handler(
    numbers: memoryview[float], clock: Callable[[], float]
) -> Callable[[Handler], Handler]:
    started = finished = busy_seconds = extra_seconds = changed_at = 0.0
    lock = Lock()
    # `with` takes twice as long, a fifth of all this. Nothing between the two raises.
    acquire, release = lock.acquire, lock.release

    def count(handle: Handler) -> Handler:
        def handle_counted(*args: Any) -> Any:
            nonlocal started, finished, busy_seconds, extra_seconds, changed_at
            acquire()
            numbers[CHANGED_AT_SECONDS] = began = now = clock()
            if in_flight := started - finished:
                seconds = now - changed_at
                numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
                extra_seconds += (in_flight - 1) * seconds
                numbers[EXTRA_SECONDS] = extra_seconds
            changed_at = now
            numbers[STARTED] = started = started + 1.0
            release()
            try:
                return handle(*args)
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
                place = (
                    bisect_left(DURATIONS_SECONDS, now - began)
                    if now - began > SHORTEST_SECONDS
                    else 0
                )
                numbers[DURATIONS_AT + place] += 1.0
                release()

        return handle_counted

    return count


def _calls(numbers: memoryview[float], clock: Callable[[], float], app: App, other: App) -> App:
    started = finished = busy_seconds = extra_seconds = changed_at = 0.0

    async def call_counted(scope: Any, receive: Any, send: Any) -> Any:
        nonlocal started, finished, busy_seconds, extra_seconds, changed_at
        if scope["type"] != "http":
            return await other(scope, receive, send)
        # As `_handler` does.
        numbers[CHANGED_AT_SECONDS] = began = now = clock()
        if in_flight := started - finished:
            seconds = now - changed_at
            numbers[BUSY_SECONDS] = busy_seconds = busy_seconds + seconds
            numbers[EXTRA_SECONDS] = extra_seconds = extra_seconds + (in_flight - 1) * seconds
        changed_at = now
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
            place = (
                bisect_left(DURATIONS_SECONDS, now - began) if now - began > SHORTEST_SECONDS else 0
            )
            numbers[DURATIONS_AT + place] += 1.0

    return call_counted
