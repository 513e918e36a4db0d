"""
How long workers took to exit lately. Pure.

Theory of operation. Replacing a worker takes as long as the old one needs to exit. The supervisor's
thread, which alone uses an `Ends`, reports at each step which workers are exiting; a worker that is
no longer among them has exited. The slowest exit of the last ten minutes counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet

from gunicorn_autoconf.fleet.sample import END_SECONDS

# At a memory limit, on a throttled machine, exits took 7 to 39 s; ten minutes later 2 s.
REMEMBER_SECONDS = 600.0
MAX_ENDS = 8


class Ends:
    """The last exits of workers that got SIGTERM. Times are of a clock that never jumps."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._ends: deque[tuple[float, float]] = deque(maxlen=MAX_ENDS)

    def see(self, exiting: AbstractSet[int], now: float) -> None:
        """Note which workers are *exiting* now."""
        for pid in self._since.keys() - exiting:
            self._ends.append((now, now - self._since.pop(pid)))
        for pid in exiting - self._since.keys():
            self._since[pid] = now

    def seconds(self, now: float) -> float:
        """Return how long an exit takes, by the slowest one lately."""
        done = [seconds for at, seconds in self._ends if now - at < REMEMBER_SECONDS]
        under_way = [now - since for since in self._since.values()]
        return max([END_SECONDS, *done, *under_way])
