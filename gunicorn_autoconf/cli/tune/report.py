"""The end of a run as values: rows, curves, verdict. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.latencies import merged
from gunicorn_autoconf.cli.tune.outcome import Outcome
from gunicorn_autoconf.cli.tune.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One candidate.

    Attributes:
        rate: The rate within the limit; None where it could not be measured.
        ratio: The rate as a part of the best one's.
        p50_seconds: At the lowest load that was measured.
        p99_seconds: At the same.
        blocks: How often it was measured.
        failure: Why it could not be measured, or not to the end.
    """

    candidate: Candidate
    label: str
    is_best: bool = False
    rate: float | None = None
    ratio: float | None = None
    capacity: float = 0.0
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    cpu_cores: float = 0.0
    memory_bytes: int = 0
    blocks: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is shown, in whatever form."""

    asked: Sequence[str]
    rows: Sequence[Row]
    verdict: Verdict
    notes: Sequence[str] = ()


def row_of(
    candidate: Candidate,
    outcomes: Sequence[Outcome],
    scores: Sequence[float],
    failure: str,
    best: Candidate | None,
    best_score: float | None,
) -> Row:
    """Return the row of *candidate*."""
    if not outcomes:
        return Row(candidate=candidate, label=candidate.label, failure=failure)
    rate = statistics.median(scores)
    first = merged(each.steps[0].latencies for each in outcomes if each.steps)
    return Row(
        candidate=candidate,
        label=candidate.label,
        is_best=candidate == best,
        rate=rate,
        ratio=rate / best_score if best_score else None,
        capacity=statistics.median(each.capacity for each in outcomes),
        p50_seconds=first.quantile(0.5),
        p99_seconds=first.quantile(0.99),
        cpu_cores=statistics.median(each.cpu_cores for each in outcomes),
        memory_bytes=max(each.memory_bytes for each in outcomes),
        blocks=len(outcomes),
        failure=failure,
    )


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Return *rows*, the best first and those without a rate last."""
    return sorted(rows, key=lambda row: (not row.is_best, -(row.rate or 0.0)))


Outcomes = Mapping[Candidate, Sequence[Outcome]]
