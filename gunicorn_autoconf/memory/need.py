"""
What a worker needs: what is declared, and what workers have reached since the last reload. Pure.

Theory of operation. A worker's *size* is its PSS and that of its helpers, swapped pages included. A
size is *reached* where two samples running show it, and it was there when the worker could serve or
the worker has stopped growing since. A leak never stops growing, so it has no reached size, and
while requests hang nothing is taken to stop. A single large request ends too early to count.

`Need` keeps two things beyond the life of a worker. Of each size that was reached it keeps the
worker's own part (USS): how much of the common pages falls to each depends on how many share them,
and a helper may be gone tomorrow. Both count while the worker lives, and no longer. Of each worker
that was OOM-killed it keeps the last size seen, for an hour: it may have been a leak's.

Only the supervisor's thread uses it; a reload throws it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.plan.budget import FIRST_GUESS_BYTES

# For so long the size of a worker that was OOM-killed counts, and a count that was too many stays
# out of reach.
REMEMBER_KILL_SECONDS = 3600.0
# The kills that count; of a loop of kills the last ones are enough.
MAX_KILLS = 16


class Needed(NamedTuple):
    """What a worker needs, in bytes, by how it is known."""

    declared: int | None = None
    """``GUNICORN_WORKER_MEMORY``; None where it is unset."""
    reached: int = 0
    """The largest size that a worker has reached; 0 before the first boot."""
    killed: int = 0
    """The largest last size of a worker that was OOM-killed; 0 where none was."""
    is_proved: bool = False
    """Whether a worker at work has come to the end of its growth."""

    @property
    def first(self) -> int:
        """What a worker is taken to need before one was measured."""
        return FIRST_GUESS_BYTES if self.declared is None else self.declared

    @property
    def largest(self) -> int:
        """What the count is planned for, as far as it is known."""
        return max(self.declared or 0, self.reached, self.killed)


class Need:
    """What workers since the last reload have reached."""

    def __init__(self) -> None:
        self._own_bytes = 0
        self._is_proved = False
        self._kills: deque[tuple[float, int]] = deque(maxlen=MAX_KILLS)

    def saw(self, history: Sequence[Sample]) -> None:
        """Keep what the last two samples of *history* show to be reached."""
        for worker, before in _both(history):
            uss_bytes = min(worker.uss_bytes, before.uss_bytes)
            reached_bytes = (
                uss_bytes if worker.is_flat else min(uss_bytes, worker.boot_uss_bytes or 0)
            )
            self._own_bytes = max(self._own_bytes, reached_bytes)
            self._is_proved = self._is_proved or (worker.is_flat and worker.has_worked)

    def oom_killed(self, last: WorkerSample | None, now: float) -> None:
        """Keep the last size of a worker that was OOM-killed."""
        self._kills.append((now, last.size_bytes if last else 0))

    def needed(self, history: Sequence[Sample], declared_bytes: int | None) -> Needed:
        """Return what a worker needs after the last sample of *history*."""
        now = history[-1].at_seconds
        present = [
            min(worker.size_bytes, before.size_bytes)
            for worker, before in _both(history)
            if worker.is_flat
        ]
        recent = [size for at, size in self._kills if now - at < REMEMBER_KILL_SECONDS]
        return Needed(
            declared=declared_bytes,
            reached=max(self._own_bytes, *present, 0),
            killed=max(recent, default=0),
            is_proved=self._is_proved,
        )


def _both(history: Sequence[Sample]) -> Iterator[tuple[WorkerSample, WorkerSample]]:
    """Yield each worker as it is in the last sample and in the one before."""
    if len(history) < 2:
        return
    before = {worker.pid: worker for worker in history[-2].workers}
    for worker in history[-1].workers:
        if worker.pid in before:
            yield worker, before[worker.pid]
