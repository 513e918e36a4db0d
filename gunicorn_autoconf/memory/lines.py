"""Readings of memory to lines of the log. Pure."""

from __future__ import annotations

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.machine.facts import MemorySupply, ProcessMemory
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.plan.budget import MemoryBudget
from gunicorn_autoconf.units import MIB, format_bytes

PREFIX = "gunicorn-autoconf: "


def render_boot(pid: int, what: str, seconds: float | None, memory: ProcessMemory) -> str:
    """Return the line of a worker that can serve: it has *what*, "booted" or "ready"."""
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    sizes = {"rss": memory.rss_bytes, "pss": memory.pss_bytes, "uss": memory.uss_bytes}
    return f"worker {pid} {what}{took}: {_pairs(sizes)}"


def render_memory(sample: Sample, budget: MemoryBudget | None) -> str:
    """Return the line of all workers: what each uses on its own, and its growth since boot."""
    totals = {
        "pss": sum(worker.size_bytes for worker in sample.workers),
        "budget": budget.budget_bytes if budget else None,
        "headroom": sample.headroom_bytes,
        "limit": sample.limit_bytes,
    }
    workers = "".join(f" {_worker(worker)}" for worker in sample.workers)
    return f"{PREFIX}memory workers={len(sample.workers)} {_pairs(totals)}{workers}"


def render_action(action: Action, *, would: bool = False) -> str:
    """Return the line of an action: what is done and why."""
    if action.kind is Kind.RECYCLE:
        order = "after its replacement has booted" if action.replacement_first else "at once"
        what = f"recycle worker {action.pid} {order}"
    elif action.kind is Kind.GROW:
        what = f"grow by {action.add}"
    elif action.kind is Kind.KEEP:
        what = f"keep worker {action.pid}"
    else:
        what = "shrink by 1"
    return f"{PREFIX}{'guard would ' if would else 'guard: '}{what}: {action.reason}"


def render_exit(pid: int, last: WorkerSample | None, cause: str) -> str:
    """Return the line of a worker that has ended: the *cause* and what was seen of it last."""
    if last is None:
        return f"worker {pid} {cause}"
    sizes = {"uss": last.uss_bytes, "boot_uss": last.boot_uss_bytes, "pss": last.pss_bytes}
    return f"worker {pid} {cause}: age={last.age_seconds:.0f}s {_pairs(sizes)}"


def render_oom(pid: int, last: WorkerSample | None, memory: MemorySupply, workers: int) -> str:
    """Return the line of a worker that the kernel killed for want of memory."""
    facts = []
    lowest = memory.lowest
    if lowest and memory.limits:
        directory = lowest.origin.path.rpartition("/")[0]
        facts.append(f"limit {format_bytes(lowest.limit_bytes)} at {directory}")
    elif lowest:
        facts.append(f"the machine has {format_bytes(lowest.limit_bytes)}")
    facts.append(f"{workers} worker{'s' * (workers != 1)}")
    if last:
        boot = f" ({format_bytes(last.boot_uss_bytes)} at boot)" if last.boot_uss_bytes else ""
        facts.append(f"it used {format_bytes(last.uss_bytes)}{boot} when last seen")
    return f"worker {pid} was killed by the kernel's OOM killer: {', '.join(facts)}"


def _worker(worker: WorkerSample) -> str:
    if worker.boot_uss_bytes is None:
        return f"{worker.pid}=booting"
    growth = (worker.uss_bytes - worker.boot_uss_bytes) / MIB
    helpers = ""
    if worker.helpers:
        several = "s" * (worker.helpers != 1)
        helpers = f"+{_mib(worker.helper_bytes)} in {worker.helpers} helper{several}"
    return f"{worker.pid}={_mib(worker.uss_bytes)}({growth:+.1f}){helpers}"


def _pairs(sizes: dict[str, int | None]) -> str:
    return " ".join(f"{name}={_mib(size)}" for name, size in sizes.items() if size is not None)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f}MiB"
