"""
Readings of memory to metrics for statsd. Pure.

A new metric is a line of `metrics` and a row in ``docs/how-to/statsd.md``. What is known of each
worker stands in ``fleet/sample.py``. ``server/guard_log.py`` sends the metrics, as often as it logs
the memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_autoconf.fleet.sample import Sample
from gunicorn_autoconf.plan.budget import MemoryBudget

PREFIX = "gunicorn.autoconf."


def metrics(sample: Sample, budget: MemoryBudget | None) -> Iterator[tuple[str, int]]:
    """Yield gauges, whole numbers: the count, and in bytes the largest USS, the sum of all PSS."""
    yield f"{PREFIX}workers", len(sample.workers)
    yield f"{PREFIX}headroom", sample.headroom_bytes
    yield f"{PREFIX}pss", sum(worker.pss_bytes for worker in sample.workers)
    yield f"{PREFIX}worker.uss", max((worker.uss_bytes for worker in sample.workers), default=0)
    if budget:
        yield f"{PREFIX}budget", budget.budget_bytes
