"""
Declaration against measurement: what the requests would gain from another workload. Pure.

How many requests n workers with s slots each can answer in a second has two bounds: n * s requests
at once, each for W seconds, and what the cores compute, D seconds for each. A process computes on
one core. Where another row of the workload table could answer half as many more, that is a
`Verdict`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.load.evidence import Request
from gunicorn_autoconf.plan.workload import ANYIO_THREADS, IO_THREADS, WORKLOADS, Workload
from gunicorn_autoconf.worker_classes import Interface

# A verdict is worth a line from this gain on ...
LEAST_GAIN = 1.5
# ... and goes on until the gain is below this one.
LASTING_GAIN = 1.25
# A workload with fewer threads is as good if it comes so near to the best.
NEARLY = 0.9


class Cause(str, Enum):
    """Why the server answers fewer requests than its cores could compute."""

    WAITS = "waits"
    """Requests wait, and each takes up a worker or a thread meanwhile."""
    BLOCKS = "blocks"
    """Requests keep their event loop from all others without computing."""
    POOL = "pool"
    """Synchronous code waits for a thread of a pool."""


class Serving(NamedTuple):
    """How requests are served now."""

    interface: Interface
    cores: float
    workers: int
    slots: int | None
    """How many requests one worker serves at once; None where nothing bounds them."""
    threads: int = 1
    most_at_once: int | None = None
    """``GUNICORN_MAX_CONCURRENCY``."""
    sets_workers: bool = False
    """Whether the operator has set the count ..."""
    sets_threads: bool = False
    """... the threads, or the worker class."""

    @property
    def pool_threads(self) -> int:
        """How many threads all pools have together."""
        return self.workers * (self.threads if self.threads > 1 else ANYIO_THREADS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What would be gained, and by what.

    Attributes:
        cause: Why the server answers fewer requests than it could.
        workload: What to declare; None where only the code, or `threads`, helps.
        threads: How many threads a worker would have then.
        now_per_second: How many requests *serving* can answer.
        could_per_second: How many could be answered at most, if clients ask for as many.
        is_cores: Whether it is the cores that bound that.
    """

    cause: Cause
    workload: Workload | None
    threads: int
    request: Request
    serving: Serving
    now_per_second: float
    could_per_second: float
    is_cores: bool

    @property
    def gain(self) -> float:
        """How many times as many requests could be answered."""
        return self.could_per_second / self.now_per_second


def judge(request: Request, serving: Serving, before: Verdict | None = None) -> Verdict | None:
    """
    Return what would help most; None where nothing would help much.

    *before* is the last verdict, which holds on for a while.
    """
    if serving.interface is Interface.ASGI:
        candidates = [_blocks(request, serving), _pool(request, serving)]
    else:
        candidates = [_waits(request, serving)]
    found = max(filter(None, candidates), key=lambda verdict: verdict.gain, default=None)
    if found is None:
        return None
    is_same = before and (before.cause, before.workload) == (found.cause, found.workload)
    return found if found.gain >= (LASTING_GAIN if is_same else LEAST_GAIN) else None


def _waits(request: Request, serving: Serving) -> Verdict | None:
    if serving.slots is None:
        return None
    now = _per_second(request, serving, serving.workers, serving.slots)
    could = [(_per_second(request, serving, *counts), name) for name, *counts in _rows(serving)]
    most = max(rate for rate, _ in could)
    rate, workload = next(row for row in could if row[0] >= most * NEARLY)
    threads = WORKLOADS[workload, serving.interface].threads
    if threads == 1:
        return None  # As many processes as it takes are the plan's own affair.
    return Verdict(
        cause=Cause.WAITS,
        workload=None if serving.sets_threads else workload,
        threads=threads,
        request=request,
        serving=serving,
        now_per_second=now,
        could_per_second=rate,
        is_cores=rate >= serving.cores / request.computing_seconds * NEARLY,
    )


def _rows(serving: Serving) -> Iterator[tuple[Workload, int, int]]:
    """Yield workers and threads of each workload, the one with the fewest threads first."""
    for workload in (Workload.CPU, Workload.MIXED, Workload.IO):
        shape = WORKLOADS[workload, serving.interface]
        workers = shape.workers.count(serving.cores)
        yield workload, serving.workers if serving.sets_workers else workers, shape.threads


def _per_second(request: Request, serving: Serving, workers: int, slots: int) -> float:
    at_once = min(workers * slots, serving.most_at_once or workers * slots)
    cores = min(serving.cores, workers)
    return min(at_once / request.whole_seconds, cores / request.computing_seconds)


def _blocks(request: Request, serving: Serving) -> Verdict | None:
    """The loops are blocked for longer than they compute."""
    blocking = request.blocking_seconds
    if blocking is None or blocking <= request.computing_seconds:
        return None
    cores = min(serving.cores, serving.workers)
    return Verdict(
        cause=Cause.BLOCKS,
        workload=None,
        threads=serving.threads,
        request=request,
        serving=serving,
        now_per_second=serving.workers / blocking,
        could_per_second=cores / request.computing_seconds,
        is_cores=True,
    )


def _pool(request: Request, serving: Serving) -> Verdict | None:
    """Calls wait for a thread although cores are idle."""
    now = request.full_per_second
    if now is None:
        return None
    shape = WORKLOADS[Workload.IO, Interface.ASGI]
    workers = serving.workers if serving.sets_workers else shape.workers.count(serving.cores)
    by_threads = now * workers * IO_THREADS / serving.pool_threads
    by_cores = serving.cores / request.computing_seconds
    return Verdict(
        cause=Cause.POOL,
        workload=None if serving.sets_threads else Workload.IO,
        threads=IO_THREADS,
        request=request,
        serving=serving,
        now_per_second=now,
        could_per_second=min(by_threads, by_cores),
        is_cores=by_cores <= by_threads,
    )
