"""A whole run of `tune` without servers: what is measured, in which order, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gunicorn_autoconf.cli.tune import run as module
from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.latencies import Latencies
from gunicorn_autoconf.cli.tune.measure import Bench
from gunicorn_autoconf.cli.tune.outcome import Failure, Measured, Outcome, Result, Step, Trouble
from gunicorn_autoconf.cli.tune.race import Certainty
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.cli.tune.run import Run, tune

FIELD = [Candidate(worker_class="sync", workers=count) for count in (2, 3, 5)]


class Silent:
    """A display that keeps the order of the blocks."""

    def __init__(self) -> None:
        self.order: list[int] = []

    def __call__(self, candidate: Candidate, result: Result | None, rate: float | None) -> None:
        if result is None:
            self.order.append(candidate.workers)


def step(fraction: float, seconds: float) -> Step:
    latencies = Latencies()
    for _ in range(100):
        latencies.add(seconds)
    return Step(fraction=fraction, rate=1.0, latencies=latencies)


def outcome(capacity: float, **more: Any) -> Outcome:
    steps = (step(0.6, 0.02), step(0.85, 0.03))
    return Outcome(capacity=capacity, clients=8, light=step(0.2, 0.015), steps=steps, **more)


def run_with(
    measure: Callable[[Bench, int], Result], monkeypatch: pytest.MonkeyPatch
) -> tuple[Run, Silent]:
    """Run `FIELD` with blocks that *measure* makes up, from the bench and the workers."""

    def fake(bench: Bench, arguments: list[str], **_: object) -> Result:
        return measure(bench, int(arguments[arguments.index("--workers") + 1]))

    monkeypatch.setattr(module, "measure", fake)
    run, display = Run(budget_seconds=600.0), Silent()
    bench = Bench(environ={}, load=None, first_request=Request())  # type: ignore[arg-type]

    def find_field(first: Measured | None) -> list[Candidate]:
        assert first is None or first.outcomes  # It says what is worth trying.
        return FIELD

    tune(bench, run, [FIELD[0]], find_field, display)
    return run, display


def test_best_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    run, display = run_with(lambda bench, workers: outcome(100.0 * workers), monkeypatch)

    assert display.order[0] == 2  # what is given is measured first
    assert sorted(display.order[:3]) == [2, 3, 5]  # and counts as its first round
    assert run.standing.certainty is Certainty.CLEAR
    assert run.standing.best == FIELD[2]
    assert run.slo_seconds == pytest.approx(0.06, rel=0.01)  # 4 times the light 15 ms
    assert run.measured[FIELD[2]].score == pytest.approx(425.0)


def test_application_that_never_works_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(bench: Bench, workers: int) -> Result:
        return Failure(trouble=Trouble.ERRORS, text=f"status 500, {workers} of {workers} requests")

    monkeypatch.setattr(
        "test_tune_run.FIELD", [Candidate(worker_class="sync", workers=n) for n in range(1, 7)]
    )
    run, display = run_with(measure, monkeypatch)

    assert len(display.order) == 3
    assert run.standing.certainty is Certainty.NONE


def test_what_is_given_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(bench: Bench, workers: int) -> Result:
        if workers == 2:
            return Failure(trouble=Trouble.OUT_OF_MEMORY, text="2 workers got SIGKILL")
        return outcome(100.0 * workers)

    run, display = run_with(measure, monkeypatch)

    assert display.order.count(2) == 1
    assert run.standing.best == FIELD[2]
    assert run.slo_seconds is not None


def test_limit_that_no_load_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Step(fraction=0.6, rate=1.0, latencies=Latencies(), bad_fraction=0.5)

    def measure(bench: Bench, workers: int) -> Result:
        good = outcome(100.0)
        if workers != 3:
            return good
        return Outcome(capacity=900.0, clients=8, light=good.light, steps=(slow,))

    run, _ = run_with(measure, monkeypatch)

    failure = run.measured[FIELD[1]].failure
    assert failure is not None
    assert failure.trouble is Trouble.TOO_SLOW
    assert str(failure) == "too slow: 99th percentile above 60.1 ms at any load"


def test_interrupt_keeps_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(bench: Bench, workers: int) -> Result:
        if workers == 3:
            raise KeyboardInterrupt
        return outcome(100.0 * workers)

    run, _ = run_with(measure, monkeypatch)

    assert run.is_interrupted
    assert run.standing.best is not None
    assert run.ended is not None
