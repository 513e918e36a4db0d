"""A worker heeds the signals that it is sent, from its first moment on.

Holds back signals during a fork and sets what they do in the child.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

# The signals that end a worker, and the one by which it reopens its logs: the arbiter handles
# them in another way.
ENDING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
REOPENING = signal.SIGUSR1


class Birth:
    """
    What happens to signals while the arbiter forks a worker.

    Until Gunicorn installs the worker's own handlers, the worker has those of the arbiter, which
    put a signal on a list that nobody reads there. An arbiter that stops says so once: such a
    worker would serve on, be killed after ``graceful_timeout`` and lose the requests inside. It
    has nothing to finish yet, so that it may end as any process does. And a log is rotated once: it
    would write to the old file until the next time.
    """

    def __init__(self) -> None:
        self._is_due = False
        self._before: set[int] | None = None
        self._reopen_logs: Callable[[], None] = lambda: None

    def attend(self, reopen_logs: Callable[[], None]) -> None:
        """Take care of each fork that is announced, from now on."""
        self._reopen_logs = reopen_logs
        os.register_at_fork(
            before=self._hold_back,
            after_in_parent=self._let_go,
            after_in_child=self._heed,
        )

    def announce(self) -> None:
        """Say that the next fork is that of a worker."""
        self._is_due = True

    def _hold_back(self) -> None:
        if self._is_due:
            self._before = signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, REOPENING))

    def _let_go(self) -> None:
        self._is_due = False
        before, self._before = self._before, None
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _heed(self) -> None:
        if self._before is not None:
            for number in ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(REOPENING, lambda *_: self._reopen_logs())
        self._let_go()
