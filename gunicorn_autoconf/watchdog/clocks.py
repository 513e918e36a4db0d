"""What the kernel says of a thread of another process: its clocks and its state. Reads /proc."""

from __future__ import annotations

import os
from typing import NamedTuple

from gunicorn_autoconf.machine.process_cpu import parse_schedstat

_DEAD = frozenset("ZXx")


class Clock(NamedTuple):
    """The times of a thread in seconds since it began, and what it does."""

    computing_seconds: float = 0.0
    """On a CPU."""
    queued_seconds: float = 0.0
    """Ready to run and not on a CPU, until it last came to run. 0 where the kernel does not say."""
    runs: int = 0
    """How often it has come to run."""
    state: str = "?"
    """A letter of proc(5): R runs or is ready to, S and D wait, T is stopped."""


def read_clock(pid: int, tid: int) -> Clock | None:
    """Return the clock of thread *tid* of process *pid*; None where that is gone or hidden."""
    task = f"/proc/{pid}/task/{tid}"
    try:
        # The second field is the program's name, which may hold anything, in parentheses.
        state = _read(f"{task}/stat").rpartition(")")[2].split()[0]
        computing, queued, runs = parse_schedstat(_read(f"{task}/schedstat"))
    except (OSError, ValueError, IndexError):
        return None
    return None if state in _DEAD else Clock(computing, queued, runs, state)


def list_threads(pid: int) -> list[int]:
    """Return the threads of process *pid*, the main thread first."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")), key=lambda tid: (tid != pid, tid))
    except (OSError, ValueError):
        return [pid]


def catches(pid: int, number: int) -> bool:
    """Return whether process *pid* has a handler for signal *number*: it does not end it."""
    try:
        for line in _read(f"/proc/{pid}/status").splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except (OSError, ValueError, IndexError):
        pass
    return False


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
