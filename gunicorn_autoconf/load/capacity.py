"""
What requests do and what bounds the server, from readings of the workers' counters. Pure.

A `Load` is what happened between the first and the last of some `Reading`s. Its names follow
queueing theory: the rate, the time of a request W, the computing time of a request D.

| bound | when |
|---|---|
| cores | workers use 90 % of the cores; or are full, and wait for a core half as long as they run |
| loop | workers, one core each, compute for 85 % of the time, or event loops are blocked so long |
| one loop | one worker's loop is as busy or blocked, and the others are not |
| slots | 85 % of the slots are busy, or 60 % of them while connections wait; or pools are full |
| memory, database | as slots or loop, where memory or ``GUNICORN_MAX_CONCURRENCY`` allows no more |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.fleet.counters import Counters

CORES_FRACTION = 0.90
LOOP_FRACTION = 0.85
SLOTS_FRACTION = 0.85
# With connections that wait: a worker is also busy with what comes before a request and after it.
WAITED_FOR_FRACTION = 0.60
# Ready to run and not running, as a part of the computing time; and both as a part of the whole.
CROWDED_FRACTION = 0.5


class Bound(str, Enum):
    """What the server would need more of to answer more requests."""

    NOTHING = "nothing"
    CORES = "cores"
    SLOTS = "slots"
    MEMORY = "memory"
    LOOP = "loop"
    ONE_LOOP = "one_loop"
    DATABASE = "database"


class Backlog(NamedTuple):
    """The connections that no worker has accepted yet, at one socket; None for a Unix socket."""

    address: str
    waiting: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    What all workers have done until one moment.

    Attributes:
        at_seconds: A clock that never jumps.
        total: All workers together, also those that have ended.
        workers: The workers there are, by pid; those that do not count are missing.
        delayed_seconds: By pid, how long a worker's threads were ready to run without a core;
            empty where the kernel does not tell.
        backlogs: Each listening socket's.
    """

    at_seconds: float
    total: Counters
    workers: Mapping[int, Counters]
    delayed_seconds: Mapping[int, float] = field(default_factory=dict)
    backlogs: tuple[Backlog, ...] = ()

    @property
    def present(self) -> float:
        """How many requests and connections that wait there are."""
        waiting = sum(backlog.waiting or 0.0 for backlog in self.backlogs)
        return sum(worker.in_flight for worker in self.workers.values()) + waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """
    What there is to serve with.

    Attributes:
        cores: As planned for.
        workers: How many there are to be.
        slots: How many requests one worker serves at once; None where nothing bounds them.
        has_loop: Whether one event loop serves all requests of a worker.
        memory_forbids: Whether memory has no room for one worker more.
        database_forbids: Whether ``GUNICORN_MAX_CONCURRENCY`` allows no more at once.
    """

    cores: float
    workers: int
    slots: int | None = 1
    has_loop: bool = False
    memory_forbids: bool = False
    database_forbids: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """
    What requests did in some time. None stands for what is not known, as without any request.

    Attributes:
        seconds: How long that time was.
        workers: How many workers there were to be.
        requests: How many requests have ended.
        rejected: How many were refused unserved.
        request_seconds: How long a request took, W; with what it waited in the worker.
        computing_seconds: CPU time of the workers for each request, D.
        delay_seconds: How long a worker waited for a core, for each request.
        busy_slots: How many requests there were at once, on average.
        slots: How many there can be at once; None where nothing bounds them.
        concurrency: How many requests a worker had at once while it had any.
        cores: The cores there are, as planned for.
        cores_used: How many of them the workers kept busy, on average.
        loop_fraction: For which share of the time event loops were busy, on average.
        pool_fraction: For which share of the time calls waited for a thread of a full pool.
        process_fraction: How much of one core a worker used, on average.
        busiest_fraction: The larger of both for the busiest worker with requests that was there
            for half of the time.
        backlogs: How many connections waited to be accepted, on average, at each listening socket.
        queue_seconds: How long a request waited since a proxy got it, by ``X-Request-Start``.
        queued: How many requests had such a header.
        present: How many requests and connections that wait there were, at each reading.
        durations: How many of the requests took how long, by `DURATIONS_SECONDS`.
        bound_by: What the server would need more of.
    """

    seconds: float
    workers: int
    requests: int
    rejected: int
    request_seconds: float | None
    computing_seconds: float | None
    delay_seconds: float | None
    busy_slots: float
    slots: int | None
    concurrency: float | None
    cores: float
    cores_used: float
    loop_fraction: float | None
    pool_fraction: float
    process_fraction: float
    busiest_fraction: float
    backlogs: tuple[Backlog, ...]
    queue_seconds: float | None
    queued: int
    present: tuple[float, ...]
    durations: tuple[int, ...]
    bound_by: Bound = Bound.NOTHING

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def busy_fraction(self) -> float | None:
        """The share of the slots that were busy; None where there are none, or no bound."""
        return self.busy_slots / self.slots if self.slots else None

    @property
    def cores_fraction(self) -> float:
        """The share of the cores that the workers kept busy."""
        return self.cores_used / self.cores

    @property
    def busy_workers(self) -> float:
        """How many workers would have done it all, if each had been busy all the time."""
        shares = (self.busy_fraction, self.loop_fraction, self.pool_fraction)
        return self.workers * max(share or 0.0 for share in shares)

    @property
    def is_uneven(self) -> bool:
        """Whether one event loop is full while others have room."""
        mean = self.loop_fraction
        return mean is not None and mean < LOOP_FRACTION <= self.busiest_fraction

    @property
    def held_fraction(self) -> float:
        """For which share of the time a worker computed, or could have and waited for a core."""
        computing, delay = self.computing_seconds, self.delay_seconds or 0.0
        return self.process_fraction * (1 + delay / computing) if computing else 0.0

    @property
    def is_crowded(self) -> bool:
        """Whether workers mostly compute or wait for a core, and wait for a good part of that."""
        is_late = (self.delay_seconds or 0) >= (self.computing_seconds or 0) * CROWDED_FRACTION
        return is_late and self.held_fraction >= CROWDED_FRACTION

    @property
    def waiting(self) -> float | None:
        """How many connections waited to be accepted; None where no listening socket tells."""
        known = [backlog.waiting for backlog in self.backlogs if backlog.waiting is not None]
        return sum(known) if known else None


class _Worker(NamedTuple):
    """What one worker did from the first reading that it is in to the last."""

    seconds: float
    did: Counters
    delay_seconds: float | None


def measure(readings: Sequence[Reading], supply: Supply) -> Load | None:
    """
    Return what happened from the first of *readings* to the last; None where no worker counts.

    CPU time counts from a worker's second reading on: before that it has imported the application.
    """
    seconds = readings[-1].at_seconds - readings[0].at_seconds if readings else 0.0
    if seconds <= 0 or not any(reading.workers for reading in readings):
        return None
    workers = _workers(readings)
    all_did = readings[-1].total.minus(readings[0].total)
    # The sums that are needed, and not of all counters: the guard asks three times at each step.
    seen_requests = sum(worker.did.requests for worker in workers)
    seen_busy_seconds = sum(worker.did.busy_seconds for worker in workers)
    seen_slot_seconds = sum(worker.did.slot_seconds for worker in workers)
    seen_cpu_seconds = sum(worker.did.cpu_seconds for worker in workers)
    delays = [worker.delay_seconds for worker in workers if worker.delay_seconds is not None]
    shares = [worker.did.cpu_seconds / worker.seconds for worker in workers]
    # What computes is busy, and so is what blocks a loop without computing.
    loops = [
        max(worker.did.loop_seconds / worker.seconds, share)
        for worker, share in zip(workers, shares, strict=True)
    ]
    load = Load(
        seconds=seconds,
        workers=supply.workers,
        requests=all_did.requests,
        rejected=all_did.rejected,
        request_seconds=_each(all_did.slot_seconds, all_did.requests),
        computing_seconds=_each(seen_cpu_seconds, seen_requests),
        delay_seconds=_each(sum(delays), seen_requests) if delays else None,
        busy_slots=all_did.slot_seconds / seconds,
        slots=None if supply.slots is None else supply.slots * supply.workers,
        concurrency=seen_slot_seconds / seen_busy_seconds if seen_busy_seconds else None,
        cores=supply.cores,
        cores_used=seen_cpu_seconds / seconds,
        loop_fraction=_mean(loops) if supply.has_loop and loops else None,
        pool_fraction=_mean([worker.did.pool_seconds / worker.seconds for worker in workers]),
        process_fraction=_mean(shares),
        busiest_fraction=max(
            (
                loop
                for worker, loop in zip(workers, loops, strict=True)
                if worker.seconds >= seconds / 2 and (worker.did.requests or worker.did.in_flight)
            ),
            default=0.0,
        ),
        backlogs=tuple(_backlogs(readings)),
        queue_seconds=_each(all_did.queue_seconds, all_did.queued),
        queued=all_did.queued,
        present=tuple(reading.present for reading in readings),
        durations=all_did.durations,
    )
    return replace(load, bound_by=_bound(load, supply))


def _workers(readings: Sequence[Reading]) -> list[_Worker]:
    """Return what each worker did that is in two readings or more, from its first to its last."""
    first: dict[int, Reading] = {}
    last: dict[int, Reading] = {}
    for reading in readings:
        for pid in reading.workers:
            first.setdefault(pid, reading)
            last[pid] = reading
    return [_between(pid, first[pid], last[pid]) for pid in last if first[pid] is not last[pid]]


def _between(pid: int, before: Reading, now: Reading) -> _Worker:
    earlier, later = before.delayed_seconds.get(pid), now.delayed_seconds.get(pid)
    # A thread that has ended takes its time with it.
    delay = None if earlier is None or later is None else max(later - earlier, 0.0)
    did = now.workers[pid].minus(before.workers[pid])
    return _Worker(now.at_seconds - before.at_seconds, did, delay)


def _each(seconds: float, count: int) -> float | None:
    return seconds / count if count else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _backlogs(readings: Sequence[Reading]) -> Iterator[Backlog]:
    """Yield for each socket of the last reading how many waited on average."""
    for address, _ in readings[-1].backlogs:
        seen = [
            backlog.waiting
            for reading in readings[1:]
            for backlog in reading.backlogs
            if backlog.address == address and backlog.waiting is not None
        ]
        yield Backlog(address, _mean(seen) if seen else None)


def _bound(load: Load, supply: Supply) -> Bound:
    is_short_of_processes = max(load.loop_fraction or 0, load.process_fraction) >= LOOP_FRACTION
    busy = load.busy_fraction or 0
    is_waited_for = busy >= WAITED_FOR_FRACTION and (load.waiting or 0) >= 1
    is_short_of_slots = max(busy, load.pool_fraction) >= SLOTS_FRACTION or is_waited_for
    is_full = is_short_of_processes or is_short_of_slots
    is_held = is_full or load.held_fraction >= LOOP_FRACTION
    if load.cores_fraction >= CORES_FRACTION or (is_held and load.is_crowded):
        return Bound.CORES
    if not is_full:
        return Bound.ONE_LOOP if load.is_uneven else Bound.NOTHING
    if supply.database_forbids:
        return Bound.DATABASE
    if supply.memory_forbids:
        return Bound.MEMORY
    return Bound.LOOP if is_short_of_processes else Bound.SLOTS
