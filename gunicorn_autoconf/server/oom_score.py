"""The kernel's OOM killer kills a worker rather than the arbiter. Reads and writes /proc.

The kernel kills the process with the most points: its pages, shared ones in full, and
`oom_score_adj` thousandths of the limit that was hit. With ``preload_app`` the arbiter maps all
that its workers share and is often the largest. If it is killed, no process replaces workers any
more. So each worker gets as many points more as the arbiter has.

Source:
    Linux, mm/oom_kill.c, `oom_badness`; filesystems/proc.rst, "oom_score_adj".
"""

from __future__ import annotations

import math
import os
from contextlib import suppress

from gunicorn_autoconf.machine.facts import MemorySupply
from gunicorn_autoconf.machine.process_memory import read_rss

MAX_SCORE = 1000
_PATH = "/proc/self/oom_score_adj"


def points_of_arbiter(memory: MemorySupply) -> int:
    """Return what this process, the arbiter, uses of the lowest limit, in thousandths."""
    rss_bytes = read_rss(os.getpid())
    if not rss_bytes or not memory.lowest:
        return 0
    return math.ceil(rss_bytes / memory.lowest.limit_bytes * MAX_SCORE)


def add_points(points: int) -> None:
    """Add *points* to the score of this process, a worker; that needs no privilege."""
    with suppress(OSError, ValueError):  # No /proc, or one that is read-only.
        with open(_PATH, encoding="ascii") as file:
            score = int(file.read())
        if score < MAX_SCORE:
            with open(_PATH, "w", encoding="ascii") as file:
                file.write(str(min(score + points, MAX_SCORE)))
