"""How often and for how long the CPU quotas above us have stopped our processes. Reads cpu.stat."""

from __future__ import annotations

import os
from typing import NamedTuple

from gunicorn_autoconf.machine import kernel_files
from gunicorn_autoconf.machine.file import read_text
from gunicorn_autoconf.machine.own_cgroup import own_hierarchies


class Throttling(NamedTuple):
    """What one CPU quota has done over some time."""

    periods: int
    """How many periods of the quota there were in which a process was ready to run."""
    throttled: int
    """In how many of these the quota was used up."""
    seconds: float
    """For how long it kept processes from running, summed over the cores."""
    path: str
    """The file that says so."""


class QuotaCounters:
    """The counters of every cgroup with a quota: our own and those above it."""

    def __init__(self, root: str = "/") -> None:
        self._paths = _cpu_stat_files(root)

    def read(self) -> dict[str, Throttling]:
        """Return what each quota has done so far, by its file."""
        found = ((path, _read_cpu_stat(path)) for path in self._paths)
        return {path: Throttling(*counts, path) for path, counts in found if counts}


def since(before: dict[str, Throttling], now: dict[str, Throttling]) -> Throttling | None:
    """Return what happened between two reads, where it was worst; None without any throttling."""
    rows = (
        Throttling(
            row.periods - before[path].periods,
            row.throttled - before[path].throttled,
            row.seconds - before[path].seconds,
            path,
        )
        for path, row in now.items()
        if path in before
    )
    return max(
        (row for row in rows if row.throttled > 0), key=lambda row: row.seconds, default=None
    )


def _cpu_stat_files(root: str) -> list[str]:
    """Return the files that count throttling: of our own cgroup and of those above it."""
    paths = [
        os.path.join(root, directory.lstrip("/"), "cpu.stat")
        for place in own_hierarchies("cpu", root)
        for directory in place.directories
    ]
    return [path for path in paths if _read_cpu_stat(path)]


def _read_cpu_stat(path: str) -> tuple[int, int, float] | None:
    try:
        return kernel_files.parse_cpu_stat(read_text(path))
    except (OSError, ValueError):
        return None
