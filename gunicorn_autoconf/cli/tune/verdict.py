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
    standing: Standing | None,
    outcomes: Mapping[Candidate, Sequence[Outcome]],
    drift_fraction: float = 0.0,
) -> Verdict:
    """
    Return the verdict on the race that *standing* is the end of.

    A difference is none if it is no larger than what the machine's own speed varied by, or what
    others took of it: both hit all candidates alike only while they are steady.
    """
    if standing is None or standing.best is None:
        return Verdict(
            answer=Answer.CANNOT_TELL,
            best=None,
            rival=None,
            interval=None,
            text=(
                "Cannot tell: no candidate could be measured. Does the application run with plain "
                "Gunicorn?"
            ),
        )
    best, rival, interval = standing.best, standing.rival, standing.interval
    finals = [each for one in (best, rival) if one for each in outcomes[one]]
    shares = [[each.disturbed_fraction for each in outcomes[one]] for one in (best, rival) if one]
    noise = max(drift_fraction, *map(deviation, filter(None, shares)))
    is_noisy = noise > NOISY_FRACTION and interval is not None and interval.low <= 1 + noise
    is_load_bound = statistics.median(each.is_load_bound for each in finals) > 0
    pair = f"{best.label} from {rival.label if rival else 'another one'}"
    answer, text = Answer.CANNOT_TELL, f"Cannot tell {pair}"
    if standing.certainty is Certainty.ONLY:
        answer, text = Answer.WINNER, f"Best: {best.label}, the only one that works."
    elif rival is None or interval is None or math.isinf(interval.high):
        text += ": the time was too short to measure both twice."
    elif is_load_bound:
        text += ": the load was at its limit, not the server."
    elif is_noisy and standing.certainty in (Certainty.CLEAR, Certainty.NO_WORSE):
        text += (
            ": the machine was too noisy. Other processes, or its own speed, made a difference of "
            f"{noise:.0%}. {best.label} had {_times(interval)} the rate. Try again on a quiet "
            "machine."
        )
    elif standing.certainty is Certainty.CLEAR:
        answer = Answer.WINNER
        text = f"Best: {best.label}, {_times(interval)} the rate of {rival.label}."
    elif standing.certainty is Certainty.EQUAL:
        answer = Answer.WITHIN
        text = (
            f"Best: {best.label}. {rival.label} is as good within 3 %, and takes no less memory: "
            f"{_times(interval)} its rate."
        )
    elif standing.certainty is Certainty.NO_WORSE:
        answer = Answer.WITHIN
        text = (
            f"Best: {best.label}, {_times(interval)} the rate of {rival.label}: at worst 3 % less, "
            "and it takes no more memory."
        )
    else:
        is_quiet = noise <= NOISY_FRACTION
        remedy = "More --time may tell" if is_quiet else "Try again on a quiet machine"
        text += f" yet: {best.label} had {_times(interval)} the rate. {remedy}."
    return Verdict(answer=answer, best=best, rival=rival, interval=interval, text=text)


def _times(interval: Interval) -> str:
    """
    Return *interval* in words; one that is too wide to mean anything is a guess.

    >>> _times(Interval(1.02, 1.05, 1.08)), _times(Interval(0.0, 2.33, 140055.6))
    ('1.05 (1.02 to 1.08) times', 'perhaps 2.33 times')
    """
    if interval.is_vague:
        return f"perhaps {interval.middle:.2f} times"
    return f"{interval.middle:.2f} ({interval.low:.2f} to {interval.high:.2f}) times"
