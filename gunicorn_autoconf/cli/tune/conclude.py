"""From a run to its report."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace

from gunicorn_autoconf.cli.tune.candidate import CURRENT
from gunicorn_autoconf.cli.tune.model import describe_bounds, describe_request
from gunicorn_autoconf.cli.tune.noise import drift
from gunicorn_autoconf.cli.tune.outcome import Measured, Outcome
from gunicorn_autoconf.cli.tune.ratio import LIKELY, Interval, Ratio
from gunicorn_autoconf.cli.tune.report import Report, Row, ranked, row_of
from gunicorn_autoconf.cli.tune.run import Run
from gunicorn_autoconf.cli.tune.session import Session
from gunicorn_autoconf.cli.tune.verdict import NOISY_FRACTION, judge

# Kinds of requests that are named one by one.
_NAMED_KINDS = 8
# A load that takes more than this part of the cores that it shares changes the result.
_LARGE_LOAD = 0.15


def conclude(session: Session, run: Run) -> Report:
    """Return what *run* came to."""
    outcomes = [outcome for known in run.measured.values() for outcome in known.outcomes]
    noise = statistics.median(each.disturbed_fraction for each in outcomes) if outcomes else 0.0
    varied = drift([each.reference_seconds for each in outcomes])
    takes = run.light.mean if run.light else None
    verdict = judge(
        run.standing, {each: known.outcomes for each, known in run.measured.items()}, varied
    )
    load_cores = statistics.median(each.load_cores for each in outcomes) if outcomes else 0.0
    best = run.measured[verdict.best] if verdict.best else None
    rows = [
        row_of(
            known,
            is_best=known is best,
            ratio=None if known is best else _ratio(run, known, best),
            cores=session.cores,
            takes_seconds=takes or 0.0,
        )
        for known in run.measured.values()
    ]
    rows = [_beside(row, best.score if best else None) for row in rows]
    computing = _compute_seconds(outcomes)
    sentence = describe_request(computing, takes)
    bounds = [(row.candidate, row.bound) for row in rows if row.rate is not None]
    return Report(
        asked=list(_asked(session)),
        rows=ranked(rows),
        verdict=verdict,
        cores=session.cores,
        seconds=run.spent_seconds,
        slo_seconds=run.slo_seconds,
        is_slo_declared=session.asked.slo_seconds is not None,
        takes_seconds=takes,
        compute_seconds=computing,
        disturbed_fraction=noise,
        drift_fraction=varied,
        load_cores=load_cores,
        is_interrupted=run.is_interrupted,
        model=[*([sentence] if sentence else []), *describe_bounds(bounds)],
        notes=list(_notes(session, run, rows, noise, varied)),
    )


def _beside(row: Row, best_rate: float | None) -> Row:
    """Return *row* with the rate that it would have had in all the rounds of the best one."""
    if best_rate is None or row.ratio is None:
        return row
    return replace(row, rate=best_rate * row.ratio.middle)


def _ratio(run: Run, known: Measured, best: Measured | None) -> Interval | None:
    if run.race is None or best is None or not run.race.has(known.candidate):
        return None
    pairs = run.race.pairs(known.candidate, best.candidate)
    return Ratio(pairs).interval(LIKELY) if pairs else None


def _compute_seconds(outcomes: list[Outcome]) -> float | None:
    found = [computing for each in outcomes if (computing := each.cpu_seconds_per_request)]
    return statistics.median(found) if found else None


def _asked(session: Session) -> Iterator[str]:
    kinds = session.asked.requests.kinds
    total = sum(kind.weight for kind in kinds)
    for kind in kinds[:_NAMED_KINDS]:
        share = f" ({kind.weight / total:.0%})" if len(kinds) > 1 else ""
        yield kind.label + share
    if len(kinds) > _NAMED_KINDS:
        yield f"{len(kinds) - _NAMED_KINDS} more kinds of requests"


def _notes(
    session: Session, run: Run, rows: list[Row], noise: float, varied: float
) -> Iterator[str]:
    yield from session.asked.requests.notes
    if run.is_interrupted:
        yield "the run was interrupted: this is what was known by then"
    if noise > NOISY_FRACTION:
        yield (
            f"other processes took {noise:.0%} of the CPU time, a database on this machine included"
        )
    if varied > NOISY_FRACTION:
        yield f"the speed of the machine varied by {varied:.0%}"
    if best := next((row for row in rows if row.is_best), None):
        yield from _notes_on_now(rows)
        yield from _notes_on(best, session, run.measured[best.candidate])


def _notes_on_now(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        if row.candidate.origin == CURRENT and row.ratio:
            yield f"what runs now, {row.label}, has {row.ratio.middle:.0%} of the best rate"
        if row.candidate.origin == CURRENT and row.is_best:
            yield f"what runs now, {row.label}, is the choice"


def _notes_on(best: Row, session: Session, known: Measured) -> Iterator[str]:
    statuses: dict[int, int] = {}
    for outcome in known.outcomes:
        for status, count in outcome.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    answered = sum(statuses.values())
    refused = sum(count for status, count in statuses.items() if 400 <= status < 500)
    if refused:
        yield f"{refused / answered:.0%} of the answers have a status of 400 to 499"
    load = statistics.median(each.load_cores for each in known.outcomes)
    if not session.load_cpus and load > _LARGE_LOAD * session.cores:
        yield (
            f"the load takes {load:.1f} of the {session.cores:g} cores that it shares with the "
            "server; declare fewer with --cpus to keep them apart"
        )
    slots = best.candidate.slots
    if slots and best.candidate.threads > 1:
        yield f"up to {slots} requests run at once: each may hold a connection to a database"
