"""From a run to its report."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from gunicorn_autoconf.cli.tune.candidate import CURRENT
from gunicorn_autoconf.cli.tune.model import bound_of, describe_bounds, describe_request
from gunicorn_autoconf.cli.tune.noise import drift
from gunicorn_autoconf.cli.tune.outcome import Measured, Outcome, typical
from gunicorn_autoconf.cli.tune.ratio import LIKELY, Interval, intervals
from gunicorn_autoconf.cli.tune.report import Report, Row
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
    noise = _median(each.disturbed_fraction for each in outcomes) or 0.0
    varied = drift([each.reference_seconds for each in outcomes])
    takes = run.light.mean if run.light else None
    verdict = judge(
        run.standing, {each: known.outcomes for each, known in run.measured.items()}, varied
    )
    best = run.measured[verdict.best] if verdict.best else None
    rows = [_row(known, best, run, session.cores) for known in run.measured.values()]
    rows.sort(key=lambda row: (not row.is_best, -(row.rate or 0.0)))
    computing = _median(filter(None, (each.cpu_seconds_per_request for each in outcomes)))
    sentence = describe_request(computing, takes)
    bounds = [(row.candidate, row.bound) for row in rows if row.rate is not None]
    return Report(
        asked=list(_asked(session)),
        rows=rows,
        verdict=verdict,
        cores=session.cores,
        seconds=run.spent_seconds,
        slo_seconds=run.slo_seconds,
        is_slo_declared=session.asked.slo_seconds is not None,
        takes_seconds=takes,
        compute_seconds=computing,
        disturbed_fraction=noise,
        drift_fraction=varied,
        load_cores=_median(each.load_cores for each in outcomes) or 0.0,
        is_interrupted=run.is_interrupted,
        model=[*([sentence] if sentence else []), *describe_bounds(bounds)],
        notes=list(_notes(session, run, rows, noise, varied)),
    )


def _row(known: Measured, best: Measured | None, run: Run, cores: float) -> Row:
    candidate, failure = known.candidate, known.failure
    if not known.outcomes:
        nothing = Outcome(capacity=0.0, clients=0)
        return Row(candidate=candidate, blocks=0, outcome=nothing, failure=failure)
    rate, ratio = known.score, _ratio(run, known, best)
    if best and best.score and ratio:
        rate = best.score * ratio.middle  # What it would have had in all the rounds of the best.
    outcome, takes_seconds = typical(known.outcomes), run.light and run.light.mean
    return Row(
        candidate=candidate,
        blocks=len(known.outcomes),
        is_best=known is best,
        rate=rate,
        ratio=ratio,
        outcome=outcome,
        bound=bound_of(candidate, outcome, cores, takes_seconds or 0.0),
        failure=failure,
    )


def _ratio(run: Run, known: Measured, best: Measured | None) -> Interval | None:
    if run.race is None or best in (None, known) or not run.race.has(known.candidate):
        return None
    pairs = run.race.pairs(known.candidate, best.candidate)
    return intervals(pairs)[LIKELY] if pairs else None


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
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
        yield from _notes_on(best, session)


def _notes_on_now(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        if row.candidate.origin == CURRENT and row.ratio:
            yield f"what runs now, {row.label}, has {row.ratio.middle:.0%} of the best rate"
        if row.candidate.origin == CURRENT and row.is_best:
            yield f"what runs now, {row.label}, is the choice"


def _notes_on(best: Row, session: Session) -> Iterator[str]:
    statuses, load = best.outcome.statuses, best.outcome.load_cores
    answered = sum(statuses.values())
    refused = sum(count for status, count in statuses.items() if 400 <= status < 500)
    if refused:
        yield f"{refused / answered:.0%} of the answers have a status of 400 to 499"
    if not session.load_cpus and load > _LARGE_LOAD * session.cores:
        yield (
            f"the load takes {load:.1f} of the {session.cores:g} cores that it shares with the "
            "server; declare fewer with --cpus to keep them apart"
        )
    slots = best.candidate.slots
    if slots and best.candidate.threads > 1:
        yield f"up to {slots} requests run at once: each may hold a connection to a database"
