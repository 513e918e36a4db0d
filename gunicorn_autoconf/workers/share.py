"""Which of the connections that wait are for this worker to accept, and how long others may. Pure.

The worker that comes first accepts everything, if it can: of 32 connections opened at once
asyncio's own loop took 26, or all, with two workers. So a worker takes no more than brings all
workers to the same level. What is left it leaves to the others, for some milliseconds and a bounded
number of times: they may be stuck, and a connection must not wait for a worker that does not come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# One after the other, 15 ms in all. Then the worker takes one connection more than its share.
DELAYS_SECONDS = (0.001, 0.002, 0.003, 0.004, 0.005)
# A connection that is left alone is taken by another worker within less; what waits then is new.
FORGET_SECONDS = 0.05

# At most so many at once: the requests on those that are open wait meanwhile.
BATCH = 64


def share_of(own: int, others: Sequence[int], waiting: int) -> int:
    """
    Return how many of *waiting* connections a worker with *own* connections should accept.

    Those with the fewest are filled up first, until all are level. 0 leaves them to the others.

    >>> share_of(0, [0], waiting=32)
    16
    >>> share_of(5, [4], waiting=1)
    0
    >>> share_of(4, [5, 100], waiting=1)
    1
    """
    loads = sorted((own, *others))
    filled = 0
    for count, load in enumerate(loads, 1):
        filled += load
        level = (filled + waiting) / count
        if count < len(loads) and level <= loads[count]:
            break
    return max(math.ceil(level) - own, 0)


class Patience:
    """How long one worker still leaves connections to the others."""

    def __init__(self) -> None:
        self._rounds = 0
        self._asked_at = float("-inf")

    def next_delay(self, now: float) -> float | None:
        """Return for how many seconds to leave what waits to others; None to take one now."""
        if now - self._asked_at > FORGET_SECONDS:
            self._rounds = 0
        self._asked_at = now
        if self._rounds == len(DELAYS_SECONDS):
            self._rounds = 0
            return None
        self._rounds += 1
        return DELAYS_SECONDS[self._rounds - 1]
