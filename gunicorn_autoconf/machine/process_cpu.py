"""
The clocks of one process: CPU time, and the time without a CPU.

Reads /proc, asks the kernel or psutil.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from gunicorn_autoconf.machine.file import read_text


def read_cpu_seconds(pid: int) -> float | None:
    """
    Return the CPU time of *pid* since its start, its children's not counted; None where it is gone.

    Source:
        Linux, filesystems/proc.rst, "stat": utime and stime, in clock ticks.
    """
    try:
        # The name before the last parenthesis may hold anything, spaces as well.
        fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (ValueError, IndexError):
        return None
    except OSError:
        return None if os.path.isdir("/proc/self") else _ask_psutil(pid)


def read_reaped_cpu_seconds() -> float:
    """
    Return the CPU time of all children that this process has waited for, and of those they had.

    What it grows by when a child is waited for is what that child has used, to the microsecond.

    Source:
        getrusage(2), RUSAGE_CHILDREN.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parse_schedstat(text: str) -> tuple[float, float, int]:
    """
    Return for how many seconds a thread was on a CPU, and ready but not on one; how often it ran.

    >>> parse_schedstat("1500000000 250000000 7")
    (1.5, 0.25, 7)

    Source:
        Linux, scheduler/sched-stats.rst, "/proc/<pid>/schedstat". A kernel without
        CONFIG_SCHED_INFO has no such file, or zeros in it.
    """
    fields = [int(field) for field in text.split()]
    return (fields[0] / 1e9, fields[1] / 1e9, fields[2]) if len(fields) > 2 else (0.0, 0.0, 0)


def read_delay_seconds(pid: int) -> float | None:
    """Return how long the threads of *pid* were ready to run without a CPU; None if unknown."""
    folder = f"/proc/{pid}/task"
    total_seconds = 0.0
    has_run = False
    try:
        for thread in os.listdir(folder):
            with suppress(OSError, ValueError):  # A thread may end meanwhile.
                text = read_text(f"{folder}/{thread}/schedstat")
                _, waited_seconds, runs = parse_schedstat(text)
                total_seconds += waited_seconds
                has_run = has_run or runs > 0
    except OSError:
        return None
    return total_seconds if has_run else None


def _ask_psutil(pid: int) -> float | None:
    """For macOS."""
    try:
        import psutil  # To import it takes 12 ms and 2 MiB.
    except ImportError:
        return None
    try:
        times = psutil.Process(pid).cpu_times()
    except (psutil.Error, OSError):
        return None
    return float(times.user + times.system)
