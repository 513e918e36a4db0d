"""The table of environment variables, which drives parsing, help, docs and tests. Pure.

A new variable is a row of `VARIABLES`, a field of `Declaration` and a keyword of `autoconf`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from gunicorn_autoconf.plan.address import parse_destination, parse_tcp
from gunicorn_autoconf.plan.workload import LoadGuard, MemoryGuard, Workload
from gunicorn_autoconf.units import (
    parse_cores,
    parse_count,
    parse_memory,
    parse_reserve,
    parse_seconds,
)
from gunicorn_autoconf.worker_classes import Interface

PREFIX = "GUNICORN_"

# Settings whose values may hold secrets and are never shown.
SECRET_SETTINGS = frozenset({"logconfig_dict", "raw_env", "raw_paste_global_conf"})


def _one_of(kind: type[Enum]) -> Callable[[str], Any]:
    """Return a parser for the values of *kind*, in upper or lower case."""
    by_text = {str(member.value): member for member in kind}

    def parse(text: str) -> Any:
        if text.lower() not in by_text:
            raise ValueError
        return by_text[text.lower()]

    return parse


def _interface(text: str) -> Interface | None:
    return None if text.lower() == "auto" else Interface(_one_of(Interface)(text))


def parse_paths(text: str) -> tuple[str, ...]:
    """
    Return the paths in *text*, which commas separate.

    >>> parse_paths("/healthz, /readyz")
    ('/healthz', '/readyz')

    Raises:
        ValueError: One of them does not begin with a slash, or holds what no path does.
    """
    paths = tuple(path.strip() for path in text.split(","))
    if not all(re.fullmatch(r"/[!-~]*", path, re.ASCII) for path in paths):
        raise ValueError
    return paths


def _workload(text: str) -> Workload | None:
    workload = Workload(_one_of(Workload)(text))
    return None if workload is Workload.AUTO else workload


class Variable(NamedTuple):
    """
    One row of the table.

    Attributes:
        keyword: The keyword of `autoconf`: the variable's name in lower case, without its prefix.
        parse: Text to value; raises ValueError, with a reason if there is one to give.
        allowed: The values that are allowed, for error messages, help and docs.
        default: What applies if the variable is unset, for help and docs.
        meaning: What the variable is for, one phrase.
        prefix: What the variable's name begins with.
        field: The field of `Declaration` that takes the value, where the keyword is another.
        choices: All values that are allowed, where they are few, for a shell's completion.
    """

    keyword: str
    parse: Callable[[str], Any]
    allowed: str
    default: str
    meaning: str
    prefix: str = PREFIX
    field: str = ""
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The environment variable."""
        return self.prefix + self.keyword.upper()

    @property
    def target(self) -> str:
        """The field that takes the value."""
        return self.field or self.keyword


# What Kubernetes' own components, and most examples of probes, are asked for.
HEALTH_PATHS = ("/healthz", "/readyz", "/livez", "/health")

QUANTITY = "a quantity such as 512MiB, 1Gi, 0.5G or 536870912"

VARIABLES: tuple[Variable, ...] = (
    Variable(
        keyword="workload",
        parse=_workload,
        allowed="one of auto, cpu, mixed, io, async",
        choices=("auto", "cpu", "mixed", "io", "async"),
        default="auto, which measures it",
        meaning="what requests spend their time on",
    ),
    Variable(
        keyword="interface",
        parse=_interface,
        allowed="one of auto, asgi, wsgi",
        choices=("auto", "asgi", "wsgi"),
        default="auto",
        meaning="what the application speaks; auto reads its source",
    ),
    Variable(
        keyword="cpus",
        parse=parse_cores,
        allowed="cores above 0 such as 2, 1.5 or 500m",
        default="detected",
        meaning="cores to plan for, instead of the detected supply",
    ),
    Variable(
        keyword="memory",
        field="memory_bytes",
        parse=parse_memory,
        allowed=QUANTITY,
        default="detected",
        meaning="memory to plan for, instead of the detected limit",
    ),
    Variable(
        keyword="worker_memory",
        field="worker_memory_bytes",
        parse=parse_memory,
        allowed=QUANTITY,
        default="measured; 256 MiB until then",
        meaning="memory that one worker needs",
    ),
    Variable(
        keyword="memory_reserve",
        parse=parse_reserve,
        allowed="a share such as 10%, or a quantity such as 64MiB",
        default="10%",
        meaning="memory that is never planned for",
    ),
    Variable(
        keyword="min_workers",
        parse=parse_count,
        allowed="a whole number of at least 1",
        default="1",
        meaning="lower bound on the planned count",
    ),
    Variable(
        keyword="max_workers",
        parse=parse_count,
        allowed="a whole number of at least 1",
        default="none",
        meaning="upper bound on the planned count",
    ),
    Variable(
        keyword="max_concurrency",
        parse=parse_count,
        allowed="a whole number of at least 1",
        default="none",
        meaning="upper bound on workers x threads (a database's connection budget)",
    ),
    Variable(
        keyword="memory_log_interval",
        field="memory_log_interval_seconds",
        parse=parse_seconds,
        allowed="seconds such as 60, or 0 for off",
        default="60",
        meaning="how often the memory of all workers and their load are logged",
    ),
    Variable(
        keyword="memory_guard",
        parse=_one_of(MemoryGuard),
        allowed="one of off, observe, act",
        choices=("off", "observe", "act"),
        default="act under a cgroup's or a declared limit, observe otherwise",
        meaning="what the memory guard may do",
    ),
    Variable(
        keyword="load_guard",
        parse=_one_of(LoadGuard),
        allowed="one of off, observe, act",
        choices=("off", "observe", "act"),
        default="act under a cgroup's or a declared limit, observe otherwise",
        meaning="whether workers are added and retired by load, where the workload is auto",
    ),
    Variable(
        keyword="stall_warning",
        field="stall_warning_seconds",
        parse=parse_seconds,
        allowed="seconds such as 0.25, or 0 for off",
        default="0.25",
        meaning="how long an event loop may be blocked before its stack is logged",
    ),
    Variable(
        keyword="max_queue",
        field="max_queue_seconds",
        parse=parse_seconds,
        allowed="seconds such as 0.5, or 0 for off",
        default="0",
        meaning="how long a request may have waited; older ones are answered 503 at once",
    ),
    Variable(
        keyword="request_timeout",
        field="request_timeout_seconds",
        parse=parse_seconds,
        allowed="seconds such as 30, or 0 for off",
        default="0",
        meaning="how long one request may run",
    ),
    Variable(
        keyword="health_paths",
        parse=parse_paths,
        allowed="paths such as /healthz, with commas between",
        default=",".join(HEALTH_PATHS),
        meaning="paths that are served however long the request has waited",
    ),
    Variable(
        keyword="metrics",
        parse=parse_destination,
        allowed="HOST:PORT, a port alone for this machine only, unix:/PATH or file:/PATH",
        default="nowhere",
        meaning="where metrics for Prometheus are served or written",
    ),
    Variable(
        keyword="health",
        parse=parse_tcp,
        allowed="HOST:PORT, or a port alone for this machine only",
        default="nowhere",
        meaning="where the arbiter answers /livez and /readyz",
    ),
)

WEB_CONCURRENCY = Variable(
    keyword="web_concurrency",
    field="settings",
    parse=parse_count,
    allowed="a whole number of at least 1",
    default="none",
    meaning="an explicit worker count, as in Gunicorn, Heroku and Uvicorn",
    prefix="",
)
