"""Workers or a load to cores, replicas, workers and threads, each step shown. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from gunicorn_autoconf.cli.size.requirements import LoadExpected, Requirements, WorkersWanted
from gunicorn_autoconf.cli.size.steps import Calculation
from gunicorn_autoconf.errors import AutoconfError, DeclarationError
from gunicorn_autoconf.plan.steps import MAX_THREADS
from gunicorn_autoconf.plan.workload import ENOUGH_WORKERS, Shape, Workload, shape_for
from gunicorn_autoconf.units import MAX_CORES
from gunicorn_autoconf.worker_classes import Slots, family_of

# Importing FastAPI took 3.5 s under a quota of 0.25 cores, 9 s under 0.1 (Python 3.11, cgroup v1).
LEAST_CORES = 0.25

# A choice, not a measurement: small enough to fit on a node, large enough to share an arbiter.
CORES_PER_REPLICA = 2.0

# A choice that follows from the rules of the workloads: when requests hardly wait, one worker a
# core is enough; when they wait as long as they compute, two requests a core are, which takes
# neither many threads nor a thread pool.
CPU_FRACTION = 0.9
MIXED_FRACTION = 0.5

# Slots beyond those that are busy on average, as a multiple of the square root of these: chance
# makes more requests arrive at times. With 1.5, some 7 % of requests find no slot free by Erlang's
# C formula, 18 % at most from two slots on. Only for requests that mostly wait: more slots do not
# help one that computes. Source: Halfin and Whitt, "Heavy-traffic limits for
# queues with many exponential servers", 1981.
SPARE = 1.5
_WHY_SPARE = "the square-root rule: few requests wait for a slot, some 7%"


class Counts(NamedTuple):
    """
    How many of everything, before memory.

    Attributes:
        workload: None where it is neither declared nor suggested by a load.
        shape: The row of the workload table that the plan will use.
        places: Requests in progress at once; 0 where no load is known.
        for_waiting: Whether the replicas are needed for waiting requests, not for computing ones.
    """

    workload: Workload | None
    replicas: int
    cores: float
    workers: int
    threads: int
    shape: Shape
    places: int = 0
    for_waiting: bool = False


def counts_for_workers(
    requirements: Requirements, wanted: WorkersWanted, calculation: Calculation
) -> Counts:
    """Return one container with the cores for which the plan has as many workers."""
    workers, workload = wanted.workers, requirements.declaration.workload
    shape = shape_for(workload, requirements.interface, wanted.threads)
    threads = shape.threads if wanted.threads is None else wanted.threads
    if shape.threads == 1 and threads > 1:
        remedy = "use 1, or --workload io: the plan has no threads for these requests"
        raise DeclarationError("--threads", str(threads), remedy)
    rule = shape.workers
    cores = max(float(rule.cores(workers)), LEAST_CORES)
    if cores > MAX_CORES:
        remedy = f"use at most {rule.count(MAX_CORES)}, as no machine has more cores"
        raise DeclarationError("--workers", str(workers), remedy)
    why = f"the plan has {rule.formula} workers for c cores"
    calculation.know(workers=workers, least=LEAST_CORES)
    calculation.add("cores", cores, rule.cores_formula, why)
    return Counts(workload, 1, cores, workers, threads, shape)


def counts_for_load(
    requirements: Requirements, load: LoadExpected, calculation: Calculation
) -> Counts:
    """Return the containers whose cores and places are as busy as they may be."""
    utilisation, declared = requirements.utilisation, requirements.declaration.workload
    in_flight = load.rate * load.latency_seconds
    places = _ceil(in_flight / utilisation)
    needed_cores = load.rate * load.compute_seconds / utilisation
    if needed_cores > MAX_CORES:
        raise AutoconfError(f"this load takes {needed_cores:g} cores, more than any cluster has")
    share = load.compute_fraction
    suggested, why_suggested = suggest_workload(share)
    workload = declared or suggested
    shape = shape_for(workload, requirements.interface)
    calculation.know(**load._asdict(), utilisation=utilisation)
    why = "Little's law: requests that are there at once, on average"
    calculation.add("in_flight", in_flight, "rate * latency", why)
    why = "so that the next request mostly finds one free"
    calculation.add("places", places, "ceil(in_flight / utilisation)", why)
    formula = "rate * compute / utilisation"
    calculation.add("needed_cores", needed_cores, formula, "all replicas together")
    why = f"{share:.0%}; declared" if declared else f"{share:.0%}, {why_suggested}"
    calculation.add("workload", workload.value, "compute / latency", why)
    replicas, cores, for_waiting = _replicas(load, needed_cores, places, shape, calculation)
    in_each = in_flight / replicas if share < MIXED_FRACTION else 0.0
    slots = _slots_of_each(in_each, places, replicas, shape, calculation)
    workers, threads = _serving(slots, cores, shape, calculation)
    return Counts(workload, replicas, cores, workers, threads, shape, places, for_waiting)


def _replicas(
    load: LoadExpected, needed_cores: float, places: int, shape: Shape, calculation: Calculation
) -> tuple[int, float, bool]:
    """Return how many containers, the cores of each, and whether they are there for waiting."""
    cores = _cores_per_replica(load, needed_cores)
    for_cores = max(_ceil(needed_cores / cores), 1)
    # When requests wait a lot, the places alone would put hundreds of workers into one container.
    by_cores = shape.workers.count(load.cores_per_replica or CORES_PER_REPLICA)
    most_workers = max(ENOUGH_WORKERS, by_cores)
    most = _most_places(shape)
    calculation.know(cores=cores)
    calculation.add("replicas", for_cores, "ceil(needed_cores / cores)", "cores of each replica")
    if most is None:
        return _possible(for_cores), cores, False
    calculation.know(most_workers=most_workers, most=most)
    for_places = _ceil(places / (most_workers * most))
    carried = _carried(most_workers * most)
    has_queue = load.compute_fraction < MIXED_FRACTION
    for_queue = _ceil(load.rate * load.latency_seconds / carried) if has_queue else 1
    replicas = _possible(max(for_cores, for_places, for_queue))
    if replicas == for_cores:
        return replicas, cores, False
    why = f"no more than {most_workers} workers in one container"
    if replicas == for_places:
        calculation.add("replicas", replicas, "ceil(places / (most_workers * most))", why)
    else:
        calculation.know(spare=SPARE)
        formula = "((sqrt(spare * spare + 4 * most_workers * most) - spare) / 2) ** 2"
        calculation.add("carried", carried, formula, why)
        calculation.add("replicas", replicas, "ceil(in_flight / carried)", _WHY_SPARE)
    # The replicas share the cores that the load needs.
    return replicas, _cores_per_replica(load, needed_cores / replicas), True


def _possible(replicas: int) -> int:
    if replicas * LEAST_CORES > MAX_CORES:
        raise AutoconfError(f"this load takes {replicas} replicas, more than any cluster has")
    return replicas


def _slots(in_flight: float) -> float:
    """Return with how many slots a request seldom waits, where so many are there on average."""
    return in_flight + SPARE * math.sqrt(in_flight)


def _carried(slots: int) -> float:
    """Return how many requests there may be on average for that: the inverse of `_slots`."""
    return float(((math.sqrt(SPARE * SPARE + 4 * slots) - SPARE) / 2) ** 2)


def suggest_workload(compute_fraction: float) -> tuple[Workload, str]:
    """Return the workload of requests that compute for this share of their time, and why."""
    if compute_fraction >= CPU_FRACTION:
        return Workload.CPU, f"from {CPU_FRACTION:.0%} on hardly anything is waited for"
    if compute_fraction >= MIXED_FRACTION:
        return Workload.MIXED, f"from {MIXED_FRACTION:.0%} on few at a time hide the waiting"
    return Workload.IO, f"below {MIXED_FRACTION:.0%} requests mostly wait"


def _cores_per_replica(load: LoadExpected, needed_cores: float) -> float:
    cores = load.cores_per_replica or min(max(needed_cores, LEAST_CORES), CORES_PER_REPLICA)
    return max(_ceil(cores * 1000), 1) / 1000  # Kubernetes counts in thousandths


def _slots_of_each(
    in_each: float, places: int, replicas: int, shape: Shape, calculation: Calculation
) -> int:
    """Return how many requests one replica must serve at once: its share, and some to spare."""
    by_share, by_queue = _ceil(places / replicas), _ceil(_slots(in_each))
    if _most_places(shape) is None:
        return by_share
    if by_share >= by_queue:
        calculation.add("slots", by_share, "ceil(places / replicas)", "of each replica")
        return by_share
    calculation.know(spare=SPARE)
    formula = "ceil(in_flight / replicas + spare * sqrt(in_flight / replicas))"
    calculation.add("slots", by_queue, formula, f"of each replica; {_WHY_SPARE}")
    return by_queue


def _serving(slots: int, cores: float, shape: Shape, calculation: Calculation) -> tuple[int, int]:
    """Return the workers and threads that give a replica its slots."""
    workers = shape.workers.count(cores)
    most = _most_places(shape)
    why = "" if most else "an event loop has a place for every request"
    calculation.know(c=cores)
    calculation.add("workers", workers, shape.workers.formula, why)
    if most is None:
        return workers, shape.threads
    if workers < _ceil(slots / most):
        workers = _ceil(slots / most)
        why = f"{shape.worker_class} has no more places than that"
        calculation.add("workers", workers, "ceil(slots / most)", why)
    if most == 1:
        return workers, 1
    threads = max(shape.threads, _ceil(slots / workers))
    calculation.know(usual=shape.threads)
    formula = "max(ceil(slots / workers), usual)"
    calculation.add("threads", threads, formula, "a request that waits holds a thread")
    return workers, threads


def _most_places(shape: Shape) -> int | None:
    """The most requests that one worker serves at once; None for an event loop."""
    family = family_of(shape.worker_class)
    return {Slots.ONE: 1, Slots.THREADS: MAX_THREADS}.get(family.slots) if family else None


def _ceil(value: float) -> int:
    """Return *value* rounded up, without the error that a float may have added."""
    return math.ceil(round(value, 9))
