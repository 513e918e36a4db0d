"""
The arbiter's processes: which of them are helpers, and which have gone. Reads /proc.

Theory of operation. `look` compares the arbiter's descendants with those of the look before: one
that is missing and was no worker is a helper that has gone. Gone helpers are remembered for
`GONE_SECONDS`, or until `gone` returns them to explain an OOM kill. Only the supervisor's thread
uses it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

from gunicorn_autoconf.fleet.sample import Helper
from gunicorn_autoconf.machine.descendants import list_descendants
from gunicorn_autoconf.machine.process_memory import read_rss
from gunicorn_autoconf.machine.process_state import ProcessState, read_process_state

# How often all processes are looked at, at most: with 500 threads that takes 5 ms.
LOOK_SECONDS = 2.0
# How long a helper that has gone is remembered.
GONE_SECONDS = 30.0


class Relatives:
    """The processes as they were seen last."""

    def __init__(
        self,
        *,
        descendants: Callable[[int], list[int]] = list_descendants,
        state: Callable[[int], ProcessState | None] = read_process_state,
        rss: Callable[[int], int | None] = read_rss,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no past; the arguments look at a process, by its pid."""
        self._descendants = descendants
        self._state = state
        self._rss = rss
        self._clock = clock
        self._looked_at: float | None = None
        self._helpers: dict[int, Helper] = {}
        self._gone: list[tuple[float, Helper]] = []

    def look(self, workers: Iterable[int], *, now: bool = False) -> None:
        """Look at all processes, *now* or where it is time to."""
        at = self._clock()
        if not now and self._looked_at is not None and at - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = at
        known = set(workers)
        pids = [pid for pid in self._descendants(os.getpid()) if pid not in known]
        states = {pid: state for pid in pids if (state := self._state(pid))}
        living = {pid: state for pid, state in states.items() if not state.is_ending}
        gone = [helper for pid, helper in self._helpers.items() if pid not in living]
        self._gone = [(when, who) for when, who in self._gone if at - when < GONE_SECONDS]
        self._gone += [(at, helper) for helper in gone if helper.pid not in known]
        self._helpers = {
            pid: Helper(pid, state.name, _worker(pid, states, known), rss_bytes)
            for pid, state in living.items()
            if (rss_bytes := self._rss(pid))
        }

    def gone(self) -> list[Helper]:
        """Return the helpers that have gone lately, the largest first, and forget them."""
        gone, self._gone = self._gone, []
        return sorted((helper for _, helper in gone), key=lambda each: each.rss_bytes, reverse=True)

    def are_well(self, workers: Iterable[int]) -> bool:
        """Whether all *workers* live and none of them is ending."""
        states = map(self._state, workers)
        return all(state is not None and not state.is_ending for state in states)


def _worker(pid: int, states: Mapping[int, ProcessState], workers: set[int]) -> int | None:
    """Return the worker above *pid*; None for an orphan, which the arbiter has adopted."""
    for _ in range(len(states) + 1):
        if pid in workers:
            return pid
        if pid not in states:
            return None
        pid = states[pid].parent
    return None
