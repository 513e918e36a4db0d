"""What the operator should know about the machine and the platform that a plan is for. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_autoconf.machine.platforms import PlatformRow, grace_seconds, platform_row
from gunicorn_autoconf.plan.address import LOOPBACK
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.pids import tasks_needed
from gunicorn_autoconf.plan.plan import first_choice, value_before
from gunicorn_autoconf.plan.timeouts import GRACEFUL_TIMEOUT_SECONDS
from gunicorn_autoconf.plan.workload import ANYIO_THREADS, ENOUGH_WORKERS, Workload
from gunicorn_autoconf.units import plural

# Problems


def no_cpu_limit(known: Known) -> Iterator[str]:
    """Too many cores of a host for one of its containers."""
    if _host_workers(known) > ENOUGH_WORKERS:
        hint = _hint(known, "cpu_hint", "")
        yield (
            f"no CPU limit: the host's {known.machine.cpu.affinity} cores are not this "
            f"container's alone; set a CPU limit or GUNICORN_CPUS{'. ' * bool(hint)}{hint}"
        )


def pids_limit(known: Known) -> Iterator[str]:
    """More threads than the kernel will start."""
    limit, workers = known.machine.pids, max(known.workers, known.plan.most_workers)
    if limit is None:
        return
    runs_uvicorn = bool(known.family and known.family.runs_uvicorn)
    is_async = known.plan.workload is Workload.ASYNC
    own_pools = runs_uvicorn and known.threads == 1 and not is_async
    threads = ANYIO_THREADS if own_pools else known.threads
    needed = tasks_needed(workers, threads)
    if needed <= limit.limit:
        return
    count = f"{plural(workers, 'worker')} x {plural(threads, 'thread')}"
    allowed = f"{limit.limit} ({limit.origin.path})"
    if own_pools:
        yield (
            f"{count} for synchronous code may need {needed} processes and threads, pids.max "
            f"allows {allowed}: starting one beyond fails; bound them by GUNICORN_WORKLOAD=io or "
            "GUNICORN_THREADS, or raise the limit"
        )
    else:
        yield (
            f"{count} may need {needed} processes and threads, pids.max allows {allowed}: "
            "starting one beyond fails; set fewer or raise the limit"
        )


def _host_workers(known: Known) -> int:
    """The count for all cores of the host that a container shares with others; 0 if it is not."""
    machine, declaration = known.machine, known.declaration
    is_bounded = machine.cpu.is_limited or declaration.cpus or declaration.explicit("workers")
    if not machine.container or is_bounded:
        return 0
    return int(first_choice(known.plan, "workers"))


def _hint(known: Known, name: str, otherwise: str) -> str:
    """What the row of the platform says to do."""
    row = platform_row(known.machine)
    return (getattr(row, name) if row else "") or otherwise


# Advice


def memory_limit(known: Known) -> Iterator[str]:
    """A container that may use all the memory there is."""
    machine = known.machine
    is_limited = machine.memory.limits or known.declaration.memory_bytes is not None
    if machine.container and not is_limited:
        remedy = _hint(known, "memory_hint", "Set a limit, or GUNICORN_MEMORY.")
        yield (
            "This container has no memory limit: the plan counts on the memory of the whole "
            f"machine, which others use as well. {remedy}"
        )


def cpu_quota(known: Known) -> Iterator[str]:
    """Cores that others use as well, few enough to plan for all of them."""
    machine, hint = known.machine, _hint(known, "cpu_hint", "")
    if 0 < _host_workers(known) <= ENOUGH_WORKERS:
        yield (
            "This container has no CPU quota: the plan counts on every core of the machine, which "
            f"others use as well. {hint or 'Set a CPU limit, or GUNICORN_CPUS.'}"
        )
    elif hint and not (machine.container or machine.cpu.quota or known.declaration.cpus):
        yield hint  # A virtual machine whose cores are less than they seem.


def unreachable(known: Known) -> Iterator[str]:
    """Yield a line where Gunicorn's default keeps the server from all outside its container."""
    address = None if known.declaration.explicit("bind") else known.default_address
    if known.machine.container and address and address.startswith(f"{LOOPBACK}:"):
        port = address.partition(":")[2]
        yield (
            f"The server listens at {address}, Gunicorn's default: nothing outside of this "
            f"container or pod reaches it. Set GUNICORN_BIND=0.0.0.0:{port}, or to {address} where "
            "a proxy in here asks it"
        )


def quota_below_one_core(known: Known) -> Iterator[str]:
    """A quota that one busy thread uses up."""
    # Declared cores change neither the quota nor the throttling.
    quota = known.machine.cpu.quota
    if quota is not None and quota.cores < 1:
        # Source: Linux, scheduler/sched-bwc.rst; 100 ms is the usual period.
        yield (
            f"The CPU quota is {quota.cores:g} of a core: once it is used up, every request stands "
            "still until the next period, usually 0.1 s. Grant a whole core where latency matters."
        )


def enough_workers(known: Known) -> Iterator[str]:
    """A large machine of our own, of which the plan does not use every core."""
    cut = [reason for reason in known.plan.reasons_for("workers") if reason.is_need_cut]
    is_own = not known.declaration.explicit("workers") and not _host_workers(known)
    if cut and is_own and known.workers <= ENOUGH_WORKERS:
        yield (
            f"{plural(known.machine.cpu.cores, 'core')} would give "
            f"{value_before(known.plan, cut[0])} workers; the plan stops at {ENOUGH_WORKERS}, "
            "which are enough for most. If all of them are busy while cores are idle, set "
            "GUNICORN_WORKERS, or GUNICORN_CPUS for a count by cores. GUNICORN_WORKLOAD=cpu plans "
            "one for each core."
        )


def end_of_server(known: Known) -> Iterator[str]:
    """How the platform stops a server, where that is hasty."""
    row, granted = platform_row(known.machine), grace_seconds(known.machine)
    if row is None or granted is None:
        return
    parts = [*_haste(row, granted, known), *([row.stop_hint] if row.stop_hint else [])]
    if parts:
        yield " ".join(parts)


def _haste(row: PlatformRow, granted: int, known: Known) -> Iterator[str]:
    planned = not known.declaration.explicit("graceful_timeout")
    if granted == 0:
        yield (
            f"{row.title} sends SIGKILL right after SIGTERM: a deploy cuts every request. Set "
            f"{row.grace_setting} to 30."
        )
    elif granted < GRACEFUL_TIMEOUT_SECONDS and planned:
        raised = "."
        if row.grace_setting:
            also = "" if row.grace_variable else " and GUNICORN_GRACEFUL_TIMEOUT"
            raised = f"; for longer ones raise {row.grace_setting}{also}."
        yield (
            f"{row.title} sends SIGKILL {granted} s after its signal: requests have "
            f"{known.plan.settings['graceful_timeout']:g} s to finish{raised}"
        )
