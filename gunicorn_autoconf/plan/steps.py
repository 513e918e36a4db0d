"""The steps from machine and declaration to a plan: here every number is chosen. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan import bounds, pids, timeouts
from gunicorn_autoconf.plan.budget import MemoryBudget, memory_budget
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.plan import Given, Plan, choose, obey
from gunicorn_autoconf.plan.remarks import remarks
from gunicorn_autoconf.plan.workload import (
    ENOUGH_WORKERS,
    MIXED_THREADS,
    ONE_THREAD,
    PER_CORE,
    WORKLOADS,
    Shape,
    Workload,
    shape_for,
    shape_without_gil,
)
from gunicorn_autoconf.worker_classes import (
    HTTPTOOLS,
    SYNC,
    THREADS,
    Interface,
    Slots,
    class_name,
    family_of,
)

# If memory leaves one process of several. 100 ms of waiting, 200 clients, 1 worker: 192 threads
# had 0.91 to 1.00 of the rate of 3 x 128 (`benchmarks.compare`). More threads were not measured.
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


def plan(  # noqa: PLR0913 - a fact each
    machine: Machine,
    declaration: Declaration | None = None,
    *,
    application: Finding | None = None,
    worker_memory_bytes: int | None = None,
    load_workers: int = 0,
    http_parser: str = HTTPTOOLS,
) -> Plan:
    """
    Return the settings that fit *declaration* to *machine*, with a reason for each.

    Args:
        machine: What `detect_machine` found.
        declaration: What `read_declaration` found; nothing declared where None.
        application: What is known of the application.
        worker_memory_bytes: What one worker was measured to use.
        load_workers: How many workers the measured load needs; 0 where it is not measured.
        http_parser: The one that uvicorn uses.

    The same arguments give the same plan. More cores or more memory never give fewer workers.
    """
    declaration = declaration or Declaration()
    budget = memory_budget(machine.memory, declaration, worker_memory_bytes)
    given, result = _begin(machine, declaration, application, budget, load_workers)
    for setting, step in _STEPS:
        is_set = declaration.explicit(setting) is not None
        result = obey(result, given, setting) if is_set else step(result, given)
    known = Known(machine, declaration, result, application, http_parser)
    return replace(result, remarks=remarks(known))


def planned_workers(
    machine: Machine,
    declaration: Declaration,
    *,
    application: Finding | None = None,
    load_workers: int = 0,
) -> int:
    """Return the workers of `plan` alone, for the guard, which asks at each of its steps."""
    budget = memory_budget(machine.memory, declaration)
    given, result = _begin(machine, declaration, application, budget, load_workers)
    for step in _COUNT_STEPS:
        result = step(result, given)
    workers: int = result.settings["workers"]
    return workers


def _begin(
    machine: Machine,
    declaration: Declaration,
    application: Finding | None,
    budget: MemoryBudget | None,
    load_workers: int,
) -> tuple[Given, Plan]:
    """Return what every step may look at, and a plan without settings."""
    interface, evidence = _interface(declaration, application)
    cores = declaration.cpus or machine.cpu.cores
    shape = _shape(interface, declaration)
    chosen = declaration.explicit("worker_class") or declaration.explicit("threads")
    if application and application.runs_without_gil and not chosen:
        shape = shape_without_gil(shape, cores)
    given = Given(
        machine=machine,
        declaration=declaration,
        shape=shape,
        cores=cores,
        cores_source=declaration.sources.get("cpus", machine.cpu.origin.path),
        load_workers=load_workers,
    )
    workload = declaration.workload or Workload.AUTO
    return given, Plan(
        workload=workload, interface=interface, interface_evidence=evidence, memory=budget
    )


def _interface(declaration: Declaration, application: Finding | None) -> tuple[Interface, str]:
    """What to plan for, and what shows it."""
    if declaration.interface is not None:
        return declaration.interface, f"declared by {declaration.sources['interface']}"
    worker_class = declaration.explicit("worker_class")
    family = family_of(worker_class.value) if worker_class else None
    if worker_class and family and family.interface:
        spoken_by = f"spoken by {class_name(worker_class.value)} ({worker_class.source})"
        return family.interface, spoken_by
    if application is None:
        return Interface.WSGI, "no application is named; Gunicorn assumes WSGI"
    if application.is_neither:
        return Interface.WSGI, f"neither, Gunicorn assumes WSGI: {application.evidence}"
    if application.interface is None:
        return Interface.WSGI, f"could not tell, Gunicorn assumes WSGI: {application.evidence}"
    return application.interface, application.evidence


def _shape(interface: Interface, declaration: Declaration) -> Shape:
    """The row of the workload table, adapted to the operator's worker class."""
    explicit, threads = declaration.explicit("worker_class"), declaration.explicit("threads")
    wanted = threads.value if threads else None
    if explicit is None:
        return shape_for(declaration.workload, interface, wanted)
    family = family_of(explicit.value)
    slots = family.slots if family else None
    if slots is Slots.THREADS:
        # The class says that the code is thread-safe.
        shape = shape_for(declaration.workload, interface, wanted or MIXED_THREADS)
        return shape._replace(worker_class=explicit.value)
    shape = shape_for(declaration.workload, interface)
    if class_name(explicit.value) == shape.worker_class:
        return shape
    if slots is Slots.ONE and shape.threads > 1:
        # Threads would turn sync into gthread, which is not what was asked for.
        shape = WORKLOADS[Workload.AUTO, interface]
    return shape._replace(worker_class=explicit.value, threads=1, threads_why=ONE_THREAD)


def _worker_class(result: Plan, given: Given) -> Plan:
    declaration, planned = given.declaration, given.shape.worker_class
    threads = declaration.explicit("threads")
    usual = shape_for(declaration.workload, result.interface)
    source = threads.source if threads and given.shape is not usual else ""
    rule = f"{result.workload.value}, {result.interface.value.upper()}: {given.shape.why}"
    result = choose(result, "worker_class", planned, rule, source=source)
    if planned == SYNC and threads and threads.value > 1:
        # Gunicorn would do the same, and not log it.
        rule = "sync cannot have threads"
        return choose(result, "worker_class", THREADS, rule, source=threads.source)
    return result


def _count_for_cores(result: Plan, given: Given) -> Plan:
    rule, cores, source = given.shape.workers, given.cores, given.cores_source
    workers, inputs = rule.count(cores), {"c": cores}
    return choose(result, "workers", workers, rule.formula, source=source, inputs=inputs)


def _cap_to_need(result: Plan, given: Given) -> Plan:
    """Beyond the count that is enough for most, cores alone are no reason for more workers."""
    machine, workers = given.machine, result.settings["workers"]
    if given.declaration.cpus or workers <= ENOUGH_WORKERS:
        return result
    if machine.container and not machine.cpu.is_limited:
        rule = f"at most {ENOUGH_WORKERS} in a container without a CPU limit"
        source = machine.container.path
    elif given.shape.workers is PER_CORE or machine.cpu.quota:
        # One worker a core was declared (cpu, async), or a CPU quota grants these cores.
        return result
    else:
        rule = f"at most {ENOUGH_WORKERS} unless GUNICORN_WORKERS or GUNICORN_CPUS asks for more"
        source = given.cores_source
    more = {"source": source, "inputs": {"wanted": workers}, "is_need_cut": True}
    return choose(result, "workers", ENOUGH_WORKERS, rule, **more)


def _follow_load(result: Plan, given: Given) -> Plan:
    """More workers where the requests were measured to need them."""
    workers = result.settings["workers"]
    if given.load_workers <= workers:
        return result
    inputs = {"planned": workers}
    return choose(result, "workers", given.load_workers, "measured load", inputs=inputs)


def _fit_memory(result: Plan, given: Given) -> Plan:
    budget, workers = result.memory, result.settings["workers"]
    if budget is None or budget.fits >= workers:
        return result
    inputs = {
        "budget_bytes": budget.budget_bytes,
        "worker_memory_bytes": budget.worker_memory_bytes,
        "wanted": workers,
    }
    source = f"{budget.source}; {budget.worker_memory_source}"
    more = {"source": source, "inputs": inputs, "is_memory_cut": True}
    return choose(result, "workers", max(budget.fits, 1), "budget // worker_memory", **more)


def _threads(result: Plan, given: Given) -> Plan:
    """The row's threads; where memory cut the processes, threads make up for them."""
    threads = given.shape.threads
    rule = f"{result.workload.value}: {given.shape.threads_why}"
    result = choose(result, "threads", threads, rule)
    # Only what memory took away: the operator may ask for fewer workers than fit or insist on
    # more, and the guard adds those that only a guess has cut.
    workers, uncut = result.most_workers, bounds.workers_without_cut(result, given)
    if threads == 1 or uncut <= workers:
        return result
    wanted = threads * uncut
    (cut,) = (reason for reason in result.reasons_for("workers") if reason.is_memory_cut)
    threads = min(math.ceil(wanted / workers), MAX_THREADS)
    rule = f"threads make up for processes, up to {MAX_THREADS}"
    inputs = {"wanted": wanted, "workers": workers}
    return choose(result, "threads", threads, rule, source=cut.source, inputs=inputs)


def _explicit_workers(result: Plan, given: Given) -> Plan:
    result = obey(result, given, "workers")
    return replace(result, most_workers=bounds.most_workers(result, given))


def _worker_tmp_dir(result: Plan, given: Given) -> Plan:
    directory = given.machine.worker_tmp_dir
    if directory is None:
        return result
    rule = "a tmpfs: heartbeats never wait for a disk"
    return choose(result, "worker_tmp_dir", directory, rule, source=directory)


def _other_settings(result: Plan, given: Given) -> Plan:
    """What the operator set and no step plans; Gunicorn applies its own command line itself."""
    for setting, (strongest, *_) in given.declaration.settings.items():
        if setting not in PLANNED_SETTINGS and not strongest.applied:
            result = obey(result, given, setting)
    return result


_Step = Callable[[Plan, Given], Plan]

# The steps of the count always run: the log shows what an explicit count overrides.
_COUNT_STEPS: tuple[_Step, ...] = (
    _count_for_cores,
    _cap_to_need,
    _follow_load,
    _fit_memory,
    pids.bound_workers,
    bounds.bound_workers,
    _explicit_workers,
)
# Each step with the setting that it chooses unless the operator has set it.
_STEPS: tuple[tuple[str, _Step], ...] = (
    ("worker_class", _worker_class),
    *(("", step) for step in _COUNT_STEPS),
    ("threads", _threads),
    ("", bounds.bound_threads),
    ("", pids.bound_threads),
    ("timeout", timeouts.timeout),
    ("graceful_timeout", timeouts.graceful_timeout),
    ("keepalive", timeouts.keepalive),
    ("worker_tmp_dir", _worker_tmp_dir),
    ("", _other_settings),
)
