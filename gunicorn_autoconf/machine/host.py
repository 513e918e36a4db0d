"""
What the operating system answers: files, and the calls that no file answers.

Reads files, asks os and, where /proc does not tell, psutil.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.process_memory import read_process_memory

# The longest of the kernel's files, mountinfo, takes about 200 bytes a mount: room for 20,000.
MAX_FILE_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


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
    if not os.path.exists("/proc/thread-self/children"):  # macOS; no CONFIG_PROC_CHILDREN
        import psutil  # Reads the whole of /proc, and takes 12 ms to import.

        return [top, *(child.pid for child in psutil.Process(top).children(recursive=True))]
    pids = [top]
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                children = map(int, read_text(f"/proc/{pid}/task/{thread}/children").split())
                pids += [child for child in children if child not in pids]
        except OSError:  # the process or the thread has ended
            continue
    return pids


def read_text(path: str) -> str:
    """
    Return what the file *path* holds.

    Raises:
        OSError: It cannot be read.
        MalformedFileError: It is longer than any file of the kernel.
    """
    # O_NONBLOCK: a named pipe in the place of a file must not hold up the start.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        content = bytearray()  # procfs hands out 4 KiB at a time: a thousand pieces
        while chunk := os.read(descriptor, CHUNK_BYTES):  # procfs may hand out less
            content += chunk
            if len(content) > MAX_FILE_BYTES:
                raise MalformedFileError(
                    f"at most {MAX_FILE_BYTES} bytes", os.fsdecode(bytes(content))
                )
    finally:
        os.close(descriptor)
    return os.fsdecode(bytes(content))
