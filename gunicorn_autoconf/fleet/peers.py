"""
How busy the other workers are, as one worker sees it. Reads and writes the shared page.

Theory of operation. A worker that accepts connections writes on its slot that it does, and how many
it has open. It reads the same of the others, which is one load each. Who they are it looks up at
most ten times a second; how busy they have been, over a second at least. A worker that boots, stops
or has no slot does not count; one that was killed counts until the arbiter has taken its slot back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from gunicorn_autoconf.fleet.counters import parse_counters
from gunicorn_autoconf.fleet.shared_page import Region, SharedPage, copy_numbers

_CONNECTIONS, _IS_ACCEPTING = 0, 1

LOOK_UP_SECONDS = 0.1
# In less time a few requests make a worker look busy: with 0.1 s, one that had answered twelve
# health probes got none of the 32 connections that came next.
BUSY_OVER_SECONDS = 1.0

# A worker that is busier than oneself by more than this share of its time does not have room for
# more, however few connections it has.
BUSIER_FRACTION = 0.25


class _Peer(NamedTuple):
    numbers: memoryview[float]
    measured_at: float
    busy_seconds: float
    """Of all its time until then."""
    busy_fraction: float
    """Between the last two measurements."""


class Peers:
    """The other workers of the same arbiter, for the worker with *slot* on *page*."""

    def __init__(
        self, page: SharedPage, slot: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._page = page
        self._slot = slot
        self._clock = clock
        self._own = page.doubles(slot, Region.ACCEPTING)
        self._seen: dict[int, _Peer] = {}
        self._others: list[memoryview[float]] = []
        self._looked_up_at = float("-inf")

    def accept(self) -> None:
        """Note that this worker accepts connections."""
        self._own[_IS_ACCEPTING] = 1.0

    def stop(self) -> None:
        """Note that it does not any more."""
        self._own[_IS_ACCEPTING] = 0.0

    def open(self, connections: int) -> None:
        """Note how many connections it has."""
        self._own[_CONNECTIONS] = connections

    def connections(self) -> list[int]:
        """Return the connections of each other worker that accepts and is not much busier."""
        now = self._clock()
        if now - self._looked_up_at >= LOOK_UP_SECONDS:
            self._look_up(now)
        return [int(other[_CONNECTIONS]) for other in self._others if other[_IS_ACCEPTING]]

    def _look_up(self, now: float) -> None:
        self._looked_up_at = now
        seen = {slot: self._measured(slot, now) for slot in self._page.taken_slots()}
        own = seen.pop(self._slot, None)
        bound = (own.busy_fraction if own else 0.0) + BUSIER_FRACTION
        self._others = [peer.numbers for peer in seen.values() if peer.busy_fraction <= bound]
        if own:
            seen[self._slot] = own
        self._seen = seen

    def _measured(self, slot: int, now: float) -> _Peer:
        before = self._seen.get(slot)
        if before is None:
            numbers = self._page.doubles(slot, Region.ACCEPTING)
            return _Peer(numbers, now, self._busy_seconds(slot, now), 0.0)
        passed_seconds = now - before.measured_at
        if passed_seconds < BUSY_OVER_SECONDS:
            return before
        busy_seconds = self._busy_seconds(slot, now)
        share = max(busy_seconds - before.busy_seconds, 0.0) / passed_seconds
        return _Peer(before.numbers, now, busy_seconds, share)

    def _busy_seconds(self, slot: int, now: float) -> float:
        counters = parse_counters(copy_numbers(self._page.doubles(slot, Region.COUNTERS)), now)
        return counters.busy_seconds if counters else 0.0
