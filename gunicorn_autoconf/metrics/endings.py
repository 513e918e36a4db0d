"""What is counted of workers: why they ended, and how often they were stuck. Pure."""

from __future__ import annotations

from enum import Enum

# What a stall is counted as, beside the ends.
STALL = "stall"


class Ending(str, Enum):
    """Why a worker ended."""

    OOM = "oom"
    """The kernel's OOM killer took it."""
    TIMEOUT = "timeout"
    """Gunicorn killed it after `timeout`."""
    RECYCLED = "recycled"
    """The memory guard replaced it."""
    SHRUNK = "shrunk"
    """A guard lowered the count."""
    CRASHED = "crashed"
    """It was killed otherwise, or ended with an error."""
    EXITED = "exited"
    """It ended in order: a reload, `max_requests`, a signal from an operator."""
