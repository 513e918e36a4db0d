"""A whole run: the first measurement, the field, the race; what is known at its end."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.latencies import Latencies
from gunicorn_autoconf.cli.tune.measure import Bench, measure
from gunicorn_autoconf.cli.tune.objective import default_slo, fraction_within
from gunicorn_autoconf.cli.tune.outcome import Failure, Measured, Outcome, Result, Trouble
from gunicorn_autoconf.cli.tune.race import Certainty, Race, Standing, affordable
from gunicorn_autoconf.units import format_latency

# A run can be repeated in the same order.
_SEED = 1
# The first block has a search for clients and a light load, which later ones have not.
_LATER_FRACTION = 0.7
# So many candidates that fail alike, and no other would work.
_HOPELESS_COUNT = 3
_OWN = {Trouble.NO_START, Trouble.SLOW_START, Trouble.ERRORS}

# What shows how far a run is: called with a candidate when its block begins, and again with what it
# came to and with its rate within the limit.
Display = Callable[[Candidate, Result | None, float | None], None]


@dataclass(slots=True, kw_only=True)
class Run:
    """
    A run while it goes on, and what it came to.

    Attributes:
        slo_seconds: The limit of the 99th percentile; None until it is known.
        light: The latencies of the first server that worked, under a light load.
        measured: By candidate, in the order of their first measurement.
        is_interrupted: Whether it was ended before its time.
    """

    budget_seconds: float
    slo_seconds: float | None = None
    light: Latencies | None = None
    measured: dict[Candidate, Measured] = field(default_factory=dict)
    race: Race | None = None
    block_seconds: list[float] = field(default_factory=list)
    is_interrupted: bool = False
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def spent_seconds(self) -> float:
        """How long it has been."""
        return (self.ended or time.monotonic()) - self.began

    @property
    def left_seconds(self) -> float:
        """How long it may still take."""
        return self.budget_seconds - self.spent_seconds

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing has worked, and all for a reason that is the application's own."""
        troubles = {known.failure and known.failure.trouble for known in self.measured.values()}
        return len(self.measured) >= _HOPELESS_COUNT and len(troubles) == 1 and troubles <= _OWN

    @property
    def standing(self) -> Standing:
        """Where the race is."""
        return self.race.standing() if self.race else Standing(Certainty.NONE)


def tune(
    bench: Bench,
    run: Run,
    given: Sequence[Candidate],
    find_field: Callable[[Measured | None], Sequence[Candidate]],
    display: Display,
) -> None:
    """
    Measure candidates until the best is known or the time is over; fill *run*.

    Those *given* are measured first, until one of them works; *find_field* goes from that one to
    all candidates, the most promising first.
    """
    try:
        first = _first(bench, run, given, display)
        failed = {each for each, known in run.measured.items() if known.failure}
        candidates = [each for each in find_field(first) if each not in failed]
        block = statistics.fmean(run.block_seconds) * _LATER_FRACTION
        count = affordable(len(candidates), run.left_seconds, block)
        run.race = race = Race(candidates[:count], random.Random(_SEED), candidates[count:])
        for known in run.measured.values():  # That was the first round.
            if known.outcomes and race.has(known.candidate):
                outcome = known.outcomes[0]
                race.record(known.candidate, known.scores[0], outcome.seconds, outcome.memory_bytes)
        while (candidate := race.next(run.left_seconds)) and not run.is_hopeless:
            result, score = _block(bench, run, candidate, display)
            memory_bytes = result.memory_bytes if isinstance(result, Outcome) else 0
            race.record(candidate, score, run.block_seconds[-1], memory_bytes)
    except KeyboardInterrupt:
        run.is_interrupted = True
    finally:
        run.ended = time.monotonic()


def _first(bench: Bench, run: Run, given: Sequence[Candidate], display: Display) -> Measured | None:
    """Measure those *given* until one works."""
    for candidate in given:
        _block(bench, run, candidate, display)
        if run.measured[candidate].outcomes:
            return run.measured[candidate]
    return None


def _block(
    bench: Bench, run: Run, candidate: Candidate, display: Display
) -> tuple[Result, float | None]:
    """Measure *candidate* once; return what it came to, and its rate within the limit."""
    began = time.monotonic()
    display(candidate, None, None)
    known = run.measured.setdefault(candidate, Measured(candidate=candidate))
    result = measure(
        bench,
        candidate.arguments,
        # The same arrivals for all candidates of a round.
        seed=run.race.round if run.race else 1,
        clients=known.outcomes[0].clients if known.outcomes else None,
        wants_light=run.light is None,
    )
    score = None
    if isinstance(result, Failure):
        known.failure = result
    else:
        if run.light is None:
            run.light = result.light.latencies if result.light else Latencies()
            run.slo_seconds = run.slo_seconds or default_slo(run.light)
        assert run.slo_seconds
        light = run.light.quantile(0.99) or 0.0
        score = result.capacity * fraction_within(result.steps, run.slo_seconds, light)
        if score > 0:
            known.outcomes.append(result)
            known.scores.append(score)
        else:
            text = f"99th percentile above {format_latency(run.slo_seconds)} at any load"
            result, score = Failure(trouble=Trouble.TOO_SLOW, text=text), None
            known.failure = result
    run.block_seconds.append(time.monotonic() - began)
    display(candidate, result, score)
    return result, score
