"""
What the guard has learnt of one generation of workers. Pure.

Theory of operation. `Experience` begins empty at the start and at each reload, and lasts until the
next. The supervisor's thread alone changes it: `learn` with each sample, `acted` with each action,
`limit_changed` where another limit makes other counts right. `permissions` says what follows.
"""

from __future__ import annotations

from collections.abc import Sequence

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.churn import Churn
from gunicorn_autoconf.memory.need import Need, Needed
from gunicorn_autoconf.memory.plans import Plans
from gunicorn_autoconf.memory.steps import Steps


class Experience:
    """What workers need, what steps have led to, and whether recycles help."""

    def __init__(self) -> None:
        self._need = Need()
        self._steps = Steps()
        self._churn = Churn()
        self._is_leaking = False

    def learn(
        self,
        history: Sequence[Sample],
        killed: Sequence[WorkerSample | None],
        plans: Plans,
        declared_bytes: int | None,
    ) -> Needed:
        """
        Return what a worker needs.

        Args:
            history: Samples since the last action, the newest last.
            killed: The workers that were OOM-killed since the last call, as they were last seen.
            plans: How many workers are planned now.
            declared_bytes: What a worker needs by declaration.
        """
        now = history[-1]
        self._need.saw(history)
        for last in killed:
            self._need.oom_killed(last, now.at_seconds)
        needed = self._need.needed(history, declared_bytes)
        for _ in killed:
            self._steps.oom_killed(
                now.target,
                beside=plans.beside(needed.largest),
                alone=plans.alone(needed.largest),
                now=now.at_seconds,
            )
        return needed

    def permissions(self, now: Sample, *, resizing: bool) -> Permissions:
        """Return what the guard may do, where it may resize or not."""
        return Permissions(
            resizing=resizing,
            growing=self._steps.may_grow(now.at_seconds),
            most=self._steps.most(now.at_seconds),
            too_many=self._steps.too_many(now.target),
            leaking=self._is_leaking,
            churning=self._churn.is_on(now.at_seconds),
        )

    def acted(self, action: Action, now: Sample) -> None:
        """Keep of *action* what later decisions depend on."""
        if action.kind is Kind.GROW:
            self._steps.grew(now.target, now.at_seconds)
        elif action.kind is Kind.SHRINK:
            self._steps.shrank(now.at_seconds)
            self._churn = Churn()
        elif action.kind is Kind.RECYCLE:
            self._is_leaking = True
            ages = {worker.pid: worker.age_seconds for worker in now.workers}
            self._churn.recycled(ages[action.pid], now.at_seconds)

    def spared(self, now: Sample) -> bool:
        """Note that a worker would go if that helped; return whether that is new."""
        return self._churn.spared(now.at_seconds)

    def limit_changed(self) -> None:
        """Forget which counts were too many: another limit makes others right."""
        self._steps = Steps()
        self._churn = Churn()
