"""The end of a run as values: a row for each candidate, curves, the verdict. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.latencies import merged
from gunicorn_autoconf.cli.tune.model import bound_of
from gunicorn_autoconf.cli.tune.outcome import Failure, Measured, Outcome, Step
from gunicorn_autoconf.cli.tune.ratio import Interval
from gunicorn_autoconf.cli.tune.verdict import Verdict
from gunicorn_autoconf.load.capacity import Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One candidate.

    Attributes:
        rate: Requests a second at which the 99th percentile keeps its limit; None where it could
            not be measured.
        ratio: The rate as a part of the best one's, from the rounds in which both were measured.
        capacity: Good answers a second where clients ask as fast as they can.
        points: Latency at parts of the capacity, the lowest load first.
        cpu_cores: How many cores it keeps busy at its capacity.
        memory_bytes: Of all its processes.
        blocks: How often it was measured.
        bound: What bounds it; None where that is the load, or nothing was measured.
        failure: Why it could not be measured, or not to the end.
    """

    candidate: Candidate
    is_best: bool = False
    rate: float | None = None
    ratio: Interval | None = None
    capacity: float = 0.0
    clients: int = 0
    points: Sequence[Step] = ()
    cpu_cores: float = 0.0
    memory_bytes: int = 0
    boot_seconds: float = 0.0
    blocks: int = 0
    bound: Bound | None = None
    failure: Failure | None = None

    @property
    def label(self) -> str:
        """What it is called."""
        return self.candidate.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What is shown, in whatever form.

    Attributes:
        asked: The requests, by method and path.
        slo_seconds: The limit of the 99th percentile; None where nothing was measured.
        is_slo_declared: Whether the operator has set it.
        takes_seconds: The mean latency of a request under a light load.
        cores: That the server has.
        compute_seconds: What one request computes.
        disturbed_fraction: What others took of the CPU time.
        drift_fraction: How much the speed of the machine varied.
        model: What bounds the candidates, in sentences.
        notes: What else the reader should know.
    """

    asked: Sequence[str]
    rows: Sequence[Row]
    verdict: Verdict
    cores: float
    seconds: float
    slo_seconds: float | None = None
    is_slo_declared: bool = False
    takes_seconds: float | None = None
    compute_seconds: float | None = None
    disturbed_fraction: float = 0.0
    drift_fraction: float = 0.0
    load_cores: float = 0.0
    is_interrupted: bool = False
    model: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def row_of(
    known: Measured, *, is_best: bool, ratio: Interval | None, cores: float, takes_seconds: float
) -> Row:
    """Return the row of a candidate: medians of its blocks, latencies of all of them together."""
    candidate, outcomes = known.candidate, known.outcomes
    if not outcomes:
        return Row(candidate=candidate, failure=known.failure)
    median = statistics.median
    return Row(
        candidate=candidate,
        is_best=is_best,
        rate=known.score,
        ratio=ratio,
        capacity=median(each.capacity for each in outcomes),
        clients=max(each.clients for each in outcomes),
        points=[_point(outcomes, index) for index in range(len(outcomes[0].steps))],
        cpu_cores=median(each.cpu_cores for each in outcomes),
        memory_bytes=max(each.memory_bytes for each in outcomes),
        boot_seconds=median(each.boot_seconds for each in outcomes),
        blocks=len(outcomes),
        bound=bound_of(known, cores, takes_seconds),
        failure=known.failure,
    )


def _point(outcomes: Sequence[Outcome], index: int) -> Step:
    steps = [each.steps[index] for each in outcomes]
    return Step(
        fraction=steps[0].fraction,
        rate=statistics.median(step.rate for step in steps),
        latencies=merged(step.latencies for step in steps),
    )


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Return *rows*, the best first and those without a rate last."""
    return sorted(rows, key=lambda row: (not row.is_best, -(row.rate or 0.0)))
