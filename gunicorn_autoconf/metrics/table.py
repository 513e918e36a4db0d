"""
The one table of metrics: name, type, labels, meaning, and where the value comes from. Pure.

A new metric is a row of `METRICS`, and where it needs another fact a field of `Snapshot`. The
reference page and what is checked of dashboard and alerts follow from the row. Names and units are
as Prometheus' "Metric and label naming" asks: base units, and ``_total`` for what only grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import accumulate

from gunicorn_autoconf.fleet.counters import DURATIONS_SECONDS
from gunicorn_autoconf.metrics.metric import Distribution, Kind, Metric, Value
from gunicorn_autoconf.metrics.snapshot import Snapshot, Throttled


def _one(read: Callable[[Snapshot], float | None]) -> Callable[[Snapshot], Iterator[Value]]:
    """Return what yields a value without labels, where there is one."""

    def values(snapshot: Snapshot) -> Iterator[Value]:
        value = read(snapshot)
        if value is not None:
            yield (), value

    return values


def _about(snapshot: Snapshot) -> Iterator[Value]:
    yield tuple(snapshot.labels.get(label, "") for label in _ABOUT), 1


def _workers(snapshot: Snapshot) -> Iterator[Value]:
    for state, count in snapshot.workers.items():
        yield (state.value,), count


def _exits(snapshot: Snapshot) -> Iterator[Value]:
    for reason, count in snapshot.endings.items():
        yield (reason,), count


def _backlogs(snapshot: Snapshot) -> Iterator[Value]:
    for listener, waiting in snapshot.backlogs.items():
        yield (listener,), waiting


def _bounds(snapshot: Snapshot) -> Iterator[Value]:
    for bound, holds in snapshot.bounds.items():
        yield (bound,), holds


def _advice(snapshot: Snapshot) -> Iterator[Value]:
    if snapshot.advice:
        yield (snapshot.advice.cause, snapshot.advice.workload), snapshot.advice.gain


def _memory(snapshot: Snapshot) -> Iterator[Value]:
    for worker in snapshot.sample.workers if snapshot.sample else ():
        if (number := snapshot.numbers.get(worker.pid)) is not None:
            yield (str(number), "uss"), worker.uss_bytes
            yield (str(number), "pss"), worker.pss_bytes
            yield (str(number), "helpers"), worker.helper_bytes


def _durations(snapshot: Snapshot) -> Iterator[Value]:
    bounds, counts = (*DURATIONS_SECONDS, math.inf), accumulate(snapshot.totals.durations)
    yield (), Distribution(tuple(zip(bounds, counts, strict=True)), snapshot.totals.slot_seconds)


def _throttled(read: Callable[[Throttled], float]) -> Callable[[Snapshot], Iterator[Value]]:
    def values(snapshot: Snapshot) -> Iterator[Value]:
        for cgroup, done in snapshot.throttled.items():
            yield (cgroup,), read(done)

    return values


_ABOUT = ("version", "worker_class", "workload", "interface")

METRICS: tuple[Metric, ...] = (
    Metric("info", Kind.GAUGE, "What the server is; always 1.", _about, _ABOUT),
    # Workers
    Metric(
        "workers",
        Kind.GAUGE,
        "Workers by what they do: booting, ready, or draining after they were told to exit.",
        _workers,
        ("state",),
    ),
    Metric(
        "workers_target",
        Kind.GAUGE,
        "Workers that Gunicorn is set to run.",
        _one(lambda now: now.target),
    ),
    Metric(
        "workers_planned",
        Kind.GAUGE,
        "Workers in the current plan, before the guards change the count.",
        _one(lambda now: now.planned),
    ),
    Metric(
        "worker_exits_total",
        Kind.COUNTER,
        "Workers that have ended: oom (OOM killer), timeout, recycled or shrunk (by the guard), "
        "crashed, exited (in order: a reload, max_requests, a signal).",
        _exits,
        ("reason",),
    ),
    # Requests
    Metric(
        "slots",
        Kind.GAUGE,
        "Requests that the ready workers can serve at once; absent where an event loop has no "
        "bound.",
        _one(lambda now: now.slots),
    ),
    Metric(
        "busy_slots",
        Kind.GAUGE,
        "Slots that serve a request at this moment; absent where slots is.",
        _one(lambda now: now.busy_slots),
    ),
    Metric(
        "requests_in_flight",
        Kind.GAUGE,
        "Requests and WebSockets that the ready workers serve at this moment.",
        _one(lambda now: now.in_flight),
    ),
    Metric(
        "requests_total",
        Kind.COUNTER,
        "Completed HTTP requests, failed ones included.",
        _one(lambda now: now.totals.requests),
    ),
    Metric(
        "request_seconds_total",
        Kind.COUNTER,
        "Time that requests took, summed, those that go on counted up to now. Its rate is how many "
        "slots were busy on average.",
        _one(lambda now: now.totals.slot_seconds),
    ),
    Metric(
        "request_duration_seconds",
        Kind.HISTOGRAM,
        "How long requests took that are over. Its sum is request_seconds_total.",
        _durations,
    ),
    Metric(
        "busy_seconds_total",
        Kind.COUNTER,
        "Time in which a worker had at least one request, summed over the workers.",
        _one(lambda now: now.totals.busy_seconds),
    ),
    Metric(
        "queue_seconds_total",
        Kind.COUNTER,
        "Time that requests waited before a worker got them, summed.",
        _one(lambda now: now.totals.queue_seconds),
    ),
    Metric(
        "queued_requests_total",
        Kind.COUNTER,
        "Requests whose wait for a worker is known.",
        _one(lambda now: now.totals.queued),
    ),
    Metric(
        "rejected_requests_total",
        Kind.COUNTER,
        "Requests that were refused before they were served.",
        _one(lambda now: now.totals.rejected),
    ),
    Metric(
        "backlog_connections",
        Kind.GAUGE,
        "Connections that wait to be accepted, by listening socket; absent for a Unix socket.",
        _backlogs,
        ("listener",),
    ),
    Metric(
        "loop_seconds_total",
        Kind.COUNTER,
        "Time in which event loops were busy or blocked, summed over the workers.",
        _one(lambda now: now.totals.loop_seconds),
    ),
    Metric(
        "pool_seconds_total",
        Kind.COUNTER,
        "Time in which calls waited for a thread of a full pool, summed over the workers.",
        _one(lambda now: now.totals.pool_seconds),
    ),
    Metric(
        "bound",
        Kind.GAUGE,
        "1 for what bounded the server in the last minute, 0 for all else: cores, slots, memory, "
        "loop, one_loop (a full event loop beside others that have room), database "
        "(GUNICORN_MAX_CONCURRENCY) or nothing.",
        _bounds,
        ("by",),
    ),
    Metric(
        "possible_gain_ratio",
        Kind.GAUGE,
        "How many times as many requests another declaration would answer; absent where none would "
        "help. The log says more.",
        _advice,
        ("cause", "workload"),
    ),
    Metric(
        "stalls_total",
        Kind.COUNTER,
        "Number of times that code blocked an event loop for longer than GUNICORN_STALL_WARNING.",
        _one(lambda now: now.stalls),
    ),
    # CPU
    Metric(
        "cpu_seconds_total",
        Kind.COUNTER,
        "CPU time of all workers, exited ones included.",
        _one(lambda now: now.totals.cpu_seconds),
    ),
    Metric(
        "cores",
        Kind.GAUGE,
        "Cores that the plan uses: affinity, quota or GUNICORN_CPUS.",
        _one(lambda now: now.cores),
    ),
    Metric(
        "cpu_quota_periods_total",
        Kind.COUNTER,
        "Periods of a CPU quota above the server in which a process was ready to run.",
        _throttled(lambda done: done.periods),
        ("cgroup",),
    ),
    Metric(
        "cpu_throttled_periods_total",
        Kind.COUNTER,
        "Periods in which that quota was used up.",
        _throttled(lambda done: done.throttled_periods),
        ("cgroup",),
    ),
    Metric(
        "cpu_throttled_seconds_total",
        Kind.COUNTER,
        "Time for which that quota kept processes from running, summed over the cores.",
        _throttled(lambda done: done.throttled_seconds),
        ("cgroup",),
    ),
    # Memory
    Metric(
        "worker_memory_bytes",
        Kind.GAUGE,
        "Memory of each worker: uss (its own), pss (shared pages by share) and helpers (its child "
        "processes). A replacement takes over the number of the worker that it replaces.",
        _memory,
        ("worker", "kind"),
    ),
    Metric(
        "memory_limit_bytes",
        Kind.GAUGE,
        "The limit that leaves least.",
        _one(lambda now: now.sample and now.sample.limit_bytes),
    ),
    Metric(
        "memory_headroom_bytes",
        Kind.GAUGE,
        "What is left under that limit, page cache aside.",
        _one(lambda now: now.sample and now.sample.headroom_bytes),
    ),
    Metric(
        "memory_budget_bytes",
        Kind.GAUGE,
        "What the workers may use together: the limit less the reserve and what others use.",
        _one(lambda now: now.budget_bytes),
    ),
)
