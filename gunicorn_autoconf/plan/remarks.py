"""What the operator should know about a plan: problems, settings without effect, advice. Pure.

A new remark is a function and a row of `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gunicorn_autoconf.app.finding import StateKind
from gunicorn_autoconf.plan import machine_remarks, overload_remarks
from gunicorn_autoconf.plan.bounds import POOL_THREADS
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.plan import Remark, Severity, first_choice, value_before
from gunicorn_autoconf.plan.timeouts import longest_drain_seconds
from gunicorn_autoconf.plan.variables import WEB_CONCURRENCY
from gunicorn_autoconf.plan.workload import MIXED_THREADS, Workload
from gunicorn_autoconf.units import format_bytes, plural
from gunicorn_autoconf.worker_classes import UVICORN, Slots, class_name, family_of


def remarks(known: Known) -> tuple[Remark, ...]:
    """Return everything that there is to say: problems first, the most rewarding advice first."""
    return tuple(
        Remark(topic, severity, text) for topic, severity, rule in RULES for text in rule(known)
    )


# Problems


def _graceful_timeout(known: Known) -> Iterator[str]:
    settings = known.plan.settings
    timeout, graceful = settings["timeout"], settings["graceful_timeout"]
    is_late = graceful > longest_drain_seconds(timeout, known.family)
    if is_late and known.declaration.explicit("graceful_timeout"):
        yield (
            f"graceful_timeout {graceful} s leaves no margin under timeout {timeout} s: "
            "a draining worker may be killed with a request in flight"
        )


def _application(known: Known) -> Iterator[str]:
    application, planned_for = known.application, known.plan.interface.value.upper()
    if application is None or known.declaration.interface is not None:
        return
    if application.missing_module:
        yield (
            f"no module named {application.missing_module} is found, planned for {planned_for}: "
            "is the application's name right?"
        )
    elif application.is_neither:
        remedy = f"; set GUNICORN_WORKER_CLASS={application.worker_class}"
        if known.declaration.explicit("worker_class") is None:
            yield (
                f"the application is neither ASGI nor WSGI, planned for {planned_for}: "
                f"{application.evidence}{remedy if application.worker_class else ''}"
            )
    elif application.interface is None:
        yield (
            f"could not tell ASGI from WSGI, planned for {planned_for}: "
            f"{application.evidence}; set GUNICORN_INTERFACE"
        )


def _conf_file_class(known: Known) -> Iterator[str]:
    if known.conf_file_class:
        yield f"{known.conf_file}: {known.conf_file_class}"


def _no_workers(known: Known) -> Iterator[str]:
    explicit = known.declaration.explicit("workers")
    if explicit and known.workers < 1:
        count = f"workers = {known.workers} ({explicit.source})"
        yield f"{count}: no request is answered; set at least 1"


def _async_without_asgi(known: Known) -> Iterator[str]:
    if known.plan.workload is Workload.ASYNC and not known.is_asgi:
        yield "workload async needs an ASGI application; planned as io"


def _sync_with_threads(known: Known) -> Iterator[str]:
    wanted = known.plan.settings["worker_class"]
    if family_of(wanted) is not family_of(wanted, known.threads):
        yield f"Gunicorn runs sync with {known.threads} threads as gthread"


def _above_max_concurrency(known: Known) -> Iterator[str]:
    bound = known.declaration.max_concurrency
    if bound is not None and known.workers * known.threads > bound:
        yield (
            f"{plural(known.workers, 'worker')} x {plural(known.threads, 'thread')} exceed "
            f"{known.declaration.sources['max_concurrency']}={bound}"
        )


def _pools_beside_max_concurrency(known: Known) -> Iterator[str]:
    """Synchronous code under ASGI runs in threads that the plan does not count."""
    declaration, plan = known.declaration, known.plan
    bound = declaration.max_concurrency
    runs_it = known.is_asgi and plan.workload is not Workload.ASYNC and known.threads == 1
    if bound is None or not runs_it or declaration.explicit("threads"):
        return
    about = (
        "bounds workers, not their thread pools, which keep their own size (anyio: 40 threads in "
        "each); bound the application's own pool of connections"
    )
    if known.makes_own_threads:
        about = (
            "bounds workers, not the threads that Django makes in each; bound its connections in "
            "a pool"
        )
    elif first_choice(plan, "threads") > 1:  # A pool was planned, the bound was too low.
        about += f", raise this to {POOL_THREADS * plan.most_workers}, or run fewer workers"
    elif plan.settings["worker_class"] == UVICORN:
        about += ", or set GUNICORN_WORKLOAD=io"
    yield f"{declaration.sources['max_concurrency']}={bound} {about}"


def _kept_connections(known: Known) -> Iterator[str]:
    """Threaded workers keep open what worker_connections leaves beside their threads."""
    connections, threads = known.declaration.explicit("worker_connections"), known.threads
    if not connections or known.family is None or known.family.slots is not Slots.THREADS:
        return
    if connections.value <= threads and known.plan.settings.get("keepalive"):
        yield (
            f"worker_connections {connections.value} ({connections.source}) with "
            f"{plural(threads, 'thread')} leaves no connection to be kept open, keepalive has no "
            "effect; set more"
        )


def _memory(known: Known) -> Iterator[str]:
    memory, workers = known.plan.memory, known.workers
    if memory is None:
        return
    limit, granted = memory.limit_bytes, memory.granted_bytes
    if known.declaration.memory_bytes is not None and granted is not None and limit > granted:
        yield (
            f"{memory.source} declares {format_bytes(limit)}, but the machine grants only "
            f"{format_bytes(granted)}"
        )
    over = workers * memory.worker_memory_bytes - memory.budget_bytes
    if over > 0:
        yield (
            f"{plural(workers, 'worker')} of "
            f"{format_bytes(memory.worker_memory_bytes)} ({memory.worker_memory_source}) "
            f"exceed{'s' * (workers == 1)} the memory budget of "
            f"{format_bytes(memory.budget_bytes)} ({memory.source}) by {format_bytes(over)}"
        )


# What goes wrong when each worker has a copy of its own, and what to do about it.
_STATE = {
    StateKind.SESSIONS: (
        "a client's next request may reach a worker that does not know its session",
        "run several servers of one worker with a message queue behind a sticky load balancer",
    ),
    StateKind.JOBS: ("every worker runs each job", "run the scheduler in a process of its own"),
    StateKind.MEMORY: (
        "no worker sees what another one has written",
        "use a store that all workers share, such as Redis",
    ),
}


def _state_in_one_process(known: Known) -> Iterator[str]:
    """What the source keeps in the memory of one process, where there are to be several."""
    most = max(known.workers, known.plan.most_workers)
    if known.application is None or most <= 1:
        return
    threads = "" if known.is_asgi else " GUNICORN_THREADS=100"
    for state in known.application.process_state:
        harm, remedy = _STATE[state.kind]
        yield (
            f"{state.evidence} keeps its state in one process: with {plural(most, 'worker')} "
            f"{harm}; set GUNICORN_WORKERS=1{threads}, or {remedy}"
        )


# Settings without effect

# Values that ask for what would be so anyway.
_NO_WISHES = (("threads", 0), ("threads", 1), ("reload", False))


def _without_effect(known: Known) -> Iterator[str]:
    shown = class_name(known.plan.settings["worker_class"])
    for row in known.family.ignored if known.family else ():
        for name in row.settings if row.parser in {None, known.http_parser} else ():
            explicit = known.declaration.explicit(name)
            if explicit and (name, explicit.value) not in _NO_WISHES:
                yield f"{name}, set by {explicit.source}, has no effect under {shown}: {row.why}"


# Advice


def _workload(known: Known) -> Iterator[str]:
    if known.declaration.workload is not None:
        return
    pure = "async if they wait in pure async code, " if known.is_asgi else ""
    yield (
        "No workload is declared: the running server measures what requests do and logs what a "
        "declaration would gain. Set GUNICORN_WORKLOAD: cpu if requests mostly compute, io if they "
        f"mostly wait, {pure}mixed if they do both."
    )


def _max_concurrency(known: Known) -> Iterator[str]:
    declaration, most = known.declaration, known.plan.most_workers
    if declaration.max_concurrency is not None or declaration.explicit("threads"):
        return
    if known.makes_own_threads or known.threads <= MIXED_THREADS:
        return  # No setting of ours bounds the threads that an application makes itself.
    count = f"{most} x {known.threads}"
    if most > known.workers:
        count += " once the guard has added workers"
    # Code that awaits holds connections as well, whatever the threads.
    remedy = "bound the application's own pool or set" if known.is_asgi else "set"
    yield (
        f"Each thread may hold a connection to a database: up to {count}, made only as requests "
        f"need them. Where the database takes fewer, {remedy} GUNICORN_MAX_CONCURRENCY."
    )


def _web_concurrency(known: Known) -> Iterator[str]:
    explicit = known.declaration.explicit("workers")
    if explicit is None or explicit.source != WEB_CONCURRENCY.name:
        return
    planned = value_before(known.plan, known.plan.reasons_for("workers")[-1])
    if planned not in {None, explicit.value}:
        yield (
            f"WEB_CONCURRENCY={explicit.value} overrides the planned count of {planned} and keeps "
            "the memory guard from changing it. Unset it to let the plan decide; some platforms "
            "set it."
        )


def _uvloop(known: Known) -> Iterator[str]:
    if not known.has_uvloop and known.family and known.family.runs_uvicorn:
        yield "uvloop is not installed. With it ASGI workers serve more requests: install uvloop."


def _worker_tmp_dir(known: Known) -> Iterator[str]:
    if known.heartbeat_file_system not in {None, "ramfs", "tmpfs"}:  # These are no disk.
        # Source: Gunicorn, FAQ, "How do I avoid Gunicorn excessively blocking in os.fchmod?"
        yield (
            f"Workers send their heartbeat through a file in {known.heartbeat_directory}, which is "
            f"on {known.heartbeat_file_system}, and a busy disk can hold them up. "
            "Mount a tmpfs there, or name one in GUNICORN_WORKER_TMP_DIR."
        )


def _conf_file(known: Known) -> Iterator[str]:
    if known.conf_file is not None:
        named = ", ".join(known.conf_file_assigns)
        assigns = f" It assigns {named}." if named else ""
        yield (
            f"{known.conf_file} is not read here, because explain runs none of your code."
            f"{assigns} gunicorn --print-config shows the result."
        )


RULES: tuple[tuple[str, Severity, Callable[[Known], Iterator[str]]], ...] = (
    ("cpu-quota", Severity.PROBLEM, machine_remarks.no_cpu_limit),
    ("graceful-timeout", Severity.PROBLEM, _graceful_timeout),
    ("application", Severity.PROBLEM, _application),
    ("conf-file", Severity.PROBLEM, _conf_file_class),
    ("workers", Severity.PROBLEM, _no_workers),
    ("workload", Severity.PROBLEM, _async_without_asgi),
    ("threads", Severity.PROBLEM, _sync_with_threads),
    ("max-concurrency", Severity.PROBLEM, _above_max_concurrency),
    ("max-concurrency", Severity.PROBLEM, _pools_beside_max_concurrency),
    ("worker-connections", Severity.PROBLEM, _kept_connections),
    ("pids", Severity.PROBLEM, machine_remarks.pids_limit),
    ("bind", Severity.PROBLEM, machine_remarks.unreachable),
    ("reuse-port", Severity.PROBLEM, overload_remarks.reuse_port),
    ("limits", Severity.WITHOUT_EFFECT, overload_remarks.limits_without_effect),
    ("load-guard", Severity.WITHOUT_EFFECT, overload_remarks.load_guard_without_effect),
    ("state-in-one-process", Severity.PROBLEM, _state_in_one_process),
    ("settings", Severity.WITHOUT_EFFECT, _without_effect),
    ("memory", Severity.PROBLEM, _memory),
    ("workload", Severity.ADVICE, _workload),
    ("max-concurrency", Severity.ADVICE, _max_concurrency),
    ("memory-limit", Severity.ADVICE, machine_remarks.memory_limit),
    ("cpu-quota", Severity.ADVICE, machine_remarks.cpu_quota),
    ("enough-workers", Severity.ADVICE, machine_remarks.enough_workers),
    ("platform", Severity.ADVICE, machine_remarks.end_of_server),
    ("quota-below-one-core", Severity.ADVICE, machine_remarks.quota_below_one_core),
    ("web-concurrency", Severity.ADVICE, _web_concurrency),
    ("uvloop", Severity.ADVICE, _uvloop),
    ("worker-tmp-dir", Severity.ADVICE, _worker_tmp_dir),
    ("conf-file", Severity.ADVICE, _conf_file),
)
