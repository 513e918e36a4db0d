"""How `tune` finds the best candidate, on servers whose capacity and noise are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import pytest

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.latencies import Latencies
from gunicorn_autoconf.cli.tune.objective import LOADS, fraction_within
from gunicorn_autoconf.cli.tune.outcome import Outcome, Step
from gunicorn_autoconf.cli.tune.race import Certainty, Race, affordable
from gunicorn_autoconf.cli.tune.ratio import LIKELY, SURE, intervals
from gunicorn_autoconf.cli.tune.verdict import Answer, Verdict, judge

pytestmark = pytest.mark.one_python

BLOCK_SECONDS = 8.0
MIB = 1024 * 1024


def rate(outcome: Outcome) -> float:
    return outcome.capacity * fraction_within(outcome.steps, 0.080, 0.022)


class Simulated:
    """
    A race between servers that are only numbers.

    The capacity of each is known. A block measures it with noise of its own, on a machine whose
    speed wanders; a request takes 20 ms and queues the longer the fuller the server is.
    """

    def __init__(self, capacities: Sequence[float], *, noise: float, seed: int) -> None:
        self.capacities = {
            Candidate(worker_class="gthread", workers=number + 1, threads=8): capacity
            for number, capacity in enumerate(capacities)
        }
        self.noise, self.chance, self.speed = noise, Random(seed), 0.0
        self.outcomes: dict[Candidate, list[Outcome]] = {each: [] for each in self.capacities}

    def block(self, candidate: Candidate) -> Outcome:
        self.speed += self.chance.gauss(0, self.noise / 3)
        capacity = self.capacities[candidate] * math.exp(
            self.chance.gauss(0, self.noise) + self.speed
        )
        steps = []
        for fraction in LOADS:
            latencies = Latencies()
            for _ in range(100):
                queued = self.chance.expovariate(1.0) * fraction / (1 - fraction)
                latencies.add(0.020 * (1 + queued / candidate.workers))
            steps.append(Step(fraction=fraction, rate=capacity * fraction, latencies=latencies))
        outcome = Outcome(
            capacity=capacity,
            clients=32,
            steps=tuple(steps),
            # No two starts take the same.
            memory_bytes=round(candidate.workers * 40 * MIB * self.chance.uniform(0.99, 1.01)),
        )
        self.outcomes[candidate].append(outcome)
        return outcome

    def run(self, seconds: float = 600.0) -> Verdict:
        field = list(self.capacities)
        count = affordable(len(field), seconds, BLOCK_SECONDS)
        race = Race(field[:count], Random(1), field[count:])
        left = seconds
        while (candidate := race.next(left)) is not None:
            outcome = self.block(candidate)
            score = rate(outcome)
            race.record(candidate, score, BLOCK_SECONDS, outcome.memory_bytes)
            left -= BLOCK_SECONDS
        assert left >= 0
        return judge(race.standing(), self.outcomes)


def twins(noise: float, seconds: float) -> list[Answer]:
    """The answers of 40 runs with the same candidate twice."""
    answers = []
    for seed in range(40):
        race = Simulated([100.0, 100.0], noise=noise, seed=seed)
        # The same server but for its name: as many workers queue alike.
        field = [Candidate(worker_class="gthread", workers=3, threads=n) for n in (8, 9)]
        race.capacities = dict.fromkeys(field, 100.0)
        race.outcomes = {each: [] for each in field}
        answers.append(race.run(seconds).answer)
    return answers


@pytest.mark.parametrize("noise", [0.05, 0.12])
def test_same_candidate_twice_has_no_winner(noise: float) -> None:
    """At most 5 % of 40 runs: what the method promises."""
    assert twins(noise, 300.0).count(Answer.WINNER) <= 2


def test_same_candidate_twice_is_within_3_percent() -> None:
    """Where the starts differ by 2 %, five minutes are enough to say so."""
    answers = twins(0.02, 300.0)

    assert answers.count(Answer.WITHIN) >= 38
    assert answers.count(Answer.WINNER) <= 2


@pytest.mark.parametrize(("noise", "count"), [(0.03, 12), (0.08, 8)])
def test_choice_is_close_to_the_best(noise: float, count: int) -> None:
    """At least 0.95 of the best there is, in at least 90 % of 40 simulated applications."""
    good = 0
    for seed in range(40):
        chance = Random(1000 + seed)
        capacities = [100 * math.exp(chance.gauss(0, 0.3)) for _ in range(count)]
        race = Simulated(capacities, noise=noise, seed=seed)
        best = race.run().best
        assert best is not None
        # What is best has its queue in it, too.
        true = {
            each: rate(Simulated(capacities, noise=1e-9, seed=0).block(each))
            for each in race.capacities
        }
        good += true[best] >= 0.95 * max(true.values())

    assert good >= 36


def test_large_difference_is_clear_in_a_minute() -> None:
    verdict = Simulated([50.0, 1000.0], noise=0.05, seed=1).run(60.0)

    assert verdict.answer is Answer.WINNER
    assert verdict.best is not None
    assert verdict.best.workers == 2


def test_equal_rates_are_decided_by_memory() -> None:
    small, large = (Candidate(worker_class="sync", workers=n) for n in (2, 9))
    race, chance = Race([large, small], Random(1)), Random(2)
    while (candidate := race.next(1000.0)) is not None:
        score = chance.gauss(100.0, 0.5) + (0.5 if candidate is large else 0.0)
        race.record(candidate, score, 1.0, candidate.workers * 40 * MIB)

    found = race.standing()

    assert (found.certainty, found.best, found.rival) == (Certainty.EQUAL, small, large)


def test_failed_candidates_leave_the_others() -> None:
    field = [Candidate(worker_class="sync", workers=n) for n in (1, 2, 3)]
    race = Race(field, Random(1))
    for _ in range(3):
        candidate = race.next(100.0)
        assert candidate is not None
        race.record(candidate, None if candidate.workers < 3 else 10.0, 1.0)

    assert race.next(100.0) is None
    assert race.standing().certainty is Certainty.ONLY
    assert race.standing().best == field[2]


def test_others_take_the_places_of_those_that_fail() -> None:
    field = [Candidate(worker_class="sync", workers=n) for n in (1, 2, 3, 4)]
    race = Race(field[:2], Random(1), field[2:])
    while (candidate := race.next(100.0)) is not None:
        race.record(candidate, None if candidate.workers in (2, 3) else 10.0, 1.0)

    found = race.standing()
    assert found.certainty is Certainty.EQUAL
    assert {found.best, found.rival} == {field[0], field[3]}


def test_nothing_works() -> None:
    field = [Candidate(worker_class="sync", workers=n) for n in (1, 2)]
    race = Race(field, Random(1))
    while (candidate := race.next(100.0)) is not None:
        race.record(candidate, None, 1.0)

    assert judge(race.standing(), {}).answer is Answer.CANNOT_TELL


def test_time_is_kept() -> None:
    race = Race([Candidate(worker_class="sync", workers=n) for n in (1, 2)], Random(1))
    first = race.next(10.0)
    assert first is not None
    race.record(first, 10.0, 6.0)

    assert race.next(5.0) is None
    assert race.next(7.0) is not None


def test_field_fits_the_time() -> None:
    assert affordable(12, 600.0, 8.0) == 12
    assert affordable(12, 120.0, 8.0) == 4
    assert affordable(12, 20.0, 8.0) == 2


def test_interval_of_few_pairs_is_wide() -> None:
    """As Student's t has it; literals from its table: 12.71 and 4.303 at 95 %."""
    two = [(100.0, 100.0), (110.0, 100.0)]
    many = two * 10

    low, middle, high = intervals(two)[LIKELY]
    assert middle == pytest.approx(math.sqrt(1.1))
    assert low < 0.6
    assert high > 1.8
    assert intervals(many)[LIKELY].low > 1.02
    assert intervals(many)[SURE].low < intervals(many)[LIKELY].low
