"""
How long workers took to exit lately, and how late samples came. Pure.

Theory of operation. Replacing a worker takes as long as the old one needs to exit. The supervisor's
thread, which alone uses an `Ends`, reports at each step which workers are exiting; a worker that is
no longer among them has exited. The slowest exit of the last ten minutes counts.

Before the first exit only the machine can tell: where a sample comes later than it was due, an exit
takes that much longer, too. One late sample tells nothing: a fork or a reload holds up the thread.
So the second latest one of the last minute counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet

from gunicorn_autoconf.fleet.sample import END_SECONDS

# At a memory limit, on a throttled machine, exits took 7 to 39 s; ten minutes later 2 s.
REMEMBER_SECONDS = 600.0
MAX_ENDS = 8
# Two samples in time are 0.5 s apart where memory is short: half of that is no delay.
LATE_SECONDS = 0.25
REMEMBER_LATE_SECONDS = 60.0
# At 0.5 s between two samples and half of that for the delay, these are the last seconds or more.
MAX_LATE = 16


class Ends:
    """The last exits of workers that got SIGTERM. Times are of a clock that never jumps."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._ends: deque[tuple[float, float]] = deque(maxlen=MAX_ENDS)
        self._late: deque[tuple[float, float]] = deque(maxlen=MAX_LATE)
        self._due: float | None = None

    def see(self, exiting: AbstractSet[int], now: float) -> None:
        """Note which workers are *exiting* now."""
        for pid in self._since.keys() - exiting:
            self._ends.append((now, now - self._since.pop(pid)))
        for pid in exiting - self._since.keys():
            self._since[pid] = now
        due, self._due = self._due, None
        if due is not None and now - due >= LATE_SECONDS:
            self._late.append((now, now - due))

    def expect(self, due: float) -> None:
        """Note when the next sample is due."""
        self._due = due

    def late_seconds(self, now: float) -> float:
        """Return how late samples come; 0 on a machine that has time for them."""
        lately = sorted(late for at, late in self._late if now - at < REMEMBER_LATE_SECONDS)
        return lately[-2] if len(lately) > 1 else 0.0

    def seconds(self, now: float) -> float:
        """Return how long an exit takes, by the slowest one lately."""
        unseen = END_SECONDS + self.late_seconds(now)
        done = [seconds for at, seconds in self._ends if now - at < REMEMBER_SECONDS]
        under_way = [now - since for since in self._since.values()]
        return max([unseen, *done, *under_way])
