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


def intervals(pairs: Sequence[tuple[float, float]]) -> dict[float, Interval]:
    """
    Return the geometric mean of the ratio in *pairs*, and how sure that is: `SURE` and `LIKELY`.

    An interval is a percentile bootstrap of the mean logarithm, stretched about its middle to the
    width of Student's t, and never narrower than that: of few pairs a bootstrap is too narrow.

    Source:
        T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.3.

    >>> intervals([(1.0, 1.0)])[LIKELY]
    Interval(low=0.0, middle=1.0, high=inf)
    """
    logs, count = [math.log(first / second) for first, second in pairs], len(pairs)
    middle = statistics.fmean(logs)
    if count == 1:
        return dict.fromkeys(_STUDENT, Interval(0.0, math.exp(middle), math.inf))
    error = statistics.stdev(logs) / math.sqrt(count)
    chance = Random(count)  # Seeded: the same pairs, the same interval.
    means = sorted(sum(chance.choices(logs, k=count)) / count for _ in range(_RESAMPLES))
    found = {}
    for confidence, table in _STUDENT.items():
        student = table[min(count - 2, len(table) - 1)]
        stretch = student / _NORMAL[confidence] * math.sqrt(count / (count - 1))
        tail = round(_RESAMPLES * (1 - confidence) / 2)
        below = max((middle - means[tail]) * stretch, student * error)
        above = max((means[-1 - tail] - middle) * stretch, student * error)
        # A float ends at 1e308.
        high = math.exp(min(middle + above, 700.0))
        found[confidence] = Interval(math.exp(middle - below), math.exp(middle), high)
    return found
