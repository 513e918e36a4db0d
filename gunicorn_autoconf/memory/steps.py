"""
What the last steps of the count have led to: which count is too many, when to grow again. Pure.

Theory of operation. The supervisor's thread reports each step and each OOM kill of a worker; times
are seconds of a clock that never jumps. Three things follow:

- *Too many*. A kill within `STEP_SECONDS` of a step upwards takes that step back, unless the worker
  was too large even for the count before the step. The second kill within `KILLS_SECONDS` lowers
  the count by one worker, or to what fits. Where no size explains the kills, the count is then out
  of reach for an hour; otherwise the plan knows.
- *Most*. A count that had to come down because workers leak faster than recycles help is out of
  reach as well: a leak reaches no size, so the plan does not know. For an hour the first time, then
  for two, up to a day.
- *Hold*. After steps downwards nothing grows for a minute, after the next ones for two, up to an
  hour: a sidecar that comes and goes moves the count less and less.

A reload, and a limit that changed, begin anew.
"""

from __future__ import annotations

from collections import deque

from gunicorn_autoconf.memory.need import REMEMBER_KILL_SECONDS
from gunicorn_autoconf.memory.why import TooMany

# A kill so soon after a step upwards is the step's fault: new workers have met their first load.
STEP_SECONDS = 300.0
# Two kills within this time are no accident.
KILLS_SECONDS = 600.0
FIRST_HOLD_SECONDS = 60.0
LONGEST_HOLD_SECONDS = 3600.0
LONGEST_MOST_SECONDS = 24 * 3600.0


class Steps:
    """The last steps and kills."""

    def __init__(self) -> None:
        self._grown: tuple[float, int] | None = None
        self._kills: deque[float] = deque(maxlen=2)
        self._too_many: TooMany | None = None
        self._most: tuple[float, int] | None = None
        """Until when no more than how many."""
        self._most_seconds = REMEMBER_KILL_SECONDS
        self._held_until = 0.0
        self._hold_seconds = FIRST_HOLD_SECONDS / 2

    def grew(self, before: int, now: float) -> None:
        """Note a step upwards from *before* workers."""
        if self._grown is None or now - self._grown[0] >= STEP_SECONDS:
            self._grown = now, before

    def shrank(self, now: float) -> None:
        """Note a step downwards, and hold the count for some time."""
        if now >= self._held_until:
            self._hold_seconds = min(2 * self._hold_seconds, LONGEST_HOLD_SECONDS)
        self._held_until = now + self._hold_seconds
        self._grown = None

    def churned(self, left: int, now: float) -> None:
        """Note that the count goes down to *left* as recycles were in vain."""
        self._most = now + self._most_seconds, left
        self._most_seconds = min(2 * self._most_seconds, LONGEST_MOST_SECONDS)

    def oom_killed(self, count: int, *, beside: int, alone: int, now: float) -> None:
        """
        Note that one of *count* workers was OOM-killed.

        Args:
            count: How many workers there are to be.
            beside: The plan for what workers need, beside what others use now.
            alone: The same if others used nothing.
            now: The time.
        """
        if alone < 2 and self._kills and self._kills[-1] == now:
            return  # One that fills the limit alone took a neighbour with it: the same accident.
        self._kills.append(now)
        step = self._grown if self._grown and now - self._grown[0] < STEP_SECONDS else None
        before = step[1] if step else count
        # Of its size only one fits: it was too large without the step as well.
        is_alone = alone < 2 <= before
        if beside < count <= alone:
            # Others took the memory: the count comes back when they leave.
            self._too_many = TooMany(max(beside, 1))
        elif before < count and not is_alone:
            self._too_many = TooMany(before, grown=(before, count))
        elif len(self._kills) == 2 and now - self._kills[0] < KILLS_SECONDS:
            seconds = max(now - self._kills[0], 1.0)
            fits = max(min(count - 1, beside), 1)
            self._too_many = TooMany(fits, seconds=seconds)
        else:
            return
        self._kills.clear()
        if beside >= count:
            # No size explains it.
            self._most = now + REMEMBER_KILL_SECONDS, self._too_many.fits

    def too_many(self, count: int) -> TooMany | None:
        """Return why *count* has to come down at once; None where it has not."""
        if self._too_many and count <= self._too_many.fits:
            self._too_many = None
        return self._too_many

    def most(self, now: float) -> int | None:
        """Return the highest count that has not been too many; None where none has."""
        return self._most[1] if self._most and now < self._most[0] else None

    def may_grow(self, now: float) -> bool:
        """Whether enough time has passed since the last step downwards."""
        return now >= self._held_until
