"""What is best: the highest rate at which the 99th percentile keeps a limit. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from gunicorn_autoconf.cli.tune.latencies import Latencies
from gunicorn_autoconf.cli.tune.outcome import Step

# The limit of the 99th percentile where none is declared: as a multiple of the median under a
# light load, and of the 99th percentile there, for a mix in which some requests take long.
MEDIAN_FACTOR, TAIL_FACTOR = 4.0, 2.0
# Below this, what the kernel's scheduler does on a shared core decides, and no user sees it.
LEAST_SLO_SECONDS = 0.020

# Parts of the capacity at which latency is measured: below the knee and at it.
LOADS = (0.6, 0.85)
# And the light one, at which hardly anything queues.
LIGHT_LOAD = 0.2


def default_slo(light: Latencies) -> float:
    """Return the limit of the 99th percentile in seconds, from the latencies under a light load."""
    median, tail = light.quantile(0.5) or 0.0, light.quantile(0.99) or 0.0
    return max(MEDIAN_FACTOR * median, TAIL_FACTOR * tail, LEAST_SLO_SECONDS)


def fraction_within(steps: Sequence[Step], slo_seconds: float, light_seconds: float) -> float:
    """
    Return the part of the capacity at which the limit is reached, between 0 and 1.

    *light_seconds* is the 99th percentile under a light load, the lower end of the curve. Between
    the loads that were measured, the logarithm of the latency is taken to be straight. At most the
    highest of these loads counts: beyond it a queue grows for as long as one looks.
    """
    # A load with more than a bad answer in a hundred has no 99th percentile: it is endless.
    points = [(0.0, light_seconds)] + [
        (step.fraction, step.p99_seconds or math.inf) for step in steps
    ]
    for (low, below), (high, above) in pairwise(points):
        if above > slo_seconds:
            if math.isinf(above) or below >= slo_seconds:
                return low
            part = math.log(slo_seconds / below) / math.log(above / below)
            return low + (high - low) * part
    return points[-1][0]
