"""What a run says in the end: a winner, two that are as good, or that it cannot tell. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.noise import deviation
from gunicorn_autoconf.cli.tune.outcome import Outcome
from gunicorn_autoconf.cli.tune.race import Certainty, Standing
from gunicorn_autoconf.cli.tune.ratio import Interval

# What others, or the machine's speed, may vary by before it is called noisy.
NOISY_FRACTION = 0.05


class Answer(str, Enum):
    """What the run says."""

    WINNER = "winner"
    WITHIN = "within-3-percent"
    CANNOT_TELL = "cannot-tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    The answer and its grounds.

    Attributes:
        best: The choice, or the best guess; None where nothing could be measured.
        text: The answer in one or two sentences.
    """

    answer: Answer
    best: Candidate | None
    rival: Candidate | None
    interval: Interval | None
    text: str


def judge(
    standing: Standing,
    outcomes: Mapping[Candidate, Sequence[Outcome]],
    drift_fraction: float = 0.0,
) -> Verdict:
    """
    Return the verdict on the race that *standing* is the end of.

    A difference is none if it is no larger than what the machine's own speed varied by, or what
    others took of it: both hit all candidates alike only while they are steady.
    """
    answer, text = _answer(standing, outcomes, drift_fraction)
    best, rival, interval = standing.best, standing.rival, standing.interval
    return Verdict(answer=answer, best=best, rival=rival, interval=interval, text=text)


def _answer(
    standing: Standing,
    outcomes: Mapping[Candidate, Sequence[Outcome]],
    drift_fraction: float,
) -> tuple[Answer, str]:
    best, rival, interval = standing.best, standing.rival, standing.interval
    if best is None:
        return Answer.CANNOT_TELL, (
            "Cannot tell: no candidate could be measured. Does the application run with plain "
            "Gunicorn?"
        )
    if standing.certainty is Certainty.ONLY:
        return Answer.WINNER, f"Best: {best.label}, the only one that works."
    cannot = f"Cannot tell {best.label} from {rival.label if rival else 'another one'}"
    if rival is None or interval is None or math.isinf(interval.high):
        return Answer.CANNOT_TELL, f"{cannot}: the time was too short to measure both twice."
    if statistics.median(each.is_load_bound for one in (best, rival) for each in outcomes[one]) > 0:
        return Answer.CANNOT_TELL, f"{cannot}: the load was at its limit, not the server."
    shares = [[each.disturbed_fraction for each in outcomes[one]] for one in (best, rival)]
    noise = max(drift_fraction, *map(deviation, filter(None, shares)))
    is_quiet, times = noise <= NOISY_FRACTION, _times(interval)
    if standing.certainty is Certainty.UNDECIDED:
        remedy = "More --time may tell" if is_quiet else "Try again on a quiet machine"
        return Answer.CANNOT_TELL, f"{cannot} yet: {best.label} had {times} the rate. {remedy}."
    if standing.certainty is Certainty.EQUAL:
        return Answer.WITHIN, (
            f"Best: {best.label}. {rival.label} is as good within 3 %, and takes no less memory: "
            f"{times} its rate."
        )
    if not is_quiet and interval.low <= 1 + noise:
        return Answer.CANNOT_TELL, (
            f"{cannot}: the machine was too noisy. Other processes, or its own speed, made a "
            f"difference of {noise:.0%}. {best.label} had {times} the rate. Try again on a quiet "
            "machine."
        )
    if standing.certainty is Certainty.NO_WORSE:
        return Answer.WITHIN, (
            f"Best: {best.label}, {times} the rate of {rival.label}: at worst 3 % less, and it "
            "takes no more memory."
        )
    return Answer.WINNER, f"Best: {best.label}, {times} the rate of {rival.label}."


def _times(interval: Interval) -> str:
    """
    Return *interval* in words; one that is too wide to mean anything is a guess.

    >>> _times(Interval(1.02, 1.05, 1.08)), _times(Interval(0.0, 2.33, 140055.6))
    ('1.05 (1.02 to 1.08) times', 'perhaps 2.33 times')
    """
    if interval.is_vague:
        return f"perhaps {interval.middle:.2f} times"
    return f"{interval.middle:.2f} ({interval.low:.2f} to {interval.high:.2f}) times"
