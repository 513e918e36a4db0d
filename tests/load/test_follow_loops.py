"""Workload ``auto`` on event loops that are blocked now and then, and beside idle streams."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from simulation import TICKS_A_SECOND, Fleet, Law, plateau

from gunicorn_autoconf.fleet.counters import DURATIONS, Counters, duration_of
from gunicorn_autoconf.load.capacity import Backlog
from gunicorn_autoconf.memory.actions import Kind

MINUTE = 60
TICK_SECONDS = 1 / TICKS_A_SECOND


class Request(NamedTuple):
    """On its way through one loop."""

    came_at: float
    blocking: float


@dataclass
class Asked:
    """
    What is asked of event loops. A request awaits for *awaiting*, then needs the loop once.

    Either *rate* says how many come in a second, or *clients* each wait for their answer.
    """

    rate: Law = lambda seconds: 0
    clients: int = 0
    computing: float = 0.0002
    blocked: float = 0.2
    one_in: int = 50
    awaiting: float = 0.02
    streams: int = 0
    """They are open all the time and need nothing."""

    def blocking(self, chance: random.Random) -> float:
        blocks = chance.random() < 1 / self.one_in
        return self.computing + (self.blocked if blocks else 0.0)


@dataclass
class Loop:
    """The event loop of one worker."""

    queue: deque[Request] = field(default_factory=deque)
    behind: float = 0.0
    """For so long the loop is blocked from now on."""
    requests: int = 0
    slot_seconds: float = 0.0
    loop_seconds: float = 0.0
    durations: list[int] = field(default_factory=lambda: [0] * DURATIONS)

    def run(self, now: float, asked: Asked) -> None:
        """Do what is due until a tick from now."""
        free_at, ends = now + self.behind, now + TICK_SECONDS
        while self.queue and free_at < ends:
            came_at, blocking = self.queue[0]
            begins = max(free_at, came_at + asked.awaiting)
            if begins >= ends:
                break
            free_at = begins + blocking
            self.loop_seconds += blocking
            self.queue.popleft()
            self.requests += 1
            self.durations[duration_of(free_at - came_at)] += 1
        self.behind = max(free_at - ends, 0.0)


@dataclass
class LoopFleet(Fleet):
    """
    UvicornWorkers on one core.

    What comes at a rate comes over kept connections, whichever loop has them; clients open one for
    each request, which the loop accepts that has the least to do.
    """

    asked: Asked = field(default_factory=Asked)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.arbiter.worker_class = "gunicorn_autoconf.workers.UvicornWorker"
        self.chance = random.Random(15)
        self.loops: dict[int, Loop] = {}

    def _serve(self) -> None:
        booted = [pid for pid in self.lives if self._is_booted(pid)]
        if not booted:
            return
        for pid in booted:
            self.loops.setdefault(pid, Loop())
        here = [self.loops[pid] for pid in booted]
        present = sum(len(loop.queue) for loop in here)
        due = self.asked.rate(self.now) * TICK_SECONDS
        count = round(self.chance.gauss(due, due**0.5)) if due else self.asked.clients - present
        for _ in range(max(count, 0)):
            came_at = self.now + self.chance.uniform(0, TICK_SECONDS if due else 0.0)
            loop = self.chance.choice(here) if due else min(here, key=lambda it: len(it.queue))
            loop.queue.append(Request(came_at, self.asked.blocking(self.chance)))
        for pid, loop in zip(booted, here, strict=True):
            held = len(loop.queue) + self.asked.streams / len(here)
            loop.slot_seconds += held * TICK_SECONDS
            loop.run(self.now, self.asked)
            life = self.lives[pid]
            life.asked_at = self.now if life.asked_at is None else life.asked_at
            life.answered = loop.requests

    def _counters(self, pid: int) -> Counters:
        loop = self.loops.get(pid, Loop())
        share = self.asked.streams / max(len(self.loops), 1)
        return Counters(
            requests=loop.requests,
            in_flight=len(loop.queue) + round(share),
            busy_seconds=loop.slot_seconds,
            slot_seconds=loop.slot_seconds,
            loop_seconds=loop.loop_seconds,
            cpu_seconds=loop.requests * self.asked.computing,
            durations=tuple(loop.durations),
        )

    def _backlogs(self, listeners: object) -> tuple[Backlog, ...]:
        return (Backlog("a socket", 0.0),)


def fleet(asked: Asked, **more: Any) -> LoopFleet:
    """Three workers, as planned for one core."""
    given: dict[str, Any] = {"workers": 3, "cores": 1, "limit_mib": [(0, 16384)], **more}
    return LoopFleet([plateau(30, 45, 10)], asked=asked, **given)


def most(seen: Fleet) -> int:
    return max(count for _, count in seen.counts)


@pytest.mark.parametrize(
    ("rate", "least", "at_most"),
    # One loop does 238 a second at most, three 714, and four fifths of that well.
    [(300, 3, 3), (560, 3, 4), (640, 3, 5), (700, 4, 5), (800, 5, 5), (1000, 6, 7)],
)
def test_one_request_in_50_blocks(rate: float, least: int, at_most: int) -> None:
    """No more loops than it takes, though hundreds of requests wait after each block; for good."""
    seen = fleet(Asked(rate=lambda seconds: rate)).run(8 * MINUTE)

    assert least <= most(seen) <= at_most
    assert all(action.kind is Kind.GROW for _, action in seen.actions)
    assert (seen.oom_kills, seen.mistakes) == ([], [])


def test_clients_of_loops_that_each_request_blocks() -> None:
    """Three loops, 32 clients: within half a minute as many loops as eight times the plan."""
    blocks = Asked(clients=32, one_in=1, blocked=0.1, awaiting=0.0, streams=200)
    assert fleet(blocks).run(MINUTE / 2).last_count == 24


@pytest.mark.parametrize("rate", [0, 100])
def test_streams_that_idle_make_no_fleet_grow(rate: float) -> None:
    assert fleet(Asked(rate=lambda seconds: rate, streams=200)).run(3 * MINUTE).actions == []


def test_streams_beside_loops_that_are_late() -> None:
    """Some 2.9 loops have work all the time; each stream used to count as one that is missing."""
    seen = fleet(Asked(rate=lambda seconds: 680, streams=200)).run(8 * MINUTE)
    assert 4 <= most(seen) <= 5
