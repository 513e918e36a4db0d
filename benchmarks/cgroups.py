"""Memory cgroups of our own, v1 or v2, for benchmarks that run servers under a limit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gunicorn_autoconf.machine.cgroup_tree import (
    list_hierarchies,
    parse_mountinfo,
    parse_proc_cgroup,
)

LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
OOM_FILES = {1: "memory.oom_control", 2: "memory.events"}
DEADLINE_SECONDS = 60.0


class Cgroup(NamedTuple):
    """A memory cgroup of our own."""

    version: int
    directory: Path

    @property
    def oom_kills(self) -> int:
        """How often the kernel's OOM killer has struck inside."""
        text = (self.directory / OOM_FILES[self.version]).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    @property
    def pids(self) -> list[int]:
        return [int(pid) for pid in (self.directory / "cgroup.procs").read_text().split()]

    def wrap(self, command: list[str]) -> list[str]:
        """Return the words that run *command* inside."""
        join = f"echo $$ > '{self.directory}/cgroup.procs' && exec \"$@\""
        return ["/bin/sh", "-c", join, "sh", *command]


@contextlib.contextmanager
def limited(limit_bytes: int, prefix: str = "autoconf") -> Iterator[Cgroup]:
    """Make a cgroup as near to our own as may be; remove it and whatever still runs in it."""
    cgroup = _make(prefix)
    try:
        (cgroup.directory / LIMIT_FILES[cgroup.version]).write_text(str(limit_bytes))
        yield cgroup
    finally:
        ends = time.monotonic() + DEADLINE_SECONDS
        while cgroup.directory.exists() and time.monotonic() < ends:
            for pid in cgroup.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                cgroup.directory.rmdir()
            time.sleep(0.05)


def _make(prefix: str) -> Cgroup:
    memberships = parse_proc_cgroup(Path("/proc/self/cgroup").read_text())
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    for place in list_hierarchies("memory", memberships, mounts):
        for parent in map(Path, place.directories):
            passed_on = parent / "cgroup.subtree_control"
            if place.version == 2 and "memory" not in passed_on.read_text().split():
                continue
            directory = parent / f"{prefix}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
            try:
                directory.mkdir()
            except OSError as error:
                sys.exit(f"A memory cgroup cannot be made, which takes root: {error}")
            return Cgroup(place.version, directory)
    sys.exit("No memory cgroup can be made here.")
