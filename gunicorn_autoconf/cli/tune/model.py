"""What a candidate is short of, and what that says of the application, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import groupby
from typing import NamedTuple

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.units import format_latency

# A resource that is used to this part is what a candidate is short of.
_FULL = 0.8
# Requests that compute for less of their time than this mostly wait.
_WAITS, _COMPUTES = 0.5, 0.8


class Bound(str, Enum):
    """What a candidate is short of at its capacity."""

    CORES = "the cores"
    PROCESSES = "one core for each process (the GIL)"
    SLOTS = "slots"
    LOAD = "the load"
    ELSEWHERE = "something else: a database, a lock, the GIL"


class Use(NamedTuple):
    """
    What a candidate uses at its capacity.

    Attributes:
        capacity: Answers a second.
        cpu_cores: That its processes keep busy.
        cores: That the load and other programs leave to them.
        takes_seconds: For how long a request holds a slot where hardly anything queues.
        is_load_bound: Whether the load was at its limit.
    """

    capacity: float
    cpu_cores: float
    cores: float
    takes_seconds: float
    is_load_bound: bool = False


def bound_of(candidate: Candidate, use: Use) -> Bound:
    """Return what *candidate* is short of."""
    if use.is_load_bound:
        return Bound.LOAD
    if use.cpu_cores >= _FULL * use.cores:
        return Bound.CORES
    if candidate.workers < use.cores and use.cpu_cores >= _FULL * candidate.workers:
        return Bound.PROCESSES
    if candidate.slots and use.capacity * use.takes_seconds >= _FULL * candidate.slots:
        return Bound.SLOTS
    return Bound.ELSEWHERE


def describe_request(compute_seconds: float | None, takes_seconds: float | None) -> str | None:
    """Return what a request spends its time on, in one sentence; None where it is not known."""
    if not compute_seconds or not takes_seconds:
        return None
    share = min(compute_seconds / takes_seconds, 1.0)
    kind = "mostly waits" if share < _WAITS else "does both"
    kind = "computes" if share > _COMPUTES else kind
    computes, takes = format_latency(compute_seconds), format_latency(takes_seconds)
    return f"A request computes {computes} of its {takes}: it {kind}."


def describe_bounds(found: Iterable[tuple[Candidate, Bound]]) -> Iterator[str]:
    """
    Yield what bounds each worker class as it grows.

    >>> small = Candidate(worker_class="gthread", workers=2, threads=8)
    >>> large = Candidate(worker_class="gthread", workers=2, threads=64)
    >>> list(describe_bounds([(small, Bound.SLOTS), (large, Bound.CORES)]))
    ['gthread is bound by slots up to 2 x 8, by the cores from 2 x 64 on.']
    """
    by_class: dict[str, list[tuple[Candidate, Bound]]] = {}
    for candidate, bound in found:
        by_class.setdefault(candidate.class_label, []).append((candidate, bound))
    for name, rows in by_class.items():
        rows.sort(key=lambda row: _size(row[0]))
        parts = [(bound, [row[0] for row in run]) for bound, run in groupby(rows, lambda r: r[1])]
        yield f"{name} is bound {', '.join(_phrases(parts))}."


def _phrases(parts: Sequence[tuple[Bound, list[Candidate]]]) -> Iterator[str]:
    for index, (bound, members) in enumerate(parts):
        if len(parts) == 1:
            yield f"by {bound.value}"
        elif index == 0:
            yield f"by {bound.value} up to {_label(members[-1])}"
        else:
            end = " on" if index == len(parts) - 1 else ""
            yield f"by {bound.value} from {_label(members[0])}{end}"


def _size(candidate: Candidate) -> int:
    return candidate.slots or candidate.workers


def _label(candidate: Candidate) -> str:
    return candidate.label.removeprefix(candidate.class_label).strip()
