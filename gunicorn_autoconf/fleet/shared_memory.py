"""Memory that a fork shares, and that a process beside it can find and read. Maps a memfd.

Linux lists the memory under ``/proc/PID/fd`` by its name. A process that may look at the arbiter's
files, which is its own user and root, may map it, but only to read: it is sealed against writing,
growing and shrinking, so it cannot be taken from the workers. An exec closes it, so neither what a
worker starts nor the arbiter of an upgrade by SIGUSR2 has it. Elsewhere the memory has no name, and
nothing outside of the server finds it. To the kernel, and in all limits, both are the same: shared
memory, which is taken from the limit page by page as it is touched.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import suppress

NAME = "gunicorn-autoconf"
_LINK = f"/memfd:{NAME}"
# Python does not have it by name. Linux from 5.1 on; a fork keeps the mapping that may write.
# Source: Linux, include/uapi/linux/fcntl.h.
_F_SEAL_FUTURE_WRITE = 0x10


class UnreachableError(Exception):
    """There is no such memory, or we may not look; the text says why, to follow a colon."""


def create_memory(size_bytes: int) -> mmap.mmap:
    """
    Return memory of zeros.

    Raises:
        OSError: The memory cannot be had.
    """
    if not hasattr(os, "memfd_create"):
        return mmap.mmap(-1, size_bytes)
    try:
        descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:  # Forbidden by a seccomp filter, or too many files are open.
        return mmap.mmap(-1, size_bytes)
    try:
        os.ftruncate(descriptor, size_bytes)
        # It keeps a duplicate of the descriptor, by which the memory is found.
        memory = mmap.mmap(descriptor, size_bytes)
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
        return memory
    finally:
        os.close(descriptor)


def open_memory(pid: int) -> mmap.mmap:
    """
    Return the memory of the arbiter *pid*, to read.

    Raises:
        UnreachableError: It has none, or is not ours to look at.
    """
    folder = f"/proc/{pid}/fd"
    try:
        found = [name for name in os.listdir(folder) if _is_ours(f"{folder}/{name}")]
        if not found:
            raise UnreachableError("it was not started with gunicorn-autoconf, or with another one")
        descriptor = os.open(f"{folder}/{found[0]}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
    except PermissionError:
        raise UnreachableError("it runs as another user") from None
    except FileNotFoundError:
        raise UnreachableError("this system does not show it, or it has ended") from None
    except (OSError, ValueError) as error:
        raise UnreachableError(str(error)) from None


def _is_ours(path: str) -> bool:
    try:
        return os.readlink(path).removesuffix(" (deleted)") == _LINK
    except OSError:  # Closed meanwhile.
        return False
