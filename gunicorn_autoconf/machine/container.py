"""
What shows that this process runs in a container, or None on a host or virtual machine.

Looks for files below the root of a `Tree`; the rest is in its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from gunicorn_autoconf.machine import cgroup_tree, kernel_files
from gunicorn_autoconf.machine.facts import Origin
from gunicorn_autoconf.machine.platforms import find_platform
from gunicorn_autoconf.machine.tree import Tree
from gunicorn_autoconf.units import printable

# Files that only a container has.
MARKS = (
    "/.dockerenv",  # Docker
    "/run/.containerenv",  # Podman, CRI-O
    # systemd as the init of LXC, Incus, nspawn. Source: systemd, "The Container Interface".
    "/run/systemd/container",
    "/run/host/container-manager",
)

# The root of the real cgroup v2 hierarchy has none of these files, every other cgroup has the
# first. So a mount whose root has one of them shows a cgroup below: that of a container.
# Source: Linux, admin-guide/cgroup-v2.rst, "exists on non-root cgroups".
BELOW_ROOT = ("cgroup.events", "cgroup.type", "cpu.max", "memory.max")

# One part of the path of a container's cgroup, as its manager names it: Docker, LXC, ECS, Cloud
# Foundry's Garden and the kubelet by themselves; the kubelet, Podman, CRI-O and containerd through
# systemd. `docker.service` and `lxc.monitor.NAME` are of the host.
_CONTAINER_CGROUP = re.compile(
    r"docker|lxc|ecs|kubepods|garden"
    r"|kubepods(-[\w-]+)?\.slice"
    r"|lxc\.payload(\..+)?"
    r"|(docker|libpod|crio|cri-containerd|nerdctl)-[0-9a-f]{12,}(\.scope)?"
)


def find_container(
    tree: Tree,
    environ: Mapping[str, str],
    memberships: Iterable[cgroup_tree.Membership],
    mounts: Sequence[cgroup_tree.Mount],
    who: str = "self",
) -> Origin | None:
    """Return what shows that we run in a container; *who* is the process in /proc."""
    for mark in MARKS:
        if tree.exists(mark):
            return Origin(path=mark, text="exists")
    if manager := environ.get("container"):  # LXC, Podman, nspawn; the same document
        return Origin(path="container", text=manager)
    found = find_platform(environ)
    if found and found[0].is_container:
        return Origin(path=found[1], text="is set")
    for membership in memberships:
        if any(_CONTAINER_CGROUP.fullmatch(part) for part in membership.path.split("/")):
            return Origin(path=f"/proc/{who}/cgroup", text=printable(membership.path))
    return _find_mount(tree, mounts)


def _find_mount(tree: Tree, mounts: Sequence[cgroup_tree.Mount]) -> Origin | None:
    """Return the mount that is not as a host has it."""
    visible = cgroup_tree.visible_mounts(mounts)
    for mount in visible:
        if mount.fs_type == "fuse.lxcfs" and mount.point.startswith("/proc/"):
            return Origin(path=printable(mount.point), text="is from lxcfs")
    cgroups = [mount for mount in visible if mount.fs_type in {"cgroup", "cgroup2"}]
    for mount in cgroups:
        if mount.root != "/":  # Bind-mounted from below, or seen from another cgroup namespace.
            return Origin(path="/proc/self/mountinfo", text=f"{printable(mount.root)} is mounted")
    if not cgroups:  # Some platforms show the files and not the mounts.
        root = cgroup_tree.CGROUP_ROOT
        return _find_below_root(tree, [root], [f"{root}/memory"])
    unified = [mount.point for mount in cgroups if mount.fs_type == "cgroup2"]
    legacy = [mount.point for mount in cgroups if "memory" in mount.super_options]
    # The usual place first: a monitoring agent has the host's mounted elsewhere.
    return _find_below_root(tree, sorted(unified, key=cgroup_tree.CGROUP_ROOT.__ne__), legacy)


def _find_below_root(tree: Tree, unified: Iterable[str], legacy: Iterable[str]) -> Origin | None:
    """Return the file which the root of a whole hierarchy, at v2 or v1, does not have."""
    for path in (f"{point}/{name}" for point in unified for name in BELOW_ROOT):
        if tree.exists(path):
            return Origin(path=printable(path), text="exists")
    for path in (f"{point}/memory.limit_in_bytes" for point in legacy):
        # The kernel takes no limit for the root of all.
        limit_bytes = tree.read(path, kernel_files.parse_memory_limit)
        if limit_bytes is not None:
            return Origin(path=printable(path), text=str(limit_bytes))
    return None
