"""One process's memory. Reads /proc, and asks psutil where that does not tell."""

from __future__ import annotations

import os
from typing import Any

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.machine.file import read_text
from gunicorn_autoconf.machine.kernel_files import parse_kb_field


def read_process_memory(pid: int | None = None) -> ProcessMemory | None:
    """
    Return the memory of *pid*, of this process where None; None where the process is gone.

    Source:
        Linux, filesystems/proc.rst, "smaps_rollup".
    """
    pid = os.getpid() if pid is None else pid
    # psutil reads the same file; to import it takes 12 ms and 2 MiB in each worker.
    try:
        return _parse_rollup(read_text(f"/proc/{pid}/smaps_rollup"))
    except (OSError, MalformedFileError):
        return _ask_psutil(pid)


def read_rss(pid: int) -> int | None:
    """
    Return the RSS of *pid* in bytes, without a walk over its pages; None where it is not told.

    Source:
        Linux, filesystems/proc.rst, "statm".
    """
    try:
        pages = int(read_text(f"/proc/{pid}/statm").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") or None
    except (OSError, ValueError, IndexError):
        return None


def read_swapped(pid: int) -> int:
    """
    Return what of *pid* is swapped out, in bytes; its pages are walked only where something is.

    PSS and USS leave it out: those of a worker that leaks fall while the kernel swaps it out.

    Source:
        Linux, filesystems/proc.rst, "VmSwap" and "SwapPss".
    """
    try:
        if not parse_kb_field(read_text(f"/proc/{pid}/status"), "VmSwap"):
            return 0
        return parse_kb_field(read_text(f"/proc/{pid}/smaps_rollup"), "SwapPss") or 0
    except (OSError, MalformedFileError):
        return 0


def _parse_rollup(text: str) -> ProcessMemory | None:
    def size(name: str) -> int:
        return parse_kb_field(text, name) or 0

    if not size("Rss"):
        return None  # A process that is just ending has no pages left.
    private = size("Private_Clean") + size("Private_Dirty") + size("Private_Hugetlb")
    return ProcessMemory(size("Rss"), size("Pss") or None, private or None)


def _ask_psutil(pid: int) -> ProcessMemory | None:
    """For macOS, for kernels without smaps_rollup and for processes of another user."""
    try:
        import psutil  # See above.
    except ImportError:
        return None
    try:
        process = psutil.Process(pid)
        try:
            full: Any = process.memory_full_info()
        except (psutil.AccessDenied, OSError, NotImplementedError):
            full = process.memory_info()
    except (psutil.Error, OSError):
        return None
    if not full.rss:
        return None
    # Where smaps is missing psutil answers 0, which no living process has.
    return ProcessMemory(full.rss, getattr(full, "pss", 0) or None, getattr(full, "uss", 0) or None)
