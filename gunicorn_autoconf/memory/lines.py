"""Readings of memory to lines of the log. Pure."""

from __future__ import annotations

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.beside import Beside
from gunicorn_autoconf.plan.budget import MemoryBudget
from gunicorn_autoconf.units import MIB

PREFIX = "gunicorn-autoconf: "


def render_boot(pid: int, what: str, seconds: float | None, memory: ProcessMemory) -> str:
    """Return the line of a worker that can serve: it has *what*, "booted" or "ready"."""
    took = f" in {seconds:.2f} s" if seconds is not None else ""
    sizes = {"rss": memory.rss_bytes, "pss": memory.pss_bytes, "uss": memory.uss_bytes}
    return f"worker {pid} {what}{took}: {_pairs(sizes)}"


def render_memory(sample: Sample, budget: MemoryBudget | None, beside: Beside | None = None) -> str:
    """
    Return the line of all workers: what each uses on its own, and its growth since boot.

    What is used *beside* them is told where it is a good part of the limit.
    """
    totals = {
        "pss": sum(worker.size_bytes for worker in sample.workers),
        "budget": budget.budget_bytes if budget else None,
        "headroom": sample.headroom_bytes,
        "limit": sample.limit_bytes,
        **(beside.worth_showing(sample.limit_bytes) if beside else {}),
    }
    workers = "".join(f" {_worker(worker)}" for worker in sample.workers)
    return f"{PREFIX}memory workers={len(sample.workers)} {_pairs(totals)}{workers}"


def memory_fields(
    sample: Sample, budget: MemoryBudget | None, beside: Beside | None = None
) -> dict[str, object]:
    """Return what `render_memory` says, as fields of a record."""
    return {
        "workers": len(sample.workers),
        "pss_bytes": sum(worker.size_bytes for worker in sample.workers),
        "budget_bytes": budget.budget_bytes if budget else None,
        "headroom_bytes": sample.headroom_bytes,
        "limit_bytes": sample.limit_bytes,
        "others_bytes": beside and beside.others_bytes,
        "shared_memory_bytes": beside and beside.shared_bytes,
        "cache_bytes": beside and beside.cache_bytes,
        "uss_bytes": {str(worker.pid): worker.uss_bytes for worker in sample.workers},
        "helper_bytes": sum(worker.helper_bytes for worker in sample.workers),
    }


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
