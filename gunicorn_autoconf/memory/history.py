"""What the guard has seen and done, as far as its next decision depends on it. Pure.

Theory of operation. `History` keeps the last samples, and of one generation of workers what they
need (`need`), what steps and OOM kills have shown (`steps`) and whether recycles help (`churn`).
An action ends the samples: they say nothing of the fleet after it. A reload ends all else as well;
another limit ends what steps and kills have shown, as it makes other counts right.

The supervisor's thread is the only one to change a `History`, with two exceptions. At a reload the
main thread begins again while the supervisor's thread is paused; where a step was held up for too
long, it may find `samples` empty. And the main thread reports OOM kills, which wait in a deque for
the next step.
"""

from __future__ import annotations

from collections import deque

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.churn import Churn
from gunicorn_autoconf.memory.need import Need, Needed
from gunicorn_autoconf.memory.plans import Plans
from gunicorn_autoconf.memory.steps import Steps
from gunicorn_autoconf.memory.why import GrowsBack

# Two samples in a row decide; the longest rate is taken over 15 s, at 0.5 s between two samples.
SAMPLES = 40


class History:
    """The last samples, and what the guard has learnt of these workers."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._killed: deque[tuple[WorkerSample | None, int]] = deque()
        self._limit_bytes: int | None = None
        self.begin_again()

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
        """Forget what was learnt of the workers: others take their place."""
        self._killed.clear()
        self._need = Need()
        self._steps = Steps()
        self._churn = Churn()
        self._is_leaking = False

    def follow_limit(self, limit_bytes: int | None) -> int | None:
        """Forget what counts were too many where the limit has changed; return what it was."""
        before, self._limit_bytes = self._limit_bytes, limit_bytes
        if before is None or limit_bytes is None or before == limit_bytes:
            return None
        self._steps = Steps()
        self._churn = Churn()
        return before

    def oom_killed(self, last: WorkerSample | None, freed_bytes: int | None) -> None:
        """
        Note, in the main thread, a worker that was OOM-killed, and how it was last seen.

        It may have grown since, to as much as its end has freed: *freed_bytes*, where known. That
        tells whether a step of the count is to blame. As a need it does not count: it may have been
        one request.
        """
        self._killed.append((last, freed_bytes or 0))

    def needed(self, plans: Plans, declared_bytes: int | None) -> Needed:
        """
        Return what a worker needs, after the last sample and all that was reported before it.

        Args:
            plans: How many workers are planned now.
            declared_bytes: What a worker needs by declaration.
        """
        now = self._samples[-1]
        killed = [self._killed.popleft() for _ in range(len(self._killed))]
        self._need.saw(self.samples)
        for last, _ in killed:
            self._need.oom_killed(last, now.at_seconds)
        needed = self._need.needed(self.samples, declared_bytes)
        for _, freed_bytes in killed:
            self._steps.oom_killed(
                now.target,
                beside=plans.beside(needed.largest),
                alone=plans.alone(max(needed.largest, freed_bytes)),
                now=now.at_seconds,
            )
        return needed

    def permissions(self, now: Sample, *, resizing: bool) -> Permissions:
        """Return what the guard may do, where *resizing* says whether the count is ours."""
        return Permissions(
            resizing=resizing,
            growing=self._steps.may_grow(now.at_seconds),
            most=self._steps.most(now.at_seconds),
            too_many=self._steps.too_many(now.target),
            leaking=self._is_leaking,
            churning=self._churn.is_on(now.at_seconds),
        )

    def acted(self, action: Action, now: Sample) -> None:
        """Note that *action* begins, which was decided by the sample *now*."""
        self.clear()
        if action.kind is Kind.GROW:
            self._steps.grew(now.target, now.at_seconds)
        elif action.kind is Kind.SHRINK:
            self._steps.shrank(now.at_seconds)
            if isinstance(action.why, GrowsBack):
                self._steps.churned(now.target - 1, now.at_seconds)
            self._churn = Churn()
        elif action.kind is Kind.RECYCLE:
            self._is_leaking = True
            ages = {worker.pid: worker.age_seconds for worker in now.workers}
            self._churn.recycled(ages[action.pid], now.at_seconds)

    def spared(self, now: float) -> bool:
        """Note that a worker is kept as recycling is in vain; return whether that is new."""
        return self._churn.spared(now)
