"""The OOM kills under the limits of one server: by the kernel's counters, to what is known of each.

Reads /sys/fs/cgroup, and what the largest child process has used.

Theory of operation. The counters and their value before the first fork come from the arbiter's
state. Which kills have no owner yet is the state of `OomWatch`, which has the lock: `ended` and
`claim` run in the arbiter's main thread, all else in the supervisor's. Nothing else is kept here.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

from gunicorn_autoconf.machine.memory_events import Events, MemoryEvents
from gunicorn_autoconf.memory.beside import is_worth_showing
from gunicorn_autoconf.memory.oom import Kill, OomWatch, explains
from gunicorn_autoconf.memory.oom_lines import Doubt, OomKill
from gunicorn_autoconf.memory.throttling import High
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.units import KIB

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gunicorn_autoconf.machine.facts import MemorySupply
    from gunicorn_autoconf.machine.pressure import Pressure


class ServerOom:
    """The kernel's counters of one server's cgroup, and the kills that no worker's end explains."""

    def __init__(
        self,
        events: MemoryEvents,
        before: Sequence[Events],
        timing: Timing = DEFAULT,
    ) -> None:
        """Count by *events*, which were at *before* when the server started."""
        self._events = events
        self._watch = OomWatch(
            self.read, lambda now: events.oom_kills(tuple(now)), timing, before=before
        )

    def read(self) -> Sequence[Events]:
        """Return the counters of each level, the leaf first."""
        return self._events.read()

    def pressure(self) -> Pressure | None:
        """Return for how long processes have waited for memory; None where it is not told."""
        return self._events.pressure()

    def highs(self) -> tuple[High, ...]:
        """Return the memory.high of each level."""
        events = self._events
        levels = range(len(events.read()))
        return tuple(High(events.directory(each), events.high_bytes(each)) for each in levels)

    def ended(self, now: float) -> None:
        """Note that a worker has ended, in whichever way; its memory is free."""
        self._watch.ended(now)

    def claim(
        self, memory: MemorySupply, others: Collection[int], now: float
    ) -> OomKill | Doubt | None:
        """
        Return what is known of the OOM kill of the worker that `ended` last; None for no kill.

        *others* are the workers that the arbiter has beside it. A `Doubt` where there was a kill,
        but hardly this worker's: that kill stays unclaimed.
        """
        kill = self._watch.peek(now)
        if kill is None:
            return None
        freed = self._freed(kill)
        if freed and not explains(
            *freed, processes=self._watch.gone_since(kill, _unreaped(others))
        ):
            return freed
        self._watch.claim(now)
        freed_bytes = freed and min(freed.limit_bytes - freed.left_bytes, freed.largest_bytes)
        return self._known(kill, memory, len(others) + 1)._replace(freed_bytes=freed_bytes)

    def unclaimed(self, now: float, *, are_well: bool | None) -> list[Kill]:
        """Return the kills of other processes than workers; see `OomWatch.unclaimed`."""
        return self._watch.unclaimed(now, are_well=are_well)

    @property
    def has_unclaimed(self) -> bool:
        """Whether a kill waits to be laid to a process."""
        return self._watch.has_unclaimed

    def _freed(self, kill: Kill) -> Doubt | None:
        """Return what tells how much of the limit became free; None where nothing does."""
        events = self._events
        if kill.level is None:
            return None
        limit_bytes, left_bytes = events.limit_bytes(kill.level), events.usage_bytes(kill.level)
        if limit_bytes is None or left_bytes is None:
            return None
        # No child that was reaped so far, nor one of theirs, has ever used more.
        largest_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIB
        return Doubt(limit_bytes, left_bytes, largest_bytes)

    def _known(self, kill: Kill, memory: MemorySupply, workers: int) -> OomKill:
        events = self._events
        known = OomKill(workers, shared_counter=events.counter if events.is_shared else None)
        if kill.level is not None:
            limit_bytes = events.limit_bytes(kill.level)
            known = known._replace(directory=events.directory(kill.level), limit_bytes=limit_bytes)
            shared_bytes = events.shared_bytes(kill.level)
            if limit_bytes and is_worth_showing(shared_bytes, limit_bytes):
                known = known._replace(shared_bytes=shared_bytes)
        elif not memory.limits and memory.lowest:
            known = known._replace(machine_bytes=memory.lowest.limit_bytes)
        elif memory.lowest and not events.counts_limit_hits:
            directory = memory.lowest.origin.path.rpartition("/")[0]
            known = known._replace(directory=directory, limit_bytes=memory.lowest.limit_bytes)
        return known


def _unreaped(pids: Collection[int]) -> int:
    """Return how many of these child processes have ended, although none of it is known yet."""
    ended = 0
    for pid in pids:
        with suppress(ChildProcessError):  # It was reaped this very moment.
            ended += os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    return ended
