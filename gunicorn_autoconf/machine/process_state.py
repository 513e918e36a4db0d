"""What a process is: its name, its parent, whether it is ending. Reads /proc."""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.machine.file import read_text

# Linux, include/linux/sched.h: "Getting shut down".
_PF_EXITING = 0x4
_SIGKILL_BIT = 1 << 8


class ProcessState(NamedTuple):
    """One process at one time."""

    name: str
    parent: int
    is_ending: bool
    """Whether it was killed or has ended, and is only not gone yet."""


def read_process_state(pid: int) -> ProcessState | None:
    """
    Return the state of *pid*; None where it is gone.

    Source:
        Linux, filesystems/proc.rst, "stat" and "status".
    """
    try:
        stat = read_text(f"/proc/{pid}/stat")
        # The name is in parentheses and may hold any character.
        before, _, after = stat.rpartition(")")
        state, parent, *fields = after.split()
        is_ending = state in "ZXx" or bool(int(fields[4]) & _PF_EXITING) or _is_killed(pid)
        return ProcessState(before.partition("(")[2], int(parent), is_ending)
    except (OSError, ValueError, IndexError):
        return None


def _is_killed(pid: int) -> bool:
    """Whether a SIGKILL was sent that the process has not seen yet."""
    for line in read_text(f"/proc/{pid}/status").split("\n"):
        name, _, value = line.partition(":")
        if name in ("SigPnd", "ShdPnd") and int(value, 16) & _SIGKILL_BIT:
            return True
    return False
