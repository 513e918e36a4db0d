"""Whom the kernel's OOM killer took. Reads the counter of our own cgroup."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.cgroup_tree import (
    list_hierarchies,
    parse_mountinfo,
    parse_proc_cgroup,
)
from gunicorn_autoconf.machine.host import read_text
from gunicorn_autoconf.machine.kernel_files import parse_memory_stat
from gunicorn_autoconf.memory.timing import DEFAULT, Timing

# The kernel counts the processes of this cgroup that any OOM killer has killed.
# Source: Linux, admin-guide/cgroup-v2.rst, memory.events; cgroup-v1/memory.rst, memory.oom_control.
_COUNTER_FILES = {1: "memory.oom_control", 2: "memory.events"}
_GROUP_FILE = "memory.oom.group"


class OomFiles(NamedTuple):
    """Where our cgroup tells of OOM kills."""

    counter: str
    kills_all: bool
    """
    Whether one OOM kill ends every process of the cgroup.

    The kernel heeds ``memory.oom.group`` of each cgroup from the victim's up to the one whose limit
    was hit.
    """


def find_oom_files(root: str = "/") -> OomFiles | None:
    """Return the files of our own cgroup, or None where there are none."""
    try:
        memberships = parse_proc_cgroup(read_text(f"{root}/proc/self/cgroup"))
        mounts = parse_mountinfo(read_text(f"{root}/proc/self/mountinfo"))
    except (OSError, MalformedFileError):
        return None
    for place in list_hierarchies("memory", memberships, mounts):
        directories = [f"{root.rstrip('/')}{directory}" for directory in place.directories]
        for directory in directories:
            counter = f"{directory}/{_COUNTER_FILES[place.version]}"
            if read_oom_kills(counter) is not None:
                return OomFiles(counter, any(map(_kills_all, directories)))
    return None


def read_oom_kills(counter: str) -> int | None:
    """Return how often the OOM killer struck so far; None where that is not told."""
    try:
        return parse_memory_stat(read_text(counter)).get("oom_kill")
    except (OSError, MalformedFileError):
        return None


def _kills_all(directory: str) -> bool:
    try:
        return read_text(f"{directory}/{_GROUP_FILE}").strip() == "1"
    except (OSError, MalformedFileError):
        return False


class OomWatch:
    """The kills that have not been laid to a worker yet."""

    def __init__(self, read: Callable[[], int | None], timing: Timing = DEFAULT) -> None:
        self._read = read
        self._claim_seconds = timing.claim_seconds
        self._known = read()
        self._unclaimed_since: float | None = None

    @property
    def is_told(self) -> bool:
        """Whether there is a counter at all."""
        return self._known is not None

    def claim(self) -> bool:
        """Return whether the kernel has killed one more process; asked when a worker ended."""
        count = self._read()
        if count is None or self._known is None or count <= self._known:
            return False
        self._known += 1
        if count == self._known:
            self._unclaimed_since = None  # The next one has its own time.
        return True

    def forget_unclaimed(self, now: float) -> int:
        """Return how many kills no worker's end has claimed in time, and forget them."""
        count = self._read()
        if count is None or self._known is None or count <= self._known:
            self._unclaimed_since = None
            return 0
        if self._unclaimed_since is None:
            self._unclaimed_since = now
        if now - self._unclaimed_since < self._claim_seconds:
            return 0
        unclaimed, self._known, self._unclaimed_since = count - self._known, count, None
        return unclaimed
