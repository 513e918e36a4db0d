"""What the operating system answers by call. Asks os and, where /proc does not tell, psutil."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from gunicorn_autoconf.machine.descendants import list_descendants
from gunicorn_autoconf.machine.process_memory import read_process_memory


class Host:
    """
    What the operating system answers by call rather than by file; a test hands in another.

    Args:
        pid: The process to ask about instead of this one.
        own_bytes: The memory of our own processes, where that was measured already.
    """

    affinity_call = "os.sched_getaffinity" if hasattr(os, "sched_getaffinity") else "os.cpu_count"

    _pid: int | None = None
    _own_bytes: int | None = None

    def __init__(self, *, pid: int | None = None, own_bytes: int | None = None) -> None:
        self._pid = pid
        self._own_bytes = own_bytes

    @property
    def pid(self) -> int:
        """The process that is asked about."""
        return os.getpid() if self._pid is None else self._pid

    def affinity(self) -> int:
        """Return the number of cores that the scheduler may run the process on."""
        get_affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
        return len(get_affinity(self._pid or 0)) if get_affinity else self.online()

    def online(self) -> int:
        """Return the number of cores of the whole machine."""
        return os.cpu_count() or 1

    def physical_memory(self) -> tuple[int, int]:
        """Return the total and the available memory in bytes, where /proc/meminfo is absent."""
        import psutil  # Takes 12 ms, and Linux does not come here.

        memory = psutil.virtual_memory()
        return memory.total, memory.available

    def kernel_memory(self) -> int:
        """Return the memory of the machine in bytes as a system call tells it, not a file."""
        # glibc asks sysinfo(2) from 2.35 on; before, /proc/meminfo. lxcfs changes files only.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def own_memory(self, environ: Mapping[str, str]) -> int:
        """
        Return the memory of our own processes in bytes: this one and all its descendants.

        The sum of their PSS, or of RSS where the kernel denies it. While an upgrade by SIGUSR2 is
        under way, our parent is the old arbiter and its workers, which are to go, are ours too.
        """
        if self._own_bytes is not None:
            return self._own_bytes
        parent = os.getppid()
        upgrading = environ.get("GUNICORN_PID") == str(parent)
        top = parent if upgrading else os.getpid()
        memories = map(read_process_memory, _process_tree(top))
        return sum(memory.pss_bytes or memory.rss_bytes for memory in memories if memory)


def _process_tree(top: int) -> list[int]:
    """Return *top* and its descendants."""
    if os.path.exists("/proc/thread-self/children"):
        # A server may have more workers than a worker has helpers.
        return [top, *list_descendants(top, sys.maxsize)]
    import psutil  # macOS; no CONFIG_PROC_CHILDREN. It takes 12 ms, and reads the whole of /proc.

    return [top, *(child.pid for child in psutil.Process(top).children(recursive=True))]
