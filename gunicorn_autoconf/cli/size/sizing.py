"""
Workers or a load to the cores and the memory that they need: the inverse of `plan`. Pure.

With the returned cores, memory limit and variables, `plan` chooses exactly these workers and
threads. The cores are the inverse of the workload's rule, the limit is the inverse of the memory
budget, and each number that follows from neither gets a variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gunicorn_autoconf.cli.size.counts import (
    Counts,
    counts_for_load,
    counts_for_workers,
    suggest_workload,
)
from gunicorn_autoconf.cli.size.requirements import Requirements, WorkersWanted
from gunicorn_autoconf.cli.size.steps import Calculation, Step
from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.plan.budget import FIRST_GUESS_BYTES
from gunicorn_autoconf.plan.variables import PREFIX
from gunicorn_autoconf.plan.workload import MIXED_THREADS, Workload, shape_for
from gunicorn_autoconf.units import MAX_BYTES, MIB, format_bytes, write_bytes
from gunicorn_autoconf.worker_classes import UVICORN, Interface

# Limits in steps are easy to read, and the size of a worker is not known more precisely anyway.
MEMORY_STEP_BYTES = 16 * MIB


class Sizing(NamedTuple):
    """
    What it takes.

    Attributes:
        counts: How many containers, and how many of everything in each.
        memory_limit_bytes: The limit of each container.
        notes: What the reader should know, one sentence each.
    """

    requirements: Requirements
    counts: Counts
    memory_limit_bytes: int
    variables: Mapping[str, str]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]


def size(requirements: Requirements) -> Sizing:
    """
    Return the containers that meet *requirements*.

    Raises:
        AutoconfError: No machine is as large.
        DeclarationError: Workers for this workload have no threads.
    """
    calculation = Calculation()
    if isinstance(requirements.wanted, WorkersWanted):
        counts = counts_for_workers(requirements, requirements.wanted, calculation)
    else:
        counts = counts_for_load(requirements, requirements.wanted, calculation)
    return Sizing(
        requirements,
        counts,
        _memory_limit(requirements, counts.workers, calculation),
        _variables(requirements, counts),
        tuple(calculation.steps),
        (*_notes_on_input(requirements), *_notes(requirements, counts)),
    )


def _memory_limit(requirements: Requirements, workers: int, calculation: Calculation) -> int:
    """Return the lowest limit whose budget holds the workers, in whole steps."""
    worker_bytes, others_bytes = requirements.worker_bytes, requirements.others_bytes
    reserve = requirements.declaration.memory_reserve
    needed_bytes = workers * worker_bytes + others_bytes
    estimate_bytes = (needed_bytes + reserve.fixed_bytes) / (1 - reserve.fraction)
    if not estimate_bytes < MAX_BYTES:
        raise AutoconfError(
            f"{workers} workers of {format_bytes(worker_bytes)} take more memory than any machine "
            "has: use fewer, or smaller ones"
        )
    # The float may be inexact, so the search begins one step too low.
    limit_bytes = max(int(estimate_bytes) // MEMORY_STEP_BYTES - 1, 0) * MEMORY_STEP_BYTES
    while limit_bytes - reserve.of(limit_bytes) < needed_bytes:
        limit_bytes += MEMORY_STEP_BYTES
    calculation.know(workers=workers, worker_memory_bytes=worker_bytes, others_bytes=others_bytes)
    formula = "workers * worker_memory + others"
    if reserve.fraction:
        calculation.know(reserve=reserve.fraction)
        formula = f"({formula}) / (1 - reserve)"
    elif reserve.fixed_bytes:
        calculation.know(reserve_bytes=reserve.fixed_bytes)
        formula = f"{formula} + reserve"
    why = f"up to a multiple of {format_bytes(MEMORY_STEP_BYTES)}"
    calculation.add("memory_limit_bytes", limit_bytes, formula, why)
    return limit_bytes


def _variables(requirements: Requirements, counts: Counts) -> dict[str, str]:
    """Return the variables that make the plan choose *counts*, by name."""
    declaration = requirements.declaration
    worker_bytes, reserve = declaration.worker_memory_bytes, declaration.memory_reserve
    by_cores = counts.shape.workers.count(counts.cores)
    usual_threads = shape_for(counts.workload, requirements.interface).threads
    reserve_text = str(reserve) if reserve.fraction else write_bytes(reserve.fixed_bytes)
    values = {
        "WORKLOAD": counts.workload and counts.workload.value,
        "INTERFACE": declaration.interface and declaration.interface.value,
        "WORKER_MEMORY": worker_bytes and write_bytes(worker_bytes),
        "MEMORY_RESERVE": reserve_text if "memory_reserve" in declaration.sources else None,
        "MIN_WORKERS": counts.workers if counts.workers > by_cores else None,
        "MAX_WORKERS": counts.workers if counts.workers < by_cores else None,
        "THREADS": counts.threads if counts.threads != usual_threads else None,
    }
    return {PREFIX + name: str(value) for name, value in values.items() if value is not None}


def _notes_on_input(requirements: Requirements) -> Iterator[str]:
    if requirements.measured:
        yield (
            f"measured {requirements.measured}; a busier hour takes more: set --rate to the "
            "requests that you expect"
        )
    if requirements.declaration.worker_memory_bytes is None:
        yield (
            f"assumes {format_bytes(FIRST_GUESS_BYTES)} per worker until one is measured; "
            "set --worker-memory if you know it"
        )


def _notes(requirements: Requirements, counts: Counts) -> Iterator[str]:
    declaration, wanted = requirements.declaration, requirements.wanted
    is_wsgi = requirements.interface is Interface.WSGI
    if isinstance(wanted, WorkersWanted):
        if declaration.workload is None:
            alone = ", without threads" if is_wsgi and counts.threads == 1 else ""
            yield f"sized as mixed{alone}; set --workload if you know what requests do"
    else:
        suggested, _ = suggest_workload(wanted.compute_fraction)
        if declaration.workload not in (None, Workload.ASYNC, suggested):
            yield f"the share of computing suggests workload {suggested.value}"
    if counts.for_waiting:
        yield (
            "most replicas are there for requests that wait, each of which holds a thread or a "
            "worker; on the event loop of an async application it holds neither"
        )
    if declaration.interface is None:
        yield "assumes a WSGI application; set --interface asgi for ASGI"
    if counts.workload is Workload.ASYNC and is_wsgi:
        yield "workload async needs an ASGI application; sized as io"
    threads = counts.replicas * counts.workers * counts.threads
    if counts.shape.worker_class == UVICORN and counts.threads > 1 and counts.places > threads:
        yield (
            f"{counts.places:,} requests are there at once; of those that run synchronous code "
            f"all but {threads:,} wait for a thread"
        )
    if counts.threads > MIXED_THREADS:
        yield (
            f"each thread may hold a connection to a database: up to {threads:,}; "
            "GUNICORN_MAX_CONCURRENCY bounds them in each replica"
        )
