"""The ends of workers, one after the other.

Theory of operation. Gunicorn 23 reaps in the handler of SIGCHLD, so that an end may be reported
between any two lines of the one before. It waits here until that one is done: the call that is
under way takes it too. Only Gunicorn's main thread adds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.server.wait_status import WaitStatus


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
