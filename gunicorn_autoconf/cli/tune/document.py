"""The JSON document of ``gunicorn-autoconf tune``. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.ratio import Interval
from gunicorn_autoconf.cli.tune.report import Report, Row
from gunicorn_autoconf.load.capacity import Bound

# The version of the document; a change that breaks a reader raises it, a new name does not.
SCHEMA = 1
# What has the same name in it.
_REPORT = (
    *("asked", "cores", "is_interrupted", "slo_seconds", "is_slo_declared", "takes_seconds"),
    *("compute_seconds", "disturbed_fraction", "drift_fraction", "load_cores", "model", "notes"),
)
_OUTCOME = ("capacity", "clients", "cpu_cores", "memory_bytes", "boot_seconds")
_POINT = ("fraction", "rate", "p50_seconds", "p99_seconds")
_BOUNDS = {
    None: "load",
    Bound.CORES: "cores",
    Bound.SLOTS: "slots",
    Bound.LOOP: "processes",
    Bound.NOTHING: "elsewhere",
}


def to_json(report: Report) -> dict[str, Any]:
    """Return *report* as values that `json.dumps` takes."""
    verdict = report.verdict
    return {
        "schema": SCHEMA,
        **_named(report, _REPORT),
        "seconds": round(report.seconds, 1),
        "verdict": {
            "answer": verdict.answer.value,
            "best": verdict.best and _candidate(verdict.best),
            "rival": verdict.rival and _candidate(verdict.rival),
            "ratio": _interval(verdict.interval),
            "text": verdict.text,
        },
        "candidates": [_row(row) for row in report.rows],
    }


def _named(value: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {**candidate.settings, "label": candidate.label, "origin": candidate.origin}


def _row(row: Row) -> dict[str, Any]:
    failure = row.failure
    return {
        **_candidate(row.candidate),
        **_named(row, ("is_best", "rate", "blocks")),
        **_named(row.outcome, _OUTCOME),
        "ratio": _interval(row.ratio),
        "points": [_named(step, _POINT) for step in row.outcome.steps],
        "bound_by": None if row.rate is None else _BOUNDS[row.bound],
        "failure": failure and {"trouble": failure.trouble.name.lower(), "text": failure.text},
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    # JSON has no infinity: of a single pair nothing bounds the ratio.
    high = None if math.isinf(interval.high) else interval.high
    return {"low": interval.low, "middle": interval.middle, "high": high}
