"""One look at all workers and at the limit above them. Reads /proc and the cgroup."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from gunicorn_autoconf.fleet.sample import BOOT_SECONDS, Sample, WorkerSample
from gunicorn_autoconf.fleet.shared_page import BootReport
from gunicorn_autoconf.machine.facts import Machine, MemoryLimit, MemorySupply, ProcessMemory
from gunicorn_autoconf.machine.process_memory import read_process_memory, read_rss
from gunicorn_autoconf.units import MIB

# How many points of a worker's past are kept; when there are more, every second one is dropped and
# points are noted half as often.
MAX_POINTS = 64

# The kernel walks all pages of a process for its PSS and USS: 0.3 to 1 ms at 40 MiB. That is spared
# while the RSS, which costs 0.02 ms, has moved by less than this ...
MOVED_BYTES = MIB
# ... but for once a minute: a page that ceases to be shared by fork leaves the RSS as it was.
LOOK_SECONDS = 60.0


class _Look(NamedTuple):
    """What a process used when it was last looked at in full."""

    at_seconds: float
    rss_bytes: int
    memory: ProcessMemory


class WorkerRecord(NamedTuple):
    """A worker as the arbiter knows it."""

    forked_at_seconds: float
    report: BootReport | None


class WorkerPast:
    """What a worker used at each time of its life, with less and less detail."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []
        self._spacing_seconds = 0.0

    def add(self, age_seconds: float, uss_bytes: int) -> None:
        """Note what the worker uses now."""
        if self._points and age_seconds - self._points[-1][0] < self._spacing_seconds:
            return
        self._points.append((age_seconds, uss_bytes))
        if len(self._points) > MAX_POINTS:
            # Evenly over its whole life: dropping alone would leave nothing but the last minutes.
            del self._points[1::2]
            self._spacing_seconds = age_seconds / MAX_POINTS * 2

    def at(self, age_seconds: float) -> int | None:
        """Return what it used at *age_seconds* or last before; None where it was not seen then."""
        seen = [uss_bytes for age, uss_bytes in self._points if age <= age_seconds]
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
        read_memory: Callable[[int], ProcessMemory | None] = read_process_memory,
        read_rss: Callable[[int], int | None] = read_rss,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Begin with no past.

        Args:
            detect: The machine, given what our own processes use.
            read_memory: A process's memory.
            read_rss: Its RSS in bytes, cheaply; None where that is not told.
            clock: Seconds that never jump.
        """
        self._detect = detect
        self._read_memory = read_memory
        self._read_rss = read_rss
        self._clock = clock
        self._pasts: dict[int, WorkerPast] = {}
        self._looks: dict[int, _Look] = {}

    def sample(
        self, forks: Mapping[int, WorkerRecord], target: int, declared_bytes: int | None
    ) -> tuple[Machine, Sample | None]:
        """
        Return the machine as it is now and a sample, which is None where no limit is known.

        Args:
            forks: The workers by pid.
            target: How many workers there are to be.
            declared_bytes: A limit that was declared.
        """
        now = self._clock()
        workers = tuple(
            seen for pid, fork in forks.items() if (seen := self._look_at(pid, fork, now))
        )
        self._pasts = {pid: past for pid, past in self._pasts.items() if pid in forks}
        arbiter = os.getpid()
        self._looks = {
            pid: look for pid, look in self._looks.items() if pid in forks or pid == arbiter
        }
        own_bytes = sum(worker.pss_bytes for worker in workers)
        machine = self._detect(own_bytes + self._arbiter_bytes(now))
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

    def _memory_of(self, pid: int, now: float) -> ProcessMemory | None:
        rss_bytes = self._read_rss(pid)
        last = self._looks.get(pid)
        if (
            last is not None
            and rss_bytes is not None
            and abs(rss_bytes - last.rss_bytes) < MOVED_BYTES
            and now - last.at_seconds < LOOK_SECONDS
        ):
            return last.memory
        memory = self._read_memory(pid)
        if memory is not None and rss_bytes is not None:
            self._looks[pid] = _Look(now, rss_bytes, memory)
        return memory

    def _arbiter_bytes(self, now: float) -> int:
        memory = self._memory_of(os.getpid(), now)
        return (memory.pss_bytes or memory.rss_bytes) if memory else 0

    def _look_at(self, pid: int, fork: WorkerRecord, now: float) -> WorkerSample | None:
        memory = self._memory_of(pid, now)
        if memory is None:
            return None
        # Where the system tells only RSS, that has to do: growth shows in it as well.
        uss = memory.uss_bytes or memory.rss_bytes
        pss = memory.pss_bytes or memory.rss_bytes
        age = now - fork.forked_at_seconds
        past = self._pasts.setdefault(pid, WorkerPast())
        past.add(age, uss)
        report = fork.report
        return WorkerSample(
            pid=pid,
            age_seconds=age,
            uss_bytes=uss,
            pss_bytes=pss,
            boot_uss_bytes=_boot_bytes(report, memory) or past.first if report else None,
            boot_seconds=report.boot_seconds if report else BOOT_SECONDS,
            earlier_uss_bytes=past.at(age * 0.75),
        )


def _boot_bytes(report: BootReport, memory: ProcessMemory) -> int | None:
    """
    Return what a worker used when it had booted, in the kind in which *memory* tells it now.

    A worker sees its own USS. The arbiter may not, where `user` gave the workers another one and
    the container has no CAP_SYS_PTRACE: RSS against USS would look like growth.
    """
    if report.uss_bytes is None or memory.uss_bytes is not None:
        return report.uss_bytes
    return report.rss_bytes


def tightest_level(memory: MemorySupply, declared_bytes: int | None) -> tuple[int, int] | None:
    """
    Return the limit and the headroom, in bytes, of the level that leaves least.

    The physical memory counts where there is no limit: with one, nobody whom we could replace is
    to blame for a host that is full. What our own processes use counts against *declared_bytes*,
    and the kernel goes on to enforce its limits beside it.
    """
    levels = list(_measured(memory.limits))
    if declared_bytes is not None:
        levels.append((declared_bytes, declared_bytes - memory.own_bytes))
    elif not levels and memory.physical:
        levels = list(_measured((memory.physical,)))
    return min(levels, key=lambda level: level[1] / level[0], default=None)


def _measured(levels: Iterable[MemoryLimit]) -> Iterator[tuple[int, int]]:
    """Yield limit and headroom of each level whose usage is known."""
    for level in levels:
        if level.in_use_bytes is not None:
            yield level.limit_bytes, level.limit_bytes - level.in_use_bytes
