"""
How long a test waits: in seconds of a quiet machine, stretched by what else the machine has to do.

All deadlines of all tests come from here. A deadline matters only where something is broken, so it
may be long; a condition that holds is seen at once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

# What each wait takes at most where a core is free: most take less than a second.
QUIET_SECONDS = 20.0

# How often a wait looks at the load.
_LOOK_SECONDS = 0.5

# A limit that is set once, on a socket or a process, cannot follow a load that grows later.
_GROWTH = 2.0


def slowness() -> float:
    """Return how many processes share a core now, which is how much longer everything takes."""
    # The average of a minute, and what runs at this moment: a load may be new or just over.
    return max(1.0, os.getloadavg()[0] / _CORES, _running() / _CORES)


def stretched(quiet_seconds: float = QUIET_SECONDS) -> float:
    """Return how many seconds something may take now that takes *quiet_seconds* otherwise."""
    return quiet_seconds * slowness() * _GROWTH


class Patience:
    """A deadline in seconds of a quiet machine: beside n processes for a core, each counts 1/n."""

    def __init__(self, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._left = quiet_seconds
        self._seen_at = self._began_at = time.monotonic()

    def is_over(self) -> bool:
        """Whether nothing is left; to be asked every now and then."""
        now = time.monotonic()
        if now - self._seen_at >= _LOOK_SECONDS:
            self._left -= (now - self._seen_at) / slowness()
            self._seen_at = now
        return self._left < 0

    @property
    def waited_seconds(self) -> float:
        """How long it has been, by the clock."""
        return self._seen_at - self._began_at


_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _running() -> int:
    """Return how many processes run or wait for a core; 0 where no /proc tells."""
    try:
        text = Path("/proc/stat").read_text(encoding="ascii")
    except OSError:
        return 0
    rows = dict(line.split(None, 1) for line in text.splitlines())
    return int(rows["procs_running"])
