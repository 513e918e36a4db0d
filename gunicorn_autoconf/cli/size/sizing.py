"""
Workers or a load to the cores and the memory that they take: `plan` the other way round. Pure.

What comes back makes `plan` choose exactly these workers and threads: the cores by the inverse of
the workload's own rule, the memory limit by the inverse of the budget, and a variable for each
number that neither of the two gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gunicorn_autoconf.cli.size.counts import (
    Counts,
    Step,
    counts_for_load,
    counts_for_workers,
    suggested_workload,
)
from gunicorn_autoconf.cli.size.question import Question, WorkersWanted
from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.plan.budget import FIRST_GUESS_BYTES
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.variables import PREFIX
from gunicorn_autoconf.plan.workload import MIXED_THREADS, Workload, shape_for
from gunicorn_autoconf.units import MAX_BYTES, MIB, Reserve, format_bytes, write_bytes
from gunicorn_autoconf.worker_classes import UVICORN, Interface

# A limit that is easy to read and to compare; a worker's size is not known any better.
MEMORY_STEP_BYTES = 16 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """
    What it takes.

    Attributes:
        question: What was asked.
        workload: As declared or, for a load, as its share of computing suggests; else None.
        interface: As declared, or WSGI.
        replicas: How many containers.
        cores: The CPU limit of each.
        memory_limit_bytes: The memory limit of each.
        worker_class: The class that the plan will choose.
        workers: The workers of each container.
        threads: The threads of each worker.
        worker_memory_bytes: What one worker is taken to need.
        variables: What to declare in each.
        steps: How it was reckoned, in that order.
        notes: What the reader should know, one sentence each.
    """

    question: Question
    workload: Workload | None
    interface: Interface
    replicas: int
    cores: float
    memory_limit_bytes: int
    worker_class: str
    workers: int
    threads: int
    worker_memory_bytes: int
    variables: Mapping[str, str]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]


def size(question: Question) -> Sizing:
    """
    Return the containers that *question* takes.

    Raises:
        AutoconfError: No machine is as large.
        DeclarationError: The workload has no threads.
    """
    declaration = question.declaration
    interface = declaration.interface or Interface.WSGI
    if isinstance(question.asked, WorkersWanted):
        counts = counts_for_workers(question.asked, declaration.workload, interface)
    else:
        counts = counts_for_load(
            question.asked, question.utilisation, declaration.workload, interface
        )
    worker_bytes = declaration.worker_memory_bytes or FIRST_GUESS_BYTES
    memory = _memory_limit(
        counts.workers, worker_bytes, question.others_bytes, declaration.memory_reserve
    )
    return Sizing(
        question=question,
        workload=counts.workload,
        interface=interface,
        replicas=counts.replicas,
        cores=counts.cores,
        memory_limit_bytes=int(memory.value),
        worker_class=counts.shape.worker_class,
        workers=counts.workers,
        threads=counts.threads,
        worker_memory_bytes=worker_bytes,
        variables=_variables(declaration, counts, interface),
        steps=(*counts.steps, memory),
        notes=tuple(_notes(question, counts, interface)),
    )


def _memory_limit(workers: int, worker_bytes: int, others_bytes: int, reserve: Reserve) -> Step:
    """The lowest limit whose budget holds the workers, in whole steps."""
    needed = workers * worker_bytes + others_bytes
    estimate = (needed + reserve.fixed_bytes) / (1 - reserve.fraction)
    if not estimate < MAX_BYTES:
        raise AutoconfError(
            f"{workers} workers of {format_bytes(worker_bytes)} take more memory than any machine "
            "has: use fewer, or smaller ones"
        )
    # One step too low for sure, whatever the float above has lost.
    limit = max(int(estimate) // MEMORY_STEP_BYTES - 1, 0) * MEMORY_STEP_BYTES
    while limit - reserve.of(limit) < needed:
        limit += MEMORY_STEP_BYTES
    inputs: dict[str, float] = {
        "workers": workers,
        "worker_memory_bytes": worker_bytes,
        "others_bytes": others_bytes,
    }
    formula = "workers * worker_memory + others"
    if reserve.fraction:
        formula, inputs["reserve"] = f"({formula}) / (1 - reserve)", reserve.fraction
    elif reserve.fixed_bytes:
        formula, inputs["reserve_bytes"] = f"{formula} + reserve", reserve.fixed_bytes
    return Step(
        name="memory_limit_bytes",
        value=limit,
        formula=formula,
        inputs=inputs,
        why=f"up to a multiple of {format_bytes(MEMORY_STEP_BYTES)}",
    )


def _variables(declaration: Declaration, counts: Counts, interface: Interface) -> dict[str, str]:
    """What makes the plan the one that was asked for."""
    variables = {}
    if counts.workload:
        variables[f"{PREFIX}WORKLOAD"] = counts.workload.value
    if declaration.interface:
        variables[f"{PREFIX}INTERFACE"] = declaration.interface.value
    if declaration.worker_memory_bytes:
        variables[f"{PREFIX}WORKER_MEMORY"] = write_bytes(declaration.worker_memory_bytes)
    if "memory_reserve" in declaration.sources:
        reserve = declaration.memory_reserve
        share = f"{reserve.fraction * 100:.10f}".rstrip("0").rstrip(".") + "%"
        variables[f"{PREFIX}MEMORY_RESERVE"] = (
            share if reserve.fraction else write_bytes(reserve.fixed_bytes)
        )
    by_cores = counts.shape.workers.count(counts.cores)
    if counts.workers != by_cores:
        bound = "MIN_WORKERS" if counts.workers > by_cores else "MAX_WORKERS"
        variables[f"{PREFIX}{bound}"] = str(counts.workers)
    if counts.threads != shape_for(counts.workload, interface).threads:
        variables[f"{PREFIX}THREADS"] = str(counts.threads)
    return variables


def _notes(question: Question, counts: Counts, interface: Interface) -> Iterator[str]:
    declaration, asked = question.declaration, question.asked
    if declaration.worker_memory_bytes is None:
        yield (
            f"a worker is taken to need {format_bytes(FIRST_GUESS_BYTES)} until it is measured; "
            "--worker-memory says what yours needs"
        )
    if isinstance(asked, WorkersWanted):
        if declaration.workload is None:
            is_wsgi = interface is Interface.WSGI
            alone = ", without threads" if is_wsgi and counts.threads == 1 else ""
            yield f"sized as mixed{alone}; --workload says what requests spend their time on"
    elif declaration.workload not in (None, Workload.ASYNC, suggested_workload(asked)):
        yield f"the share of computing suggests workload {suggested_workload(asked).value}"
    if counts.for_waiting:
        yield (
            "most replicas are there for requests that wait, each of which holds a thread or a "
            "worker; on the event loop of an async application it holds neither"
        )
    if declaration.interface is None:
        yield "taken for a WSGI application; --interface asgi sizes for the other kind"
    if counts.workload is Workload.ASYNC and interface is Interface.WSGI:
        yield "workload async needs an ASGI application; sized as io"
    yield from _thread_notes(counts)


def _thread_notes(counts: Counts) -> Iterator[str]:
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
