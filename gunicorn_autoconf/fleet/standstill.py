"""
How long the whole server stood still, as in a frozen container. Shares memory, reads clocks.

Theory of operation. The arbiter's patrol steps some times a second and runs no code of the
application. A step that comes more than `LATE_SECONDS` late means that nothing ran: the container
was frozen, the virtual machine suspended, all processes stopped. A step may also be late because
its thread waited for a CPU. A stopped thread does not wait for one, and the kernel counts such
waits, so they are no standstill. The patrol alone adds the time of a standstill to one number,
which the workers inherit and read. `now` is a clock that leaves it out; every limit and every
report goes by it. A worker may run before the patrol does: one that looks later than it meant to
looks once more before it judges (`Looks`). The arbiter need not: it also knows when it stood still,
so `running` puts any time that a process has stamped on that clock.
"""

from __future__ import annotations

import math
import mmap
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from gunicorn_autoconf.machine.process_cpu import read_queued_seconds

# A crowded machine lets a thread wait for some tenths of a second.
LATE_SECONDS = 1.0
# How often a thread reads how long it has waited for a CPU: reading /proc costs more than a step.
READ_SECONDS = 1.0
# How often Gunicorn's arbiter looks at the heartbeats, at least (Arbiter.run).
MAIN_LOOP_SECONDS = 1.0
# How many of the last standstills are known by their time; nothing measured is older than those.
MAX_STOPS = 100


class _Stop(NamedTuple):
    """One standstill, by the monotonic clock."""

    began: float
    ended: float
    before_seconds: float
    """How long the server had stood still before it."""


class Standstill:
    """The time that one server stood still, in all its processes."""

    def __init__(self) -> None:
        self._seconds = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")
        self._stops: tuple[_Stop, ...] = ()
        # In this thread it has waited before; the others are yet to be started.
        self._thread = threading.local()
        self._thread.queued_seconds = read_queued_seconds()

    @property
    def seconds(self) -> float:
        """How long the server has stood still so far."""
        return self._seconds[0]

    def now(self) -> float:
        """Return the monotonic time without that in which the server stood still."""
        return time.monotonic() - self._seconds[0]

    def running(self, at: float) -> float:
        """
        Return on the clock of `now` the time *at* of the monotonic clock; in the arbiter.

        A later standstill changes nothing in it, to the last digit: who sees the same number again
        has seen the same moment.
        """
        seconds = self.seconds  # Read first: another thread may note one meanwhile.
        for stop in self._stops:
            if at < stop.ended:
                return min(at, stop.began) - stop.before_seconds
        return at - seconds

    def step(self, due: float, now: float) -> None:
        """Note a step at *now* that was *due* earlier; in the arbiter."""
        is_late = now - due > LATE_SECONDS
        if not is_late and now < getattr(self._thread, "read_again_at", 0.0):
            return
        before, queued = getattr(self._thread, "queued_seconds", 0.0), read_queued_seconds()
        self._thread.queued_seconds, self._thread.read_again_at = queued, now + READ_SECONDS
        if is_late and now - due - (queued - before) > LATE_SECONDS:
            # A tuple of its own: another thread may go through the one there was.
            self._stops = (*self._stops, _Stop(due, now, self.seconds))[-MAX_STOPS:]
            self._seconds[0] += now - due


class Heartbeats:
    """
    Has Gunicorn measure its `timeout` without the time in which the server stood still.

    Its main loop, which ends workers whose heartbeat is older, may run before the patrol does. Both
    threads step here, so a report and a kill go by one measure: where neither has for far longer
    than the main loop's second, nothing ran. An arbiter that was busy itself, as with a reload,
    gives its workers as much time once. Where both threads note one standstill at the same moment,
    workers get its time twice.
    """

    def __init__(self) -> None:
        self._standstill = Standstill()
        self._due = math.inf

    def follow(self, tmp: Any) -> Callable[[], tuple[float, float]]:
        """Have a worker's *tmp* answer so; return what reads when it beat and for how long not."""
        read_beat: Callable[[], float] = tmp.last_update

        def read() -> tuple[float, float]:
            beat = self._standstill.running(read_beat())
            return beat, self._standstill.now() - beat

        def last_update() -> float:
            self.step()
            return time.monotonic() - read()[1]

        tmp.last_update = last_update
        self.step()
        return read

    def step(self) -> None:
        """Note that the arbiter runs; in either thread, before heartbeats are read."""
        now = time.monotonic()
        self._standstill.step(self._due, now)
        self._due = now + MAIN_LOOP_SECONDS


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
        if before is not None and now < before:
            self._not_before = now  # The arbiter has just taken off the time that this waits for.
        is_late = before is not None and now - before > self._seconds + LATE_SECONDS
        if is_late and not self._was_late:
            self._not_before = now + LATE_SECONDS / 2
        self._was_late = is_late
        return now >= self._not_before

    def begin(self, now: float) -> None:
        """Expect the first look after the seconds."""
        self._before = now
