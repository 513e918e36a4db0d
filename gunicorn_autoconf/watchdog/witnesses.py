"""
What kept a thread from running: the kernel, the GIL, the garbage collector.

Reads /proc and cgroup files, clocks and the calling thread's own counters; listens to the garbage
collector.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from typing import Any, NamedTuple

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine import cgroup_tree, kernel_files
from gunicorn_autoconf.machine.host import read_text
from gunicorn_autoconf.watchdog.stall import Throttling

try:
    import resource
except ImportError:  # no Unix
    resource = None  # type: ignore[assignment]

# Below this a sleep that took longer is no finding: timers are not exact.
TOLERANCE_SECONDS = 0.01


class ThreadTimes(NamedTuple):
    """What the kernel says of a thread, in seconds since it began."""

    computing_seconds: float
    """On a CPU."""
    queued_seconds: float = 0.0
    """Ready to run, and not on a CPU. 0 where the kernel does not tell."""


class ThreadWitness:
    """
    The times of the thread that makes it; any thread may read them.

    Source:
        Linux, scheduler/sched-stats.rst, "/proc/<pid>/schedstat". A kernel without
        CONFIG_SCHED_INFO has no such file, or zeros in it.
    """

    def __init__(self, native_id: int, thread_ident: int) -> None:
        self._task = f"/proc/self/task/{native_id}"
        self._clock = time.pthread_getcpuclockid(thread_ident) if _HAS_CLOCK else None
        try:
            self._file: int | None = os.open(f"{self._task}/schedstat", os.O_RDONLY)
        except OSError:
            self._file = None

    def read(self) -> ThreadTimes:
        """Return the times until now."""
        computing = time.clock_gettime(self._clock) if self._clock is not None else 0.0
        fields = os.pread(self._file, 100, 0).split() if self._file is not None else []
        # The delay is added when the thread comes to run: what lasts is not in it yet.
        return ThreadTimes(computing, int(fields[1]) / 1e9 if len(fields) > 1 else 0.0)

    def is_runnable(self) -> bool:
        """Return whether the thread runs or waits for a CPU."""
        try:
            # The second field is the program's name, which may hold anything, in parentheses.
            return read_text(f"{self._task}/stat").rpartition(")")[2].split()[0] == "R"
        except (OSError, MalformedFileError, IndexError):
            return False

    def close(self) -> None:
        """Give back what is open."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


_HAS_CLOCK = hasattr(time, "pthread_getcpuclockid")


class Delay(NamedTuple):
    """Why the watchdog's own sleep took longer than it should, in seconds."""

    away_seconds: float = 0.0
    """The kernel did not let it run: stopped, throttled, starved."""
    native_seconds: float = 0.0
    """It ran and waited for the GIL."""


class OwnDelay:
    """
    Tells what a late thread has waited for, by how often it gave up its CPU meanwhile.

    A thread that waits for the GIL wakes every switch interval to ask for it (CPython,
    Python/ceval_gil.c, take_gil); one that the kernel does not run wakes never.
    """

    def __init__(self) -> None:
        self.total = Delay()
        self._switches = 0
        self._process_seconds = 0.0

    def begin(self) -> None:
        """Note the counters before the sleep."""
        self._switches = _switches()
        self._process_seconds = time.process_time()

    def end(self, late_seconds: float) -> Delay:
        """Return, after a sleep that was late by so much, what the thread has waited for."""
        if late_seconds < TOLERANCE_SECONDS:
            return Delay()
        if _RUSAGE_THREAD is None:
            native = time.process_time() - self._process_seconds
        else:
            # One switch is the sleep itself.
            native = (_switches() - self._switches - 1) * sys.getswitchinterval()
        native = min(max(0.0, native), late_seconds)
        # On a busy machine a wake-up takes several intervals. A process that is stopped or
        # throttled has next to none of them, so that a quarter is clear enough.
        if native >= 0.25 * late_seconds:
            native = late_seconds
        delay = Delay(late_seconds - native, native)
        self.total = Delay(
            self.total.away_seconds + delay.away_seconds,
            self.total.native_seconds + delay.native_seconds,
        )
        return delay


_RUSAGE_THREAD = getattr(resource, "RUSAGE_THREAD", None)  # Linux


def _switches() -> int:
    return resource.getrusage(_RUSAGE_THREAD).ru_nvcsw if _RUSAGE_THREAD is not None else 0


class CollectorWitness:
    """How long the garbage collector has run; only full collections, as the others are short."""

    def __init__(self) -> None:
        self._total_seconds = 0.0
        self._began: float | None = None
        gc.callbacks.append(self)

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        """Take the time of a full collection; called by the collector, twice for each."""
        if info["generation"] < 2:
            return
        if phase == "start":
            self._began = time.monotonic()
        elif self._began is not None:
            self._total_seconds += time.monotonic() - self._began
            self._began = None

    @property
    def total_seconds(self) -> float:
        """The time of all full collections, and so far of one that is not over."""
        began = self._began
        return self._total_seconds + (time.monotonic() - began if began is not None else 0.0)

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self)


class QuotaWitness:
    """How often our cgroups' CPU quotas have stopped us."""

    def __init__(self, root: str = "/") -> None:
        self._paths = _cpu_stat_files(root)
        self._seen: dict[str, tuple[int, float]] = {}
        self.look()

    def look(self) -> Throttling | None:
        """Return the throttling since the last look, where it was worst; None without any."""
        worst: Throttling | None = None
        for path in self._paths:
            found = _read_cpu_stat(path)
            if found is None:
                continue
            count, seconds = self._seen.get(path, found)
            self._seen[path] = found
            since = Throttling(found[0] - count, found[1] - seconds, path)
            if since.times > 0 and (worst is None or since.seconds > worst.seconds):
                worst = since
        return worst


def _cpu_stat_files(root: str) -> list[str]:
    """Return the files that count throttling: of our own cgroup and of those above it."""
    proc = os.path.join(root, "proc/self")
    try:
        memberships = cgroup_tree.parse_proc_cgroup(read_text(f"{proc}/cgroup"))
        mounts = cgroup_tree.parse_mountinfo(read_text(f"{proc}/mountinfo"))
    except (OSError, ValueError):
        memberships, mounts = (), ()
    places = cgroup_tree.list_hierarchies("cpu", memberships, mounts)
    paths = [
        os.path.join(root, directory.lstrip("/"), "cpu.stat")
        for place in places
        for directory in place.directories
    ]
    return [path for path in paths if _read_cpu_stat(path)]


def _read_cpu_stat(path: str) -> tuple[int, float] | None:
    try:
        return kernel_files.parse_cpu_stat(read_text(path))
    except (OSError, ValueError):
        return None
