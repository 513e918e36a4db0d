"""Our steps around a fork, which must not swallow what Gunicorn raises. Sets a timer.

Python prints what a step around a fork raises, and forgets it. Gunicorn 23 reaps in the handler of
SIGCHLD, and ends a server whose application fails to load by raising `HaltServer` there, wherever
the main thread is. Where that is in a step of ours, the exception is raised again a moment later,
in the handler of SIGALRM, when the fork is over.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from gunicorn.errors import HaltServer

# By then the fork is over, and Gunicorn knows the new worker. In another fork it happens again.
AGAIN_SECONDS = 0.1

Step = Callable[[], None]


def around_forks(before: Step, after_in_parent: Step, after_in_child: Step | None = None) -> None:
    """Run these steps around each fork from now on, as `os.register_at_fork` does."""
    in_child = {"after_in_child": after_in_child} if after_in_child else {}
    os.register_at_fork(before=_kept(before), after_in_parent=_kept(after_in_parent), **in_child)


def _kept(step: Step) -> Step:
    def run() -> None:
        try:
            step()
        except HaltServer as error:
            _raise_again(error)

    return run


def _raise_again(error: BaseException) -> None:
    def raise_it(*_: object) -> None:
        signal.signal(signal.SIGALRM, before)
        raise error

    before = signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
