"""One process's CPU time. Reads /proc, and asks psutil where there is none."""

from __future__ import annotations

import os

# /proc/<pid>/stat has about 300.
MAX_CHARACTERS = 4096


def read_cpu_seconds(pid: int) -> float | None:
    """
    Return the CPU time of *pid* since its start, its children's not counted; None where it is gone.

    Source:
        Linux, filesystems/proc.rst, "stat": utime and stime, in clock ticks.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            # The name before the last parenthesis may hold anything, spaces as well.
            fields = stat.read(MAX_CHARACTERS).rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (ValueError, IndexError):
        return None
    except OSError:
        return None if os.path.isdir("/proc/self") else _ask_psutil(pid)


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
