"""
From a root directory to a `Machine`: what the kernel grants to this process or another.

Touches files below the root (/proc, /sys/fs/cgroup, a few markers) and, through `Host`, the calls
that no file answers. Never raises: what cannot be read or understood becomes a `Problem`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from gunicorn_autoconf.machine import cgroup_tree, kernel_files
from gunicorn_autoconf.machine.facts import (
    CpuQuota,
    CpuSupply,
    Machine,
    MemoryLimit,
    MemorySupply,
    Origin,
    Platform,
    Problem,
)
from gunicorn_autoconf.machine.host import Host, read_text
from gunicorn_autoconf.units import MIB

T = TypeVar("T")

MEMINFO = "/proc/meminfo"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - Gunicorn makes its files there by mkstemp
CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")  # Docker; Podman and CRI-O
LIMIT_FILES = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.high")}
USAGE_FILE = {1: "memory.usage_in_bytes", 2: "memory.current"}
# The counters of memory.stat. At v1 only those with this prefix hold the cgroups below, too.
STAT_PREFIX = {1: "total_", 2: ""}
# Page cache that is in use: mapped by a process, as code is; or not on the disk yet. As much at
# least is taken for code: what is run all the time is not free, whoever's cgroup it was read in.
CODE_BYTES = 16 * MIB
CACHE_IN_USE = {
    1: ("mapped_file", "dirty", "writeback"),
    2: ("file_mapped", "file_dirty", "file_writeback"),
}


def detect_machine(
    root: str = "/",
    *,
    environ: Mapping[str, str] | None = None,
    host: Host | None = None,
    pid: int | None = None,
) -> Machine:
    """
    Return what the kernel grants to this process, each fact with its source. Never raises.

    *root* is where /proc, /sys, /run and /dev are looked for; sources are shown without it.
    *environ* and *host* are the process's own environment and operating system unless given.
    With *pid* the limits are those of the cgroups that this other process is in.
    """
    environ = os.environ if environ is None else environ
    host = Host() if host is None else host
    tree = _Tree(root)

    # Another process's cgroups are named as we see them, so they lie below our own mounts.
    who = "self" if pid is None else str(pid)
    memberships = tree.read(f"/proc/{who}/cgroup", cgroup_tree.parse_proc_cgroup) or ()
    mounts = tree.read("/proc/self/mountinfo", cgroup_tree.parse_mountinfo) or ()
    cpu_places = cgroup_tree.list_hierarchies("cpu", memberships, mounts)
    memory_places = cgroup_tree.list_hierarchies("memory", memberships, mounts)

    cpu = _ask_cpu(tree, host, quota=_read_quota(tree, cpu_places))
    physical = _read_physical(tree, host)
    limits = _read_limits(tree, memory_places, physical)
    own_bytes = tree.call("own_memory", lambda: host.own_memory(environ)) or 0
    return Machine(
        cpu=cpu,
        memory=MemorySupply(physical=physical, limits=limits, own_bytes=own_bytes),
        container=_find_container(tree, limits, environ),
        platform=_find_platform(environ),
        worker_tmp_dir=_find_worker_tmp_dir(tree, mounts),
        problems=tuple(tree.problems.values()),
    )


class _Tree:
    """The files below a root, and what was wrong with them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.problems: dict[str, Problem] = {}

    def locate(self, path: str) -> str:
        """Return where the file is for us that the process knows as *path*."""
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str, parse: Callable[[str], T]) -> T | None:
        """Return what the file says, or None where it is absent or cannot be understood."""
        try:
            return parse(read_text(self.locate(path)))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            self._note(path, error.strerror or str(error))
        except ValueError as error:  # MalformedFileError, or a NUL in the path
            self._note(path, str(error))
        return None

    def call(self, name: str, ask: Callable[[], T]) -> T | None:
        """Return what *ask* answers, or None where it fails."""
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - no start may fail for want of a number
            self._note(name, f"{type(error).__name__}: {error}")
            return None

    def _note(self, path: str, message: str) -> None:
        self.problems.setdefault(path, Problem(path=_printable(path), message=message))


def _ask_cpu(tree: _Tree, host: Host, *, quota: CpuQuota | None) -> CpuSupply:
    online = tree.call("os.cpu_count", host.online) or 1
    affinity = tree.call(host.affinity_call, host.affinity) or online
    origin = Origin(path=host.affinity_call, text=str(affinity))
    return CpuSupply(affinity=affinity, affinity_origin=origin, online=online, quota=quota)


def _read_quota(tree: _Tree, places: Sequence[cgroup_tree.Hierarchy]) -> CpuQuota | None:
    """Return the tightest quota in the first place that has one."""
    for place in places:
        read_level = _read_quota_v1 if place.version == 1 else _read_quota_v2
        levels = (read_level(tree, directory, place) for directory in place.directories)
        quotas = [quota for quota in levels if quota]
        if quotas:
            return min(quotas, key=lambda quota: quota.cores)
    return None


def _read_quota_v2(tree: _Tree, directory: str, place: cgroup_tree.Hierarchy) -> CpuQuota | None:
    path = f"{directory}/cpu.max"
    found = tree.read(path, lambda text: (kernel_files.parse_cpu_max(text), text))
    cores, text = found or (None, "")
    return None if cores is None else CpuQuota(cores=cores, origin=_origin(path, text, place))


def _read_quota_v1(tree: _Tree, directory: str, place: cgroup_tree.Hierarchy) -> CpuQuota | None:
    path = f"{directory}/cpu.cfs_quota_us"
    quota_us = tree.read(path, kernel_files.parse_cfs_quota)
    if quota_us is None:
        return None
    period_us = tree.read(f"{directory}/cpu.cfs_period_us", kernel_files.parse_cfs_period)
    period_us = period_us or kernel_files.DEFAULT_PERIOD_US
    text = f"{quota_us} (cpu.cfs_period_us {period_us})"
    return CpuQuota(cores=quota_us / period_us, origin=_origin(path, text, place))


def _read_physical(tree: _Tree, host: Host) -> MemoryLimit | None:
    """Return the memory of the machine, as /proc/meminfo or, where there is none, the host says."""
    found = tree.read(MEMINFO, kernel_files.parse_meminfo)
    if found:
        total_bytes, available_bytes = found
        origin = Origin(path=MEMINFO, text=f"MemTotal: {total_bytes // 1024} kB")
    elif MEMINFO in tree.problems:
        return None
    else:
        answer = tree.call("psutil.virtual_memory", host.physical_memory)
        if answer is None:
            return None
        total_bytes, available_bytes = answer
        origin = Origin(path="psutil.virtual_memory", text=f"total={total_bytes}")
    used_bytes = None if available_bytes is None else max(0, total_bytes - available_bytes)
    return MemoryLimit(limit_bytes=total_bytes, working_set_bytes=used_bytes, origin=origin)


def _read_limits(
    tree: _Tree, places: Sequence[cgroup_tree.Hierarchy], physical: MemoryLimit | None
) -> tuple[MemoryLimit, ...]:
    """Return the limits below the physical memory in the first place that has any, leaf first."""
    for place in places:
        levels = (_read_level(tree, directory, place) for directory in place.directories)
        limits = [limit for limit in levels if limit and _is_below(limit, physical)]
        if place.version == 1:
            hidden = _read_hidden_limit(tree, place)
            if hidden and all(_is_below(hidden, limit) for limit in (*limits, physical)):
                limits.append(hidden)
        if limits:
            return tuple(limits)
    return ()


def _read_level(tree: _Tree, directory: str, place: cgroup_tree.Hierarchy) -> MemoryLimit | None:
    """Return the lowest limit that stands in *directory*, and what its processes use."""
    parse = kernel_files.parse_memory_limit if place.version == 1 else kernel_files.parse_memory_max
    lowest: tuple[int, str] | None = None
    for name in LIMIT_FILES[place.version]:
        path = f"{directory}/{name}"
        limit_bytes = tree.read(path, parse)
        if limit_bytes is not None and (lowest is None or limit_bytes < lowest[0]):
            lowest = limit_bytes, path
    if lowest is None:
        return None
    limit_bytes, path = lowest
    return _measured(tree, directory, place, limit_bytes, _origin(path, str(limit_bytes), place))


def _measured(
    tree: _Tree, directory: str, place: cgroup_tree.Hierarchy, limit_bytes: int, origin: Origin
) -> MemoryLimit:
    """Return the limit of *directory* with what its processes use."""
    usage_path = f"{directory}/{USAGE_FILE[place.version]}"
    usage_bytes = tree.read(usage_path, kernel_files.parse_memory_usage)
    if usage_bytes is None:
        return MemoryLimit(limit_bytes=limit_bytes, working_set_bytes=None, origin=origin)
    # gVisor has usage but no memory.stat: nothing is known that could be dropped.
    stat = tree.read(f"{directory}/memory.stat", kernel_files.parse_memory_stat) or {}

    def counter(name: str) -> int:
        return stat.get(STAT_PREFIX[place.version] + name, 0)

    working_set_bytes = max(0, usage_bytes - counter("inactive_file"))
    # A file that is read a second time goes to the active list. The kernel drops it as well before
    # it kills, but what is mapped is not worth counting on: it comes back at once.
    kept_bytes = sum(map(counter, CACHE_IN_USE[place.version]))
    cache_bytes = counter("active_file") - max(kept_bytes, CODE_BYTES)
    return MemoryLimit(
        limit_bytes=limit_bytes,
        working_set_bytes=working_set_bytes,
        origin=origin,
        cache_bytes=min(max(0, cache_bytes), working_set_bytes),
        shared_bytes=min(counter("shmem"), working_set_bytes),
    )


def _read_hidden_limit(tree: _Tree, place: cgroup_tree.Hierarchy) -> MemoryLimit | None:
    """Return the limit that the leaf inherits at v1, even from above what is mounted."""
    for directory in place.directories:  # the leaf is the first that exists
        path = f"{directory}/memory.stat"
        limit_bytes = tree.read(path, kernel_files.parse_hierarchical_limit)
        if limit_bytes is not None:
            origin = _origin(path, f"hierarchical_memory_limit {limit_bytes}", place)
            return _measured(tree, directory, place, limit_bytes, origin)
    return None


def _is_below(limit: MemoryLimit, other: MemoryLimit | None) -> bool:
    return other is None or limit.limit_bytes < other.limit_bytes


def _find_container(
    tree: _Tree, limits: Sequence[MemoryLimit], environ: Mapping[str, str]
) -> Origin | None:
    """Return what shows that we run in a container."""
    if limits:
        return min(limits, key=lambda limit: limit.limit_bytes).origin
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return Origin(path="KUBERNETES_SERVICE_HOST", text="is set")
    for mark in CONTAINER_MARKS:
        if os.path.exists(tree.locate(mark)):
            return Origin(path=mark, text="exists")
    return None


def _find_platform(environ: Mapping[str, str]) -> Platform | None:
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    return "heroku" if environ.get("DYNO") else None


def _find_worker_tmp_dir(tree: _Tree, mounts: Sequence[cgroup_tree.Mount]) -> str | None:
    """Return /dev/shm where that is memory and we may write there."""
    for mount in cgroup_tree.visible_mounts(mounts):
        if mount.point == SHARED_MEMORY and mount.fs_type == "tmpfs":
            writable = "rw" in mount.options and "rw" in mount.super_options
            allowed = os.access(tree.locate(SHARED_MEMORY), os.W_OK | os.X_OK)
            return SHARED_MEMORY if writable and allowed else None
    return None


def find_file_system(directory: str, root: str = "/") -> str | None:
    """Return the kind of file system that holds *directory*, or None where no mount tells."""
    mounts = _Tree(root).read("/proc/self/mountinfo", cgroup_tree.parse_mountinfo) or ()
    path = os.path.join(os.path.realpath(directory), "")
    above = [
        mount
        for mount in cgroup_tree.visible_mounts(mounts)
        if path.startswith(os.path.join(mount.point, ""))
    ]
    return max(above, key=lambda mount: len(mount.point)).fs_type if above else None


def _origin(path: str, text: str, place: cgroup_tree.Hierarchy) -> Origin:
    return Origin(path=_printable(path), text=text.strip(), certain=place.certain)


def _printable(path: str) -> str:
    # A cgroup's name may hold any byte; what is shown must survive every log and terminal.
    return path if path.isprintable() else path.encode("unicode_escape").decode("ascii")
