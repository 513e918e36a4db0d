"""
The memory limits of our cgroups and the memory of the machine, each with what is used of it.

Reads files below the root of a `Tree` and asks the `Host`. Never raises.
"""

from __future__ import annotations

from collections.abc import Sequence

from gunicorn_autoconf.machine import cgroup_tree, kernel_files
from gunicorn_autoconf.machine.facts import MemoryLimit, MemorySupply, Origin
from gunicorn_autoconf.machine.host import Host
from gunicorn_autoconf.machine.tree import Tree, origin_in
from gunicorn_autoconf.units import MIB

MEMINFO = "/proc/meminfo"
LIMIT_FILES = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.high")}
USAGE_FILE = {1: "memory.usage_in_bytes", 2: "memory.current"}
# The counters of memory.stat. At v1 only those with this prefix hold the cgroups below, too.
STAT_PREFIX = {1: "total_", 2: ""}
# Page cache that is in use: mapped by a process, as code is; or not on the disk yet. As much at
# least is taken for code: what is run all the time is not free, in whichever cgroup it was read.
CODE_BYTES = 16 * MIB
CACHE_IN_USE = {
    1: ("mapped_file", "dirty", "writeback"),
    2: ("file_mapped", "file_dirty", "file_writeback"),
}
# MemTotal and sysinfo(2) are the same number; the rest is for one that rounds.
ROUNDING_FRACTION = 0.01


def read_memory(
    tree: Tree,
    host: Host,
    places: Sequence[cgroup_tree.Hierarchy],
    mounts: Sequence[cgroup_tree.Mount],
) -> MemorySupply:
    """Return the memory of the machine and the limits on it, without what we use ourselves."""
    physical = _read_physical(tree, host)
    if physical is None or not cgroup_tree.is_from_lxcfs(MEMINFO, mounts):
        return MemorySupply(physical=physical, limits=_read_limits(tree, places, physical))
    # lxcfs shows the container's limit as the memory of the machine: here an equal one is a limit.
    limits = _read_limits(tree, places, None) or _limit_by_lxcfs(tree, host, physical)
    return MemorySupply(physical=physical, limits=limits)


def _limit_by_lxcfs(tree: Tree, host: Host, shown: MemoryLimit) -> tuple[MemoryLimit, ...]:
    """Return what lxcfs shows as a limit, if the kernel has more memory than that."""
    # Proxmox and Incus set the limit of a container above the cgroup that it sees as its root.
    kernel_bytes = tree.call("os.sysconf", host.kernel_memory) or 0
    if shown.limit_bytes >= kernel_bytes * (1 - ROUNDING_FRACTION):
        return ()
    origin = shown.origin._replace(text=f"{shown.origin.text}, by lxcfs")
    return (shown._replace(origin=origin),)


def _read_physical(tree: Tree, host: Host) -> MemoryLimit | None:
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
    tree: Tree, places: Sequence[cgroup_tree.Hierarchy], bound: MemoryLimit | None
) -> tuple[MemoryLimit, ...]:
    """Return the limits below *bound* in the first place that has any, leaf first."""
    for place in places:
        levels = (_read_level(tree, directory, place) for directory in place.directories)
        limits = [limit for limit in levels if limit and _is_below(limit, bound)]
        if place.version == 1:
            hidden = _read_hidden_limit(tree, place)
            if hidden and all(_is_below(hidden, limit) for limit in (*limits, bound)):
                limits.append(hidden)
        if limits:
            return tuple(limits)
    return ()


def _read_level(tree: Tree, directory: str, place: cgroup_tree.Hierarchy) -> MemoryLimit | None:
    """Return the lowest limit that stands in *directory*, and what its processes use."""
    parse = kernel_files.parse_memory_limit if place.version == 1 else kernel_files.parse_max
    lowest: tuple[int, str] | None = None
    for name in LIMIT_FILES[place.version]:
        path = f"{directory}/{name}"
        limit_bytes = tree.read(path, parse)
        if limit_bytes is not None and (lowest is None or limit_bytes < lowest[0]):
            lowest = limit_bytes, path
    if lowest is None:
        return None
    limit_bytes, path = lowest
    return _measured(tree, directory, place, limit_bytes, origin_in(path, str(limit_bytes), place))


def _measured(
    tree: Tree, directory: str, place: cgroup_tree.Hierarchy, limit_bytes: int, origin: Origin
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


def _read_hidden_limit(tree: Tree, place: cgroup_tree.Hierarchy) -> MemoryLimit | None:
    """Return the limit that the leaf inherits at v1, even from above what is mounted."""
    for directory in place.directories:  # the leaf is the first that exists
        path = f"{directory}/memory.stat"
        limit_bytes = tree.read(path, kernel_files.parse_hierarchical_limit)
        if limit_bytes is not None:
            origin = origin_in(path, f"hierarchical_memory_limit {limit_bytes}", place)
            return _measured(tree, directory, place, limit_bytes, origin)
    return None


def _is_below(limit: MemoryLimit, other: MemoryLimit | None) -> bool:
    return other is None or limit.limit_bytes < other.limit_bytes
