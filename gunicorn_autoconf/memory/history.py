"""What the guard has seen and done, as far as its next decision depends on it. Pure.

Theory of operation. `History` keeps the last samples and, as `Permissions`, in which direction the
worker count may still move. After a start, a reload or a change of the limit the count may come
down until it is the plan for the largest worker, and go up until it is the plan for the smallest
one. The guard's own shrink ends growing. Each of the two flags goes from true to false once and
comes back by `begin_again` alone.

The supervisor's thread is the only one to change a `History`, but for a reload: that begins again
in the main thread while the supervisor's thread is paused. Where a step was held up for too long,
it may find `samples` empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gunicorn_autoconf.fleet.sample import Sample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.churn import Churn
from gunicorn_autoconf.memory.guard import is_full, is_reached

# Two samples in a row decide; a third gives the rate before the first of them.
SAMPLES = 3


class History:
    """The last samples, and what the guard may still do."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._churn = Churn()
        self._is_shrinking = True
        self._is_growing = True
        self._limit_bytes: int | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The last samples, the newest last; none right after an action or a reload."""
        return tuple(self._samples)

    def add(self, sample: Sample) -> None:
        """Keep the newest sample."""
        self._samples.append(sample)

    def clear(self) -> None:
        """Forget the samples."""
        self._samples.clear()

    def begin_again(self) -> None:
        """Let the count go to the plan again."""
        self._is_shrinking = self._is_growing = True
        self._churn = Churn()

    def follow_limit(self, limit_bytes: int | None) -> int | None:
        """Begin again where the limit has changed; return what it was, or None."""
        before, self._limit_bytes = self._limit_bytes, limit_bytes
        if before is None or limit_bytes is None or before == limit_bytes:
            return None
        self.begin_again()
        return before

    def permissions(self, now: float, *, resizing: bool) -> Permissions:
        """Return what the guard may do, where *resizing* says whether the count is ours."""
        return Permissions(
            resizing=resizing,
            shrinking=self._is_shrinking,
            growing=self._is_growing,
            churning=self._churn.is_on(now),
        )

    def compare(self, workers_for: Callable[[int], int]) -> None:
        """Note whether the count is the plan now: later decisions move it no further."""
        samples = self.samples
        self._is_shrinking = self._is_shrinking and not is_reached(samples, workers_for)
        self._is_growing = self._is_growing and not is_full(samples, workers_for)

    def acted(self, action: Action, sample: Sample) -> None:
        """Note that *action* begins, which was decided by *sample*."""
        self.clear()
        if action.kind is Kind.SHRINK:
            self._is_growing = False
            self._churn = Churn()
        if action.kind is Kind.RECYCLE:
            ages = {worker.pid: worker.age_seconds for worker in sample.workers}
            self._churn.recycled(ages[action.pid], sample.at_seconds)

    def spared(self, now: float) -> bool:
        """Note that a worker is kept as recycling helps nobody; return whether that is new."""
        return self._churn.spared(now)
