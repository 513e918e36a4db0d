"""
How long the whole server stood still, as in a frozen container. Shares memory, reads a clock.

Theory of operation. The arbiter's patrol steps some times a second and runs no code of the
application. A step that comes more than `LATE_SECONDS` late means that nothing ran: the container
was frozen, the virtual machine suspended, all processes stopped. The patrol alone adds that time to
one number, which the workers inherit and read. `now` is a clock that leaves it out; limits of
requests go by it. A worker may run before the patrol does: one that looks later than it meant to
looks once more before it judges (`Looks`).
"""

from __future__ import annotations

import mmap
import time

# A crowded machine lets a thread wait for some tenths of a second.
LATE_SECONDS = 1.0


class Standstill:
    """The time that one server stood still, in all its processes."""

    def __init__(self) -> None:
        self._seconds = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")

    @property
    def seconds(self) -> float:
        """How long the server has stood still so far."""
        return self._seconds[0]

    def now(self) -> float:
        """Return the monotonic time without that in which the server stood still."""
        return time.monotonic() - self._seconds[0]

    def step(self, late_seconds: float) -> None:
        """Note, in the patrol's thread, by how much its step is late."""
        if late_seconds > LATE_SECONDS:
            self._seconds[0] += late_seconds


class Looks:
    """Whether a look that repeats may judge: not where it is late, once in a row. Pure."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before: float | None = None
        self._not_before = 0.0
        self._was_late = False

    def may_judge(self, now: float) -> bool:
        """Return whether the look at *now* may judge; the next one is due after the seconds."""
        before, self._before = self._before, now
        is_late = before is not None and now - before > self._seconds + LATE_SECONDS
        if is_late and not self._was_late:
            self._not_before = now + LATE_SECONDS / 2
        self._was_late = is_late
        return now >= self._not_before

    def begin(self, now: float) -> None:
        """Expect the first look after the seconds."""
        self._before = now
