"""Our steps around a fork, which must not swallow what Gunicorn raises. Replaces a method.

Python prints what a step around a fork raises, and forgets it. Gunicorn 23 reaps in the handler of
SIGCHLD, and ends a server whose application fails to load by raising `HaltServer` there, wherever
the main thread is. Where that is in a step of ours, the next round of Gunicorn's main loop raises
it again, at most a second later: the fork is over, Gunicorn knows the new worker, and nothing that
could swallow the exception is on the stack.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from gunicorn.errors import HaltServer

from gunicorn_autoconf.server.gunicorn import running_arbiter

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
            _raise_in_main_loop(error)

    return run


def _raise_in_main_loop(error: HaltServer) -> None:
    server = running_arbiter()
    if server is None:
        raise error

    def manage_workers() -> None:
        raise error

    # What each round ends with, and a start and a reload, too (Gunicorn, `Arbiter.run`).
    server.manage_workers = manage_workers
