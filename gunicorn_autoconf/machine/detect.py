"""
From a root directory to a `Machine`: what the kernel grants to this process or another.

Touches files below the root (/proc, /sys/fs/cgroup, a few markers) and, through `Host`, the calls
that no file answers. Never raises: what cannot be read or understood becomes a `Problem`.

The names of the files are here and, for memory, in `memory_limits`; in which directories they are
looked for, in `cgroup_tree`; what their text means, in `kernel_files`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gunicorn_autoconf.machine import cgroup_tree, kernel_files
from gunicorn_autoconf.machine.container import find_container
from gunicorn_autoconf.machine.facts import (
    CpuQuota,
    CpuSupply,
    Machine,
    Origin,
    PidsLimit,
)
from gunicorn_autoconf.machine.host import Host
from gunicorn_autoconf.machine.memory_limits import read_memory
from gunicorn_autoconf.machine.own_cgroup import find_own
from gunicorn_autoconf.machine.platforms import find_platform, read_grace_seconds
from gunicorn_autoconf.machine.tree import Tree, origin_in

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - Gunicorn makes its files there by mkstemp
QUOTA_FILE = {1: "cpu.cfs_quota_us", 2: "cpu.max"}
PERIOD_FILE = "cpu.cfs_period_us"  # v1; v2 has the period in the file of the quota
PIDS_FILE = "pids.max"
CPUINFO = "/proc/cpuinfo"
OUT_OF_SIGHT = (
    "our own cgroup is not among those that are mounted: CPU and memory limits are unknown; set "
    "GUNICORN_CPUS and GUNICORN_MEMORY"
)


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
    tree = Tree(root)

    # Another process's cgroups are named as we see them, so they lie below our own mounts.
    who = "self" if pid is None else str(pid)
    memberships = tree.read(f"/proc/{who}/cgroup", cgroup_tree.parse_proc_cgroup) or ()
    mounts = tree.read("/proc/self/mountinfo", cgroup_tree.parse_mountinfo) or ()

    def places(controller: cgroup_tree.Controller) -> Sequence[cgroup_tree.Hierarchy]:
        listed = cgroup_tree.list_hierarchies(controller, memberships, mounts)
        return find_own(tree, listed, host.pid if pid is None else pid)

    memory_places = places("memory")
    quota = _read_quota(tree, places("cpu")) or _read_lxcfs_cpus(tree, mounts, host)
    cpu = _ask_cpu(tree, host, quota=quota)
    memory = read_memory(tree, host, memory_places, mounts)
    own_bytes = tree.call("own_memory", lambda: host.own_memory(environ)) or 0
    platform = find_platform(environ)
    is_seen = bool(quota or memory.limits or memory_places[0].certain)
    if not is_seen and cgroup_tree.is_below_root("memory", memberships, mounts):
        tree.note(f"/proc/{who}/cgroup", OUT_OF_SIGHT)
    return Machine(
        cpu=cpu,
        memory=replace(memory, own_bytes=own_bytes),
        container=find_container(tree, environ, memberships, mounts, who),
        platform=platform[0].name if platform else None,
        grace_seconds=read_grace_seconds(platform[0], environ) if platform else None,
        pids=_read_pids(tree, places("pids")),
        worker_tmp_dir=_find_worker_tmp_dir(tree, mounts),
        problems=tuple(tree.problems.values()),
    )


def _ask_cpu(tree: Tree, host: Host, *, quota: CpuQuota | None) -> CpuSupply:
    online = tree.call("os.cpu_count", host.online) or 1
    affinity = tree.call(host.affinity_call, host.affinity) or online
    origin = Origin(path=host.affinity_call, text=str(affinity))
    return CpuSupply(affinity=affinity, affinity_origin=origin, online=online, quota=quota)


def _read_quota(tree: Tree, places: Sequence[cgroup_tree.Hierarchy]) -> CpuQuota | None:
    """Return the tightest quota in the first place that has one."""
    for place in places:
        read_level = _read_quota_v1 if place.version == 1 else _read_quota_v2
        levels = (read_level(tree, directory, place) for directory in place.directories)
        quotas = [quota for quota in levels if quota]
        if quotas:
            return min(quotas, key=lambda quota: quota.cores)
    return None


def _read_quota_v2(tree: Tree, directory: str, place: cgroup_tree.Hierarchy) -> CpuQuota | None:
    path = f"{directory}/{QUOTA_FILE[2]}"
    found = tree.read(path, lambda text: (kernel_files.parse_cpu_max(text), text))
    cores, text = found or (None, "")
    return None if cores is None else CpuQuota(cores=cores, origin=origin_in(path, text, place))


def _read_quota_v1(tree: Tree, directory: str, place: cgroup_tree.Hierarchy) -> CpuQuota | None:
    path = f"{directory}/{QUOTA_FILE[1]}"
    quota_us = tree.read(path, kernel_files.parse_cfs_quota)
    if quota_us is None:
        return None
    period_us = tree.read(f"{directory}/{PERIOD_FILE}", kernel_files.parse_cfs_period)
    period_us = period_us or kernel_files.DEFAULT_PERIOD_US
    text = f"{quota_us} ({PERIOD_FILE} {period_us})"
    return CpuQuota(cores=quota_us / period_us, origin=origin_in(path, text, place))


def _read_lxcfs_cpus(
    tree: Tree, mounts: Sequence[cgroup_tree.Mount], host: Host
) -> CpuQuota | None:
    """Return the cores that lxcfs shows, where they are fewer than the scheduler's."""
    # Proxmox and Incus set the quota of a container above the cgroup that it sees as its root.
    # lxcfs, which sees it, shows as many processors; with --enable-cfs only.
    if not cgroup_tree.is_from_lxcfs(CPUINFO, mounts):
        return None
    processors = tree.read(CPUINFO, kernel_files.parse_cpuinfo)
    affinity = tree.call(host.affinity_call, host.affinity)
    if processors is None or affinity is None or processors >= affinity:
        return None
    origin = Origin(path=CPUINFO, text=f"{processors} processors, by lxcfs")
    return CpuQuota(cores=float(processors), origin=origin)


def _read_pids(tree: Tree, places: Sequence[cgroup_tree.Hierarchy]) -> PidsLimit | None:
    """Return the lowest limit on processes and threads in the first place that has one."""
    for place in places:
        found = []
        for directory in place.directories:
            path = f"{directory}/{PIDS_FILE}"
            limit = tree.read(path, kernel_files.parse_max)
            if limit is not None:
                found.append(PidsLimit(limit=limit, origin=origin_in(path, str(limit), place)))
        if found:
            return min(found, key=lambda each: each.limit)
    return None


def _find_worker_tmp_dir(tree: Tree, mounts: Sequence[cgroup_tree.Mount]) -> str | None:
    """Return /dev/shm where that is memory and we may write there."""
    for mount in cgroup_tree.visible_mounts(mounts):
        if mount.point == SHARED_MEMORY and mount.fs_type == "tmpfs":
            writable = "rw" in mount.options and "rw" in mount.super_options
            allowed = os.access(tree.locate(SHARED_MEMORY), os.W_OK | os.X_OK)
            return SHARED_MEMORY if writable and allowed else None
    return None


def find_file_system(directory: str, root: str = "/") -> str | None:
    """Return the kind of file system that holds *directory*, or None where no mount tells."""
    mounts = Tree(root).read("/proc/self/mountinfo", cgroup_tree.parse_mountinfo) or ()
    path = os.path.join(os.path.realpath(directory), "")
    above = [
        mount
        for mount in cgroup_tree.visible_mounts(mounts)
        if path.startswith(os.path.join(mount.point, ""))
    ]
    return max(above, key=lambda mount: len(mount.point)).fs_type if above else None
