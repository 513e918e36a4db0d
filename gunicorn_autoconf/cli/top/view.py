"""What `top` shows of a server: samples to CPU shares, growth and past of each process. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gunicorn_autoconf.cli.inside import Inside, WorkerInside
from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.fleet.sample import MIN_AGE_SECONDS
from gunicorn_autoconf.load.capacity import Backlog
from gunicorn_autoconf.machine.facts import ProcessMemory

# A worker that has been watched for less has not shown whether it grows.
WATCHED_SECONDS = 10.0

# How many columns wide a worker's past is drawn at most. Wider ones are hard to compare.
MAX_POINTS = 120


class ProcessSample(NamedTuple):
    """One process at one time: its *state* in the kernel's words, its CPU time since its start."""

    pid: int
    age_seconds: float
    state: str
    cpu_seconds: float
    memory: ProcessMemory

    @property
    def used_bytes(self) -> int:
        """Its USS, or its RSS where the USS is unknown."""
        return self.memory.uss_bytes or self.memory.rss_bytes


class MemorySample(NamedTuple):
    """
    The limit with the least headroom, in bytes, and the file or variable that gave it.

    The budget is what a plan would give to workers: the limit minus the reserve, minus what other
    processes use. The headroom is the limit minus the working set, negative if that exceeds it.
    """

    limit_bytes: int
    source: str
    budget_bytes: int
    reserve_bytes: int
    headroom_bytes: int


class ServerSample(NamedTuple):
    """
    A whole server at one time: what it is, what it may use, what its processes use.

    Attributes:
        listeners: Where it listens, and what waits there.
        inside: What it tells of itself; None where it does not.
        untold: Why it does not.
    """

    at_seconds: float
    command: str
    arbiter: ProcessSample
    workers: tuple[ProcessSample, ...]
    cores: float
    memory: MemorySample | None
    listeners: tuple[Backlog, ...] = ()
    inside: Inside | None = None
    untold: str = ""

    def told_of(self, pid: int) -> WorkerInside | None:
        """Return what is told of the worker *pid*."""
        return self.inside.workers.get(pid) if self.inside else None

    @property
    def server_bytes(self) -> int:
        """The memory of the arbiter and its workers together."""
        return total_bytes((self.arbiter, *self.workers))

    @property
    def others_bytes(self) -> int:
        """The memory of other processes under the same limit."""
        if self.memory is None:
            return 0
        return max(self.memory.limit_bytes - self.memory.headroom_bytes - self.server_bytes, 0)


class Work(NamedTuple):
    """What a worker did between two samples."""

    busy_fraction: float
    """The share of its slots that were busy; of an event loop, the share of the time."""
    rate: float
    """Requests per second."""
    request_seconds: float | None
    """How long one took; None where none has ended."""


class Row(NamedTuple):
    """
    One process as it is shown.

    Attributes:
        cpu_percent: Of one core, since the previous sample; None at the first.
        first_bytes: What it used when it could serve, or at the first sample after that.
        points: What it used at the latest samples, oldest first.
        inside: What the server tells of it.
        work: What it did since the previous sample; None at the first, or where that is not told.
        watched_seconds: How long *first_bytes* were seen ago, where only we have seen them.
    """

    now: ProcessSample
    cpu_percent: float | None
    first_bytes: int
    points: tuple[int, ...]
    inside: WorkerInside | None = None
    work: Work | None = None
    watched_seconds: float | None = None

    @property
    def growth_bytes(self) -> int | None:
        """How much it has grown since it could serve; None where that is not known yet."""
        is_known = self.watched_seconds is None or self.watched_seconds >= WATCHED_SECONDS
        return self.now.used_bytes - self.first_bytes if is_known else None


class View(NamedTuple):
    """A server as it is shown; the workers are ordered by pid."""

    now: ServerSample
    arbiter: Row
    workers: tuple[Row, ...]

    @property
    def cpu_percent(self) -> float | None:
        """The share of one core that all its processes use; None at the first sample."""
        shares = [row.cpu_percent for row in (self.arbiter, *self.workers)]
        known = [share for share in shares if share is not None]
        return sum(known) if known else None


def follow(before: View | None, now: ServerSample) -> View:
    """Return the view after the sample *now*; *before* is the previous view, if there is one."""
    known = {row.now.pid: row for row in (before.arbiter, *before.workers)} if before else {}
    earlier = before.now if before else now
    arbiter, *workers = (
        _follow(known.get(process.pid), process, earlier, now)
        for process in (now.arbiter, *sorted(now.workers))
    )
    return View(now, arbiter, tuple(workers))


def _follow(
    before: Row | None, process: ProcessSample, earlier: ServerSample, now: ServerSample
) -> Row:
    inside = now.told_of(process.pid)
    # The kernel reuses pids: a process that is younger than before is another one.
    if before and process.age_seconds < before.now.age_seconds:
        before = None
    passed_seconds = now.at_seconds - earlier.at_seconds
    first_bytes, watched_seconds = _first(before, process, inside, passed_seconds)
    points = (*(before.points if before else ()), process.used_bytes)[-MAX_POINTS:]
    row = Row(process, None, first_bytes, points, inside, watched_seconds=watched_seconds)
    if before is None:
        return row
    computed_seconds = max(process.cpu_seconds - before.now.cpu_seconds, 0.0)
    share = computed_seconds / passed_seconds * 100 if passed_seconds > 0 else None
    return row._replace(cpu_percent=share, work=_work(before, inside, earlier, now, share))


def _first(
    before: Row | None, process: ProcessSample, inside: WorkerInside | None, passed_seconds: float
) -> tuple[int, float | None]:
    """Return from what size growth counts, and for how long we have watched it if only we did."""
    # Own memory against resident memory would look like growth.
    has_uss = process.memory.uss_bytes is not None
    boot_bytes = inside and (inside.boot_uss_bytes if has_uss else inside.boot_rss_bytes)
    if boot_bytes is not None:
        return boot_bytes, None
    # One that boots, or may, as it is young and nothing tells, has not begun to grow.
    is_early = process.age_seconds < MIN_AGE_SECONDS if inside is None else not inside.is_booted
    if before is None or is_early:
        return process.used_bytes, 0.0
    return before.first_bytes, (before.watched_seconds or 0.0) + passed_seconds


def _work(
    before: Row,
    inside: WorkerInside | None,
    earlier: ServerSample,
    now: ServerSample,
    cpu_percent: float | None,
) -> Work | None:
    counted, since = inside and inside.counters, before.inside and before.inside.counters
    if counted is None or now.inside is None or earlier.inside is None:
        return None
    seconds = now.inside.at_seconds - earlier.inside.at_seconds
    if seconds <= 0:
        return None
    did = counted.minus(since or Counters())
    slots = now.inside.slots_per_worker
    busy = max(did.loop_seconds / seconds, (cpu_percent or 0.0) / 100)
    if slots is not None:
        busy = did.slot_seconds / seconds / slots
    each = did.slot_seconds / did.requests if did.requests else None
    return Work(min(max(busy, 0.0), 1.0), did.requests / seconds, each)


def total_bytes(processes: Iterable[ProcessSample]) -> int:
    """Return the memory of *processes* together: the sum of their PSS, or RSS where unknown."""
    memories = (process.memory for process in processes)
    return sum(memory.pss_bytes or memory.rss_bytes for memory in memories)
