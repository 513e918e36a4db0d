"""The ends of workers, one after the other, and how each came about. Reads the call stack.

Theory of operation. Gunicorn 23 reaps in the handler of SIGCHLD, so that an end may be reported
between any two lines of the one before. It waits here until that one is done: the call that is
under way takes it too. Only Gunicorn's main thread adds.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.server.reading import frames

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker


class WaitStatus(NamedTuple):
    """What the kernel said of a process that has ended."""

    signal: int
    """The signal that ended it; 0 for none."""
    exit_status: int
    """What it exited with; 0 where a signal ended it."""


class End(NamedTuple):
    """A worker that is gone, as Gunicorn reports it."""

    worker: Worker
    reports_end: bool
    """Whether one that ends by itself has reported it before."""
    status: WaitStatus | None
    """How it ended, as `wait_status` returns it."""


class EndQueue:
    """The ends that are still to be handled."""

    def __init__(self) -> None:
        self._waiting: deque[End] = deque()
        self._is_busy = False

    def add(self, end: End, handle: Callable[[End], None]) -> None:
        """Have *handle* take *end*, now or after the one that is under way."""
        self._waiting.append(end)
        while self._waiting and not self._is_busy:
            self._is_busy = True
            try:
                while self._waiting:
                    handle(self._waiting.popleft())
            finally:
                self._is_busy = False


def wait_status(pid: int) -> WaitStatus | None:
    """
    Return how the worker *pid* ended; None where that cannot be seen.

    To be called in child_exit. Gunicorn calls that hook from the loop in which it has asked the
    kernel; the answer is in a local variable there. Nothing else tells an orderly end from a kill
    that came in the middle of it.

    Source:
        gunicorn/arbiter.py, `Arbiter.reap_workers`: 23.0 to 27.0.
    """
    for frame in frames():
        if frame.f_code.co_name == "reap_workers":
            found = frame.f_locals
            status = found.get("status")
            if found.get("wpid") != pid or not isinstance(status, int):
                return None
            if os.WIFSIGNALED(status):
                return WaitStatus(os.WTERMSIG(status), 0)
            return WaitStatus(0, os.WEXITSTATUS(status))
    return None
