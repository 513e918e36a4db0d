"""What an operator could do better, from what is known before the server starts. Pure.

What is wrong is a warning of the plan; here is what works, and would work better otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.concerns import makes_own_threads
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.ignored import STOCK_UVICORN, ignoring
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.plan.variables import WEB_CONCURRENCY
from gunicorn_autoconf.plan.workload import ENOUGH_WORKERS, MIXED_THREADS
from gunicorn_autoconf.worker_classes import UVICORN, Interface

# File systems that never wait for a disk.
_IN_MEMORY = ("ramfs", "tmpfs")


class Facts(NamedTuple):
    """
    What advice rests on.

    Attributes:
        machine: What the kernel grants.
        declaration: What the operator said.
        plan: What came of both.
        application: What is known of the application.
        has_uvloop: Whether uvloop can be imported.
        heartbeat_directory: Where workers keep the file of their heartbeat.
        heartbeat_file_system: The kind of file system that holds it, None where that is unknown.
        conf_file: The configuration file that Gunicorn would read by itself, where there is one.
        conf_file_assigns: The settings that stand in it.
    """

    machine: Machine
    declaration: Declaration
    plan: Plan
    application: Finding | None = None
    has_uvloop: bool = True
    heartbeat_directory: str = "/dev/shm"  # noqa: S108 - no file is made here
    heartbeat_file_system: str | None = None
    conf_file: str | None = None
    conf_file_assigns: tuple[str, ...] = ()


class Advice(NamedTuple):
    """
    One thing to do.

    Attributes:
        topic: What it is about, a name for programs.
        text: One or two sentences.
    """

    topic: str
    text: str


def advise(facts: Facts) -> tuple[Advice, ...]:
    """Return what could be done better, the most rewarding first."""
    return tuple(
        Advice(topic, text)
        for topic, rule in _RULES.items()
        for text in [rule(facts)]
        if text is not None
    )


def _workload(facts: Facts) -> str | None:
    if facts.declaration.workload is not None:
        return None
    is_wsgi, threads = facts.plan.interface is Interface.WSGI, facts.plan.settings["threads"]
    alone = ", without threads" if is_wsgi and threads == 1 else ""
    pure = "" if is_wsgi else "async if they wait in pure async code, "
    return (
        f"No workload is declared, planned as mixed{alone}. Set GUNICORN_WORKLOAD: cpu if requests "
        f"mostly compute, io if they mostly wait, {pure}mixed if they do both."
    )


def _max_concurrency(facts: Facts) -> str | None:
    declaration, settings = facts.declaration, facts.plan.settings
    if declaration.max_concurrency is not None or declaration.explicit("threads"):
        return None
    if makes_own_threads(facts.application):
        return None  # No setting of ours bounds them.
    workers, threads = facts.plan.most_workers, settings["threads"]
    if threads <= MIXED_THREADS:
        return None
    count = f"{workers} x {threads}"
    if workers > settings["workers"]:
        count += " once the guard has added workers"
    # Code that awaits holds connections as well, whatever the threads.
    is_asgi = facts.plan.interface is Interface.ASGI
    remedy = "bound the application's own pool or set" if is_asgi else "set"
    return (
        f"Each thread may hold a connection to a database: up to {count}, made only as requests "
        f"need them. Where the database takes fewer, {remedy} GUNICORN_MAX_CONCURRENCY."
    )


def _memory_limit(facts: Facts) -> str | None:
    machine = facts.machine
    if not machine.container or machine.memory.limits or facts.declaration.memory_bytes is not None:
        return None
    return (
        "This container has no memory limit: the plan counts on the memory of the whole machine, "
        "which others use as well. Set a limit, or GUNICORN_MEMORY."
    )


def _cpu_quota(facts: Facts) -> str | None:
    machine, declaration = facts.machine, facts.declaration
    if not machine.container or machine.cpu.is_limited or declaration.cpus is not None:
        return None
    if declaration.explicit("workers"):
        return None
    if facts.plan.reasons_for("workers")[0].value > ENOUGH_WORKERS:
        return None  # The plan has capped the count, and warns of it.
    return (
        "This container has no CPU quota: the plan counts on every core of the machine, which "
        "others use as well. Set a CPU limit, or GUNICORN_CPUS."
    )


def _quota_below_one_core(facts: Facts) -> str | None:
    # What is declared throttles nobody, and lifts no quota.
    quota = facts.machine.cpu.quota
    if quota is None or quota.cores >= 1:
        return None
    # Source: Linux, scheduler/sched-bwc.rst; 100 ms is the usual period.
    return (
        f"The CPU quota is {quota.cores:g} of a core: once it is used up, every request stands "
        "still until the next period, usually 0.1 s. Grant a whole core where latency matters."
    )


def _web_concurrency(facts: Facts) -> str | None:
    explicit = facts.declaration.explicit("workers")
    if explicit is None or explicit.source != WEB_CONCURRENCY.name:
        return None
    planned = facts.plan.reasons_for("workers")[-1].inputs.get("planned")
    if planned in (None, explicit.value):
        return None
    return (
        f"WEB_CONCURRENCY={explicit.value} overrides the planned count of {planned} and keeps the "
        "memory guard from changing it. Unset it to let the plan decide; some platforms set it."
    )


def _uvloop(facts: Facts) -> str | None:
    family = ignoring(facts.plan.settings["worker_class"])
    if facts.has_uvloop or family not in (UVICORN, STOCK_UVICORN):
        return None
    # Measured with 32 connections on two workers: 16 and 16 with uvloop, 6 and 26 without.
    return (
        "uvloop is not installed. With it ASGI workers serve more requests and share connections "
        "evenly: pip install uvloop."
    )


def _worker_tmp_dir(facts: Facts) -> str | None:
    if facts.heartbeat_file_system in {None, *_IN_MEMORY}:
        return None
    # Source: Gunicorn, FAQ, "How do I avoid Gunicorn excessively blocking in os.fchmod?"
    return (
        f"Workers send their heartbeat through a file in {facts.heartbeat_directory}, which is "
        f"on {facts.heartbeat_file_system}, and a busy disk can hold them up. "
        "Mount a tmpfs there, or name one in GUNICORN_WORKER_TMP_DIR."
    )


def _conf_file(facts: Facts) -> str | None:
    if facts.conf_file is None:
        return None
    named = ", ".join(facts.conf_file_assigns)
    assigns = f" It assigns {named}." if named else ""
    return (
        f"{facts.conf_file} is not part of this answer, as nothing of yours is run to give it."
        f"{assigns} gunicorn --print-config shows what it comes to."
    )


_RULES: dict[str, Callable[[Facts], str | None]] = {
    "workload": _workload,
    "max-concurrency": _max_concurrency,
    "memory-limit": _memory_limit,
    "cpu-quota": _cpu_quota,
    "quota-below-one-core": _quota_below_one_core,
    "web-concurrency": _web_concurrency,
    "uvloop": _uvloop,
    "worker-tmp-dir": _worker_tmp_dir,
    "conf-file": _conf_file,
}

TOPICS = tuple(_RULES)
