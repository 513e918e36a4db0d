"""What is concluded from the counters of threads that always overlap, against a model of them."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from functools import reduce
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


class Machine:
    """What happens at which time, and the cores that all processes compute on in turns."""

    def __init__(self, cores: int) -> None:
        self.now = 0.0
        self.free_cores = cores
        self.models: list[Model] = []
        self.queue: deque[Model] = deque()
        self._number = 0
        self._events: list[tuple[float, int, Callable[..., None], Any]] = []

    def later(self, seconds: float, what: Callable[..., None], *about: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, what, about))

    def run(self, seconds: float) -> None:
        while self.now < seconds:
            at, _, what, about = heapq.heappop(self._events)
            for model in self.models:
                model.pass_time(at - self.now)
            self.now = at
            what(*about)
            for model in self.models:
                model.begin()
            while self.queue and self.free_cores:
                self.free_cores -= 1
                self.queue.popleft().compute()


class Model:
    """What happens in a process whose requests come at random times, *rate* a second."""

    def __init__(self, machine: Machine, process: Process, rate: float) -> None:
        self.machine, self.process, self.rate = machine, process, rate
        self.slot_seconds = self.busy_seconds = self.cpu_seconds = self.delayed_seconds = 0.0
        self.running = self.requests = 0
        self._backlog: deque[Request] = deque()
        self._ready: deque[Request] = deque()
        self._chosen: Request | None = None
        """Has the interpreter."""
        self._computes = False
        machine.models.append(self)
        machine.later(random.expovariate(rate), self._arrives)

    def pass_time(self, seconds: float) -> None:
        self.slot_seconds += self.running * seconds
        self.busy_seconds += bool(self.running) * seconds
        if self._computes:
            self.cpu_seconds += seconds
        elif self._chosen:
            self.delayed_seconds += seconds

    def begin(self) -> None:
        """Give the interpreter to the next one, where it is free."""
        while self._backlog and self.running < self.process.threads:
            self.running += 1
            self._ready.append(self._backlog.popleft())
        if self._ready and not self._chosen:
            self._chosen = self._ready.popleft()
            self.machine.queue.append(self)

    def compute(self) -> None:
        """Have a core for one turn."""
        assert self._chosen
        self._computes = True
        turn = min(self._chosen.bursts[0], SWITCH_SECONDS)
        self._chosen.bursts[0] -= turn
        self.machine.later(turn, self._computed, self._chosen)

    @property
    def counters(self) -> Counters:
        return Counters(
            requests=self.requests,
            in_flight=self.running,
            busy_seconds=self.busy_seconds,
            slot_seconds=self.slot_seconds,
            cpu_seconds=self.cpu_seconds,
        )

    def _arrives(self) -> None:
        self.machine.later(random.expovariate(self.rate), self._arrives)
        _, parts, computing, waiting = self.process
        self._backlog.append(Request(parts, computing, waiting))

    def _computed(self, request: Request) -> None:
        self._chosen, self._computes = None, False
        self.machine.free_cores += 1
        if request.bursts[0] > 1e-9:
            self._ready.append(request)
        else:
            request.bursts.pop(0)
            self.machine.later(request.waits.pop(0), self._waited, request)

    def _waited(self, request: Request) -> None:
        if request.bursts:
            self._ready.append(request)
        else:
            self.running -= 1
            self.requests += 1


def evidence_of(process: Process, *, busy: float, seconds: float, workers: int = 2) -> Evidence:
    """Return what *workers* on two cores show that compute for the share *busy* of the time."""
    random.seed(15)
    machine, evidence = Machine(cores=2), Evidence()
    models = [Model(machine, process, busy / process.computing) for _ in range(workers)]
    readings: list[Reading] = []

    def read() -> None:
        machine.later(READING_SECONDS, read)
        each = {pid: model.counters for pid, model in enumerate(models, 10)}
        total = reduce(Counters.plus, each.values())
        delays = {pid: model.delayed_seconds for pid, model in enumerate(models, 10)}
        readings.append(
            Reading(at_seconds=machine.now, total=total, workers=each, delayed_seconds=delays)
        )

    read()
    machine.run(seconds)
    supply = Supply(cores=2, workers=workers, slots=process.threads)
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


@pytest.mark.parametrize(("workers", "busy"), [(3, 0.46), (5, 0.24), (5, 0.28)])
def test_processes_that_share_two_cores(workers: int, busy: float) -> None:
    """Cores are busy for 60 or 70 % of the time. What that makes a request wait is off it once."""
    process = Process(threads=100, parts=2, computing=0.005, waiting=0.060)
    request = evidence_of(process, busy=busy, seconds=120, workers=workers).request()
    assert request
    assert request.whole_seconds == pytest.approx(0.065, rel=0.03)
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
