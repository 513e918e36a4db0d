"""What is known of the server at one moment, as a value that metrics are rendered from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.fleet.sample import Sample


class State(str, Enum):
    """What a worker is doing."""

    BOOTING = "booting"
    """It cannot serve yet."""
    READY = "ready"
    DRAINING = "draining"
    """It was told to exit and finishes its last requests."""


class Throttled(NamedTuple):
    """What one CPU quota has done so far."""

    periods: int
    """The periods of the quota in which a process was ready to run."""
    throttled_periods: int
    throttled_seconds: float


class Advice(NamedTuple):
    """What would help the server most, by what its requests were measured to do."""

    cause: str
    workload: str
    """The workload to declare; empty where that is not the remedy."""
    gain: float
    """How many times as many requests could be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    The server at one moment.

    Attributes:
        workers: How many workers there are in each state.
        target: How many Gunicorn is to run.
        planned: How many the plan has.
        slots: How many requests the ready workers can serve at once; None where there is no bound.
        in_flight: The requests and WebSockets that go on, of the ready workers.
        totals: What all workers have done, those that have ended included.
        endings: How many workers have ended, by reason.
        stalls: How often code has blocked an event loop.
        sample: The last look at the memory; None where no limit is known.
        budget_bytes: What the workers may use together.
        numbers: The number of each worker by its pid: a small one, that its replacement gets again.
        cores: The cores that the plan counts with.
        backlogs: How many connections wait to be accepted, by listening socket, where the kernel
            tells.
        bounds: What may bound the server, and whether it did in the last minute.
        advice: The verdict on the declared workload, if there is one.
        throttled: What each CPU quota has done, by its cgroup.
        labels: What the server is: version, worker class, workload, interface.
    """

    workers: Mapping[State, int]
    target: int
    planned: int
    slots: int | None
    in_flight: int
    totals: Counters
    endings: Mapping[str, int]
    stalls: int
    cores: float
    backlogs: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, bool] = field(default_factory=dict)
    advice: Advice | None = None
    sample: Sample | None = None
    budget_bytes: int | None = None
    numbers: Mapping[int, int] = field(default_factory=dict)
    throttled: Mapping[str, Throttled] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def busy_slots(self) -> int | None:
        """How many of the slots are taken."""
        return None if self.slots is None else min(self.in_flight, self.slots)
