"""
Finds our own cgroup below a mount where its path does not lead to it.

Reads directories and their ``cgroup.procs``. A container that sees the host's cgroups from a cgroup
namespace of its own knows itself as ``/``, and mountinfo says ``/..``: neither tells the way.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

from gunicorn_autoconf.machine.cgroup_tree import (
    Controller,
    Hierarchy,
    list_hierarchies,
    parse_mountinfo,
    parse_proc_cgroup,
)
from gunicorn_autoconf.machine.file import read_text
from gunicorn_autoconf.machine.tree import Tree

# A node with 250 pods of several containers has some 2,000 cgroups. Reading as many takes 40 ms.
MAX_DIRECTORIES = 4_000


def own_hierarchies(controller: Controller, root: str = "/") -> tuple[Hierarchy, ...]:
    """Return where to look for the files of *controller* of this process, the best place first."""
    tree = Tree(root)
    memberships = tree.read("/proc/self/cgroup", parse_proc_cgroup) or ()
    mounts = tree.read("/proc/self/mountinfo", parse_mountinfo) or ()
    return find_own(tree, list_hierarchies(controller, memberships, mounts), os.getpid())


def find_own(tree: Tree, places: Sequence[Hierarchy], pid: int) -> tuple[Hierarchy, ...]:
    """Return *places*, the first of them looked for by *pid* where it was a guess."""
    first, *rest = places
    if first.certain:
        return tuple(places)
    directories = _search(tree, first.directories[-1], pid)
    if directories:
        first = Hierarchy(first.version, directories, certain=True)
    return (first, *rest)


def _search(tree: Tree, top: str, pid: int) -> tuple[str, ...]:
    """Return the directories from the one that holds *pid* up to *top*; empty where none does."""
    wanted = str(pid)
    directories = [top]
    for directory in directories:  # grows as we go: the nearest to the top come first
        try:
            found = wanted in read_text(tree.locate(f"{directory}/cgroup.procs")).split()
        except (OSError, ValueError):  # no cgroup at all, or a threaded one, which has no list
            if directory == top:
                return ()
            continue
        if found:
            return _up_to(top, directory)
        room = MAX_DIRECTORIES - len(directories)
        directories += [f"{directory}/{name}" for name in _subdirectories(tree, directory)[:room]]
    return ()


def _subdirectories(tree: Tree, directory: str) -> list[str]:
    try:
        with os.scandir(tree.locate(directory)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:  # it has gone
        return []


def _up_to(top: str, directory: str) -> tuple[str, ...]:
    directories = [directory]
    while directories[-1] != top:
        directories.append(posixpath.dirname(directories[-1]))
    return tuple(directories)
