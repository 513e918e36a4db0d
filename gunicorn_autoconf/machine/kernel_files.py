"""
The text of the kernel's memory, CPU and pids files to values. Pure.

A limit that is absent is None; text that no kernel writes raises `MalformedFileError`. Which files
are read, and in which order, `detect` and `memory_limits` say.
"""

from __future__ import annotations

from gunicorn_autoconf.errors import MalformedFileError

DEFAULT_PERIOD_US = 100_000  # Linux, scheduler/sched-bwc.rst: "cpu.cfs_period_us: ... 100ms"

# The largest number that the kernel writes, 2**64 - 1, has 20 digits.
_MAX_DIGITS = 20
# v1 writes "no limit" as LONG_MAX rounded down to a page: ...771712 for 4 KiB pages, ...710272 for
# 64 KiB, the largest there are.
_V1_UNLIMITED_FROM = 2**63 - 2**16


def parse_cpu_max(text: str) -> float | None:
    """
    Return the CPU quota in cores, or None when there is no quota.

    *text* is a whole cgroup v2 ``cpu.max`` file: ``"<quota µs> <period µs>"`` or
    ``"max <period µs>"``; a period that is left out is 100 ms.

    >>> parse_cpu_max("250000 100000")
    2.5

    Source:
        Linux, admin-guide/cgroup-v2.rst, "CPU Interface Files".
    """
    quota, _, period = text.strip().partition(" ")
    try:
        period_us = parse_cfs_period(period or str(DEFAULT_PERIOD_US))
        quota_us = None if quota == "max" else parse_cfs_quota(quota)
    except MalformedFileError:
        raise MalformedFileError("'<quota> <period>' or 'max <period>'", text) from None
    return quota_us / period_us if quota_us else None


def parse_cfs_quota(text: str) -> int | None:
    """
    Return the CPU quota in microseconds per period, or None when there is no quota.

    *text* is a whole cgroup v1 ``cpu.cfs_quota_us`` file; ``-1`` means no quota.

    Source:
        Linux, scheduler/sched-bwc.rst, "Management".
    """
    quota_us = _parse_integer(text, "an integer, in microseconds")
    return quota_us if quota_us > 0 else None


def parse_cfs_period(text: str) -> int:
    """
    Return the period of a CPU quota in microseconds.

    *text* is a whole cgroup v1 ``cpu.cfs_period_us`` file.
    """
    expected = "a period above 0, in microseconds"
    period_us = _parse_integer(text, expected)
    if period_us <= 0:
        raise MalformedFileError(expected, text)
    return period_us


def parse_max(text: str) -> int | None:
    """
    Return a limit, or None when there is no limit.

    *text* is a whole ``memory.max`` or ``memory.high`` file of cgroup v2, in bytes, or a
    ``pids.max`` of either version, in processes and threads: a number or ``max``.

    >>> parse_max("64"), parse_max("max")
    (64, None)

    Source:
        Linux, admin-guide/cgroup-v2.rst, "Memory Interface Files" and "PID Interface Files".
    """
    return None if text.strip() == "max" else _parse_size(text, "a number or 'max'")


def parse_memory_limit(text: str) -> int | None:
    """
    Return a memory limit in bytes, or None when there is no limit.

    *text* is a whole cgroup v1 ``memory.limit_in_bytes`` file. No limit is the largest number of
    whole pages; ``-1``, which the kernel accepts for it, is understood too.

    >>> parse_memory_limit("536870912")
    536870912
    >>> parse_memory_limit("9223372036854771712")

    Source:
        Linux, admin-guide/cgroup-v1/memory.rst; include/linux/page_counter.h, PAGE_COUNTER_MAX.
    """
    return _below_unlimited(_parse_integer(text, "a number of bytes"))


def parse_cpuinfo(text: str) -> int:
    r"""
    Return the number of processors.

    *text* is a whole ``/proc/cpuinfo`` file.

    >>> parse_cpuinfo("processor\t: 0\nflags\t: fpu\n\nprocessor\t: 1\n")
    2

    Source:
        proc_cpuinfo(5).
    """
    names = [line.partition(":")[0].strip() for line in split_lines(text)]
    if "processor" not in names:
        raise MalformedFileError("a list of processors", text)
    return names.count("processor")


def parse_memory_usage(text: str) -> int:
    """
    Return the memory that a cgroup uses, page cache included, in bytes.

    *text* is a whole ``memory.current`` (v2) or ``memory.usage_in_bytes`` (v1) file.
    """
    return _parse_size(text, "a number of bytes")


def parse_memory_stat(text: str) -> dict[str, int]:
    r"""
    Return the counters of a cgroup's memory, most of them in bytes.

    *text* is a whole ``memory.stat`` file. The page cache that the kernel would drop first is
    ``inactive_file`` at v2 and, with the cgroups below, ``total_inactive_file`` at v1; the limit
    over all ancestors, seen or not, is ``hierarchical_memory_limit`` at v1.

    >>> parse_memory_stat("anon 4096\ninactive_file 8192")
    {'anon': 4096, 'inactive_file': 8192}

    Source:
        Linux, admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/memory.rst.
    """
    counters = {}
    for line in split_lines(text):
        name, _, number = line.partition(" ")
        counters[name] = _parse_integer(number, "a name and a number")
    return counters


def parse_cpu_stat(text: str) -> tuple[int, int, float] | None:
    r"""
    Return a quota's periods, how many it throttled and for how many seconds; None without one.

    *text* is a whole ``cpu.stat`` file: v2 counts in microseconds, v1 in nanoseconds.

    >>> parse_cpu_stat("usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000")
    (0, 3, 1.5)
    >>> parse_cpu_stat("nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000")
    (9, 3, 1.5)

    Source:
        Linux, admin-guide/cgroup-v2.rst, "CPU Interface Files"; scheduler/sched-bwc.rst.
    """
    counters = parse_memory_stat(text)
    if "nr_throttled" not in counters:
        return None
    seconds = counters.get("throttled_usec", 0) / 1e6 + counters.get("throttled_time", 0) / 1e9
    return counters.get("nr_periods", 0), counters["nr_throttled"], seconds


def parse_hierarchical_limit(text: str) -> int | None:
    """
    Return the lowest memory limit over a cgroup and all its ancestors in bytes, or None.

    *text* is a whole cgroup v1 ``memory.stat`` file. Ancestors count that are not mounted here.
    """
    limit_bytes = parse_memory_stat(text).get("hierarchical_memory_limit")
    return None if limit_bytes is None else _below_unlimited(limit_bytes)


def parse_meminfo(text: str) -> tuple[int, int | None]:
    r"""
    Return the memory of the machine and what of it is available, in bytes.

    *text* is a whole ``/proc/meminfo`` file; kernels before 3.14 do not tell what is available.

    >>> parse_meminfo("MemTotal: 2048 kB\nMemFree: 512 kB\nMemAvailable: 1024 kB")
    (2097152, 1048576)

    Source:
        proc_meminfo(5).
    """
    total_bytes = parse_kb_field(text, "MemTotal")
    if not total_bytes:
        raise MalformedFileError("MemTotal in kB", text)
    return total_bytes, parse_kb_field(text, "MemAvailable")


def parse_kb_field(text: str, name: str) -> int | None:
    """
    Return one field of a list in kB, in bytes, or None when it is not there.

    *text* is a whole ``/proc/meminfo``, ``/proc/<pid>/smaps_rollup`` or the like. What these files
    call kB is 1024 bytes.

    >>> parse_kb_field("MemTotal:       2048 kB", "MemTotal")
    2097152

    Source:
        proc_meminfo(5), proc_pid_smaps(5).
    """
    for line in split_lines(text):
        label, _, value = line.partition(":")
        if label == name:
            expected = f"{name} in kB"
            number, _, unit = value.strip().partition(" ")
            if unit != "kB":
                raise MalformedFileError(expected, line)
            return _parse_size(number, expected) * 1024
    return None


def _below_unlimited(limit_bytes: int) -> int | None:
    return limit_bytes if 0 <= limit_bytes < _V1_UNLIMITED_FROM else None


def split_lines(text: str) -> list[str]:
    """Return the lines of *text* that are not empty."""
    # Not splitlines(): a name may hold characters that Python takes for the end of a line.
    return [line for line in text.split("\n") if line]


def is_number(text: str) -> bool:
    """Return whether *text* is a whole number as the kernel writes it."""
    # Stricter than int(), which takes "1_0", "+1" and the digits of every script, and gives up
    # with an error of its own beyond 4,300 digits.
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _parse_integer(text: str, expected: str) -> int:
    stripped = text.strip()
    if not is_number(stripped.removeprefix("-")):
        raise MalformedFileError(expected, text)
    return int(stripped)


def _parse_size(text: str, expected: str) -> int:
    size_bytes = _parse_integer(text, expected)
    if size_bytes < 0:
        raise MalformedFileError(expected, text)
    return size_bytes
