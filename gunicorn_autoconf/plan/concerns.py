"""What does not fit together in a plan although it was asked for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.plan.bounds import POOL_THREADS
from gunicorn_autoconf.plan.ignored import without_effect
from gunicorn_autoconf.plan.plan import Given, Plan
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.units import plural
from gunicorn_autoconf.worker_classes import UVICORN, Interface, class_name, is_gthread, is_sync

# How the evidence names Django's factory, and no function that ends in the same words.
DJANGO_ASGI = re.compile(r"(?<!\w)get_asgi_application\(\)")


def concerns(result: Plan, given: Given) -> Iterator[str]:
    """Yield what the operator should know about *result*, one sentence each."""
    declaration, settings = given.declaration, result.settings
    workers, threads = settings["workers"], settings["threads"]
    if given.application and declaration.interface is None:
        yield from _about_application(given.application, result.interface.value.upper())
    if result.workload is Workload.ASYNC and result.interface is Interface.WSGI:
        yield "workload async needs an ASGI application; planned as io"
    if threads > 1 and is_sync(class_name(settings["worker_class"])):
        yield f"Gunicorn runs sync with {threads} threads as gthread"
    bound = declaration.max_concurrency
    if bound is not None and workers * threads > bound:
        yield (
            f"{plural(workers, 'worker')} x {plural(threads, 'thread')} exceed "
            f"{declaration.sources['max_concurrency']}={bound}"
        )
    if bound is not None and _has_pools_of_their_own(result, given):
        yield f"{declaration.sources['max_concurrency']}={bound} {_about_pools(result, given)}"
    yield from _about_kept_connections(result, given)
    yield from without_effect(declaration, settings["worker_class"], threads, given.http_parser)
    if result.memory:
        yield from result.memory.concerns(workers)


def _about_kept_connections(result: Plan, given: Given) -> Iterator[str]:
    """Gthread keeps open what worker_connections leaves beside its threads."""
    connections, settings = given.declaration.explicit("worker_connections"), result.settings
    threads, name = settings["threads"], class_name(settings["worker_class"])
    if not connections or not (is_gthread(name) or (is_sync(name) and threads > 1)):
        return
    if connections.value <= threads and settings.get("keepalive"):
        yield (
            f"worker_connections {connections.value} ({connections.source}) with "
            f"{plural(threads, 'thread')} leaves no connection to be kept open, keepalive has no "
            "effect; set more"
        )


def _has_pools_of_their_own(result: Plan, given: Given) -> bool:
    """Whether synchronous code runs in threads that the plan does not count."""
    is_planned = given.declaration.explicit("threads") is None
    runs_it = result.interface is Interface.ASGI and result.workload is not Workload.ASYNC
    return runs_it and is_planned and result.settings["threads"] == 1


def _about_pools(result: Plan, given: Given) -> str:
    if makes_own_threads(given.application):
        return (
            "bounds workers, not the threads that Django makes in each; bound its connections in "
            "a pool"
        )
    own = (
        "bounds workers, not their thread pools, which keep their own size (anyio: 40 threads in "
        "each); bound the application's own pool of connections"
    )
    if given.plans_pools:
        return f"{own}, raise this to {POOL_THREADS * result.most_workers}, or run fewer workers"
    if given.shape.worker_class != UVICORN:
        return own
    return f"{own}, or set GUNICORN_WORKLOAD=io"


def _about_application(application: Finding, planned_for: str) -> Iterator[str]:
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


def makes_own_threads(application: Finding | None) -> bool:
    """Whether *application* is Django's for ASGI: it makes a thread for each request itself."""
    return application is not None and bool(DJANGO_ASGI.search(application.evidence))
