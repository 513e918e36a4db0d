"""What the measurements of a candidate came to. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.latencies import Latencies, merged


class Trouble(str, Enum):
    """Why a candidate cannot be measured."""

    NO_START = "did not start"
    SLOW_START = "not up in time"
    NO_ANSWER = "does not answer"
    ERRORS = "answers with errors"
    WORKERS_DIED = "workers died"
    OUT_OF_MEMORY = "out of memory"
    TOO_SLOW = "too slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """
    A candidate that cannot be measured.

    Attributes:
        text: What was seen, one phrase.
    """

    trouble: Trouble
    text: str

    def __str__(self) -> str:  # noqa: D105
        return f"{self.trouble.value}: {self.text}" if self.text else self.trouble.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    An open loop at a part of the capacity.

    Attributes:
        fraction: Of the capacity.
        rate: Requests that were due a second.
        latencies: From when a request was due.
        bad_fraction: The share of requests without a good answer.
    """

    fraction: float
    rate: float
    latencies: Latencies
    bad_fraction: float = 0.0

    @property
    def p50_seconds(self) -> float | None:
        """The median latency."""
        return self.latencies.quantile(0.5)

    @property
    def p99_seconds(self) -> float | None:
        """The 99th percentile; None where more than a request in a hundred has no good answer."""
        return None if self.bad_fraction > 0.01 else self.latencies.quantile(0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What one block has measured.

    Attributes:
        capacity: Good answers a second where clients ask as fast as they can.
        clients: How many clients that takes.
        light: An open loop under a light load; None where it was not asked for.
        steps: Open loops at parts of the capacity, the lowest first.
        cpu_cores: How many cores the server keeps busy at its capacity.
        load_cores: How many cores the load takes there.
        memory_bytes: What all processes of the server use, shared pages counted once.
        boot_seconds: From the start until all workers were up.
        worker_bytes: The memory of the largest worker.
        disturbed_fraction: What others took of the machine's CPU time while it was short.
        reference_seconds: What a fixed piece of computing took just before.
        is_load_bound: Whether the load, not the server, was at its limit.
        seconds: What the block took altogether.
    """

    capacity: float
    clients: int
    light: Step | None = None
    steps: tuple[Step, ...] = ()
    cpu_cores: float = 0.0
    load_cores: float = 0.0
    memory_bytes: int = 0
    worker_bytes: int = 0
    boot_seconds: float = 0.0
    disturbed_fraction: float = 0.0
    reference_seconds: float = 0.0
    is_load_bound: bool = False
    seconds: float = 0.0
    statuses: Mapping[int, int] = field(default_factory=dict)

    @property
    def cpu_seconds_per_request(self) -> float | None:
        """What one request computes; None where nothing was answered."""
        return self.cpu_cores / self.capacity if self.capacity else None


def typical(outcomes: Sequence[Outcome]) -> Outcome:
    """Return several blocks as one: medians, the most memory, all latencies and statuses."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(each, name) for each in outcomes))

    return Outcome(
        capacity=median("capacity"),
        clients=max(each.clients for each in outcomes),
        steps=tuple(map(_together, zip(*(each.steps for each in outcomes), strict=True))),
        cpu_cores=median("cpu_cores"),
        load_cores=median("load_cores"),
        memory_bytes=max(each.memory_bytes for each in outcomes),
        boot_seconds=median("boot_seconds"),
        disturbed_fraction=median("disturbed_fraction"),
        is_load_bound=median("is_load_bound") > 0.5,  # in most of them
        statuses=sum((Counter(each.statuses) for each in outcomes), Counter[int]()),
    )


def _together(steps: Sequence[Step]) -> Step:
    return Step(
        fraction=steps[0].fraction,
        rate=statistics.median(step.rate for step in steps),
        latencies=merged(step.latencies for step in steps),
    )


Result = Outcome | Failure


@dataclass(slots=True, kw_only=True)
class Measured:
    """
    What its blocks came to.

    Attributes:
        scores: The rate within the limit, of each outcome.
        failure: Why it was not measured any more.
    """

    candidate: Candidate
    outcomes: list[Outcome] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def score(self) -> float | None:
        """The median score; None where it has none."""
        return statistics.median(self.scores) if self.scores else None
