"""What is known of the machine, each fact with its source. Pure.

The parts of a `Machine` are named tuples: Python makes such a class in a tenth of the time that a
frozen dataclass takes, and every start waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Platform = Literal[
    "kubernetes",
    "ecs",
    "fargate",
    "cloud-run",
    "app-service",
    "cloud-foundry",
    "nomad",
    "heroku",
    "render",
    "fly",
    "railway",
]


class Origin(NamedTuple):
    """
    Where a fact was found.

    Attributes:
        path: The file as this process sees it, or the name of the call or variable that answered.
        text: What stood there, stripped; the few lines that matter where the file is long.
        certain: False where the directory had to be guessed (a cgroup path outside of the mount).
    """

    path: str
    text: str
    certain: bool = True


class Problem(NamedTuple):
    """A file that exists but could not be read or understood; the plan goes on without it."""

    path: str
    message: str


class CpuQuota(NamedTuple):
    """The CPU time that a cgroup grants, in cores (1.5 = 150 ms in every 100 ms)."""

    cores: float
    origin: Origin


class CpuSupply(NamedTuple):
    """
    The cores that this process may use.

    Attributes:
        affinity: Cores that the scheduler may run us on; holds the cpuset too.
        affinity_origin: The call that answered.
        online: Cores of the whole machine.
        quota: The tightest quota over all cgroup levels, or None where there is none.
    """

    affinity: int
    affinity_origin: Origin
    online: int
    quota: CpuQuota | None = None

    @property
    def cores(self) -> float:
        """The lower of affinity and quota, in cores, not rounded."""
        return min(self.affinity, self.quota.cores) if self.quota else float(self.affinity)

    @property
    def origin(self) -> Origin:
        """Where the number in `cores` comes from."""
        if self.quota and self.quota.cores < self.affinity:
            return self.quota.origin
        return self.affinity_origin

    @property
    def is_limited(self) -> bool:
        """Whether a quota or a cpuset sets us apart from the rest of the machine."""
        return self.quota is not None or self.affinity < self.online


class MemoryLimit(NamedTuple):
    """
    One level's limit and what everybody below it uses.

    Attributes:
        limit_bytes: The limit.
        working_set_bytes: Usage less what the kernel would drop first (``inactive_file``) at the
            same level; None where it could not be read. kubelet calls the same number so.
        origin: The file that holds the limit.
        cache_bytes: What of the working set is clean page cache that no process has mapped: files
            that were read more than once. The kernel drops it before it kills.
        shared_bytes: What of the working set is in tmpfs, ``/dev/shm`` and other shared memory.
    """

    limit_bytes: int
    working_set_bytes: int | None
    origin: Origin
    cache_bytes: int = 0
    shared_bytes: int = 0

    @property
    def in_use_bytes(self) -> int | None:
        """The working set less page cache: what the kernel cannot free; None where unknown."""
        if self.working_set_bytes is None:
            return None
        return max(self.working_set_bytes - self.cache_bytes, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySupply:
    """
    The memory that this process may use.

    Attributes:
        physical: ``MemTotal`` as the limit, ``MemTotal - MemAvailable`` as the working set;
            None where it is unknown.
        limits: The cgroup levels that have a limit below the physical memory, leaf first; where
            lxcfs puts a container's limit in the place of the physical memory, that one.
        own_bytes: What our own processes use, the sum of their PSS; part of each working set.
    """

    physical: MemoryLimit | None
    limits: tuple[MemoryLimit, ...] = ()
    own_bytes: int = 0

    @property
    def levels(self) -> tuple[MemoryLimit, ...]:
        """Every level that counts: the cgroup limits and the physical memory."""
        return self.limits + ((self.physical,) if self.physical else ())

    @property
    def lowest(self) -> MemoryLimit | None:
        """The level with the lowest limit, or None where nothing is known."""
        return min(self.levels, key=lambda level: level.limit_bytes, default=None)


class PidsLimit(NamedTuple):
    """How many processes and threads, counted together, a cgroup may hold."""

    limit: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """
    What the kernel grants to this process.

    Attributes:
        cpu: The cores.
        memory: The memory.
        container: What shows that we run in a container, or None on a host or virtual machine.
        platform: The platform that stops us, where it is one whose grace period we know.
        grace_seconds: The time from its signal to SIGKILL where a variable of the platform says
            so; None where it is the usual one.
        pids: The lowest limit on processes and threads over all cgroup levels, or None.
        worker_tmp_dir: A writable directory that never touches a disk, or None.
        problems: What could not be read or understood.
    """

    cpu: CpuSupply
    memory: MemorySupply
    container: Origin | None = None
    platform: Platform | None = None
    grace_seconds: int | None = None
    pids: PidsLimit | None = None
    worker_tmp_dir: str | None = None
    problems: tuple[Problem, ...] = ()


class ProcessMemory(NamedTuple):
    """What a process uses, in bytes; None where the system does not tell."""

    rss_bytes: int
    """Resident set: shared pages count in full in every process."""
    pss_bytes: int | None = None
    """Proportional set: shared pages are divided among their users, so it may be summed."""
    uss_bytes: int | None = None
    """Unique set: what the end of this process frees."""
