"""
What the kernel counts of our memory cgroup and of those above it: limits hit, OOM kills.

Reads /proc/self and /sys/fs/cgroup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.cgroup_tree import Hierarchy
from gunicorn_autoconf.machine.file import read_text
from gunicorn_autoconf.machine.kernel_files import (
    parse_max,
    parse_memory_limit,
    parse_memory_stat,
    parse_memory_usage,
)
from gunicorn_autoconf.machine.own_cgroup import own_hierarchies
from gunicorn_autoconf.machine.pressure import Pressure, parse_pressure


class Events(NamedTuple):
    """
    The counters of one level. They only grow; None where the kernel does not tell.

    Source:
        Linux, admin-guide/cgroup-v2.rst, memory.events; cgroup-v1/memory.rst, memory.oom_control
        and memory.failcnt.
    """

    oom_kills: int | None = None
    """Processes of this cgroup that an OOM killer took, at this level's limit or another's."""
    ooms: int | None = None
    """How often its limit was hit and nothing more could be freed."""
    limit_hits: int | None = None
    """How often its limit was reached; the kernel may have freed enough."""
    highs: int | None = None
    """How often its processes were slowed down for having passed `memory.high`."""


NO_EVENTS = Events()

T = TypeVar("T")


class MemoryEvents:
    """The counters of our own cgroup and of those above it that we can see, the leaf first."""

    def __init__(self, place: Hierarchy, root: str, own: int) -> None:
        """
        Use `find_memory_events`.

        Args:
            place: The directories.
            root: Where they are found.
            own: The index of the one that counts the kills of our processes.
        """
        self._place = place
        self._root = root.rstrip("/")
        self._own = own

    @property
    def is_shared(self) -> bool:
        """Whether our own cgroup does not count: what counts our kills counts its siblings' too."""
        return self._own > 0

    @property
    def counter(self) -> str:
        """The directory that counts the kills of our processes."""
        return self._place.directories[self._own]

    def directory(self, level: int) -> str:
        """Return the directory of *level*, as our processes see it."""
        return self._place.directories[level]

    def read(self) -> tuple[Events, ...]:
        """Return the counters of each level."""
        read = _read_v1 if self._place.version == 1 else _read_v2
        return tuple(read(self._root + each) for each in self._place.directories)

    @property
    def counts_limit_hits(self) -> bool:
        """Whether any level counts how often its limit was hit."""
        return any(each.ooms is not None or each.limit_hits is not None for each in self.read())

    def oom_kills(self, events: tuple[Events, ...]) -> int | None:
        """Return how many of our processes an OOM killer took; None where that is not told now."""
        return events[self._own].oom_kills

    def limit_bytes(self, level: int) -> int | None:
        """Return the limit of *level* that an OOM kill enforces; None where it has none."""
        if self._place.version == 1:
            return self._number(level, "memory.limit_in_bytes", parse_memory_limit)
        return self._number(level, "memory.max", parse_max)

    def high_bytes(self, level: int) -> int | None:
        """Return the limit of *level* above which processes are slowed down; None for none."""
        return self._number(level, "memory.high", parse_max)

    def usage_bytes(self, level: int) -> int | None:
        """Return what is used at *level*, page cache included."""
        name = "memory.usage_in_bytes" if self._place.version == 1 else "memory.current"
        return self._number(level, name, parse_memory_usage)

    def shared_bytes(self, level: int) -> int:
        """Return what is used at *level* by tmpfs, ``/dev/shm`` and other shared memory."""
        stat = _counters(f"{self._root}{self.directory(level)}/memory.stat")
        return stat.get("total_shmem" if self._place.version == 1 else "shmem", 0)

    @property
    def kills_all(self) -> bool:
        """
        Whether one OOM kill ends every process of our cgroup.

        The kernel heeds ``memory.oom.group`` of each cgroup from the victim's up to the one whose
        limit was hit. Above the highest limit it counts for an OOM of the whole machine only.
        """
        levels = range(len(self._place.directories))
        limited = [level for level in levels if self.limit_bytes(level) is not None]
        heeded = range(max(limited, default=-1) + 1)
        return any(self._number(level, "memory.oom.group", parse_memory_usage) for level in heeded)

    def pressure(self) -> Pressure | None:
        """Return for how long our processes have waited for memory; None where it is not told."""
        return _read(f"{self._root}{self.counter}/memory.pressure", parse_pressure)

    def _number(self, level: int, name: str, parse: Callable[[str], int | None]) -> int | None:
        return _read(f"{self._root}{self.directory(level)}/{name}", parse)


def find_memory_events(root: str = "/") -> MemoryEvents | None:
    """Return the counters of our own cgroup, or None where OOM kills are not counted."""
    for place in own_hierarchies("memory", root):
        levels = MemoryEvents(place, root, own=0).read()
        for level, events in enumerate(levels):
            if events.oom_kills is not None:
                return MemoryEvents(place, root, own=level)
    return None


def _read_v2(directory: str) -> Events:
    # Since Linux 5.2, where the mount does not say memory_localevents. Otherwise each level counts
    # those below it, too.
    found = _counters(f"{directory}/memory.events.local") or _counters(f"{directory}/memory.events")
    names = ("oom_kill", "oom", "max", "high")
    return Events(*map(found.get, names)) if found else NO_EVENTS


def _read_v1(directory: str) -> Events:
    kills = _counters(f"{directory}/memory.oom_control").get("oom_kill")
    return Events(kills, limit_hits=_read(f"{directory}/memory.failcnt", parse_memory_usage))


def _counters(path: str) -> dict[str, int]:
    return _read(path, parse_memory_stat) or {}


def _read(path: str, parse: Callable[[str], T]) -> T | None:
    try:
        return parse(read_text(path))
    except (OSError, MalformedFileError):
        return None
