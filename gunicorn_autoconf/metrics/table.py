"""
The one table of metrics: name, type, labels, meaning, and where the value comes from. Pure.

A new metric is a row of `METRICS`, and where it needs another fact a field of `Snapshot`. The
reference page and what is checked of dashboard and alerts follow from the row. Names and units are
as Prometheus' "Metric and label naming" asks: base units, and ``_total`` for what only grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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


def _each(
    read: Callable[[Snapshot], Mapping[str, float]],
) -> Callable[[Snapshot], Iterator[Value]]:
    """Return what yields each value, with its key as the label."""
    return lambda snapshot: (((label,), value) for label, value in read(snapshot).items())


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
    return _each(lambda now: {cgroup: read(done) for cgroup, done in now.throttled.items()})


def _gauge(name: str, meaning: str, read: Callable[[Snapshot], float | None]) -> Metric:
    return Metric(name, Kind.GAUGE, meaning, _one(read))


def _counter(name: str, meaning: str, read: Callable[[Snapshot], float | None]) -> Metric:
    return Metric(name, Kind.COUNTER, meaning, _one(read))


_ABOUT = ("version", "worker_class", "workload", "interface")

METRICS: tuple[Metric, ...] = (
    Metric("info", Kind.GAUGE, "What the server is; always 1.", _about, _ABOUT),
    # Workers
    Metric(
        "workers",
        Kind.GAUGE,
        "Workers by what they do: booting, ready, or draining after they were told to exit.",
        _each(lambda now: {state.value: count for state, count in now.workers.items()}),
        ("state",),
    ),
    _gauge("workers_target", "Workers that Gunicorn is set to run.", lambda now: now.target),
    _gauge(
        "workers_planned",
        "Workers in the current plan, before the guards change the count.",
        lambda now: now.planned,
    ),
    Metric(
        "worker_exits_total",
        Kind.COUNTER,
        "Workers that have ended: oom (OOM killer), timeout, recycled or shrunk (by the guard), "
        "crashed, exited (in order: a reload, max_requests, a signal).",
        _each(lambda now: now.endings),
        ("reason",),
    ),
    # Requests
    _gauge(
        "slots",
        "Requests that the ready workers can serve at once; absent where an event loop has no "
        "bound.",
        lambda now: now.slots,
    ),
    _gauge(
        "busy_slots",
        "Slots that serve a request at this moment; absent where slots is.",
        lambda now: now.busy_slots,
    ),
    _gauge(
        "requests_in_flight",
        "Requests and WebSockets that the ready workers serve at this moment.",
        lambda now: now.in_flight,
    ),
    _counter(
        "requests_total",
        "Completed HTTP requests, failed ones included.",
        lambda now: now.totals.requests,
    ),
    _counter(
        "request_seconds_total",
        "Time that requests took, summed, those that go on counted up to now. Its rate is how many "
        "slots were busy on average.",
        lambda now: now.totals.slot_seconds,
    ),
    Metric(
        "request_duration_seconds",
        Kind.HISTOGRAM,
        "How long requests took that are over. Its sum is request_seconds_total.",
        _durations,
    ),
    _counter(
        "busy_seconds_total",
        "Time in which a worker had at least one request, summed over the workers.",
        lambda now: now.totals.busy_seconds,
    ),
    _counter(
        "queue_seconds_total",
        "Time that requests waited before a worker got them, summed.",
        lambda now: now.totals.queue_seconds,
    ),
    _counter(
        "queued_requests_total",
        "Requests whose wait for a worker is known.",
        lambda now: now.totals.queued,
    ),
    _counter(
        "rejected_requests_total",
        "Requests that were refused before they were served.",
        lambda now: now.totals.rejected,
    ),
    Metric(
        "backlog_connections",
        Kind.GAUGE,
        "Connections that wait to be accepted, by listening socket; absent for a Unix socket.",
        _each(lambda now: now.backlogs),
        ("listener",),
    ),
    _counter(
        "loop_seconds_total",
        "Time in which event loops were busy or blocked, summed over the workers.",
        lambda now: now.totals.loop_seconds,
    ),
    _counter(
        "pool_seconds_total",
        "Time in which calls waited for a thread of a full pool, summed over the workers.",
        lambda now: now.totals.pool_seconds,
    ),
    Metric(
        "bound",
        Kind.GAUGE,
        "1 for what bounded the server in the last minute, 0 for all else: cores, slots, memory, "
        "loop, one_loop (a full event loop beside others that have room), database "
        "(GUNICORN_MAX_CONCURRENCY) or nothing.",
        _each(lambda now: now.bounds),
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
    _counter(
        "stalls_total",
        "Number of times that code blocked an event loop for longer than GUNICORN_STALL_WARNING.",
        lambda now: now.stalls,
    ),
    # CPU
    _counter(
        "cpu_seconds_total",
        "CPU time of all workers, exited ones included.",
        lambda now: now.totals.cpu_seconds,
    ),
    _gauge(
        "cores",
        "Cores that the plan uses: affinity, quota or GUNICORN_CPUS.",
        lambda now: now.cores,
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
    _gauge(
        "memory_limit_bytes",
        "The limit that leaves least.",
        lambda now: now.sample and now.sample.limit_bytes,
    ),
    _gauge(
        "memory_headroom_bytes",
        "What is left under that limit, page cache aside.",
        lambda now: now.sample and now.sample.headroom_bytes,
    ),
    _gauge(
        "memory_budget_bytes",
        "What the workers may use together: the limit less the reserve and what others use.",
        lambda now: now.budget_bytes,
    ),
)
