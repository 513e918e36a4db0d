"""How much memory there is for workers, and how many fit. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from gunicorn_autoconf.machine.facts import MemorySupply
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.units import MIB, format_bytes

# What a worker is taken to need before one was measured: a mid-sized Django or FastAPI process.
# Heroku's buildpack divides by the same number. With it, the growth below and the reserve of 10 %,
# workers of 60 and of 150 MiB lost neither a worker nor a request in 256, 512 and 1024 MiB, where
# other formulas had hundreds of OOM kills (`benchmarks/results/two-cores-limited`).
FIRST_GUESS_BYTES = 256 * MIB

# A worker grows after its boot: caches fill, threads get stacks, the heap fragments. After 15 s
# of load on the applications of `benchmarks.compare` the PSS of the largest, as a multiple of that
# at boot: FastAPI 1.01, Django on WSGI 1.06, 100 threads that wait 1.11, a pool of them under ASGI
# 1.16; Django on ASGI 1.59, of 35 MiB at boot. There the guard corrects the count.
#
# The rule: a size is multiplied by this until it is proved. It is proved once the worker has worked
# and has stopped growing; from then on it counts as it is. The reserve is for what is left: of 21
# real applications 19 came to at most 1.12 times their settled size at boot under light load.
GROWTH_ALLOWANCE = 1.3


class MemoryBudget(NamedTuple):
    """
    What workers may use together.

    Attributes:
        limit_bytes: The limit that leaves least.
        reserve_bytes: What is never planned for.
        others_bytes: What others use under the same limit.
        source: The file or variable that gave the limit.
        worker_memory_bytes: What one worker is taken to need.
        worker_memory_source: How that is known.
        is_guess: Whether what a worker needs is neither declared nor measured.
        granted_bytes: The lowest limit of the machine, whatever was declared; None where unknown.
    """

    limit_bytes: int
    reserve_bytes: int
    others_bytes: int
    source: str
    worker_memory_bytes: int
    worker_memory_source: str
    granted_bytes: int | None
    is_guess: bool = False

    @property
    def budget_bytes(self) -> int:
        """Limit less reserve less others, at least 0."""
        return max(self.limit_bytes - self.reserve_bytes - self.others_bytes, 0)

    @property
    def fits(self) -> int:
        """How many workers fit; 0 where not even one does."""
        return self.budget_bytes // self.worker_memory_bytes


def memory_budget(
    memory: MemorySupply, declaration: Declaration, measured_bytes: int | None = None
) -> MemoryBudget | None:
    """
    Return the budget of the level that leaves least, or None where no memory size is known.

    Args:
        memory: What the machine grants.
        declaration: A declared memory counts as wholly ours; under a detected limit others use
            the working set less its page cache and less what our own processes use.
        measured_bytes: What a worker was measured to use.
    """
    worker_bytes, worker_source = _worker_memory(declaration, measured_bytes)
    granted = memory.lowest.limit_bytes if memory.lowest else None
    levels = [
        (
            level.limit_bytes,
            max((level.in_use_bytes or 0) - memory.own_bytes, 0),
            level.origin.path,
        )
        for level in memory.levels
    ]
    if declaration.memory_bytes is not None:
        levels = [(declaration.memory_bytes, 0, declaration.sources["memory_bytes"])]
    budgets = [
        MemoryBudget(
            limit_bytes=limit,
            reserve_bytes=declaration.memory_reserve.of(limit),
            others_bytes=others,
            source=source,
            worker_memory_bytes=worker_bytes,
            worker_memory_source=worker_source,
            granted_bytes=granted,
            is_guess=declaration.worker_memory_bytes is None and measured_bytes is None,
        )
        for limit, others, source in levels
    ]
    return min(budgets, key=lambda budget: budget.budget_bytes, default=None)


def _worker_memory(declaration: Declaration, measured_bytes: int | None) -> tuple[int, str]:
    if declaration.worker_memory_bytes is not None:
        return declaration.worker_memory_bytes, declaration.sources["worker_memory_bytes"]
    if measured_bytes is not None:
        return max(math.ceil(measured_bytes * GROWTH_ALLOWANCE), 1), (
            f"measured {format_bytes(measured_bytes)} x {GROWTH_ALLOWANCE}"
        )
    return FIRST_GUESS_BYTES, "a guess until measured"
