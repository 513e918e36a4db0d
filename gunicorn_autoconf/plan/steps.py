"""Machine and declaration to a plan: the one place where a number is chosen. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan import timeouts
from gunicorn_autoconf.plan.bounds import (
    bound_threads,
    bound_workers,
    is_memory_cut,
    most_workers,
    workers_without_cut,
)
from gunicorn_autoconf.plan.budget import memory_budget
from gunicorn_autoconf.plan.concerns import concerns
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.ignored import HTTPTOOLS
from gunicorn_autoconf.plan.plan import Given, Plan, choose, obey, warn
from gunicorn_autoconf.plan.workload import (
    ENOUGH_WORKERS,
    MIXED_THREADS,
    ONE_THREAD,
    UNDECLARED,
    Shape,
    Workload,
    shape_for,
)
from gunicorn_autoconf.worker_classes import (
    GTHREAD,
    SYNC,
    Interface,
    class_interface,
    class_name,
    is_gthread,
    is_sync,
)

# Where memory leaves one process of several. 100 ms of waiting, 200 clients, 1 worker: 192 threads
# had 0.91 to 1.00 of the rate of 3 x 128 (`benchmarks.compare`); beyond, nothing was measured.
MAX_THREADS = 200

# The settings that the plan chooses; all others stay as Gunicorn or the operator has them.
PLANNED_SETTINGS = (
    "worker_class",
    "workers",
    "threads",
    "timeout",
    "graceful_timeout",
    "keepalive",
    "worker_tmp_dir",
)


def plan(
    machine: Machine,
    declaration: Declaration | None = None,
    *,
    application: Finding | None = None,
    worker_memory_bytes: int | None = None,
    http_parser: str = HTTPTOOLS,
) -> Plan:
    """
    Return the settings that fit *declaration* to *machine*, with a reason for each.

    Args:
        machine: What `detect_machine` found.
        declaration: What `read_declaration` found; nothing declared where None.
        application: What is known of the application's interface.
        worker_memory_bytes: What a worker was measured to use.
        http_parser: The one that uvicorn takes where it may choose.

    The same arguments give the same plan. More cores or more memory never give fewer workers.
    """
    declaration = declaration or Declaration()
    workload = declaration.workload or Workload.MIXED
    interface, evidence = _interface(declaration, application)
    given = Given(
        machine=machine,
        declaration=declaration,
        application=application,
        shape=_shape(interface, declaration),
        cores=declaration.cpus or machine.cpu.cores,
        cores_source=declaration.sources.get("cpus", machine.cpu.origin.path),
        http_parser=http_parser,
    )
    budget = memory_budget(machine.memory, declaration, worker_memory_bytes)
    result = Plan(
        workload=workload, interface=interface, interface_evidence=evidence, memory=budget
    )
    for step in _STEPS:
        result = step(result, given)
    return replace(result, warnings=(*result.warnings, *concerns(result, given)))


def _interface(declaration: Declaration, application: Finding | None) -> tuple[Interface, str]:
    if declaration.interface is not None:
        return declaration.interface, f"declared by {declaration.sources['interface']}"
    worker_class = declaration.explicit("worker_class")
    if worker_class and (spoken := class_interface(worker_class.value)):
        return spoken, f"spoken by {class_name(worker_class.value)} ({worker_class.source})"
    if application is None:
        return Interface.WSGI, "no application is named; Gunicorn assumes WSGI"
    if application.interface is None:
        return Interface.WSGI, f"could not tell, Gunicorn assumes WSGI: {application.evidence}"
    return application.interface, application.evidence


def _shape(interface: Interface, declaration: Declaration) -> Shape:
    """The row of the table, bent to the worker class that the operator wants."""
    explicit, threads = declaration.explicit("worker_class"), declaration.explicit("threads")
    wanted = threads.value if threads else None
    if explicit is None:
        return shape_for(declaration.workload, interface, wanted)
    name = class_name(explicit.value)
    if is_gthread(name):
        # The class says that the code bears threads.
        shape = shape_for(declaration.workload, interface, wanted or MIXED_THREADS)
    else:
        shape = shape_for(declaration.workload, interface)
    if name == shape.worker_class:
        return shape
    if is_sync(name) and shape.threads > 1:
        # Threads would turn sync into gthread, which is not what was asked for.
        shape = UNDECLARED[interface]
    if not is_gthread(name):
        shape = shape._replace(threads=1, threads_why=ONE_THREAD)
    return shape._replace(worker_class=explicit.value)


def _worker_class(result: Plan, given: Given) -> Plan:
    name = f"{_declared(result, given)}, {result.interface.value.upper()}"
    planned = given.shape.worker_class
    threads = given.declaration.explicit("threads")
    if given.declaration.explicit("worker_class") is None:
        usual = shape_for(given.declaration.workload, result.interface)
        source = threads.source if threads and given.shape is not usual else ""
        rule = f"{name}: {given.shape.why}"
        result = choose(result, "worker_class", planned, rule, source=source)
        if planned == SYNC and threads and threads.value > 1:
            # Gunicorn would do so without a word.
            return choose(
                result, "worker_class", GTHREAD, "sync cannot have threads", source=threads.source
            )
        return result
    return obey(result, given, "worker_class")


def _declared(result: Plan, given: Given) -> str:
    """The workload; what is planned without one is no row of the table."""
    return result.workload.value if given.declaration.workload else "undeclared"


def _count_for_cores(result: Plan, given: Given) -> Plan:
    rule = given.shape.workers
    return choose(
        result,
        "workers",
        rule.count(given.cores),
        rule.formula,
        source=given.cores_source,
        c=given.cores,
    )


def _cap_without_quota(result: Plan, given: Given) -> Plan:
    machine = given.machine
    if not machine.container or machine.cpu.is_limited or given.declaration.cpus:
        return result
    workers = result.settings["workers"]
    if workers <= ENOUGH_WORKERS:
        return result
    result = choose(
        result,
        "workers",
        ENOUGH_WORKERS,
        f"at most {ENOUGH_WORKERS} in a container without a CPU limit",
        source=machine.container.path,
        wanted=workers,
    )
    if given.declaration.explicit("workers"):
        return result
    return warn(
        result,
        f"no CPU limit: the host's {machine.cpu.affinity} cores are not this container's alone; "
        "set a CPU limit or GUNICORN_CPUS",
    )


def _fit_memory(result: Plan, given: Given) -> Plan:
    budget = result.memory
    workers = result.settings["workers"]
    if budget is None or budget.fits >= workers:
        return result
    return choose(
        result,
        "workers",
        max(budget.fits, 1),
        "budget // worker_memory",
        source=f"{budget.source}; {budget.worker_memory_source}",
        budget_bytes=budget.budget_bytes,
        worker_memory_bytes=budget.worker_memory_bytes,
        wanted=workers,
    )


def _threads(result: Plan, given: Given) -> Plan:
    """The row's threads; where memory cut the processes, threads make up for them."""
    if given.declaration.explicit("threads"):
        return obey(result, given, "threads")
    threads = given.shape.threads
    rule = f"{_declared(result, given)}: {given.shape.threads_why}"
    result = choose(result, "threads", threads, rule)
    # What is not missing needs no making up: the operator may ask for fewer workers than fit or
    # insist on more, and the guard adds those that only a guess has cut.
    workers, uncut = result.most_workers, workers_without_cut(result, given)
    if threads == 1 or uncut <= workers:
        return result
    wanted = threads * uncut
    (cut,) = (reason for reason in result.reasons_for("workers") if is_memory_cut(reason))
    return choose(
        result,
        "threads",
        min(math.ceil(wanted / workers), MAX_THREADS),
        f"threads make up for processes, up to {MAX_THREADS}",
        source=cut.source,
        wanted=wanted,
        workers=workers,
    )


def _explicit_workers(result: Plan, given: Given) -> Plan:
    result = obey(result, given, "workers")
    return replace(result, most_workers=most_workers(result, given))


def _worker_tmp_dir(result: Plan, given: Given) -> Plan:
    if given.declaration.explicit("worker_tmp_dir"):
        return obey(result, given, "worker_tmp_dir")
    directory = given.machine.worker_tmp_dir
    if directory is None:
        return result
    return choose(
        result,
        "worker_tmp_dir",
        directory,
        "a tmpfs: heartbeats never wait for a disk",
        source=directory,
    )


def _other_settings(result: Plan, given: Given) -> Plan:
    for setting in given.declaration.settings:
        explicit = given.declaration.explicit(setting)
        if explicit and not explicit.applied and setting not in PLANNED_SETTINGS:
            result = obey(result, given, setting)
    return result


_STEPS: tuple[Callable[[Plan, Given], Plan], ...] = (
    _worker_class,
    _count_for_cores,
    _cap_without_quota,
    _fit_memory,
    bound_workers,
    _explicit_workers,
    _threads,
    bound_threads,
    timeouts.timeout,
    timeouts.graceful_timeout,
    timeouts.keepalive,
    _worker_tmp_dir,
    _other_settings,
)
