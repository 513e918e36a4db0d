"""The end of a run as values: a row for each candidate, the verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.outcome import Failure, Outcome
from gunicorn_autoconf.cli.tune.ratio import Interval
from gunicorn_autoconf.cli.tune.verdict import Verdict
from gunicorn_autoconf.load.capacity import Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One candidate.

    Attributes:
        blocks: How often it was measured.
        outcome: All its blocks as one.
        rate: Requests a second at which the 99th percentile keeps its limit; None where it could
            not be measured.
        ratio: The rate as a part of the best one's, from the rounds in which both were measured.
        bound: What bounds it; None where that is the load, or nothing was measured.
        failure: Why it could not be measured, or not to the end.
    """

    candidate: Candidate
    blocks: int
    outcome: Outcome
    is_best: bool = False
    rate: float | None = None
    ratio: Interval | None = None
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
        rows: The best one first, those without a rate last.
        seconds: How long the run took.
        slo_seconds: The limit of the 99th percentile; None where nothing was measured.
        takes_seconds: The mean latency of a request under a light load.
        compute_seconds: What one request computes.
        disturbed_fraction: What others took of the CPU time.
        drift_fraction: How much the speed of the machine varied.
        model: What bounds the candidates, in sentences.
    """

    asked: Sequence[str]
    rows: Sequence[Row]
    verdict: Verdict
    cores: float
    seconds: float
    slo_seconds: float | None
    is_slo_declared: bool
    takes_seconds: float | None
    compute_seconds: float | None
    disturbed_fraction: float
    drift_fraction: float
    load_cores: float
    is_interrupted: bool
    model: Sequence[str]
    notes: Sequence[str]
