"""Real cgroups, v1 or v2, made for a test and removed after it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import pytest
from harness import wait_until

Version = Literal[1, 2]
Controller = Literal["cpu", "memory"]


@dataclass(frozen=True)
class Cgroup:
    """
    A cgroup that a test has made, with its controllers in one directory (v2) or in two (v1).

    Attributes:
        version: Of the hierarchies.
        cpu: The directory in which the CPU quota is set.
        memory: The directory in which the memory limit is set.
    """

    version: Version
    cpu: Path
    memory: Path

    @property
    def directories(self) -> set[Path]:
        return {self.cpu, self.memory}

    @property
    def quota_file(self) -> Path:
        return self.cpu / ("cpu.cfs_quota_us" if self.version == 1 else "cpu.max")

    @property
    def limit_file(self) -> Path:
        return self.memory / ("memory.limit_in_bytes" if self.version == 1 else "memory.max")

    def set_quota(self, quota_us: int | None, period_us: int = 100_000) -> None:
        """Grant *quota_us* in each period, or with None as much as there is."""
        if self.version == 1:
            (self.cpu / "cpu.cfs_period_us").write_text(str(period_us))
            self.quota_file.write_text(str(-1 if quota_us is None else quota_us))
        else:
            self.quota_file.write_text(f"{'max' if quota_us is None else quota_us} {period_us}")

    def set_limit(self, limit_bytes: int) -> None:
        self.limit_file.write_text(str(limit_bytes))

    @property
    def oom_kills(self) -> int:
        """How often the kernel's OOM killer struck in it."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        rows = (line.split() for line in (self.memory / name).read_text().splitlines())
        return int(dict(rows)["oom_kill"])

    @property
    def used_fraction(self) -> float:
        """How much of the memory limit is used."""
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return int((self.memory / name).read_text()) / int(self.limit_file.read_text())

    @property
    def wrapper(self) -> tuple[str, ...]:
        """The words that run the words after them inside."""
        join = " && ".join(f"echo $$ > '{path}/cgroup.procs'" for path in self.directories)
        return ("/bin/sh", "-c", f'{join} && exec "$@"', "sh")

    def remove(self) -> None:
        """Remove the directories as soon as the kernel lets go of their last process."""
        for directory in self.directories:
            wait_until(lambda path=directory: _removed(path), f"{directory} is removed")  # type: ignore[misc]


def make_cgroup(*controllers: Controller) -> Cgroup:
    """
    Make a cgroup in which *controllers* can be limited, as near to our own as may be.

    Raises:
        OSError: No such cgroup can be made here.
    """
    name = f"autoconf_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    parents = {controller: _parent(controller) for controller in controllers}
    if len({version for version, _ in parents.values()}) > 1:
        raise OSError(f"{' and '.join(controllers)} are in hierarchies of different versions")
    directories = {controller: parent / name for controller, (_, parent) in parents.items()}
    for directory in directories.values():
        directory.mkdir(exist_ok=True)
    version, _ = parents[controllers[0]]
    cpu, memory = (directories.get(each, directories[controllers[0]]) for each in ("cpu", "memory"))
    return Cgroup(version=version, cpu=cpu, memory=memory)


@contextmanager
def limited(
    *controllers: Controller, memory_bytes: int | None = None, quota_us: int | None = None
) -> Iterator[Cgroup]:
    """Make a cgroup with limits and remove it after the block; skip the test where we may not."""
    try:
        cgroup = make_cgroup(*controllers)
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        try:
            if memory_bytes is not None:
                cgroup.set_limit(memory_bytes)
            if quota_us is not None:
                cgroup.set_quota(quota_us)
        except OSError as error:
            pytest.skip(f"no limit can be set: {error}")
        yield cgroup
    finally:
        cgroup.remove()


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _parent(controller: str) -> tuple[Version, Path]:
    """Return the cgroup, our own one or the next above it, that can limit those below it."""
    memberships = [
        line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()
    ]
    for mount in psutil.disk_partitions(all=True):
        for _, controllers, path in memberships:
            own = Path(mount.mountpoint + path)
            for parent in (own, *own.parents):
                if not (parent / "cgroup.procs").exists():
                    continue
                if mount.fstype == "cgroup" and controller in mount.opts.split(","):
                    if controller in controllers.split(","):
                        return 1, parent
                elif mount.fstype == "cgroup2" and not controllers:
                    passed_on = parent / "cgroup.subtree_control"
                    if passed_on.exists() and controller in passed_on.read_text().split():
                        return 2, parent
    raise FileNotFoundError(f"no hierarchy in which {controller} can be limited")
