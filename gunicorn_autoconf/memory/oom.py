"""Which processes the kernel's OOM killer killed, and whose limit was hit. Reads counters by call.

Theory of operation. `OomWatch` compares the kernel's counters with those it saw last. Each kill
that is new gets a time of its own, and the level whose limit was hit: the one whose counter rose.
From there a kill goes one of two ways, once. A worker's end claims it (`claim`). Or no worker's end
does, although all workers are well: then it was another process (`unclaimed`).

`claim` runs in the arbiter's main thread, `unclaimed` in the supervisor's. Both hold the lock. It
is an RLock, as Gunicorn 23 reaps in a signal handler, which may come in the middle of `claim`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gunicorn_autoconf.machine.memory_events import Events
from gunicorn_autoconf.memory.timing import DEFAULT, Timing

# What ended last has this time to be reaped, and to claim its kill.
SETTLE_SECONDS = 0.4
# From the time when a limit was hit until a process is killed for it, at most.
HIT_SECONDS = 10.0
# What is left in use and what the dead process can have had at most: with less than this share of
# the limit together, another process was killed.
EXPLAINED_FRACTION = 0.8


class Kill(NamedTuple):
    """One process that the OOM killer took."""

    at_seconds: float
    """When it was noticed."""
    level: int | None
    """Whose limit was hit, as an index of the levels; None where no counter shows it."""


def out_of_memory_at(before: Sequence[Events], now: Sequence[Events]) -> int | None:
    """
    Return the level that ran out of memory between two readings; None where none did.

    The leaf is the first. Where the kernel counts a level with those below it, the lowest one whose
    count has risen was it.
    """
    for level, (earlier, later) in enumerate(zip(before, now, strict=False)):
        if (later.ooms or 0) > (earlier.ooms or 0):
            return level
    return None


def reached_at(before: Sequence[Events], now: Sequence[Events]) -> int | None:
    """
    Return the level that reached its limit most often between two readings, for cgroup v1.

    v2 counts what v1 does not, whether anything could be freed then.
    """
    if any(events.ooms is not None for events in now):
        return None
    rises = [
        (later.limit_hits or 0) - (earlier.limit_hits or 0)
        for earlier, later in zip(before, now, strict=False)
    ]
    most = max(rises, default=0)
    return rises.index(most) if most > 0 else None


def explains(limit_bytes: int, left_bytes: int, largest_bytes: int) -> bool:
    """
    Whether a process that is gone can have been what an OOM killer took to free memory.

    Args:
        limit_bytes: The limit that was hit.
        left_bytes: What is used below it now.
        largest_bytes: What the process can have used at most.
    """
    return left_bytes + largest_bytes >= limit_bytes * EXPLAINED_FRACTION


class OomWatch:
    """The kills that have not been laid to a worker yet."""

    def __init__(
        self,
        read: Callable[[], Sequence[Events]],
        own: Callable[[Sequence[Events]], int | None],
        timing: Timing = DEFAULT,
        *,
        before: Sequence[Events] | None = None,
    ) -> None:
        """
        Begin; kills that *before* already counts are ignored.

        Args:
            read: The counters of each level.
            own: Our own count of kills in what *read* returned; None where the kernel has none.
            timing: How long a kill may go unclaimed where it is unknown whether workers are well.
            before: The counters before the first fork; where None, they are read now.
        """
        self._read = read
        self._own = own
        self._claim_seconds = timing.claim_seconds
        self._lock = threading.RLock()
        self._events = read() if before is None else before
        self._known = own(self._events)
        self._kills: list[Kill] = []
        self._well_since: float | None = None
        self._hit: tuple[int | None, float] = None, -HIT_SECONDS

    def peek(self, now: float) -> Kill | None:
        """Return the first kill that is not laid to any process yet."""
        with self._lock:
            self._notice(now)
            return self._kills[0] if self._kills else None

    def claim(self, now: float) -> Kill | None:
        """Return the first such kill and lay it to the worker that has just ended."""
        with self._lock:
            self._notice(now)
            return self._kills.pop(0) if self._kills else None

    @property
    def has_unclaimed(self) -> bool:
        """Whether a kill, as far as was noticed, is not laid to any process yet."""
        return bool(self._kills)

    @property
    def is_alone(self) -> bool:
        """Whether one kill, and no more, is not laid to any process yet."""
        return len(self._kills) == 1

    def unclaimed(self, now: float, *, are_well: bool | None) -> list[Kill]:
        """
        Return the kills that were those of other processes, and forget them.

        Args:
            now: The time.
            are_well: Whether all workers live and none of them is ending; None where not known.
        """
        with self._lock:
            self._notice(now)
            if not are_well:
                self._well_since = None
            elif self._well_since is None:
                self._well_since = now
            kills = [kill for kill in self._kills if self._is_late(kill, now)]
            self._kills = [kill for kill in self._kills if kill not in kills]
            return kills

    def _is_late(self, kill: Kill, now: float) -> bool:
        if self._well_since is None:
            return now - kill.at_seconds >= self._claim_seconds
        return now - max(kill.at_seconds, self._well_since) >= SETTLE_SECONDS

    def _notice(self, now: float) -> None:
        events = self._read()
        count = self._own(events)
        if count is None or self._known is None:
            return
        if (hit := out_of_memory_at(self._events, events)) is not None:
            self._hit = hit, now
        if count > self._known:
            # The kernel counts the level first and the kill when it has chosen: a look in between
            # has seen one without the other.
            level, at_seconds = self._hit
            if now - at_seconds > HIT_SECONDS:
                level = reached_at(self._events, events)
            self._kills += [Kill(now, level)] * (count - self._known)
        self._known, self._events = count, events
