"""How long workers took to end lately, which is part of the time that a replacement needs. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet

from gunicorn_autoconf.fleet.sample import END_SECONDS

# At a memory limit ends of 7 to 39 s were seen, on a throttled machine; ten minutes later and
# elsewhere one of 2 s. The slowest of the last ones counts.
REMEMBER_SECONDS = 600.0
MAX_ENDS = 8


class Ends:
    """The last ends of workers that were told to exit. Times are of a clock that never jumps."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._ends: deque[tuple[float, float]] = deque(maxlen=MAX_ENDS)

    def see(self, exiting: AbstractSet[int], now: float) -> None:
        """Hear which workers are *exiting* now."""
        for pid in self._since.keys() - exiting:
            self._ends.append((now, now - self._since.pop(pid)))
        for pid in exiting - self._since.keys():
            self._since[pid] = now

    def seconds(self, now: float) -> float:
        """Return how long an end takes, by the slowest one lately."""
        done = [seconds for at, seconds in self._ends if now - at < REMEMBER_SECONDS]
        under_way = [now - since for since in self._since.values()]
        return max([END_SECONDS, *done, *under_way])
