"""Latencies, counted in bins that are 1 % wide, and whether they still fall. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

# Each bin is so many times as long as the one below: quantiles are exact to half a percent.
_RATIO = 1.01
_LOG_RATIO = math.log(_RATIO)
# The lower end of bin 0. Nothing over HTTP is faster.
_UNIT_SECONDS = 1e-6
# A second half of the last windows that is faster than the first by no more than this has no slope.
_WINDOWS, _FLAT = 4, 0.05


class Latencies:
    """How many requests took how long."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts = Counter(counts or {})

    def add(self, seconds: float) -> None:
        """Count one request."""
        bin_ = max(int(math.log(max(seconds, _UNIT_SECONDS) / _UNIT_SECONDS) / _LOG_RATIO), 0)
        self.counts[bin_] += 1

    @property
    def total(self) -> int:
        """How many requests were counted."""
        return self.counts.total()

    def quantile(self, fraction: float) -> float | None:
        """Return the latency in seconds below which *fraction* of all lie; None where none are."""
        total = self.total
        if not total:
            return None
        rank = min(math.ceil(fraction * total), total)
        passed = 0
        for bin_ in sorted(self.counts):
            passed += self.counts[bin_]
            if passed >= rank:
                return _middle(bin_)
        raise AssertionError  # pragma: no cover - the last bin reaches the total

    @property
    def mean(self) -> float | None:
        """Return the mean latency in seconds; None where nothing was counted."""
        total = self.total
        took = sum(_middle(bin_) * count for bin_, count in self.counts.items())
        return took / total if total else None


def _middle(bin_: int) -> float:
    """Return the latency in the middle of a bin."""
    return _UNIT_SECONDS * math.exp((bin_ + 0.5) * _LOG_RATIO)


def merged(parts: Iterable[Latencies]) -> Latencies:
    """Return all of *parts* in one."""
    return Latencies(sum((part.counts for part in parts), Counter[int]()))


def is_steady(medians: Sequence[float]) -> bool:
    """
    Return whether the last windows, with these median latencies, are no faster than those before.

    Latency that still falls says that a server is not warm yet.

    >>> is_steady([9.0, 5.0, 2.0, 1.0]), is_steady([9.0, 5.0, 2.0, 1.0, 1.0, 1.0, 1.01])
    (False, True)
    """
    if len(medians) < _WINDOWS:
        return False
    last = medians[-_WINDOWS:]
    earlier, later = last[: _WINDOWS // 2], last[_WINDOWS // 2 :]
    return statistics.fmean(later) >= statistics.fmean(earlier) * (1 - _FLAT)
