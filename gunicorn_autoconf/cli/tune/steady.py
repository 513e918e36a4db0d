"""Whether latency still falls, which says that a server is not warm yet. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

# The last windows that are looked at, in two halves.
WINDOWS = 4
# A second half that is faster than the first by no more than this has no slope.
_FLAT = 0.05


def is_steady(medians: Sequence[float]) -> bool:
    """
    Return whether the last windows, with these median latencies, are no faster than those before.

    >>> is_steady([9.0, 5.0, 2.0, 1.0]), is_steady([9.0, 5.0, 2.0, 1.0, 1.0, 1.0, 1.01])
    (False, True)
    """
    if len(medians) < WINDOWS:
        return False
    last = medians[-WINDOWS:]
    earlier, later = last[: WINDOWS // 2], last[WINDOWS // 2 :]
    return statistics.fmean(later) >= statistics.fmean(earlier) * (1 - _FLAT)
