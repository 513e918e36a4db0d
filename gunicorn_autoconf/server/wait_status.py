"""How a worker ended, which Gunicorn does not hand on. Reads the call stack."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import NamedTuple


class WaitStatus(NamedTuple):
    """What the kernel said of a process that has ended."""

    signal: int
    """The signal that ended it; 0 for none."""
    exit_status: int
    """What it exited with; 0 where a signal ended it."""


def wait_status(pid: int) -> WaitStatus | None:
    """
    Return how the worker *pid* ended; None where that cannot be seen.

    To be called in child_exit. Gunicorn calls that hook from the loop in which it has asked the
    kernel; the answer is in a local variable there. Nothing else tells an orderly end from a kill
    that came in the middle of it.

    Source:
        gunicorn/arbiter.py, `Arbiter.reap_workers`: 23.0 to 27.0.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented; there is no other way
    while frame is not None:
        if frame.f_code.co_name == "reap_workers":
            found = frame.f_locals
            status = found.get("status")
            if found.get("wpid") != pid or not isinstance(status, int):
                return None
            if os.WIFSIGNALED(status):
                return WaitStatus(os.WTERMSIG(status), 0)
            return WaitStatus(0, os.WEXITSTATUS(status))
        frame = frame.f_back
    return None
