"""Which workers the arbiter has told to exit. Reads Gunicorn's arbiter object."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.memory.executor import Executor


def told_to_exit(server: Arbiter, executor: Executor | None) -> set[int]:
    """
    Return the pids of workers that are to exit: those that are too many, and the guards' own.

    Gunicorn tells the oldest to exit where there are too many, as after a reload.
    Source: gunicorn/arbiter.py, `manage_workers`.
    """
    workers = dict(server.WORKERS)
    by_age = sorted(workers, key=lambda pid: workers[pid].age)
    surplus = set(by_age[: max(len(by_age) - server.num_workers, 0)])
    return surplus | (executor.exiting if executor else frozenset())
