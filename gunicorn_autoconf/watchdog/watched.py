"""What was seen of an event loop that answers late. Reads a clock for the loop's answers."""

from __future__ import annotations

import time
from typing import NamedTuple

from gunicorn_autoconf.watchdog.stacks import Stack
from gunicorn_autoconf.watchdog.stall import Stall, Suspect
from gunicorn_autoconf.watchdog.witnesses import Delay, ThreadTimes

MAX_SAMPLES = 16


class Sample(NamedTuple):
    """Where the loop's thread was at one moment, and the request that it served."""

    stack: Stack
    request: str | None


class Samples:
    """A few samples, spread evenly over the whole time in which they were taken."""

    def __init__(self) -> None:
        self.kept: list[Sample] = []
        self._stride = 1
        self._seen = 0

    def add(self, sample: Sample) -> None:
        """Keep *sample*, or where there are many already, one of several."""
        if self._seen % self._stride == 0:
            self.kept.append(sample)
        self._seen += 1
        if len(self.kept) > MAX_SAMPLES:
            del self.kept[1::2]
            self._stride *= 2

    @property
    def stacks(self) -> list[Stack]:
        """Where the thread was."""
        return [sample.stack for sample in self.kept]


class Reading(NamedTuple):
    """All witnesses at one moment; two of them make an `Evidence`."""

    times: ThreadTimes
    own: Delay
    collecting_seconds: float


class Question:
    """What was asked of the loop, and when it answered."""

    def __init__(self) -> None:
        self.asked = time.monotonic()
        self.answered: float | None = None

    def answer(self) -> None:
        """Write down the time; the one thing that runs in the loop."""
        self.answered = time.monotonic()


class Watched:
    """A loop that answers late: what was seen of it since *before*."""

    def __init__(self, before: Reading, now: float, samples: Samples) -> None:
        self.before = before
        self.samples = samples
        self.stall = Stall(0.0, turns=0)
        self.in_time = 0
        self.suspect: Suspect | None = None
        self.reported = False
        self.queued_since = now
        self.last_times = before.times
