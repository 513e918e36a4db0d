"""Workers or a load to cores, replicas, workers and threads, each step shown. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gunicorn_autoconf.cli.size.question import LoadExpected, WorkersWanted
from gunicorn_autoconf.errors import AutoconfError, DeclarationError
from gunicorn_autoconf.plan.steps import MAX_THREADS
from gunicorn_autoconf.plan.workload import ENOUGH_WORKERS, Shape, Workload, shape_for
from gunicorn_autoconf.units import MAX_CORES
from gunicorn_autoconf.worker_classes import Interface, Slots, family_of

# To import FastAPI took 3.5 s under a quota of 0.25 cores, 9 s under 0.1 (Python 3.11, cgroup v1).
LEAST_CORES = 0.25

# A choice, no measurement: small enough to find room on a node, large enough to share an arbiter.
CORES_PER_REPLICA = 2.0

# A choice by the workloads' own rules: one worker a core is busy enough where hardly anything is
# waited for; where there is as much waiting as computing, two requests a core are enough, for which
# neither many threads nor a thread pool are needed.
CPU_FRACTION = 0.9
MIXED_FRACTION = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    How one number came about.

    Attributes:
        name: What was reckoned; ``_bytes`` at its end is the unit.
        value: The result.
        formula: Over the names in *inputs*, without their units.
        inputs: The numbers that went in; ``_bytes`` and ``_seconds`` at the end of a name are
            the unit.
        why: The reason for the formula, one phrase.
    """

    name: str
    value: float | str
    formula: str
    inputs: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


class Counts(NamedTuple):
    """
    How many of everything, before memory.

    Attributes:
        workload: None where nobody has said one and nothing suggests one.
        shape: The row of the table that the plan takes.
        places: Requests that are there at once; 0 where no load is known.
        for_waiting: Whether requests that wait take more replicas than those that compute.
    """

    workload: Workload | None
    replicas: int
    cores: float
    workers: int
    threads: int
    shape: Shape
    steps: tuple[Step, ...]
    places: int = 0
    for_waiting: bool = False


def counts_for_workers(
    asked: WorkersWanted, declared: Workload | None, interface: Interface
) -> Counts:
    """
    Return one container with the cores at which the plan has as many workers.

    Raises:
        AutoconfError: No machine has so many.
        DeclarationError: The workload has no threads.
    """
    shape = shape_for(declared, interface, asked.threads)
    threads = shape.threads if asked.threads is None else asked.threads
    if shape.threads == 1 and threads > 1:
        raise DeclarationError(
            "--threads",
            str(threads),
            "use 1, or --workload io: the plan has no threads for these requests",
        )
    rule = shape.workers
    cores = max(float(rule.cores(asked.workers)), LEAST_CORES)
    if cores > MAX_CORES:
        raise DeclarationError(
            "--workers",
            str(asked.workers),
            f"use at most {rule.count(MAX_CORES)}, as no machine has more cores",
        )
    inputs: dict[str, float] = {"workers": asked.workers}
    if rule.has_least:
        inputs["least"] = LEAST_CORES
    step = Step(
        name="cores",
        value=cores,
        formula=rule.cores_formula,
        inputs=inputs,
        why=f"the plan has {rule.formula} workers for c cores",
    )
    return Counts(declared, 1, cores, asked.workers, threads, shape, (step,))


def counts_for_load(
    asked: LoadExpected, utilisation: float, declared: Workload | None, interface: Interface
) -> Counts:
    """
    Return the containers whose cores and places are busy for *utilisation* of the time.

    Raises:
        AutoconfError: No cluster is as large.
    """
    in_flight = asked.rate * asked.latency_seconds
    places = _ceil(in_flight / utilisation)
    needed = asked.rate * asked.compute_seconds / utilisation
    if needed > MAX_CORES:
        raise AutoconfError(f"this load takes {needed:g} cores, more than any cluster has")
    workload = declared or suggested_workload(asked)
    shape = shape_for(workload, interface)
    replicas, cores, replica_steps = _replicas(asked, needed, places, shape)
    steps = (
        *_demand_steps(asked, utilisation, places),
        _workload_step(asked, workload, declared),
        *replica_steps,
    )
    workers, threads, more = _serving(places, replicas, cores, shape)
    for_waiting = len(replica_steps) > 1
    steps = (*steps, *more)
    return Counts(workload, replicas, cores, workers, threads, shape, steps, places, for_waiting)


def _replicas(
    asked: LoadExpected, needed: float, places: int, shape: Shape
) -> tuple[int, float, tuple[Step, ...]]:
    """How many containers, and the cores of each: enough for the cores and for the places."""
    most = _most_places(shape)
    by_cores = shape.workers.count(asked.cores_per_replica or CORES_PER_REPLICA)
    # Where requests wait a lot, the places alone would put hundreds of workers into one container.
    most_workers = max(ENOUGH_WORKERS, by_cores)
    for_places = _ceil(places / (most_workers * most)) if most else 1
    cores = _cores_per_replica(asked, needed)
    for_cores = max(_ceil(needed / cores), 1)
    replicas = max(for_cores, for_places)
    if replicas * LEAST_CORES > MAX_CORES:
        raise AutoconfError(f"this load takes {replicas} replicas, more than any cluster has")
    steps = [
        Step(
            name="replicas",
            value=for_cores,
            formula="ceil(needed_cores / cores)",
            inputs={"needed_cores": needed, "cores": cores},
            why="cores of each replica",
        )
    ]
    if most and for_places > for_cores:
        # They share the cores that the load needs.
        cores = _cores_per_replica(asked, needed / for_places)
        steps.append(
            Step(
                name="replicas",
                value=for_places,
                formula="ceil(places / (most_workers * most))",
                inputs={"places": places, "most_workers": most_workers, "most": most},
                why=f"no more than {most_workers} workers in one container",
            )
        )
    return replicas, cores, tuple(steps)


def _demand_steps(asked: LoadExpected, utilisation: float, places: int) -> tuple[Step, ...]:
    rate, latency, compute = asked.rate, asked.latency_seconds, asked.compute_seconds
    return (
        Step(
            name="in_flight",
            value=rate * latency,
            formula="rate * latency",
            inputs={"rate": rate, "latency_seconds": latency},
            why="Little's law: requests that are there at once, on average",
        ),
        Step(
            name="places",
            value=places,
            formula="ceil(in_flight / utilisation)",
            inputs={"in_flight": rate * latency, "utilisation": utilisation},
            why="so that the next request mostly finds one free",
        ),
        Step(
            name="needed_cores",
            value=rate * compute / utilisation,
            formula="rate * compute / utilisation",
            inputs={"rate": rate, "compute_seconds": compute, "utilisation": utilisation},
            why="all replicas together",
        ),
    )


def suggested_workload(asked: LoadExpected) -> Workload:
    """Return the workload that the share of computing suggests; never ``async``."""
    share = _share(asked)
    if share >= CPU_FRACTION:
        return Workload.CPU
    return Workload.MIXED if share >= MIXED_FRACTION else Workload.IO


def _share(asked: LoadExpected) -> float:
    """The part of a request in which it computes; 0.09 / 0.1 is to be 0.9."""
    return round(asked.compute_seconds / asked.latency_seconds, 9)


def _workload_step(asked: LoadExpected, workload: Workload, declared: Workload | None) -> Step:
    share = _share(asked)
    why = {
        Workload.CPU: f"{share:.0%}, from {CPU_FRACTION:.0%} on hardly anything is waited for",
        Workload.MIXED: f"{share:.0%}, from {MIXED_FRACTION:.0%} on few at a time hide the waiting",
        Workload.IO: f"{share:.0%}, below {MIXED_FRACTION:.0%} requests mostly wait",
    }[suggested_workload(asked)]
    return Step(
        name="workload",
        value=workload.value,
        formula="compute / latency",
        inputs={
            "compute_seconds": asked.compute_seconds,
            "latency_seconds": asked.latency_seconds,
        },
        why=f"{share:.0%}; declared" if declared else why,
    )


def _cores_per_replica(asked: LoadExpected, needed: float) -> float:
    if asked.cores_per_replica is not None:
        return _whole_millicores(asked.cores_per_replica)
    return _whole_millicores(min(max(needed, LEAST_CORES), CORES_PER_REPLICA))


def _serving(
    places: int, replicas: int, cores: float, shape: Shape
) -> tuple[int, int, tuple[Step, ...]]:
    """The workers and threads of one replica that give it its part of the places."""
    by_cores = shape.workers.count(cores)
    most = _most_places(shape)
    rule = Step(
        name="workers",
        value=by_cores,
        formula=shape.workers.formula,
        inputs={"c": cores},
        why="" if most else "an event loop has a place for every request",
    )
    if most is None:
        return by_cores, shape.threads, (rule,)
    each = _ceil(places / replicas)
    workers = max(by_cores, _ceil(each / most))
    threads = max(shape.threads, _ceil(each / workers)) if most > 1 else 1
    steps = [rule]
    if workers > by_cores:
        steps.append(
            Step(
                name="workers",
                value=workers,
                formula="ceil(places / replicas / most)",
                inputs={"places": places, "replicas": replicas, "most": most},
                why=f"{shape.worker_class} has no more places than that",
            )
        )
    if most > 1:
        steps.append(
            Step(
                name="threads",
                value=threads,
                formula="max(ceil(places / replicas / workers), usual)",
                inputs={
                    "places": places,
                    "replicas": replicas,
                    "workers": workers,
                    "usual": shape.threads,
                },
                why="a request that waits holds a thread",
            )
        )
    return workers, threads, tuple(steps)


def _most_places(shape: Shape) -> int | None:
    """The most requests that one worker serves at once; None for an event loop."""
    family = family_of(shape.worker_class)
    return {Slots.ONE: 1, Slots.THREADS: MAX_THREADS}.get(family.slots) if family else None


def _ceil(value: float) -> int:
    """*value* rounded up, but for what a float has added to a whole number."""
    return math.ceil(round(value, 9))


def _whole_millicores(cores: float) -> float:
    """*cores* rounded up to what Kubernetes takes."""
    return max(_ceil(cores * 1000), 1) / 1000
