"""How much of the machine others had while something was measured. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

# Where so much of the CPU time was idle, what others took was not taken from the server.
_SPARE_FRACTION = 0.15


class CpuClock(NamedTuple):
    """
    What the CPUs have done since the machine started, in seconds, and what we have done of it.

    Attributes:
        total: All of it.
        busy: In processes, those of virtual machines included.
        stolen: Taken by the hypervisor.
        own: What the server and the load have used.
    """

    total: float
    busy: float
    stolen: float
    own: float


def disturbance(before: CpuClock, after: CpuClock) -> float:
    """
    Return the share of CPU time that others had, or 0 where enough was idle.

    >>> disturbance(CpuClock(0, 0, 0, 0), CpuClock(100, 96, 0, 80))
    0.16
    """
    passed = after.total - before.total
    if passed <= 0:
        return 0.0
    stolen = max(after.stolen - before.stolen, 0.0)
    busy = max(after.busy - before.busy, 0.0)
    others = max(busy - max(after.own - before.own, 0.0), 0.0)
    idle = passed - busy - stolen
    return 0.0 if idle / passed > _SPARE_FRACTION else (stolen + others) / passed


def drift(references: Sequence[float]) -> float:
    """
    Return how much the same piece of computing varied, as a part of what it takes.

    >>> round(drift([1.0, 1.1, 0.9, 1.0, 1.1]), 2)
    0.15
    """
    return deviation(references) / statistics.median(references) if references else 0.0


def deviation(values: Sequence[float]) -> float:
    """
    Return the median absolute deviation, scaled to the standard deviation of normal values.

    Of the shares that others took in each block: a database that the application asks takes its
    share each time, and that is no noise.

    >>> round(deviation([0.5, 0.52, 0.48]), 2)
    0.03
    """
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(each - middle) for each in values)
