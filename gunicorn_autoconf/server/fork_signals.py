"""A worker heeds the signals that it is sent, from its first moment on.

Holds back signals during a fork and sets what they do in the child.

Theory of operation. `worker_follows` marks the next fork as that of a worker; any other fork is
left alone. `_block` holds the signals back before that fork. The parent gives them free again at
once. The child first replaces the arbiter's handlers with ours and gives them free then, so a
signal that came during the fork is handled as one that comes later. Gunicorn's own handlers replace
ours when the worker starts. All of this runs in the main thread.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from gunicorn_autoconf.server.at_fork import around_forks

# The signals that end a worker, and the one by which it reopens its logs: the arbiter handles
# them in another way.
ENDING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
REOPENING = signal.SIGUSR1


class ForkSignals:
    """
    What happens to signals while the arbiter forks a worker.

    Until Gunicorn installs the worker's own handlers, the worker has those of the arbiter, which
    put a signal on a list that is not read there. The arbiter sends each stop signal once. A
    worker that lost it would serve until it is killed after ``graceful_timeout``. A new worker has
    no requests yet, so it can exit at once. And a log is rotated once: a worker that missed that
    would write to the old file until the next time.
    """

    def __init__(self) -> None:
        self._is_worker_next = False
        self._mask: set[int] | None = None
        self._reopen_logs: Callable[[], None] = lambda: None
        self._report_end: Callable[[], None] = lambda: None
        self._begin: Callable[[], None] = lambda: None

    def install(self, reopen_logs: Callable[[], None]) -> None:
        """Take care of each fork of a worker, from now on."""
        self._reopen_logs = reopen_logs
        around_forks(self._block, self._restore, self._reset_in_child)

    def worker_follows(self, report_end: Callable[[], None], begin: Callable[[], None]) -> None:
        """
        Say that the next fork is that of a worker.

        It will *begin* with that, which must not raise, and *report_end* if it ends early.
        """
        self._is_worker_next = True
        self._report_end = report_end
        self._begin = begin

    def _block(self) -> None:
        if self._is_worker_next:
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, REOPENING))

    def _restore(self) -> None:
        self._is_worker_next = False
        mask, self._mask = self._mask, None
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _reset_in_child(self) -> None:
        if self._mask is not None:
            for number in ENDING:
                signal.signal(number, lambda *_: self._end())
            signal.signal(REOPENING, lambda *_: self._reopen())
            self._begin()
        self._restore()

    def _end(self) -> None:
        """End as a worker that was told to; not by the signal itself, since SIGQUIT dumps core."""
        with suppress(Exception):
            self._report_end()
        os._exit(0)

    def _reopen(self) -> None:
        with suppress(OSError):  # It would end the worker, and with it the start of the server.
            self._reopen_logs()
