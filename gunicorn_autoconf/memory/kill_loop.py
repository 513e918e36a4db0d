"""
Workers that are OOM-killed one after the other: one line instead of one for each. Pure.

Theory of operation. Kills that follow each other within a minute are one loop. Its first two get
lines of their own; all of it gets one when it has been quiet for 20 s, or goes on, every minute.
`add` runs in the arbiter's main thread, `due` in the supervisor's. Each changes one attribute of
its own, and only as a whole.
"""

from __future__ import annotations

from typing import NamedTuple

# A kill that follows the last one within this time goes on with the same loop.
LOOP_SECONDS = 60.0
# So many of a loop get a line of their own.
OWN_LINES = 2
# The line about all comes when the loop has been quiet for so long ...
QUIET_SECONDS = 20.0
# ... or goes on, every so often.
SUMMARY_SECONDS = 60.0


class Loop(NamedTuple):
    """What has happened since the first kill of a loop."""

    kills: int
    first_seconds: float
    last_seconds: float
    size_bytes: int | None
    """What the largest of them used when it was last seen."""

    @property
    def seconds(self) -> float:
        """From the first to the last kill."""
        return self.last_seconds - self.first_seconds


class KillLoop:
    """The kills of the last loop."""

    def __init__(self) -> None:
        self._loop: Loop | None = None
        self._logged: Loop | None = None

    def add(self, now: float, size_bytes: int | None) -> bool:
        """Note that a worker of this size was killed; return whether it gets a line of its own."""
        loop = self._loop
        if loop is None or now - loop.last_seconds > LOOP_SECONDS:
            loop = Loop(0, now, now, None)
        sizes = [size for size in (loop.size_bytes, size_bytes) if size is not None]
        loop = Loop(loop.kills + 1, loop.first_seconds, now, max(sizes, default=None))
        self._loop = loop
        return loop.kills <= OWN_LINES

    def due(self, now: float, *, at_once: bool = False) -> Loop | None:
        """Return the loop where a line about it is due, or *at_once* about what was not logged."""
        loop, logged = self._loop, self._logged
        if loop is None or loop.kills <= OWN_LINES or loop == logged:
            return None
        goes_on = logged is not None and logged.first_seconds == loop.first_seconds
        since = logged.last_seconds if logged and goes_on else loop.first_seconds
        is_quiet = now - loop.last_seconds >= QUIET_SECONDS
        if not (at_once or is_quiet or now - since >= SUMMARY_SECONDS):
            return None
        self._logged = loop
        return loop
