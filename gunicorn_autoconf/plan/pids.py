"""The steps of the plan that keep processes and threads within the cgroup's ``pids.max``. Pure."""

from __future__ import annotations

from gunicorn_autoconf.plan.plan import Given, Plan, choose
from gunicorn_autoconf.plan.workload import MIXED_THREADS

# The kernel counts every thread of every process. Beside those that serve requests a worker has
# its main thread, the watchdog's and, with uvloop, four that resolve names. Counted in /proc under
# load: `gthread` 8 + 2, UvicornWorker with a pool of 8 8 + 6.
OWN_THREADS = 6
# The arbiter has 3. A health check, a shell and a helper of the application need room as well:
# where there is none, fork() fails with EAGAIN, and so does Python's start of a thread.
MARGIN = 16
# A worker that is replaced is there beside its successor for as long as it drains.
REPLACED_WORKERS = 1


def tasks_needed(workers: int, threads: int) -> int:
    """
    Return how many processes and threads a server may have at once.

    >>> tasks_needed(3, 100)
    440
    """
    return (workers + REPLACED_WORKERS) * (threads + OWN_THREADS) + MARGIN


def workers_within_limit(given: Given) -> int | None:
    """Return how many workers ``pids.max`` allows, at least 1; None where there is no limit."""
    limit = given.machine.pids
    if limit is None:
        return None
    room = (limit.limit - MARGIN) // (_fewest_threads(given) + OWN_THREADS)
    return max(room - REPLACED_WORKERS, 1)


def _fewest_threads(given: Given) -> int:
    """The threads below which fewer workers are better: each worker has threads of its own."""
    explicit = given.declaration.explicit("threads")
    wanted: int = explicit.value if explicit else min(given.shape.threads, MIXED_THREADS)
    return max(wanted, 1)


def bound_workers(result: Plan, given: Given) -> Plan:
    """Keep the count to what fits."""
    limit, most = given.machine.pids, workers_within_limit(given)
    workers = result.settings["workers"]
    if limit is None or most is None or workers <= most:
        return result
    inputs = {"pids_max": limit.limit, "threads": _fewest_threads(given), "wanted": workers}
    rule = f"(pids_max - {MARGIN}) // (threads + {OWN_THREADS}) - {REPLACED_WORKERS}"
    return choose(result, "workers", most, rule, source=limit.origin.path, inputs=inputs)


def bound_threads(result: Plan, given: Given) -> Plan:
    """Keep the threads of all workers, with those that the guard may add, to what fits."""
    limit, workers = given.machine.pids, result.most_workers
    if limit is None or given.declaration.explicit("threads"):
        return result
    threads = result.settings["threads"]
    most = max((limit.limit - MARGIN) // (workers + REPLACED_WORKERS) - OWN_THREADS, 1)
    if threads <= most:
        return result
    inputs = {"pids_max": limit.limit, "workers": workers, "wanted": threads}
    rule = f"(pids_max - {MARGIN}) // (workers + {REPLACED_WORKERS}) - {OWN_THREADS}"
    return choose(result, "threads", most, rule, source=limit.origin.path, inputs=inputs)
