"""The declared bounds on the plan, and the count up to which the guard may go. Pure."""

from __future__ import annotations

from collections.abc import Callable

from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan import pids
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Given, Plan, choose, value_before
from gunicorn_autoconf.plan.workload import LoadGuard, MemoryGuard

# The fewest threads of an event loop's pool: with 1, UvicornWorker leaves the pools as they are.
POOL_THREADS = 2


def bound_workers(result: Plan, given: Given) -> Plan:
    """Keep the count to max_concurrency, max_workers and min_workers."""
    declaration = given.declaration
    fewest = fewest_threads(given)
    per_thread = f"max_concurrency // {fewest} threads" if fewest > 1 else "max_concurrency"
    bounds: tuple[tuple[str, Callable[[int, int], int], int | None, str], ...] = (
        ("max_concurrency", min, workers_within_concurrency(given), per_thread),
        ("max_workers", min, declaration.max_workers, "max_workers"),
        ("min_workers", max, declaration.min_workers, "min_workers"),
    )
    for name, pick, bound, rule in bounds:
        workers = result.settings["workers"]
        if bound is not None and (bounded := pick(workers, bound)) != workers:
            inputs = {"bound": getattr(declaration, name), "wanted": workers}
            source = declaration.sources[name]
            result = choose(result, "workers", bounded, rule, source=source, inputs=inputs)
    return result


def bound_threads(result: Plan, given: Given) -> Plan:
    """Keep the threads of all workers, with those that the guard may add, to max_concurrency."""
    bound, workers = given.declaration.max_concurrency, result.most_workers
    if bound is None or given.declaration.explicit("threads") or not workers:
        return result
    fitting = max(bound // workers, 1)
    if fitting >= result.settings["threads"]:
        return result
    added = ", with those that the guard may add" if workers > result.settings["workers"] else ""
    rule = f"max_concurrency // workers{added}"
    source = given.declaration.sources["max_concurrency"]
    inputs = {"max_concurrency": bound, "workers": workers}
    return choose(result, "threads", fitting, rule, source=source, inputs=inputs)


def guard_mode(machine: Machine, declaration: Declaration) -> MemoryGuard:
    """Return what the guard may do: as declared; else act if there is a limit, else observe."""
    if declaration.memory_guard is not None:
        return declaration.memory_guard
    limited = machine.memory.limits or declaration.memory_bytes
    return MemoryGuard.ACT if limited else MemoryGuard.OBSERVE


def load_guard_mode(machine: Machine, declaration: Declaration) -> LoadGuard:
    """Return whether the count follows the load: by the same rule, and only of ``auto``."""
    if declaration.workload is not None:
        return LoadGuard.OFF
    if declaration.load_guard is not None:
        return declaration.load_guard
    limited = machine.memory.limits or declaration.memory_bytes
    return LoadGuard.ACT if limited else LoadGuard.OBSERVE


def fewest_threads(given: Given) -> int:
    """Return the fewest threads that a worker of this plan can have."""
    if explicit := given.declaration.explicit("threads"):
        threads: int = explicit.value
        return max(threads, 1)
    return POOL_THREADS if given.plans_pools else 1


def workers_within_concurrency(given: Given) -> int | None:
    """Return how many workers max_concurrency allows with their fewest threads; at least 1."""
    bound = given.declaration.max_concurrency
    return None if bound is None else max(bound // fewest_threads(given), 1)


def workers_without_cut(result: Plan, given: Given) -> int:
    """Return the count that the bounds alone would allow; at least the planned one."""
    workers: int = result.settings["workers"]
    cuts = [reason for reason in result.reasons_for("workers") if reason.is_memory_cut]
    if not cuts or given.declaration.explicit("workers"):
        return workers
    bounds = (
        workers_within_concurrency(given),
        given.declaration.max_workers,
        pids.workers_within_limit(given),
    )
    wanted: int = value_before(result, cuts[0])
    return max(workers, min([wanted, *(bound for bound in bounds if bound is not None)]))


def most_workers(result: Plan, given: Given) -> int:
    """Return the count up to which the guard may go: more than planned if a guess has cut it."""
    is_guess = result.memory is not None and result.memory.is_guess
    if is_guess and guard_mode(given.machine, given.declaration) is MemoryGuard.ACT:
        return workers_without_cut(result, given)
    workers: int = result.settings["workers"]
    return workers
