"""What the operator should know of guards and limits that cannot do what is asked. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.workload import LoadGuard
from gunicorn_autoconf.worker_classes import (
    THREADS,
    UVICORN,
    CountedBy,
    Interface,
    Slots,
    class_name,
)


def load_guard_without_effect(known: Known) -> Iterator[str]:
    """Yield a line where the load guard is asked for, and something else decides the count."""
    declaration, workers = known.declaration, known.declaration.explicit("workers")
    if declaration.load_guard in {None, LoadGuard.OFF}:
        return
    why = None
    if declaration.workload is not None:
        why = f"it works for the workload auto, not for {declaration.workload.value}"
    elif workers:
        why = f"{workers.source} sets the number of workers"
    if why:
        name, mode = declaration.sources["load_guard"], declaration.load_guard.value
        yield f"{name}={mode} has no effect: {why}"


def limits_without_effect(known: Known) -> Iterator[str]:
    """Yield a line for each limit of waiting or running that the worker class does not keep."""
    declaration, family = known.declaration, known.family
    shown = class_name(known.plan.settings["worker_class"])
    is_served = family is not None and family.counted_by is not CountedBy.NOTHING
    if declaration.max_queue_seconds > 0 and not is_served:
        name = declaration.sources["max_queue_seconds"]
        yield f"{name} has no effect under {shown}: its requests are not seen"
    can_end = family is not None and (
        (is_served and family.interface is Interface.ASGI)
        or family.slots in {Slots.ONE, Slots.THREADS}
    )
    if declaration.request_timeout_seconds > 0 and not can_end:
        name = declaration.sources["request_timeout_seconds"]
        yield f"{name} has no effect under {shown}: its requests cannot be ended one by one"


def reuse_port(known: Known) -> Iterator[str]:
    """Yield a line where a worker that ends loses the connections that wait for it."""
    explicit, family = known.declaration.explicit("reuse_port"), known.family
    if explicit is None or not explicit.value or (family and family.empties_queue):
        return
    shown = class_name(known.plan.settings["worker_class"])
    # 75 to 228 of 6,000 to 10,000 requests while workers were replaced under load, 2 cores.
    yield (
        f"reuse_port ({explicit.source}): a {shown} worker that ends, as on a reload, loses the "
        f"connections that wait for it. {UVICORN} and {THREADS} accept them first. The memory "
        "guard only observes"
    )
