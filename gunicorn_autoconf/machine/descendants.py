"""The child processes of a process, and theirs. Reads /proc."""

from __future__ import annotations

import os

from gunicorn_autoconf.machine.file import read_text

# A process that forks without end does not hold up the one that looks.
MAX_DESCENDANTS = 256


def list_descendants(pid: int, most: int = MAX_DESCENDANTS) -> list[int]:
    """
    Return up to *most* pids below *pid*, without those of a process that ends meanwhile.

    Empty where the kernel does not tell (macOS, a kernel without CONFIG_PROC_CHILDREN).

    Source:
        Linux, filesystems/proc.rst, "/proc/<pid>/task/<tid>/children".
    """
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < most:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found[:most]


def _children(pid: int) -> list[int]:
    """Return the children of every thread of *pid*: a child belongs to the thread that forked."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            found += map(int, read_text(f"/proc/{pid}/task/{thread}/children").split())
        except (OSError, ValueError):
            continue
    return found
