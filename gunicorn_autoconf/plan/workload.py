"""The workload table: which worker class, how many workers, how many threads, and why. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.worker_classes import GTHREAD, SYNC, UVICORN, Interface


class Workload(str, Enum):
    """What requests spend their time on."""

    CPU = "cpu"
    MIXED = "mixed"
    IO = "io"
    ASYNC = "async"


class MemoryGuard(str, Enum):
    """What the memory guard may do: nothing, log what it would do, or act."""

    OFF = "off"
    OBSERVE = "observe"
    ACT = "act"


class CountRule(NamedTuple):
    """
    How many workers *c* cores want, and the other way round.

    Attributes:
        formula: What the reader of a log sees.
        count: Cores to workers.
        cores_formula: As *formula*, for *cores*; *least* are the fewest that are given.
        cores: Workers to the cores that they are worth; `count` of these gives them back, or the
            fewest there are.
    """

    formula: str
    count: Callable[[float], int]
    cores_formula: str
    cores: Callable[[int], float]


PER_CORE = CountRule(
    formula="ceil(c)", count=math.ceil, cores_formula="workers", cores=lambda workers: workers
)
WITH_SPARE = CountRule(
    formula="ceil(c) + 1",
    count=lambda cores: math.ceil(cores) + 1,
    cores_formula="max(workers - 1, 1)",
    cores=lambda workers: max(workers - 1, 1),
)
CLASSIC = CountRule(
    formula="floor(2 * c) + 1",
    count=lambda cores: math.floor(2 * cores) + 1,
    cores_formula="max((workers - 1) / 2, least)",
    cores=lambda workers: (workers - 1) / 2,
)

# "Gunicorn should only need 4-12 worker processes to handle hundreds or thousands of requests per
# second." Source: Gunicorn, docs, "Design", "How Many Workers?".
ENOUGH_WORKERS = 12

ONE_THREAD = "one thread a worker"


class Shape(NamedTuple):
    """
    One row of the workload table: the worker class and how much of it.

    Attributes:
        why: The reason for the class and the count.
        threads: Of each worker; for an event loop the size of its pools for synchronous code, and 1
            where they stay as they are.
        threads_why: The reason for the threads.
    """

    worker_class: str
    workers: CountRule
    why: str
    threads: int = 1
    threads_why: str = ONE_THREAD


# Threads a worker for requests that wait. A thread is made when a request needs it and none is
# idle; one that waits costs some 30 KiB. Measured with `benchmarks.compare`, 2 cores, as parts of
# the best rate in the sweep, connections `gradual` and `new`:
#   100 ms of waiting, 200 clients: 2 x 16 0.18 0.16, 3 x 64 0.96 0.90, 3 x 100 1.00 0.98
#   5 ms of computing, 20 ms of waiting, 200 clients: 2 x 16 1.00 0.99, 3 x 64 0.98 0.98
IO_THREADS = 100

# For requests that do both: enough to fill the waits, and no more connections to a database.
MIXED_THREADS = 8

_LOOP = "that of the event loop; its pools for synchronous code keep their own size"

# What is planned where nothing is declared. Whether the code bears threads is not known then.
UNDECLARED: Mapping[Interface, Shape] = {
    Interface.WSGI: Shape(
        worker_class=SYNC,
        workers=CLASSIC,
        why="one computes while one waits, one spare",
        threads_why="threads only for what is declared",
    ),
    Interface.ASGI: Shape(
        worker_class=UVICORN,
        workers=CLASSIC,
        why="one computes while one waits, one spare",
        threads_why=_LOOP,
    ),
}

_COMPUTE = "a computing process fills one core; more only switch contexts"

WORKLOADS: Mapping[tuple[Workload, Interface], Shape] = {
    (Workload.CPU, Interface.WSGI): Shape(worker_class=SYNC, workers=PER_CORE, why=_COMPUTE),
    (Workload.CPU, Interface.ASGI): Shape(
        worker_class=UVICORN, workers=PER_CORE, why=_COMPUTE, threads_why=_LOOP
    ),
    (Workload.MIXED, Interface.WSGI): Shape(
        worker_class=GTHREAD,
        workers=WITH_SPARE,
        threads=MIXED_THREADS,
        why="some threads wait while one computes; a spare where all of a worker's wait",
        threads_why="enough to fill the waits, few connections to a database",
    ),
    (Workload.MIXED, Interface.ASGI): UNDECLARED[Interface.ASGI],
    (Workload.IO, Interface.WSGI): Shape(
        worker_class=GTHREAD,
        workers=WITH_SPARE,
        threads=IO_THREADS,
        why="waiting costs a thread, not a process",
        threads_why="each made only when a request has to wait for one",
    ),
    (Workload.IO, Interface.ASGI): Shape(
        worker_class=UVICORN,
        workers=CLASSIC,
        threads=IO_THREADS,
        why="spares for what blocks a loop",
        threads_why="synchronous code waits in threads",
    ),
    (Workload.ASYNC, Interface.WSGI): Shape(
        worker_class=GTHREAD,
        workers=WITH_SPARE,
        threads=IO_THREADS,
        why="as io: async needs an ASGI application",
        threads_why="each made only when a request has to wait for one",
    ),
    (Workload.ASYNC, Interface.ASGI): Shape(
        worker_class=UVICORN,
        workers=PER_CORE,
        why="one event loop per core holds thousands of waits",
        threads_why=_LOOP,
    ),
}


def shape_for(workload: Workload | None, interface: Interface, threads: int | None = None) -> Shape:
    """
    The row of the table for what was declared; None where nothing was.

    *threads* of a worker that somebody wants, where one does, say what WSGI code bears: with one
    the count is that of workers which serve one request at a time, with more it is not.
    """
    shape = UNDECLARED[interface] if workload is None else WORKLOADS[workload, interface]
    if threads is None or interface is not Interface.WSGI:
        return shape
    if threads <= 1 < shape.threads:
        return UNDECLARED[interface]
    return WORKLOADS[Workload.MIXED, interface] if workload is None and threads > 1 else shape
