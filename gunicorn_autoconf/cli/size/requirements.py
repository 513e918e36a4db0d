"""What ``size`` is asked for: its options as a table, and their values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gunicorn_autoconf.errors import AutoconfError, DeclarationError
from gunicorn_autoconf.plan.budget import FIRST_GUESS_BYTES
from gunicorn_autoconf.plan.declaration import Declaration, parse_declared, read_declaration
from gunicorn_autoconf.plan.variables import QUANTITY, VARIABLES, Variable
from gunicorn_autoconf.units import (
    MIB,
    parse_cores,
    parse_count,
    parse_duration,
    parse_memory,
    parse_rate,
    parse_utilisation,
)
from gunicorn_autoconf.worker_classes import Interface

# The RSS of a small application's arbiter on Python 3.11: 30 MiB under WSGI, 34 MiB under ASGI.
# Workers share half of that with it.
OTHERS_BYTES = 32 * MIB

UTILISATION = 0.7


class WorkersWanted(NamedTuple):
    """A number of workers. Without *threads*, they have as many as the workload gives them."""

    workers: int
    threads: int | None = None


class LoadExpected(NamedTuple):
    """
    A rate of requests of one kind.

    Attributes:
        rate: Requests per second.
        latency_seconds: From a request's arrival to its answer, when nothing queues.
        compute_seconds: The part of the latency in which it keeps a core busy.
        cores_per_replica: None lets `size` choose.
    """

    rate: float
    latency_seconds: float
    compute_seconds: float
    cores_per_replica: float | None = None

    @property
    def compute_fraction(self) -> float:
        """The share of its latency in which a request computes."""
        return round(self.compute_seconds / self.latency_seconds, 9)  # 0.09 / 0.1 is to be 0.9


class Requirements(NamedTuple):
    """
    What is to be sized.

    Attributes:
        declaration: What is known of the work and of a worker's memory.
        others_bytes: The memory of everything but the workers under the limit, arbiter included.
        utilisation: How busy cores, and places for requests, may be on average; 0 to 1.
        measured: Where and when a running server was measured, if one was.
    """

    wanted: WorkersWanted | LoadExpected
    declaration: Declaration
    others_bytes: int = OTHERS_BYTES
    utilisation: float = UTILISATION
    measured: str | None = None

    @property
    def interface(self) -> Interface:
        """What the application speaks: as declared, or WSGI."""
        return self.declaration.interface or Interface.WSGI

    @property
    def worker_bytes(self) -> int:
        """The memory of one worker: as declared, or the plan's first guess."""
        return self.declaration.worker_memory_bytes or FIRST_GUESS_BYTES


_TIME = "a time above 0 with its unit such as 80ms or 0.08s"

# The variables that a size depends on, with their defaults here: there is no application to read
# and no worker to measure.
_UNSET: Mapping[str, Mapping[str, Any]] = {
    "workload": {"default": "mixed, or what the load suggests"},
    "interface": {"default": "wsgi", "meaning": "what the application speaks"},
    "worker_memory": {"default": "256 MiB, left to be measured"},
    "memory_reserve": {},
}
_DECLARING = tuple(
    variable._replace(**_UNSET[variable.keyword])
    for variable in VARIABLES
    if variable.keyword in _UNSET
)

_ASKING: tuple[Variable, ...] = (
    Variable(
        keyword="workers",
        parse=parse_count,
        allowed="a whole number of at least 1",
        default="as the load takes",
        meaning="how many workers one container is to run",
    ),
    Variable(
        keyword="threads",
        parse=parse_count,
        allowed="a whole number of at least 1",
        default="as the workload has them",
        meaning="with --workers: threads of each",
    ),
    Variable(
        keyword="rate",
        parse=parse_rate,
        allowed="requests per second above 0 such as 300 or 0.5",
        default="none",
        meaning="how many requests to expect",
    ),
    Variable(
        keyword="latency",
        field="latency_seconds",
        parse=parse_duration,
        allowed=_TIME,
        default="none",
        meaning="with --rate: how long a request takes when nothing queues",
    ),
    Variable(
        keyword="compute",
        field="compute_seconds",
        parse=parse_duration,
        allowed=_TIME,
        default="none",
        meaning="with --rate: for how long of that it computes",
    ),
    Variable(
        keyword="cpus_per_replica",
        field="cores_per_replica",
        parse=parse_cores,
        allowed="cores above 0 such as 2, 1.5 or 500m",
        default="2, or less where one replica does",
        meaning="with --rate: cores of each container",
    ),
    Variable(
        keyword="target_utilisation",
        field="utilisation",
        parse=parse_utilisation,
        allowed="a share from 0.1 to 0.9 such as 0.7 or 70%",
        default="0.7",
        meaning="how busy cores may be on average",
    ),
    Variable(
        keyword="others",
        field="others_bytes",
        parse=lambda text: 0 if text == "0" else parse_memory(text),
        allowed=f"0 or {QUANTITY}",
        default="32MiB",
        meaning="memory of the arbiter and of everybody else in the container",
    ),
)

SIZE_OPTIONS: tuple[Variable, ...] = (*_ASKING, *_DECLARING)

_LOAD = ("--rate", "--latency", "--compute")


def read_requirements(options: Mapping[str, str | None]) -> Requirements:
    """
    Return the requirements in *options*, by option as its user wrote it; None is unset.

    Raises:
        AutoconfError: The options do not belong together, or one is missing.
        DeclarationError: A value is not allowed.
    """
    given = {name: text for name, text in options.items() if text is not None}
    _check_combination(given)
    values: dict[str, Any] = {}
    for variable in _ASKING:
        name = "--" + variable.keyword.replace("_", "-")
        if name in given:
            values[variable.target] = parse_declared(name, given[name].strip(), variable)
    # The environment is that of this machine, not of the one to be sized.
    declaration = read_declaration({}, arguments=given)
    common = {name: values.pop(name) for name in ("others_bytes", "utilisation") if name in values}
    wanted = WorkersWanted(**values) if "--workers" in given else LoadExpected(**values)
    if isinstance(wanted, LoadExpected) and wanted.compute_seconds > wanted.latency_seconds:
        remedy = f"use at most --latency={given['--latency']}, of which it is a part"
        raise DeclarationError("--compute", given["--compute"], remedy)
    return Requirements(wanted, declaration, **common)


def _check_combination(given: Mapping[str, str]) -> None:
    has_workers = "--workers" in given
    load = [name for name in _LOAD if name in given]
    missing = [name for name in _LOAD if name not in given]
    if has_workers and load:
        raise AutoconfError(f"--workers and {load[0]} are two questions: ask one at a time")
    if not has_workers and not load:
        example = "use --workers 4, or --rate 300 --latency 80ms --compute 20ms"
        raise AutoconfError(f"nothing to size for: {example}")
    if load and missing:
        raise AutoconfError(f"{load[0]} needs {' and '.join(missing)} beside it")
    if load and "--threads" in given:
        why = "a load itself says how many it takes"
        raise AutoconfError(f"--threads goes with --workers: {why}")
    if not load and "--cpus-per-replica" in given:
        why = "workers themselves say what they take"
        raise AutoconfError(f"--cpus-per-replica goes with --rate: {why}")
