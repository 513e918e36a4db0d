"""What does not fit together in a plan although it was asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_autoconf._choices import Given, Plan, most_workers
from gunicorn_autoconf._ignored import without_effect
from gunicorn_autoconf._machine import Finding
from gunicorn_autoconf._workload import Interface, Workload, class_name, is_sync


def concerns(result: Plan, given: Given) -> Iterator[str]:
    """Yield what the operator should know about *result*, one sentence each."""
    declaration, settings = given.declaration, result.settings
    workers, threads = settings["workers"], settings["threads"]
    if given.application and declaration.interface is None:
        yield from _about(given.application, result.interface.value.upper())
    if result.workload is Workload.ASYNC and result.interface is Interface.WSGI:
        yield "workload async needs an ASGI application; planned as io"
    if threads > 1 and is_sync(class_name(settings["worker_class"])):
        yield f"Gunicorn runs sync with {threads} threads as gthread"
    bound = declaration.max_concurrency
    if bound is not None and workers * threads > bound:
        yield (
            f"{workers} workers x {threads} threads exceed "
            f"{declaration.sources['max_concurrency']}={bound}"
        )
    if bound is not None and given.has_pools and threads == 1:
        most = most_workers(result, declaration)
        yield (
            f"{declaration.sources['max_concurrency']}={bound} bounds no thread pool: {most} "
            "workers x 2 threads, the fewest that a pool is made for, are more"
        )
    yield from without_effect(declaration, settings["worker_class"], threads, given.http_parser)
    if result.memory:
        yield from result.memory.concerns(workers)


def _about(application: Finding, planned_for: str) -> Iterator[str]:
    """What is open about the application where nobody has declared what it speaks."""
    if application.missing_module:
        yield (
            f"no module named {application.missing_module} is found, planned for {planned_for}: "
            "is the application's name right?"
        )
    elif application.interface is None:
        yield (
            f"could not tell ASGI from WSGI, planned for {planned_for}: "
            f"{application.evidence}; GUNICORN_INTERFACE says it"
        )
