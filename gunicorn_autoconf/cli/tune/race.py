"""
Which candidate is measured next, and when enough is known: successive halving in rounds. Pure.

Theory of operation. In each round every candidate that stands is measured once, in an order that
chance decides, so that what changes on the machine hits all of them alike. After the rounds 1, 2,
4, ... the worse half is out, but two always stand. Each round is followed by a look at the interval
of their ratio. It ends when that is clear, when it cannot matter, or with the time.
Nothing here measures or reads a clock.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import NamedTuple

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.ratio import LIKELY, SURE, Interval, intervals

# A difference in the rate that does not matter.
INDIFFERENCE = 0.03
# Two rounds may agree by chance; but not on a factor as large as this.
_FEWEST_PAIRS, _LARGE = 3, 2.0
# A difference that shows at once.
_HOPELESS = 0.5
# What a field costs until two are left, in blocks for each candidate: all of the first round, half
# of the next two. The same again is kept for the last two.
_HALVING_BLOCKS, _FINAL_BLOCKS = 2.0, 6


class Certainty(str, Enum):
    """How sure the choice is."""

    CLEAR = "clear"
    """The best is better than the rival, by a difference that matters."""
    EQUAL = "equal"
    """They are as good as each other; the best takes less memory."""
    NO_WORSE = "no worse"
    """The best may be better, and is no worse by a difference that matters."""
    ONLY = "only one"
    UNDECIDED = "undecided"
    NONE = "none"


class Standing(NamedTuple):
    """
    Where a race is.

    Attributes:
        best: The choice; None where nothing could be measured.
        rival: The other one of the last two; None without one.
        interval: Of the rate of *best*, as a multiple of that of *rival*, at 95 %.
    """

    certainty: Certainty
    best: Candidate | None = None
    rival: Candidate | None = None
    interval: Interval | None = None


class Race:
    """See above. `next` and `record` take turns."""

    def __init__(
        self, field: Sequence[Candidate], chance: Random, reserve: Sequence[Candidate] = ()
    ) -> None:
        """Let *field* run; where one of them fails, the next of the *reserve* takes its place."""
        self._chance = chance
        self._reserve = list(reserve)
        self._standing = list(field)
        self._waiting: list[Candidate] = list(field)
        chance.shuffle(self._waiting)
        self.round = 1
        self._scores: dict[Candidate, dict[int, float]] = {each: {} for each in field}
        self._memory_bytes: dict[Candidate, int] = {}
        self._block_seconds: list[float] = []

    def has(self, candidate: Candidate) -> bool:
        """Whether *candidate* is or was in the race."""
        return candidate in self._scores

    def record(
        self, candidate: Candidate, score: float | None, seconds: float, memory_bytes: int = 0
    ) -> None:
        """Add what a block has measured; None as *score* where the candidate has failed."""
        self._block_seconds.append(seconds)
        if candidate in self._waiting:
            self._waiting.remove(candidate)
        if score is None or score <= 0:
            self._standing.remove(candidate)
            for other in self._reserve[:1]:
                self._reserve.remove(other)
                self._standing.append(other)
                self._waiting.append(other)
                self._scores[other] = {}
            return
        self._scores[candidate][self.round] = score
        known = self._memory_bytes.get(candidate, 0)
        self._memory_bytes[candidate] = max(known, memory_bytes)

    def next(self, left_seconds: float) -> Candidate | None:
        """Return what to measure in the *left_seconds*; None when the race is over."""
        if not self._waiting:
            self._cut(left_seconds)
            if len(self._standing) < 2 or self.standing().certainty is not Certainty.UNDECIDED:
                return None
            self.round += 1
            self._waiting = self._chance.sample(self._standing, len(self._standing))
        if left_seconds < self.block_seconds:
            return None
        return self._waiting[0]

    @property
    def block_seconds(self) -> float:
        """What a block takes, by those that were measured."""
        return statistics.fmean(self._block_seconds) if self._block_seconds else 0.0

    def _cut(self, left_seconds: float) -> None:
        """Drop those that need not be measured again."""
        count = len(self._standing)
        ranked = sorted(self._standing, key=self._utility, reverse=True)
        if not ranked:
            return
        best = self._mean(ranked[0])
        keep = sum(self._mean(each) >= best + math.log(_HOPELESS) for each in ranked)
        if self.round & (self.round - 1) == 0:  # 1, 2, 4, 8, ...
            keep = min(keep, math.ceil(count / 2))
        if left_seconds < self.block_seconds * (count + _FINAL_BLOCKS):
            keep = 2  # What is left of the time belongs to the best two.
        self._standing = ranked[: max(keep, 2)]

    def _mean(self, candidate: Candidate) -> float:
        """Return the mean logarithm of the scores, each relative to those of its round."""
        found = []
        for number, score in self._scores[candidate].items():
            rivals = [
                scores[number] for other, scores in self._scores.items()
                if number in scores and other in self._standing
            ]  # fmt: skip
            found.append(math.log(score) - statistics.fmean(map(math.log, rivals)))
        return statistics.fmean(found) if found else -math.inf

    def _utility(self, candidate: Candidate) -> float:
        """Return the mean logarithm, less what the memory is worth: a difference that is none."""
        most = max(self._memory_bytes.values(), default=0)
        share = self._memory_bytes.get(candidate, 0) / most if most else 0.0
        return self._mean(candidate) - INDIFFERENCE * share

    def _takes_no_more(self, best: Candidate, rival: Candidate) -> bool:
        """Whether *best* takes no more memory, by a difference that matters."""
        most = self._memory_bytes[rival] * (1 + INDIFFERENCE)
        return self._memory_bytes[best] <= most

    def pairs(self, first: Candidate, second: Candidate) -> list[tuple[float, float]]:
        """Return the scores of both from the rounds in which both were measured."""
        ours, others = self._scores[first], self._scores[second]
        return [(ours[number], others[number]) for number in ours if number in others]

    def standing(self) -> Standing:
        """Return the best so far and how sure that is."""
        measured = [each for each in self._standing if self._scores[each]]
        if not measured:
            return Standing(Certainty.NONE)
        if len(measured) == 1:
            alone = len(self._standing) == 1
            return Standing(Certainty.ONLY if alone else Certainty.UNDECIDED, measured[0])
        best, rival = sorted(measured, key=self._mean, reverse=True)[:2]
        pairs = self.pairs(best, rival)
        if not pairs:
            return Standing(Certainty.UNDECIDED, best, rival)
        found = intervals(pairs)
        sure, likely = found[SURE], found[LIKELY]
        least = 1 - INDIFFERENCE
        if len(pairs) < _FEWEST_PAIRS and sure.middle < _LARGE:
            return Standing(Certainty.UNDECIDED, best, rival, likely)
        if sure.low > 1.0 and sure.middle >= 1 + INDIFFERENCE:
            return Standing(Certainty.CLEAR, best, rival, likely)
        if likely.low >= least and likely.high <= 1 / least:
            if self._utility(rival) > self._utility(best):
                best, rival = rival, best
                likely = Interval(1 / likely.high, 1 / likely.middle, 1 / likely.low)
            return Standing(Certainty.EQUAL, best, rival, likely)
        if likely.low >= least and self._takes_no_more(best, rival):
            return Standing(Certainty.NO_WORSE, best, rival, likely)
        return Standing(Certainty.UNDECIDED, best, rival, likely)


def affordable(count: int, left_seconds: float, block_seconds: float) -> int:
    """Return how many of *count* candidates the time allows, but at least two."""
    blocks = left_seconds / block_seconds if block_seconds else math.inf
    return int(max(min((blocks - _FINAL_BLOCKS) / _HALVING_BLOCKS, count), 2))
