"""The options of ``size`` to one question: a table, as the environment contract is one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gunicorn_autoconf.errors import AutoconfError, DeclarationError
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

# The arbiter of a small application, its RSS, on Python 3.11: 30 MiB under WSGI, 34 MiB under ASGI.
# Workers share half of that with it.
OTHERS_BYTES = 32 * MIB

UTILISATION = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersWanted:
    """So many workers; *threads* None as the workload has them."""

    workers: int
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadExpected:
    """
    So many requests, of that kind.

    Attributes:
        rate: Requests per second.
        latency_seconds: From a request's arrival to its answer, when nothing queues.
        compute_seconds: The part of it in which a core is busy.
        cores_per_replica: None as `size` chooses.
    """

    rate: float
    latency_seconds: float
    compute_seconds: float
    cores_per_replica: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    What is to be sized.

    Attributes:
        asked: The one thing or the other.
        declaration: What is known of the work and of a worker's memory.
        others_bytes: What everybody but the workers uses under the limit, the arbiter included.
        utilisation: How busy a core, and a place for a request, may be on average; 0 to 1.
    """

    asked: WorkersWanted | LoadExpected
    declaration: Declaration
    others_bytes: int = OTHERS_BYTES
    utilisation: float = UTILISATION


def _others(text: str) -> int:
    return 0 if text == "0" else parse_memory(text)


_TIME = "a time above 0 with its unit such as 80ms or 0.08s"

# What the environment can declare and a size depends on, with what holds here where it is unset:
# there is no application to read and no worker to measure.
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
        field="workers",
        parse=parse_count,
        allowed="a whole number of at least 1",
        default="as the load takes",
        meaning="how many workers one container is to run",
    ),
    Variable(
        keyword="threads",
        field="threads",
        parse=parse_count,
        allowed="a whole number of at least 1",
        default="as the workload has them",
        meaning="with --workers: threads of each",
    ),
    Variable(
        keyword="rate",
        field="rate",
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
        parse=_others,
        allowed=f"0 or {QUANTITY}",
        default="32MiB",
        meaning="memory of the arbiter and of everybody else in the container",
    ),
)

SIZE_OPTIONS: tuple[Variable, ...] = (*_ASKING, *_DECLARING)

_LOAD = ("--rate", "--latency", "--compute")


def read_question(options: Mapping[str, str | None]) -> Question:
    """
    Return what *options* ask, by the option as its user wrote it, None as unset.

    Raises:
        AutoconfError: They ask nothing, two things or half a thing.
        DeclarationError: A value is not allowed.
    """
    given = {name: text for name, text in options.items() if text is not None}
    _check_together(given)
    values: dict[str, Any] = {}
    for variable in _ASKING:
        name = "--" + variable.keyword.replace("_", "-")
        if name in given:
            values[variable.field] = parse_declared(name, given[name].strip(), variable)
    # The environment is that of the machine in front of the reader, not of the one to be sized.
    declaration = read_declaration({}, arguments=given)
    common = {name: values.pop(name) for name in ("others_bytes", "utilisation") if name in values}
    if "--workers" in given:
        return Question(asked=WorkersWanted(**values), declaration=declaration, **common)
    if values["compute_seconds"] > values["latency_seconds"]:
        remedy = f"use at most --latency={given['--latency']}, of which it is a part"
        raise DeclarationError("--compute", given["--compute"], remedy)
    return Question(asked=LoadExpected(**values), declaration=declaration, **common)


def _check_together(given: Mapping[str, str]) -> None:
    load = [name for name in _LOAD if name in given]
    if "--workers" in given and load:
        raise AutoconfError(f"--workers and {load[0]} are two questions: ask one at a time")
    if "--workers" not in given and not load:
        raise AutoconfError(
            "nothing to size for: use --workers 4, or --rate 300 --latency 80ms --compute 20ms"
        )
    missing = [name for name in _LOAD if load and name not in given]
    if missing:
        raise AutoconfError(f"{load[0]} needs {' and '.join(missing)} beside it")
    if load and "--threads" in given:
        raise AutoconfError("--threads goes with --workers: a load itself says how many it takes")
    if not load and "--cpus-per-replica" in given:
        raise AutoconfError(
            "--cpus-per-replica goes with --rate: workers themselves say what they take"
        )
