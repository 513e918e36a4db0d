"""One look at all workers and at the limit above them. Reads /proc and the cgroup.

Theory of operation. Each `sample` looks at the arbiter, the workers and their child processes. The
cheap RSS tells whether the costly look (PSS, USS) of an earlier sample still holds. What these
processes have in memory is summed on the way, as `detect` needs it to tell our own use from that of
others. Kept between samples: the last costly look at each process and each worker's past, until it
is no longer among the records. Only the supervisor's thread uses it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.fleet.sample import BOOT_SECONDS, Sample, WorkerSample
from gunicorn_autoconf.machine.descendants import list_descendants
from gunicorn_autoconf.machine.facts import Machine, MemoryLimit, MemorySupply, ProcessMemory
from gunicorn_autoconf.machine.process_memory import read_process_memory, read_rss, read_swapped
from gunicorn_autoconf.units import MIB

if TYPE_CHECKING:
    from gunicorn_autoconf.fleet.counters import Counters
    from gunicorn_autoconf.fleet.records import WorkerRecord
    from gunicorn_autoconf.fleet.shared_page import BootReport

# How many points of a worker's past are kept; when there are more, every second one is dropped and
# points are noted half as often.
MAX_POINTS = 64

# The kernel walks all pages of a process for its PSS and USS: 0.3 to 1 ms at 40 MiB. That is spared
# while the RSS, which costs 0.02 ms, has moved by less than this ...
MOVED_BYTES = MIB
# ... but for once a minute: a page that ceases to be shared by fork leaves the RSS as it was.
LOOK_SECONDS = 60.0
# How often the child processes of a worker are looked for: with 100 threads that takes 1 ms.
HELPERS_SECONDS = 5.0


# A worker that does not count its requests is busy while it uses so much of a core: a few requests
# a second. An idle one beats its heart, which takes less than 0.1 % ...
BUSY_FRACTION = 0.01
# ... and is told in steps of 10 ms, so it takes some seconds to see the difference.
BUSY_SECONDS = 4.0


class _Look(NamedTuple):
    """
    What a process used when it was last looked at in full.

    Where the system tells only RSS, that has to do for USS and PSS.
    """

    at_seconds: float
    rss_bytes: int | None
    """As it is read at each sample; None where that is not told."""
    uss_bytes: int
    pss_bytes: int
    swapped_bytes: int
    has_uss: bool


class Readers(NamedTuple):
    """How a process is looked at, by its pid."""

    memory: Callable[[int], ProcessMemory | None] = read_process_memory
    rss: Callable[[int], int | None] = read_rss
    """In bytes, cheaply; None where that is not told."""
    swapped: Callable[[int], int] = read_swapped
    """In bytes."""
    descendants: Callable[[int], Sequence[int]] = list_descendants


DEFAULT_READERS = Readers()


class WorkerPast:
    """What a worker used and did at each time of its life, with less and less detail."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []
        self._spacing_seconds = 0.0
        self.helpers: tuple[int, ...] = ()
        """The child processes that were found last."""
        self.listed_at: float | None = None
        """When they were looked for."""
        self.answered_at: float | None = None
        """When the worker was first seen to have answered a request."""
        self.busy_seconds = 0.0
        """How long it was busy since its boot, by its CPU time."""
        self._cpu: tuple[float, float] | None = None
        self._ended = -1, 0.0
        """How many requests had ended, and since when no other has that began."""

    def add(self, age_seconds: float, used_bytes: int) -> None:
        """Note what the worker uses now."""
        if self._points and age_seconds - self._points[-1][0] < self._spacing_seconds:
            return
        self._points.append((age_seconds, used_bytes))
        if len(self._points) > MAX_POINTS:
            # Evenly over its whole life: dropping alone would leave nothing but the last minutes.
            del self._points[1::2]
            self._spacing_seconds = age_seconds / MAX_POINTS * 2

    def used_cpu(self, cpu_seconds: float, now: float) -> None:
        """Note what CPU time the worker has used since its start."""
        if self._cpu is None:
            self._cpu = now, cpu_seconds
            return
        passed = now - self._cpu[0]
        if passed >= BUSY_SECONDS:
            if cpu_seconds - self._cpu[1] >= passed * BUSY_FRACTION:
                self.busy_seconds += passed
            self._cpu = now, cpu_seconds

    def held_seconds(self, counters: Counters | None, now: float) -> float:
        """Return for how long requests have run and none has ended."""
        if counters is None:
            return 0.0
        if not counters.in_flight or counters.requests != self._ended[0]:
            self._ended = counters.requests, now
        return now - self._ended[1]

    def at(self, age_seconds: float) -> int | None:
        """Return what it used at *age_seconds* or last before; None where it was not seen then."""
        seen = [used_bytes for age, used_bytes in self._points if age <= age_seconds]
        return seen[-1] if seen else None

    @property
    def first(self) -> int:
        """What it used when it was first seen."""
        return self._points[0][1]


class Sampler:
    """Takes samples, and remembers of each worker what the next ones need."""

    def __init__(
        self,
        detect: Callable[[int], Machine],
        *,
        readers: Readers = DEFAULT_READERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Begin with no past.

        Args:
            detect: The machine, given what our own processes use.
            readers: How a process is looked at.
            clock: Seconds that never jump.
        """
        self._detect = detect
        self._readers = readers
        self._clock = clock
        self._pasts: dict[int, WorkerPast] = {}
        self._looks: dict[int, _Look] = {}
        self._resident_bytes = 0

    def sample(
        self, records: Mapping[int, WorkerRecord], target: int, declared_bytes: int | None
    ) -> tuple[Machine, Sample | None]:
        """
        Return the machine as it is now and a sample, which is None where no limit is known.

        Args:
            records: The workers by pid.
            target: How many workers there are to be.
            declared_bytes: A limit that was declared.
        """
        now = self._clock()
        self._pasts = {pid: past for pid, past in self._pasts.items() if pid in records}
        self._resident_bytes = 0
        workers = tuple(
            seen for pid, record in records.items() if (seen := self._look_at(pid, record, now))
        )
        self._memory_of(os.getpid(), now)
        looked_at = {os.getpid(), *records, *self._helpers()}
        self._looks = {pid: look for pid, look in self._looks.items() if pid in looked_at}
        machine = self._detect(self._resident_bytes)
        tightest = tightest_level(machine.memory, declared_bytes)
        if tightest is None:
            return machine, None
        limit, headroom = tightest
        return machine, Sample(
            at_seconds=now,
            limit_bytes=limit,
            headroom_bytes=headroom,
            target=target,
            workers=workers,
        )

    def _memory_of(self, pid: int, now: float) -> _Look | None:
        """Return what *pid* uses, and count what of it is resident."""
        used = self._look(pid, now)
        if used is not None:
            self._looks[pid] = used
            self._resident_bytes += used.pss_bytes - used.swapped_bytes
        return used

    def _look(self, pid: int, now: float) -> _Look | None:
        rss_bytes = self._readers.rss(pid)
        last = self._looks.get(pid)
        if (
            last is not None
            and rss_bytes is not None
            and last.rss_bytes is not None
            and abs(rss_bytes - last.rss_bytes) < MOVED_BYTES
            and now - last.at_seconds < LOOK_SECONDS
        ):
            return last
        memory = self._readers.memory(pid)
        if memory is None:
            return None
        swapped = self._readers.swapped(pid)
        return _Look(
            at_seconds=now,
            rss_bytes=rss_bytes,
            uss_bytes=(memory.uss_bytes or memory.rss_bytes) + swapped,
            pss_bytes=(memory.pss_bytes or memory.rss_bytes) + swapped,
            swapped_bytes=swapped,
            has_uss=memory.uss_bytes is not None,
        )

    def _look_at(self, pid: int, record: WorkerRecord, now: float) -> WorkerSample | None:
        used = self._memory_of(pid, now)
        if used is None:
            return None
        age = now - record.forked_at_seconds
        past = self._pasts.setdefault(pid, WorkerPast())
        if past.listed_at is None or now - past.listed_at >= HELPERS_SECONDS:
            past.listed_at, past.helpers = now, tuple(self._readers.descendants(pid))
        looks = (self._memory_of(helper, now) for helper in past.helpers)
        helpers = [look.pss_bytes for look in looks if look]
        past.add(age, used.uss_bytes + sum(helpers))
        did = record.counters
        if did and did.requests and past.answered_at is None:
            past.answered_at = now
        report = record.report
        if report and record.cpu_seconds is not None:
            past.used_cpu(record.cpu_seconds, now)
        boot_seconds = report.boot_seconds if report else BOOT_SECONDS
        return WorkerSample(
            pid=pid,
            age_seconds=age,
            uss_bytes=used.uss_bytes,
            pss_bytes=used.pss_bytes,
            boot_uss_bytes=_boot_bytes(report, used) or past.first if report else None,
            boot_seconds=boot_seconds,
            earlier_bytes=past.at(boot_seconds + (age - boot_seconds) * 0.75),
            helper_bytes=sum(helpers),
            helpers=len(helpers),
            requests=did.requests if did else None,
            traffic_seconds=(
                past.busy_seconds if past.answered_at is None else now - past.answered_at
            ),
            held_seconds=past.held_seconds(did, now),
        )

    def _helpers(self) -> Iterator[int]:
        for past in self._pasts.values():
            yield from past.helpers


def _boot_bytes(report: BootReport, used: _Look) -> int | None:
    """
    Return what a worker used when it had booted, in the kind in which *used* has it.

    A worker sees its own USS. The arbiter may not, where `user` gave the workers another one and
    the container has no CAP_SYS_PTRACE: RSS against USS would look like growth.
    """
    if report.uss_bytes is None or used.has_uss:
        return report.uss_bytes
    return report.rss_bytes


def tightest_level(memory: MemorySupply, declared_bytes: int | None) -> tuple[int, int] | None:
    """
    Return the limit and the headroom, in bytes, of the level that leaves least.

    The physical memory counts where there is no limit: with a limit, a full host is not caused by
    workers we could replace. What our own processes use counts against *declared_bytes*,
    and the kernel goes on to enforce its limits beside it.
    """
    levels = list(_measured(memory.limits))
    if declared_bytes is not None:
        levels.append((declared_bytes, declared_bytes - memory.own_bytes))
    elif not levels and memory.physical:
        levels = list(_measured((memory.physical,)))
    return min(levels, key=_free_fraction, default=None)


def _free_fraction(level: tuple[int, int]) -> float:
    limit_bytes, headroom_bytes = level
    # A limit of 0, as ``memory.high`` may be for some seconds, leaves nothing.
    return headroom_bytes / limit_bytes if limit_bytes > 0 else -math.inf


def _measured(levels: Iterable[MemoryLimit]) -> Iterator[tuple[int, int]]:
    """Yield limit and headroom of each level whose usage is known."""
    for level in levels:
        if level.in_use_bytes is not None:
            yield level.limit_bytes, level.limit_bytes - level.in_use_bytes
