"""What is concluded from the counters of threads that always overlap, against a model of them."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.load.capacity import Reading, Supply, measure
from gunicorn_autoconf.load.evidence import Evidence
from gunicorn_autoconf.load.verdict import Cause, Serving, judge
from gunicorn_autoconf.worker_classes import Interface

# Python's sys.getswitchinterval().
SWITCH_SECONDS = 0.005
READING_SECONDS = 4.0


class Request:
    """Computes and waits in turns, each as long as chance has it."""

    def __init__(self, parts: int, computing: float, waiting: float) -> None:
        self.bursts = [random.expovariate(parts / computing) for _ in range(parts)]
        self.waits = [random.expovariate(parts / waiting) for _ in range(parts)]


class Process(NamedTuple):
    """A process of threads, one of which can compute at a time."""

    threads: int
    parts: int
    computing: float
    waiting: float


class Model:
    """What happens in a process whose requests come at random times, *rate* a second."""

    def __init__(self, process: Process, rate: float) -> None:
        self.process, self.rate = process, rate
        self.now = self.slot_seconds = self.busy_seconds = self.cpu_seconds = 0.0
        self.running = self.requests = self._number = 0
        self.readings: list[Counters] = []
        self._events: list[tuple[float, int, Callable[..., None], Any]] = []
        self._backlog: deque[Request] = deque()
        self._ready: deque[Request] = deque()
        self._is_taken = False
        self._later(random.expovariate(rate), self._arrives)
        self._later(READING_SECONDS, self._read)

    def run(self, seconds: float) -> list[Counters]:
        """Return the counters of each reading."""
        while self.now < seconds:
            at, _, what, about = heapq.heappop(self._events)
            passed, self.now = at - self.now, at
            self.slot_seconds += self.running * passed
            self.busy_seconds += bool(self.running) * passed
            self.cpu_seconds += self._is_taken * passed
            what(*about)
            while self._backlog and self.running < self.process.threads:
                self.running += 1
                self._ready.append(self._backlog.popleft())
            if self._ready and not self._is_taken:
                self._is_taken, chosen = True, self._ready.popleft()
                turn = min(chosen.bursts[0], SWITCH_SECONDS)
                chosen.bursts[0] -= turn
                self._later(turn, self._computed, chosen)
        return self.readings

    def _later(self, seconds: float, what: Callable[..., None], *about: Request) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, what, about))

    def _read(self) -> None:
        self._later(READING_SECONDS, self._read)
        self.readings.append(
            Counters(
                requests=self.requests,
                in_flight=self.running,
                busy_seconds=self.busy_seconds,
                slot_seconds=self.slot_seconds,
                cpu_seconds=self.cpu_seconds,
            )
        )

    def _arrives(self) -> None:
        self._later(random.expovariate(self.rate), self._arrives)
        _, parts, computing, waiting = self.process
        self._backlog.append(Request(parts, computing, waiting))

    def _computed(self, request: Request) -> None:
        self._is_taken = False
        if request.bursts[0] > 1e-9:
            self._ready.append(request)
        else:
            request.bursts.pop(0)
            self._later(request.waits.pop(0), self._waited, request)

    def _waited(self, request: Request) -> None:
        if request.bursts:
            self._ready.append(request)
        else:
            self.running -= 1
            self.requests += 1


def evidence_of(process: Process, *, busy: float, seconds: float) -> Evidence:
    """Return what two workers show that compute for the share *busy* of the time."""
    random.seed(15)
    evidence = Evidence()
    rate = busy / process.computing
    each, other = Model(process, rate).run(seconds), Model(process, rate).run(seconds)
    readings = [
        Reading(at_seconds=at * READING_SECONDS, total=a.plus(b), workers={10: a, 11: b})
        for at, (a, b) in enumerate(zip(each, other, strict=True))
    ]
    supply = Supply(cores=2, workers=2, slots=process.threads)
    for pair in itertools.pairwise(readings):
        load = measure(pair, supply)
        assert load
        assert load.concurrency is None or load.concurrency > 1.25
        evidence.add(load)
    return evidence


@pytest.mark.parametrize("parts", [1, 8])
@pytest.mark.parametrize(
    ("busy", "waiting"), [(0.3, 0.02), (0.5, 0.05), (0.6, 0.06), (0.7, 0.15), (0.8, 0.30)]
)
def test_requests_that_always_meet(busy: float, waiting: float, parts: int) -> None:
    """Each computes for 5 ms and waits; how long it would take by itself is found all the same."""
    process = Process(threads=200, parts=parts, computing=0.005, waiting=waiting)
    request = evidence_of(process, busy=busy, seconds=120).request()
    assert request
    assert request.whole_seconds == pytest.approx(0.005 + waiting, rel=0.05)
    assert request.computing_seconds == pytest.approx(0.005, rel=0.05)


@pytest.mark.parametrize(("busy", "waiting"), [(0.9, 0.001), (0.9, 0.02), (0.95, 0.1)])
def test_requests_that_mostly_wait_for_each_other(busy: float, waiting: float) -> None:
    """How long they would take alone cannot be told, and no verdict could help them."""
    process = Process(threads=200, parts=2, computing=0.005, waiting=waiting)
    assert evidence_of(process, busy=busy, seconds=120).request() is None


def test_verdict_at_a_steady_load_at_which_requests_always_meet() -> None:
    """
    Two processes of eight threads, busy for more than half of the time, and nearly all threads too.

    They can answer 250/s and could 400/s, as their cores compute.
    """
    process = Process(threads=8, parts=3, computing=0.005, waiting=0.059)
    request = evidence_of(process, busy=0.55, seconds=60).request()
    assert request
    serving = Serving(
        interface=Interface.WSGI, cores=2, workers=2, slots=8, threads=8, sets_workers=True
    )
    verdict = judge(request, serving)
    assert verdict
    assert verdict.cause is Cause.WAITS
    assert verdict.gain == pytest.approx(1.6, rel=0.1)
    assert verdict.now_per_second == pytest.approx(250, rel=0.1)
