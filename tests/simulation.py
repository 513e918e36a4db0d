"""
Gunicorn's arbiter without processes, and fleets of workers that grow by laws.

`Arbiter` handles signals, forks and reaps as Gunicorn does, but when it is told to; `Fleet` puts a
clock, a memory limit and the real supervisor around it. Nothing here starts, signals or measures
a process, and the same fleet always fares the same.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from signal import SIGHUP, SIGTERM, SIGTTIN, SIGTTOU
from types import SimpleNamespace
from typing import Any

from builders import MIB, WSGI, declare, limit, machine, memory

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.fleet.records import Tally, WorkerRecord
from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.fleet.sampler import Readers, Sampler
from gunicorn_autoconf.fleet.shared_page import BootReport
from gunicorn_autoconf.load.capacity import Backlog
from gunicorn_autoconf.machine.facts import Machine, ProcessMemory
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.executor import Executor
from gunicorn_autoconf.memory.timing import Timing
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.steps import plan
from gunicorn_autoconf.server.load_watch import LoadWatch
from gunicorn_autoconf.server.load_watch import Readers as LoadReaders
from gunicorn_autoconf.server.supervisor import Supervisor

ARBITER_PID = 1
FIRST_PID = 11
FIRST_HELPER = 100_000
TICKS_A_SECOND = 10
CPU_SECONDS_A_REQUEST = 0.005


class Config:
    """What a reload replaces."""

    reuse_port = False
    threads = 1
    worker_connections = 1000
    statsd_host = None

    def __init__(self, workers: int) -> None:
        self.workers = workers


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.extras: list[dict[str, object]] = []

    def info(
        self, text: str, *args: object, extra: dict[str, object] | None = None, **_: object
    ) -> None:
        self.lines.append(text % args)
        self.extras.append(extra or {})

    @property
    def later(self) -> list[str]:
        """The lines after the one that all workers are ready, of which there is one at most."""
        return [line for line in self.lines if not re.search("workers? (is|are) ready: ", line)]

    debug = warning = error = exception = info


@dataclass
class Member:
    """One of Gunicorn's workers."""

    pid: int
    age: int
    is_told_to_end: bool = False


class Arbiter:
    """Gunicorn's arbiter, as far as the count of its workers goes."""

    pid = ARBITER_PID
    reexec_pid = 0
    master_pid = 0
    LISTENERS: tuple[str, ...] = ("a socket",)
    worker_class = "sync"

    def __init__(self, workers: int) -> None:
        self.cfg = Config(workers)
        self.log = Log()
        self.WORKERS: dict[int, Member] = {}
        self.executor: Executor | None = None
        self.queue: list[int] = []
        self.forked: Callable[[Member], None] = lambda member: None
        self.told_to_end: Callable[[Member], None] = lambda member: None
        self._num_workers = workers
        self._forks = 0

    @property
    def num_workers(self) -> int:
        return self._num_workers

    @num_workers.setter
    def num_workers(self, value: int) -> None:
        old, self._num_workers = self._num_workers, value
        if self.executor:
            self.executor.count_changed(value, old)

    def kill(self, pid: int, signal_number: int) -> None:
        """Take the place of `os.kill`."""
        if pid == ARBITER_PID:
            self.queue.append(signal_number)
        elif signal_number == SIGTERM and pid in self.WORKERS:
            self.WORKERS[pid].is_told_to_end = True
            self.told_to_end(self.WORKERS[pid])

    def handle(self) -> None:
        """Handle the signals that have come, and keep the count."""
        while self.queue:
            signal_number = self.queue.pop(0)
            if signal_number == SIGTTIN:
                self.num_workers += 1
            elif signal_number == SIGTTOU and self.num_workers > 1:
                self.num_workers -= 1
            elif signal_number == SIGHUP:
                self.reload(self.cfg.workers)
        self.manage_workers()

    def reload(self, workers: int) -> None:
        """Begin anew with a configuration of so many *workers*."""
        self.cfg = Config(workers)
        self.num_workers = workers
        if self.executor:
            self.executor.reloaded()
        for _ in range(workers):
            self._fork()
        self.manage_workers()

    def manage_workers(self) -> None:
        while len(self.WORKERS) < self.num_workers:
            self._fork()
        surplus = len(self.WORKERS) - self.num_workers
        if not surplus:
            return  # Ten times a simulated second, for hours.
        for member in sorted(self.WORKERS.values(), key=lambda member: member.age)[:surplus]:
            self.kill(member.pid, SIGTERM)

    def reap(self, pid: int) -> None:
        """Hear that the worker has ended."""
        del self.WORKERS[pid]
        if self.executor:
            self.executor.worker_ended(pid)

    def _fork(self) -> None:
        member = Member(FIRST_PID + self._forks, self._forks)
        self._forks += 1
        self.WORKERS[member.pid] = member
        self.forked(member)


# -- laws: MiB by the seconds since a worker has booted ----------------------------------------

Law = Callable[[float], float]


def plateau(boot: float, full: float, seconds: float = 30) -> Law:
    """Growth that ends: two thirds of the way after *seconds*."""
    return lambda age: full - (full - boot) * math.exp(-age / seconds)


def leak(boot: float, rate: float, *, since: float = 0) -> Law:
    """Growth by *rate* MiB a second, beginning *since* seconds after the boot."""
    return lambda age: boot + rate * max(age - since, 0)


def bites(boot: float, size: float, seconds: float) -> Law:
    """Growth by *size* MiB at once, every *seconds*."""
    return lambda age: boot + size * (age // seconds)


def ramp(boot: float, full: float, seconds: float, *, since: float = 0) -> Law:
    """Even growth for some *seconds* that begins *since* seconds after the boot, and then none."""
    return lambda age: boot + (full - boot) * min(max((age - since) / seconds, 0), 1)


def spike(law: Law, size: float, *, at: float, seconds: float) -> Law:
    """One request that takes *size* MiB for some *seconds*."""
    return lambda age: law(age) + (size if at <= age < at + seconds else 0)


def tide(low: float, high: float, period: float) -> Law:
    """Sizes that rise and fall with the traffic, low at first."""
    return lambda age: low + (high - low) * (1 - math.cos(2 * math.pi * age / period)) / 2


# -- the simulator -----------------------------------------------------------------------------


@dataclass
class Work:
    """What requests do, in seconds, and how many there are by the seconds since the start."""

    rate: Law
    whole: float
    computing: float
    clients: int = 200
    """So many wait at most; those beyond go away."""
    most: float = math.inf
    """So many a second whatever there is to serve them: a lock, or a database at its end."""
    waiting: float = 0.0
    done: list[tuple[float, float]] = field(default_factory=list)
    """From which second on how many were answered in all."""

    def serve(self, now: float, seconds: float, workers: int, cores: float) -> float:
        """Return how many are answered in the next *seconds*."""
        self.waiting += self.rate(now) * seconds
        per_second = min(workers / self.whole, cores / self.computing, self.most)
        answered = min(self.waiting, per_second * seconds)
        self.waiting = min(self.waiting - answered, self.clients)
        self.done.append((now, answered + (self.done[-1][1] if self.done else 0.0)))
        return answered

    def per_second(self, since: float, until: float) -> float:
        """How many were answered in a second."""
        first, last = (
            next(total for at, total in self.done if at >= when) for when in (since, until)
        )
        return (last - first) / (until - since)


@dataclass
class Life:
    """When one worker was forked and when it ends, and how it grows in between."""

    forked_at: float
    law: Law
    ends_at: float = math.inf
    asked_at: float | None = None
    """When its first request came."""
    answered: float = 0
    busy_seconds: float = 0
    cpu_seconds: float = 0


@dataclass
class Fleet:
    """
    Workers under one limit, in MiB and seconds.

    `laws` has one law for each worker in the order of their forks; the last one holds for all that
    come later. What is wrong ends up in `oom_kills` and `mistakes`.
    """

    laws: list[Law]
    workers: int = 2
    limit_mib: list[tuple[float, float]] = field(default_factory=lambda: [(0, 1024)])
    """From which second on which limit holds."""
    cores: int = 4
    boot_seconds: float = 2
    stop_seconds: float = 1
    late_seconds: float = 0
    """How much later than it is due each sample comes, on a machine that is busy."""
    sidecar: Law = lambda seconds: 0
    arbiter_mib: float = 20
    timing: Timing = field(default_factory=Timing)
    environ: dict[str, str] = field(default_factory=dict)
    declaration: Declaration | None = None
    """What is declared, in the place of *environ*."""
    told_mib: Law | None = None
    """The limit that is told, in MiB, where that is not the one that the kernel enforces."""
    is_lazy: bool = False
    """Whether workers grow from their first request on, not from their boot on."""
    work: Work | None = None
    """What requests do; without it they only count, as *traffic* has them."""
    traffic: Law = lambda seconds: 10
    """How many requests a second each worker gets, by the seconds since the start."""
    answers_after: float = 0
    """How long a worker's first request takes; the others wait for it."""
    counts_requests: bool = True
    """Whether the worker class tells how many requests it has answered."""
    helpers: dict[int, Law] = field(default_factory=dict)
    """What the child processes of a worker use, by its pid and the seconds since its boot."""
    physical_mib: tuple[float, float] = (64 * 1024, 0)
    """What the host has and what is in use of it."""
    replaced: tuple[str, ...] = ()
    """Our hooks that the user's own stand in the place of."""
    unclaimed_kills: Callable[[], int] | None = None
    """How many kills are new; None where the kernel counts none."""

    now: float = 0
    actions: list[tuple[float, Action]] = field(default_factory=list)
    counts: list[tuple[float, int]] = field(default_factory=list)
    """From which second on how many workers were to be."""
    oom_kills: list[float] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lives: dict[int, Life] = {}
        self.last_seen: dict[int, WorkerSample] = {}
        self.ended = Counters()
        self.arbiter = Arbiter(self.workers)
        self.arbiter.forked = self._forked
        self.arbiter.told_to_end = self._told_to_end
        quiet = {"GUNICORN_MEMORY_LOG_INTERVAL": "0"}
        declaration = self.declaration or declare(quiet | self.environ)
        final: Any = SimpleNamespace(
            declaration=declaration,
            machine=self.machine(0),
            application=WSGI,
            plan=plan(self.machine(0), declaration, application=WSGI),
        )
        records: Any = SimpleNamespace(known=self.known, seen=self._seen, tally=self.tally)
        # A test may put another in its place.
        self.look: Callable[[], None] = lambda: None
        """Called in the middle of each step."""
        # Where the kernel counts, each step looks for relatives of the workers in the real /proc.
        kills: Any = Kills(self.unclaimed_kills) if self.unclaimed_kills else None
        self.arbiter.executor = WatchedExecutor(self)
        self.supervisor = Supervisor(
            self.arbiter,
            lambda: final,
            records,
            kills,
            replaced=lambda: self.replaced,
            load=LoadWatch(
                self.arbiter,
                lambda: final,
                records,
                LoadReaders(
                    delay=lambda pid: 0.0,
                    backlogs=self._backlogs,
                    clock=lambda: self.now,
                ),
            ),
            timing=self.timing,
            executor=self.arbiter.executor,
            sampler=Sampler(
                self.machine,
                readers=Readers(
                    memory=self.memory_of,
                    rss=lambda pid: self.memory_of(pid).rss_bytes,
                    swapped=lambda pid: 0,
                    descendants=self._helpers_of,
                ),
                clock=lambda: self.now,
            ),
        )

    def run(self, seconds: float, at: dict[float, Callable[[], None]] | None = None) -> Fleet:
        """Let so many *seconds* pass, and do what is to be done *at* some of them."""
        due = sorted((at or {}).items())
        next_look = self.now + self.timing.fastest_seconds
        goes_on = threading.Event()
        self.arbiter.manage_workers()
        for tick in range(round(seconds * TICKS_A_SECOND)):
            self.now = tick / TICKS_A_SECOND
            while due and due[0][0] <= self.now:
                due.pop(0)[1]()
            self._reap()
            self.arbiter.handle()
            self._serve()
            self._check()
            if self.now >= next_look:
                next_look = self.now + self.supervisor.step(goes_on) + self.late_seconds
        return self

    @property
    def story(self) -> list[str]:
        """What was done in a row: ``grow 2``, ``shrink``, ``recycle 12``."""
        return [self._name(action) for _, action in self.actions]

    @staticmethod
    def _name(action: Action) -> str:
        if action.kind is Kind.GROW:
            return f"grow {action.add}"
        return "shrink" if action.kind is Kind.SHRINK else f"recycle {action.pid}"

    def restart_oldest(self) -> None:
        """A worker that ran into ``max_requests`` ends by itself."""
        pid = min(self.lives)
        self.lives[pid].ends_at = min(self.lives[pid].ends_at, self.now + self.stop_seconds)

    @property
    def last_count(self) -> int:
        return self.counts[-1][1]

    @property
    def in_use(self) -> float:
        """What all together use, in MiB."""
        return self.arbiter_mib + self.sidecar(self.now) + sum(map(self._whole_size, self.lives))

    def in_use_in(self, seconds: float) -> float:
        """What all together would use in so many *seconds* if nobody did anything, in MiB."""
        now = self.now
        self.now = now + seconds
        try:
            return self.in_use
        finally:
            self.now = now

    @property
    def limit(self) -> float:
        return [mib for since, mib in self.limit_mib if since <= self.now][-1]

    def machine(self, own_bytes: int) -> Machine:
        """The machine as the probe would find it."""
        told = self.limit if self.told_mib is None else self.told_mib(self.now)
        level = limit(round(told * MIB), round(self.in_use * MIB) if self.lives else 0)
        size, in_use = (round(mib * MIB) for mib in self.physical_mib)
        supply = memory(size, level, in_use=in_use, own=own_bytes)
        return machine(self.cores, supply=supply, container=True)

    def memory_of(self, pid: int) -> ProcessMemory:
        """What one process uses."""
        if pid >= FIRST_HELPER:
            mib = self._helper_size(pid - FIRST_HELPER)
        else:
            mib = self._size(pid) if pid in self.lives else self.arbiter_mib
        size = round(MIB * mib)
        return ProcessMemory(size, size, size)

    def _size(self, pid: int) -> float:
        life = self.lives[pid]
        age = self.now - life.forked_at - self.boot_seconds
        if age < 0:
            return life.law(0) * (1 + age / self.boot_seconds)
        if self.is_lazy:
            age = 0 if life.asked_at is None else self.now - life.asked_at
        return life.law(age)

    def _helper_size(self, pid: int) -> float:
        if pid not in self.helpers or pid not in self.lives:
            return 0
        age = self.now - self.lives[pid].forked_at - self.boot_seconds
        return self.helpers[pid](max(age, 0))

    def _whole_size(self, pid: int) -> float:
        return self._size(pid) + (self._helper_size(pid) if self.helpers else 0)

    def _helpers_of(self, pid: int) -> list[int]:
        return [FIRST_HELPER + pid] if self._helper_size(pid) else []

    def _serve(self) -> None:
        """Let each worker that has booted answer its requests."""
        if self.work:
            self._work(self.work)
            return
        rate = self.traffic(self.now)
        for pid, life in self.lives.items():
            if rate and self._is_booted(pid):
                life.asked_at = self.now if life.asked_at is None else life.asked_at
                if self.now - life.asked_at >= self.answers_after:
                    life.answered += rate / TICKS_A_SECOND

    def _work(self, work: Work) -> None:
        seconds = 1 / TICKS_A_SECOND
        booted = [life for pid, life in self.lives.items() if self._is_booted(pid)]
        answered = work.serve(self.now, seconds, len(booted), self.cores)
        # A lock keeps them all busy.
        is_full = work.waiting > 0 and self.cores / work.computing > answered / seconds
        for life in booted:
            life.asked_at = self.now if life.asked_at is None else life.asked_at
            life.answered += answered / len(booted)
            busy = answered / len(booted) * work.whole
            life.busy_seconds += seconds if is_full else min(busy, seconds)
            life.cpu_seconds += answered / len(booted) * work.computing

    def _is_booted(self, pid: int) -> bool:
        return self.now - self.lives[pid].forked_at >= self.boot_seconds

    def known(self, workers: dict[int, Member]) -> dict[int, WorkerRecord]:
        """What the arbiter's records say of the workers."""
        self.look()
        return {pid: self._record(pid) for pid in workers}

    def tally(self, workers: dict[int, Member]) -> Tally:
        """What the workers have done."""
        counted = {pid: self._counters(pid) for pid in workers if self.counts_requests}
        return Tally(reduce(Counters.plus, counted.values(), self.ended), counted)

    def _counters(self, pid: int) -> Counters:
        life = self.lives[pid]
        return Counters(
            requests=int(life.answered),
            busy_seconds=life.busy_seconds,
            slot_seconds=life.busy_seconds,
            cpu_seconds=life.cpu_seconds or life.answered * CPU_SECONDS_A_REQUEST,
        )

    def _backlogs(self, listeners: object) -> tuple[Backlog, ...]:
        return (Backlog("a socket", self.work.waiting),) if self.work else ()

    def _record(self, pid: int) -> WorkerRecord:
        life = self.lives[pid]
        if self.counts_requests:
            did = Counters(requests=int(life.answered))
            return WorkerRecord(life.forked_at, self._report(pid), did)
        cpu_seconds = life.answered * CPU_SECONDS_A_REQUEST
        return WorkerRecord(life.forked_at, self._report(pid), None, cpu_seconds)

    def _seen(self, sample: Sample, pids: object) -> None:
        self.last_seen.update({worker.pid: worker for worker in sample.workers})

    def _report(self, pid: int) -> BootReport | None:
        if not self._is_booted(pid):
            return None
        size = round(self.lives[pid].law(0) * MIB)
        return BootReport(pid, self.boot_seconds, size, size, size)

    def _forked(self, member: Member) -> None:
        self.lives[member.pid] = Life(self.now, self.laws[min(member.age, len(self.laws) - 1)])

    def _told_to_end(self, member: Member) -> None:
        life = self.lives[member.pid]
        life.ends_at = min(life.ends_at, self.now + self.stop_seconds)

    def started(self, action: Action) -> None:
        """Note that the guard begins *action*, and whether it should not."""
        self.actions.append((self.now, action))
        if any(member.is_told_to_end for member in self.arbiter.WORKERS.values()):
            self.mistakes.append(f"{self.now} s: {action} while another worker ends")
        # What the kernel kills boots again and again: that must not hold up the shrink.
        is_calm = all(map(self._is_booted, self.lives)) or (
            action.kind is Kind.SHRINK and bool(self.oom_kills)
        )
        if action.kind is not Kind.RECYCLE and not is_calm:
            self.mistakes.append(f"{self.now} s: {action} while a worker boots")
        if action.kind is Kind.RECYCLE:
            too_young = 10 - (self.now - self.lives[action.pid].forked_at)
            # To spare it must have been safe, with two seconds for its end.
            if too_young > 0 and self.in_use_in(too_young + 2) < self.limit:
                self.mistakes.append(f"{self.now} s: {action} of a young worker")

    def _reap(self) -> None:
        for pid in [pid for pid, life in self.lives.items() if life.ends_at <= self.now]:
            self._end(pid)

    def _end(self, pid: int) -> None:
        self.ended = self.ended.plus(self._counters(pid))
        del self.lives[pid]
        self.arbiter.reap(pid)

    def _check(self) -> None:
        """Do what the kernel does, and note what must never be."""
        if self.in_use > self.limit:
            self.oom_kills.append(self.now)
            victim = max(self.lives, key=self._whole_size)
            freed_bytes = round(self._whole_size(victim) * MIB)
            self.supervisor.worker_oom_killed(self.last_seen.get(victim), freed_bytes)
            self._end(victim)
            self.arbiter.manage_workers()
        count = self.arbiter.num_workers
        if not self.counts or self.counts[-1][1] != count:
            self.counts.append((self.now, count))
        if count < 1 or not self.lives:
            self.mistakes.append(f"{self.now} s: no worker")
        at_once = self.actions[-1][1].remove if self.actions else 1
        if sum(member.is_told_to_end for member in self.arbiter.WORKERS.values()) > at_once:
            self.mistakes.append(f"{self.now} s: two workers end at once")


class Kills:
    """What the kernel counts, in the place of `ServerOom`."""

    has_unclaimed = False

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def unclaimed(self, now: float, *, are_well: bool | None) -> list[None]:
        return [None] * self._count()

    def read(self) -> tuple[()]:
        return ()

    def highs(self) -> tuple[()]:
        return ()

    def pressure(self) -> None:
        return None


class WatchedExecutor(Executor):
    """Tells its fleet what begins."""

    def __init__(self, fleet: Fleet) -> None:
        server: Any = fleet.arbiter
        super().__init__(server, fleet.timing, kill=fleet.arbiter.kill)
        self._fleet = fleet

    def start(self, action: Action, sample: Sample) -> None:
        self._fleet.started(action)
        super().start(action, sample)
