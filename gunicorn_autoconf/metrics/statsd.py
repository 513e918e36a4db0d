"""
Snapshots to metrics for statsd. Pure.

A new metric is a row of `METRICS` and one in ``docs/how-to/statsd.md``. statsd has no labels, and
its counters are told what is new since the last time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gunicorn_autoconf.metrics.endings import Ending
from gunicorn_autoconf.metrics.snapshot import Snapshot, State

PREFIX = "gunicorn.autoconf."

GAUGE, COUNTER = "gauge", "counter"


class Message(NamedTuple):
    """One message to statsd, in the words of Gunicorn's client."""

    metric: str
    value: float
    mtype: str


class _Row(NamedTuple):
    name: str
    mtype: str
    read: Callable[[Snapshot], float | None]


def _exits(reason: Ending) -> _Row:
    return _Row(f"exits.{reason.value}", COUNTER, lambda now: now.endings.get(reason.value, 0))


def _largest_uss(now: Snapshot) -> int | None:
    if now.sample is None:
        return None
    return max((worker.uss_bytes for worker in now.sample.workers), default=0)


METRICS: tuple[_Row, ...] = (
    _Row("workers", GAUGE, lambda now: sum(now.workers.values())),
    _Row("workers.ready", GAUGE, lambda now: now.workers.get(State.READY, 0)),
    _Row("slots", GAUGE, lambda now: now.slots),
    _Row("slots.busy", GAUGE, lambda now: now.busy_slots),
    _Row("in_flight", GAUGE, lambda now: now.in_flight),
    _Row("requests", COUNTER, lambda now: now.totals.requests),
    _Row("request.seconds", COUNTER, lambda now: now.totals.slot_seconds),
    _Row("cpu.seconds", COUNTER, lambda now: now.totals.cpu_seconds),
    _Row("rejected", COUNTER, lambda now: now.totals.rejected),
    _Row("stalls", COUNTER, lambda now: now.stalls),
    *(_exits(reason) for reason in Ending),
    _Row("headroom", GAUGE, lambda now: now.sample and now.sample.headroom_bytes),
    _Row("pss", GAUGE, lambda now: now.sample and sum(w.pss_bytes for w in now.sample.workers)),
    _Row("worker.uss", GAUGE, _largest_uss),
    _Row("budget", GAUGE, lambda now: now.budget_bytes),
)


def messages(now: Snapshot, before: Snapshot | None) -> Iterator[Message]:
    """Yield what there is to send *now*; of counters what is new since *before*."""
    for name, mtype, read in METRICS:
        value = read(now)
        if value is not None and mtype == COUNTER:
            value -= (before and read(before)) or 0
        if value is not None and (value or mtype == GAUGE):
            yield Message(PREFIX + name, round(value, 3), mtype)
