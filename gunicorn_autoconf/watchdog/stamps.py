"""
The time stamps by which the arbiter sees from outside how a worker does.

Reads and writes the shared page.

Theory of operation. Each worker has eight numbers and one line of text on the shared page. The
worker alone writes them, each number by one store, and the arbiter's patrol only reads. The worker
stamps `tick` last, so a reader that finds the same tick before and after has numbers that belong
together. Every time is that of the monotonic clock, which all processes of a machine share; the
arbiter reads it on its own clock, without the time in which the server stood still.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag
from typing import NamedTuple

from gunicorn_autoconf.watchdog.stacks import render_request

# A tick costs a worker some 10 us. At the default threshold of 0.25 s there are 20 a second.
TICKS_PER_THRESHOLD = 5
SHORTEST_TICK_SECONDS = 0.005
LONGEST_TICK_SECONDS = 0.5

# After so long a start or an end is reported; an end earlier where `graceful_timeout` is short.
SLOW_SECONDS = 5.0


def slow_end_seconds(graceful_seconds: float) -> float:
    """Return after how long the end of a worker is reported."""
    return min(SLOW_SECONDS, graceful_seconds / 2)


def tick_seconds(threshold_seconds: float) -> float:
    """
    Return how often an event loop stamps the time.

    >>> tick_seconds(0.25)
    0.05
    """
    wanted = threshold_seconds / TICKS_PER_THRESHOLD
    return min(max(wanted, SHORTEST_TICK_SECONDS), LONGEST_TICK_SECONDS)


class State(IntFlag):
    """What a worker has got to."""

    LISTENING = 1
    """It answers SIGURG with its stacks."""
    LOADED = 2
    """The application is imported."""
    TICKING = 4
    """An event loop stamps the time."""


class Moment(NamedTuple):
    """The numbers of one worker at one moment, in their order on the page."""

    tick: float = 0.0
    """When the event loop last ran; 0 where none has."""
    computing_seconds: float = 0.0
    """CPU time of the main thread at that tick."""
    queued_seconds: float = 0.0
    """How long the main thread had waited for a CPU at that tick."""
    collecting_since: float = 0.0
    """When the garbage collection that runs began; 0 where none does."""
    collected_seconds: float = 0.0
    """CPU time of all collections so far, in whichever thread."""
    state: float = 0.0
    ending_since: float = 0.0
    """When the worker was first seen to end; 0 until then."""
    busy_since: float = 0.0
    """When the one request of a sync worker began; 0 where there is none."""

    def has(self, state: State) -> bool:
        """Return whether the worker has got to *state*."""
        return bool(State(int(self.state)) & state)


_TICK, _COMPUTING, _QUEUED, _COLLECTING, _COLLECTED, _STATE, _ENDING, _BUSY = range(8)


class Stamps:
    """The stamps of one worker: *numbers* holds eight, *line* one request in UTF-8."""

    def __init__(
        self,
        numbers: memoryview[float],
        line: memoryview[int],
        running: Callable[[float], float] = float,
    ) -> None:
        """Have *running* put each time that is read on another clock."""
        self._numbers = numbers
        self._line = line
        self._line_bytes = len(line)
        self._running = running

    def read(self) -> Moment:
        """Return all numbers; as a rule those of one tick."""
        for _ in range(3):
            before = self._numbers[_TICK]
            moment = Moment(*self._numbers.tolist())
            if moment.tick == before == self._numbers[_TICK]:
                break
        tick, since, ending, busy = (
            self._running(at) if at else 0.0
            for at in (moment.tick, moment.collecting_since, moment.ending_since, moment.busy_since)
        )
        return moment._replace(
            tick=tick, collecting_since=since, ending_since=ending, busy_since=busy
        )

    def tick(self, now: float, computing_seconds: float, queued_seconds: float) -> None:
        """Note that the event loop runs."""
        self._numbers[_COMPUTING] = computing_seconds
        self._numbers[_QUEUED] = queued_seconds
        self._numbers[_TICK] = now

    def collecting(self, now: float) -> None:
        """Note that a garbage collection begins."""
        self._numbers[_COLLECTING] = now

    def collected(self, computing_seconds: float) -> None:
        """Note that it is over and what it took."""
        self._numbers[_COLLECTED] += computing_seconds
        self._numbers[_COLLECTING] = 0.0

    def reach(self, state: State) -> None:
        """Note that the worker has got to *state*."""
        self._numbers[_STATE] = float(int(self._numbers[_STATE]) | state)

    def leave(self, state: State) -> None:
        """Note that *state* holds no more."""
        self._numbers[_STATE] = float(int(self._numbers[_STATE]) & ~state)

    def end(self, now: float) -> None:
        """Note that the worker ends; the first call counts."""
        if not self._numbers[_ENDING]:
            self._numbers[_ENDING] = now

    def begin_request(self, now: float, method: object, path: object) -> None:
        """Note the request that the worker's only thread begins to serve."""
        # Rendered where it is read: this is done for each request.
        text = f"{method} {path}\0".encode(errors="replace")[: self._line_bytes]
        self._line[: len(text)] = text
        self._numbers[_BUSY] = now

    def end_request(self) -> None:
        """Note that it is over."""
        self._numbers[_BUSY] = 0.0

    def request(self) -> str | None:
        """Return the request that is being served, where the worker class tells."""
        began = self._numbers[_BUSY]
        text = bytes(self._line).partition(b"\0")[0].decode(errors="replace")
        method, _, path = text.partition(" ")
        is_same = began and began == self._numbers[_BUSY]
        return render_request(method, path) if is_same else None
