"""
How sure a ratio of two rates is: a bootstrap over pairs from the same rounds.

Chance comes from a seeded `random.Random`: the same pairs give the same interval.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# To say that one is better, and to say that it does not matter. The first is looked for after
# every round, and each look is one more chance to be wrong.
SURE, LIKELY = 0.99, 0.95

_RESAMPLES = 800
_NORMAL = {SURE: 2.576, LIKELY: 1.960}
# Quantiles of Student's t for 1, 2, 3, ... degrees of freedom; the last holds for all beyond.
_STUDENT = {
    SURE: (63.66, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012,
           2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845, 2.831, 2.819, 2.807, 2.797, 2.787),
    LIKELY: (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
             2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060),
}  # fmt: skip


class Interval(NamedTuple):
    """A ratio and the values between which it lies."""

    low: float
    middle: float
    high: float


def ratio_interval(pairs: Sequence[tuple[float, float]], confidence: float = LIKELY) -> Interval:
    """
    Return the geometric mean of the ratios in *pairs*, and its interval.

    It is a percentile bootstrap of the mean logarithm, stretched about its middle to the width of
    Student's t: of few pairs the plain bootstrap is too narrow.

    Source:
        T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.3.

    >>> ratio_interval([(1.0, 1.0)])
    Interval(low=0.0, middle=1.0, high=inf)
    """
    logs = [math.log(first / second) for first, second in pairs]
    middle, count = statistics.fmean(logs), len(logs)
    if count < 2:
        return Interval(0.0, math.exp(middle), math.inf)
    chance = random.Random(count)
    means = sorted(statistics.fmean(chance.choices(logs, k=count)) for _ in range(_RESAMPLES))
    tail = round(_RESAMPLES * (1 - confidence) / 2)
    table = _STUDENT[confidence]
    student = table[min(count - 2, len(table) - 1)]
    stretch = student / _NORMAL[confidence] * math.sqrt(count / (count - 1))
    low = middle + (means[tail] - middle) * stretch
    high = middle + (means[-1 - tail] - middle) * stretch
    return Interval(math.exp(low), math.exp(middle), math.exp(min(high, 700.0)))
