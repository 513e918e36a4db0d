"""How sure a ratio of two rates is: a bootstrap over pairs from the same rounds. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

# To say that one is better, and to say that it does not matter. The first is looked for after
# every round, and each look is one more chance to be wrong.
SURE, LIKELY = 0.99, 0.95

_RESAMPLES = 800
_VAGUE = 3.0
_NORMAL = {SURE: 2.576, LIKELY: 1.960}
# Quantiles of Student's t for 1, 2, 3, ... degrees of freedom; the last holds for all beyond.
_STUDENT = {
    SURE: (
        *(63.66, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169),
        *(3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845),
    ),
    LIKELY: (
        *(12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
        *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    ),
}


class Interval(NamedTuple):
    """A ratio and the values between which it lies."""

    low: float
    middle: float
    high: float

    @property
    def is_vague(self) -> bool:
        """Whether it says nothing, as of a few rounds that do not agree."""
        return self.high > _VAGUE * self.middle


class Ratio:
    """
    The ratio in several pairs: its geometric mean, and how sure that is.

    An interval is a percentile bootstrap of the mean logarithm, stretched about its middle to the
    width of Student's t, and never narrower than that: of few pairs a bootstrap is too narrow.

    Source:
        T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.3.

    >>> Ratio([(1.0, 1.0)]).interval(LIKELY)
    Interval(low=0.0, middle=1.0, high=inf)
    """

    def __init__(self, pairs: Sequence[tuple[float, float]]) -> None:
        logs = [math.log(first / second) for first, second in pairs]
        self._middle, self._count = statistics.fmean(logs), len(logs)
        self._error = statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
        chance = Random(len(logs))  # Seeded: the same pairs, the same interval.
        self._means = sorted(
            sum(chance.choices(logs, k=len(logs))) / len(logs)
            for _ in range(_RESAMPLES if len(logs) > 1 else 0)
        )

    def interval(self, confidence: float) -> Interval:
        """Return the interval of *confidence*, which is `SURE` or `LIKELY`."""
        if not self._means:
            return Interval(0.0, math.exp(self._middle), math.inf)
        tail = round(_RESAMPLES * (1 - confidence) / 2)
        table = _STUDENT[confidence]
        student = table[min(self._count - 2, len(table) - 1)]
        stretch = student / _NORMAL[confidence] * math.sqrt(self._count / (self._count - 1))

        below = max((self._middle - self._means[tail]) * stretch, student * self._error)
        above = max((self._means[-1 - tail] - self._middle) * stretch, student * self._error)
        # A float ends at 1e308.
        high = math.exp(min(self._middle + above, 700.0))
        return Interval(math.exp(self._middle - below), math.exp(self._middle), high)
