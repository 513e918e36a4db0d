"""Readings of memory to lines of the log. Pure."""

from __future__ import annotations

from enum import Enum

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.beside import Beside
from gunicorn_autoconf.memory.boot_line import in_mib, pairs
from gunicorn_autoconf.memory.oom_lines import Doubt
from gunicorn_autoconf.memory.why import (
    Crowded,
    GrowsBack,
    Leak,
    Needs,
    NoWorkYet,
    Room,
    TooMany,
    Why,
)
from gunicorn_autoconf.plan.budget import MemoryBudget
from gunicorn_autoconf.units import MIB, format_bytes

PREFIX = "gunicorn-autoconf: "
# A headroom that lasts longer is not worth a word.
SHOWN_SECONDS = 60

# Of the workers, how many the memory line shows, the largest first; the record's fields have all.
SHOWN_WORKERS = 3


class Exit(Enum):
    """How a worker ended, OOM kills apart."""

    EXITED = "exited"
    RETIRED = "was retired by the guard"
    TIMEOUT = "was killed by Gunicorn after timeout"
    LONG_REQUEST = "was killed as its request ran longer than GUNICORN_REQUEST_TIMEOUT"
    LOST = "ended without its exit hooks"
    KILLED = "was killed while exiting"


def render_all_ready(sample: Sample) -> str:
    """Return the line of a fleet that is complete: how long it took, and what it uses."""
    sizes = [worker.size_bytes for worker in sample.workers]
    if len(sizes) == 1:
        return f"{PREFIX}the worker is ready: {in_mib(sizes[0])}"
    together = f"{in_mib(max(sizes))} each at most, {in_mib(sum(sizes))} together"
    return f"{PREFIX}all {len(sizes)} workers are ready: {together}"


def render_memory(sample: Sample, budget: MemoryBudget | None, beside: Beside | None = None) -> str:
    """
    Return the line of all workers: what they use, and of the largest its growth since boot.

    What is used *beside* them is told where it is a good part of the limit.
    """
    totals = {
        "pss": sum(worker.size_bytes for worker in sample.workers),
        "budget": budget.budget_bytes if budget else None,
        "headroom": sample.headroom_bytes,
        "limit": sample.limit_bytes,
        **(beside.worth_showing(sample.limit_bytes) if beside else {}),
    }
    by_size = sorted(sample.workers, key=lambda worker: worker.size_bytes, reverse=True)
    shown = "".join(f" {_worker(worker)}" for worker in by_size[:SHOWN_WORKERS])
    rest = " ..." if len(by_size) > SHOWN_WORKERS else ""
    return f"{PREFIX}memory workers={len(sample.workers)} {pairs(totals)}{shown}{rest}"


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
    why = f": {render_why(action.why)}" if action.why else ""
    return f"{PREFIX}{'guard would ' if would else 'guard: '}{what}{why}"


def render_stopped(workers: int, wanted: int) -> str:
    """Return the line of a growth that ended early."""
    return f"{PREFIX}stopped at {workers} of {wanted} workers: memory is nearly used up"


def render_why(why: Why) -> str:
    """Return in words why the guard acts."""
    match why:
        case Needs(size, planned):
            return f"workers need {format_bytes(size)}, the plan is {planned}"
        case Room(size, planned):
            return f"workers need up to {format_bytes(size)}, the plan is {planned}"
        case NoWorkYet(planned):
            return f"no worker has done any work yet, the plan is {planned}"
        case Crowded(headroom, limit, others, planned):
            left = f"{format_bytes(headroom)} left of {format_bytes(limit)}"
            return f"{left}, others use {format_bytes(others)}; the plan is {planned}"
        case TooMany(fits, (before, after)):
            return f"OOM kill after growing from {before} to {after}, the plan is {fits}"
        case TooMany(fits, None, float() as seconds):
            return f"2 OOM kills in {seconds:.0f} s, the plan is {fits}"
        case TooMany(fits):
            return f"a worker was OOM-killed, the plan is {fits}"
        case GrowsBack(size, None):
            return f"its replacement would grow to {format_bytes(size)} again"
        case GrowsBack(size, planned):
            again = f"replacements grow back to {format_bytes(size)}"
            return f"{again}, the plan is {planned}"
    return _leak(why)


def _leak(leak: Leak) -> str:
    left, helpers = (
        f"{format_bytes(leak.headroom_bytes)} left of {format_bytes(leak.limit_bytes)}",
        "",
    )
    if leak.left_seconds is not None and leak.left_seconds < SHOWN_SECONDS:
        left += f", gone in {max(leak.left_seconds, 0):.1f} s"
    if leak.helper_bytes is not None:
        helpers = f" and {format_bytes(leak.helper_bytes)} in helpers"
    boot = f"{format_bytes(leak.boot_uss_bytes)} at boot"
    return f"{left}; it uses {format_bytes(leak.uss_bytes)}{helpers}, {boot}"


def render_exit(
    pid: int,
    last: WorkerSample | None,
    how: Exit,
    *,
    counts_oom: bool = False,
    doubt: Doubt | None = None,
) -> str:
    """
    Return the line of a worker that has ended, with what was seen of it last.

    Args:
        pid: The worker's.
        last: What was seen of it last.
        how: What ended it.
        counts_oom: Whether the kernel counts OOM kills, so that it was none if not counted.
        doubt: Why an OOM kill that it counted was hardly this worker's.
    """
    cause = how.value
    was_killed = how in (Exit.TIMEOUT, Exit.LONG_REQUEST, Exit.LOST, Exit.KILLED)
    if was_killed and doubt:
        cause += (
            ", probably not by the kernel's OOM killer: it killed a process, but "
            f"{format_bytes(doubt.left_bytes)} of {format_bytes(doubt.limit_bytes)} are in use, "
            f"and this one had {format_bytes(doubt.largest_bytes)} at most"
        )
    elif was_killed and counts_oom:
        cause += ", not by the kernel's OOM killer"
    if last is None:
        return f"{PREFIX}worker {pid} {cause}"
    sizes = {"uss": last.uss_bytes, "boot_uss": last.boot_uss_bytes, "pss": last.pss_bytes}
    return f"{PREFIX}worker {pid} {cause}: age={last.age_seconds:.0f}s {pairs(sizes)}"


def _worker(worker: WorkerSample) -> str:
    if worker.boot_uss_bytes is None:
        return f"{worker.pid}={worker.state}({in_mib(worker.uss_bytes)})"
    growth = (worker.uss_bytes - worker.boot_uss_bytes) / MIB
    helpers = ""
    if worker.helpers:
        several = "s" * (worker.helpers != 1)
        helpers = f"+{in_mib(worker.helper_bytes)} in {worker.helpers} helper{several}"
    return f"{worker.pid}={in_mib(worker.uss_bytes)}({growth:+.1f}){helpers}"
