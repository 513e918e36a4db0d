"""What bounds a candidate, and what that says of the application, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.outcome import Outcome
from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.load.capacity import Bound, Reading, Supply, measure
from gunicorn_autoconf.load.lines import bound_text
from gunicorn_autoconf.units import format_latency

# Requests that compute for less of their time than this mostly wait, for more than that compute.
WAITS, COMPUTES = 0.5, 0.8
# Where others take more than this of the cores, they do not say what the server is short of.
_MOST_TAKEN = 0.5
_LEAST_CORES = 0.1


def bound_of(
    candidate: Candidate, outcome: Outcome, cores: float, takes_seconds: float
) -> Bound | None:
    """
    Return what bounds *candidate*, by the rules by which a running server logs it.

    None where the load was at its limit. A request holds a slot for *takes_seconds* where hardly
    any queues. The numbers are seen from outside, so that they are the same for a server without
    our counters. What waits to be accepted is left out: clients that ask as fast as they can always
    wait.
    """
    if outcome.is_load_bound:
        return None
    left_cores = cores * (1 - min(outcome.disturbed_fraction, _MOST_TAKEN)) - outcome.load_cores
    slots, workers = candidate.slots, range(candidate.workers)
    each = Counters(requests=1, cpu_seconds=outcome.cpu_cores / candidate.workers)
    total = Counters(requests=1, slot_seconds=outcome.capacity * takes_seconds)
    second = [
        Reading(at_seconds=0.0, total=Counters(), workers=dict.fromkeys(workers, Counters())),
        Reading(at_seconds=1.0, total=total, workers=dict.fromkeys(workers, each)),
    ]
    supply = Supply(
        cores=max(left_cores, _LEAST_CORES),
        workers=candidate.workers,
        slots=slots and slots // candidate.workers,
        has_loop=slots is None,
    )
    load = measure(second, supply)
    return load.bound_by if load else Bound.NOTHING


def describe_request(compute_seconds: float | None, takes_seconds: float | None) -> str | None:
    """Return what a request spends its time on, in one sentence; None where it is not known."""
    if not compute_seconds or not takes_seconds:
        return None
    share = min(compute_seconds / takes_seconds, 1.0)
    kind = "mostly waits" if share < WAITS else "does both"
    kind = "computes" if share > COMPUTES else kind
    computes, takes = format_latency(compute_seconds), format_latency(takes_seconds)
    return f"A request computes {computes} of its {takes}: it {kind}."


def describe_bound(candidate: Candidate, bound: Bound | None) -> str:
    """Return in the words of the log what bounds *candidate*; None stands for the load."""
    if bound is None:
        return "the load"
    text = bound_text(bound, has_loop=candidate.slots is None) or "something else"
    return text.removeprefix("bound by ")


def describe_bounds(found: Iterable[tuple[Candidate, Bound | None]]) -> Iterator[str]:
    """
    Yield what bounds each worker class as it grows.

    >>> small = Candidate(worker_class="gthread", workers=2, threads=8)
    >>> large = Candidate(worker_class="gthread", workers=2, threads=64)
    >>> list(describe_bounds([(small, Bound.SLOTS), (large, Bound.CORES)]))
    ['gthread is bound by slots up to 2 x 8, by cores from 2 x 64 on.']
    """
    rows = sorted(found, key=lambda row: row[0].slots or row[0].workers)
    by_class: dict[str, list[tuple[Candidate, Bound | None]]] = {}
    for candidate, bound in rows:
        by_class.setdefault(candidate.class_label, []).append((candidate, bound))
    for name, members in by_class.items():
        runs = [[*run] for _, run in groupby(members, lambda row: row[1])]
        if len({bound for _, bound in members}) < len(runs):  # Size does not decide: name each.
            named: dict[str, list[str]] = {}
            for row in members:
                named.setdefault(describe_bound(*row), []).append(_size(row[0]))
            parts = [f"by {what}: {', '.join(sizes)}" for what, sizes in named.items()]
            yield f"{name} is bound {'; '.join(parts)}."
        else:
            yield f"{name} is bound {', '.join(_phrases(runs))}."
    if any(bound is Bound.NOTHING for _, bound in rows):
        yield "Something else is a database, a lock, the GIL or another service."


def _phrases(runs: Sequence[Sequence[tuple[Candidate, Bound | None]]]) -> Iterator[str]:
    for index, run in enumerate(runs):
        if len(runs) == 1:
            yield f"by {describe_bound(*run[0])}"
        elif index == 0:
            yield f"by {describe_bound(*run[0])} up to {_size(run[-1][0])}"
        else:
            end = " on" if index == len(runs) - 1 else ""
            yield f"by {describe_bound(*run[0])} from {_size(run[0][0])}{end}"


def _size(candidate: Candidate) -> str:
    return candidate.label.removeprefix(candidate.class_label).strip()
