"""
Which requests Gunicorn's own workers serve, and since when. Runs in the worker.

A sync worker stamps its one request on the shared page, where the arbiter finds it. A threaded
worker notes its requests by thread: its heartbeat comes although one of them is stuck, so it looks
itself, with each heartbeat, for one that has run for longer than `timeout`.

Theory of operation of `LongRequests`. Each thread of the pool sets and removes its own entry among
the requests that run; the main thread copies them all at each look, without a lock, and only puts
back a begin that is later than the look. A request is known by its thread and its begin, and is
judged once, when it first exceeds `timeout`. The `Tally` decides whether its place in the code is
reported now or only counted. One that exceeds `GUNICORN_REQUEST_TIMEOUT` ends the worker: no thread
can be interrupted.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from gunicorn_autoconf.watchdog.causes import find_suspect
from gunicorn_autoconf.watchdog.frames import walk
from gunicorn_autoconf.watchdog.loop import Thresholds
from gunicorn_autoconf.watchdog.sources import add_sources
from gunicorn_autoconf.watchdog.stacks import (
    Say,
    Stack,
    ThreadStack,
    join,
    render_request,
    render_threads,
    trim,
)
from gunicorn_autoconf.watchdog.stamps import Stamps
from gunicorn_autoconf.watchdog.tally import Tally


def stamp_requests(worker: Any, stamps: Stamps) -> None:
    """Have a worker that serves one request at a time stamp which, and since when."""
    original = worker.handle_request

    # Gunicorn's own arguments, from 23 to 27: `*rest` costs more to pass on.
    def handle_request(listener: Any, request: Any, client: Any, address: Any) -> Any:
        stamps.begin_request(time.monotonic(), request.method, request.path)
        try:
            return original(listener, request, client, address)
        finally:
            stamps.end_request()

    worker.handle_request = handle_request


class LongRequests:
    """Reports requests of a threaded *worker* that exceed its *limits*, by *clock*."""

    def __init__(
        self, worker: Any, limits: Thresholds, say: Say, clock: Callable[[], float]
    ) -> None:
        self._worker = worker
        self._timeout_seconds = limits.timeout_seconds or math.inf
        self._limit_seconds = limits.request_seconds or math.inf
        self._clock = clock
        self._origins = limits.origins
        self._say = say
        self._running: dict[int, list[Any]] = {}
        """By thread: since when, the request, its connection. A class would cost as much again."""
        self._reported: set[tuple[int, float]] = set()
        self._given_up: set[tuple[int, float]] = set()
        self._tally = Tally()
        self._follow(worker)

    def _follow(self, worker: Any) -> None:
        original, running, clock = worker.handle_request, self._running, self._clock
        get_ident = threading.get_ident

        def handle_request(request: Any, connection: Any) -> Any:
            ident = get_ident()
            running[ident] = [clock(), request, connection]
            try:
                return original(request, connection)
            finally:
                del running[ident]

        worker.handle_request = handle_request

    def __call__(self, now: float) -> None:
        """Look at the requests that run; *now* is by the same clock."""
        running = self._running.copy()
        for entry in running.values():
            # One that came after a standstill, before the arbiter had taken that off the clock.
            entry[0] = min(entry[0], now)
        self._reported &= {(ident, since) for ident, (since, _, _) in running.items()}
        for ident, (since, request, connection) in running.items():
            key = ident, since
            seconds = now - since
            if seconds >= self._timeout_seconds and key not in self._reported:
                self._reported.add(key)
                self._report(ident, request, seconds, now)
            if seconds >= self._limit_seconds and key not in self._given_up:
                self._given_up.add(key)
                self._give_up(ident, request, connection, seconds)

    def _report(self, ident: int, request: Any, seconds: float, now: float) -> None:
        frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, for debuggers
        stack = trim(walk(frame))
        suspect = find_suspect([stack], self._origins)
        unreported = self._tally.add(suspect.frame, now, seconds)
        if unreported is None:
            return
        more = f"; {unreported} more here since the last report" if unreported else ""
        headline = (
            f"a request has run for {seconds:.1f} s, longer than timeout "
            f"({self._timeout_seconds:g} s), which does not end requests in this worker class{more}"
        )
        text = join([headline, *self._render(ident, request, stack)])
        self._say("warning", "long_request", text, place=suspect.place, request_seconds=seconds)

    def _render(self, ident: int, request: Any, stack: Stack) -> list[str]:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        serving = render_request(request.method, request.path)
        thread = ThreadStack(names.get(ident, str(ident)), add_sources(stack), serving)
        return render_threads([thread], self._origins)

    def _give_up(self, ident: int, request: Any, connection: Any, seconds: float) -> None:
        """Have the worker end, as soon as its other requests are over."""
        worker, stack = self._worker, trim(walk(sys._current_frames().get(ident)))  # noqa: SLF001
        headline = (
            f"{render_request(request.method, request.path)} has run for {seconds:.1f} s, longer "
            f"than GUNICORN_REQUEST_TIMEOUT ({self._limit_seconds:g} s). A thread cannot be "
            "interrupted: this worker accepts nothing more, finishes its other requests and is "
            "replaced"
        )
        text = join([headline, *self._render(ident, request, stack)])
        self._say("error", "request_timeout", text, request_seconds=seconds)
        if hasattr(worker, "give_up"):
            worker.give_up(connection)
        else:
            worker.alive = False  # It ends after `graceful_timeout`.
