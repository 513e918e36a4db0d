"""How many workers are planned for what each needs, as the guard asks for it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine, MemoryLimit
from gunicorn_autoconf.plan.budget import MemoryBudget, memory_budget
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.steps import planned_workers


class Plans(NamedTuple):
    """How many workers are planned, by what each needs in bytes."""

    beside: Callable[[int], int]
    """Beside what others use now."""
    alone: Callable[[int], int]
    """If others used nothing."""
    budget_bytes: int
    """What there is for workers if others used nothing: the limit less the reserve."""

    def fits(self, size_bytes: int, count: int) -> bool:
        """Whether *count* workers of this size fit, if others used nothing."""
        return size_bytes * count <= self.budget_bytes


def plans_for(
    machine: Machine,
    declaration: Declaration,
    application: Finding | None = None,
    *,
    load_workers: int = 0,
) -> Plans:
    """
    Return how many workers are planned on *machine* as it is now.

    Where the load needs *load_workers*, these are planned, if they fit.
    """
    beside = _within_limits(machine)
    memory = beside.memory
    alone = replace(
        beside,
        memory=replace(
            memory,
            limits=tuple(map(_unused, memory.limits)),
            physical=_unused(memory.physical) if memory.physical else None,
        ),
    )

    def count_on(where: Machine) -> Callable[[int], int]:
        def workers_for(size_bytes: int) -> int:
            needs = replace(
                declaration,
                worker_memory_bytes=max(size_bytes, 1),
                sources={**declaration.sources, "worker_memory_bytes": "measured"},
            )
            return planned_workers(where, needs, application=application, load_workers=load_workers)

        return workers_for

    budget = memory_budget(alone.memory, declaration)
    return Plans(count_on(beside), count_on(alone), budget.budget_bytes if budget else 0)


def budget_beside(machine: Machine, declaration: Declaration) -> MemoryBudget | None:
    """Return the budget beside what others use now."""
    return memory_budget(_within_limits(machine).memory, declaration)


def _within_limits(machine: Machine) -> Machine:
    """A host that fills up after the start is no reason to change what our limit grants."""
    if not machine.memory.limits:
        return machine
    return replace(machine, memory=replace(machine.memory, physical=None))


def _unused(level: MemoryLimit) -> MemoryLimit:
    return level._replace(working_set_bytes=None)
