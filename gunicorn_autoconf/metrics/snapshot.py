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


class Exit(str, Enum):
    """Why a worker ended."""

    OOM = "oom"
    """The kernel's OOM killer took it."""
    TIMEOUT = "timeout"
    """Gunicorn killed it after `timeout`."""
    RECYCLED = "recycled"
    """The memory guard replaced it."""
    SHRUNK = "shrunk"
    """The guard lowered the count."""
    CRASHED = "crashed"
    """It was killed otherwise, or ended with an error."""
    EXITED = "exited"
    """It ended in order: a reload, `max_requests`, a signal from an operator."""


# What a stall is counted as, beside the exits.
STALL = "stall"


class Throttled(NamedTuple):
    """What one CPU quota has done so far."""

    periods: int
    """The periods of the quota in which a process was ready to run."""
    throttled_periods: int
    throttled_seconds: float


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
        exits: How many workers have ended, by reason.
        stalls: How often code has blocked an event loop.
        sample: The last look at the memory; None where no limit is known.
        budget_bytes: What the workers may use together.
        numbers: The number of each worker by its pid: a small one, that its replacement gets again.
        cores: The cores that the plan counts with.
        throttled: What each CPU quota has done, by its cgroup.
        labels: What the server is: version, worker class, workload, interface.
    """

    workers: Mapping[State, int]
    target: int
    planned: int
    slots: int | None
    in_flight: int
    totals: Counters
    exits: Mapping[str, int]
    stalls: int
    cores: float
    sample: Sample | None = None
    budget_bytes: int | None = None
    numbers: Mapping[int, int] = field(default_factory=dict)
    throttled: Mapping[str, Throttled] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def busy_slots(self) -> int | None:
        """How many of the slots are taken."""
        return None if self.slots is None else min(self.in_flight, self.slots)
