"""
The workload table: which worker class, how many workers, how many threads, and why. Pure.

Each workload is two rows of `WORKLOADS`, for WSGI and for ASGI. A count of threads stands in a
constant above it with what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.worker_classes import SYNC, THREADS, UVICORN, Interface


class Workload(str, Enum):
    """What requests spend their time on; AUTO where it is not declared: the server measures."""

    AUTO = "auto"
    CPU = "cpu"
    MIXED = "mixed"
    IO = "io"
    ASYNC = "async"


class MemoryGuard(str, Enum):
    """What the memory guard may do: nothing, log what it would do, or act."""

    OFF = "off"
    OBSERVE = "observe"
    ACT = "act"


class LoadGuard(str, Enum):
    """What may change the count by load: nothing, log what it would do, or act."""

    OFF = "off"
    OBSERVE = "observe"
    ACT = "act"


class CountRule(NamedTuple):
    """
    How many workers are planned for *c* cores, and the other way round.

    Attributes:
        formula: The rule as the log shows it.
        count: Cores to workers.
        cores_formula: As *formula*, for *cores*; *least* is the smallest number of cores.
        cores: Workers to cores; `count` of these gives the workers back, or the fewest there are.
    """

    formula: str
    count: Callable[[float], int]
    cores_formula: str
    cores: Callable[[int], float]


PER_CORE = CountRule("ceil(c)", math.ceil, "workers", lambda workers: workers)
WITH_SPARE = CountRule(
    formula="ceil(c) + 1",
    count=lambda cores: math.ceil(cores) + 1,
    cores_formula="max(workers - 1, 1)",
    cores=lambda workers: max(workers - 1, 1),
)
PAIR = CountRule(
    formula="min(ceil(c), 2)",
    count=lambda cores: min(math.ceil(cores), 2),
    cores_formula="workers",
    cores=lambda workers: workers,
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
    One row of the workload table: the worker class, how many workers and threads.

    Attributes:
        why: The reason for the class and the count.
        threads: Of each worker. For an event loop the size of its pools for synchronous code; 1
            leaves these as they are.
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

# For requests that do both: enough to fill the waits, with few connections to a database.
MIXED_THREADS = 8

# The threads that synchronous code under ASGI gets unless they are bounded. Source: anyio,
# "Working with threads": "The default limit is 40".
ANYIO_THREADS = 40

_LOOP = "the event loop's own; thread pools for synchronous code keep their size"
_SPARE = "one computes while one waits, one spare"
_COMPUTE = "a computing process fills one core; more only switch contexts"

# What `auto` begins with: nothing says that the code is thread-safe.
_AUTO_WSGI = Shape(SYNC, CLASSIC, _SPARE, threads_why="more than one only with a declared workload")
_AUTO_ASGI = Shape(UVICORN, CLASSIC, _SPARE, threads_why=_LOOP)

_WAIT = Shape(
    THREADS,
    WITH_SPARE,
    "waiting costs a thread, not a process",
    threads=IO_THREADS,
    threads_why="each made only when a request has to wait for one",
)

WORKLOADS: Mapping[tuple[Workload, Interface], Shape] = {
    (Workload.AUTO, Interface.WSGI): _AUTO_WSGI,
    (Workload.AUTO, Interface.ASGI): _AUTO_ASGI,
    (Workload.CPU, Interface.WSGI): Shape(SYNC, PER_CORE, _COMPUTE),
    (Workload.CPU, Interface.ASGI): Shape(UVICORN, PER_CORE, _COMPUTE, threads_why=_LOOP),
    (Workload.MIXED, Interface.WSGI): Shape(
        THREADS,
        WITH_SPARE,
        "some threads wait while one computes; a spare where all of a worker's wait",
        threads=MIXED_THREADS,
        threads_why="enough to fill the waits, few connections to a database",
    ),
    (Workload.MIXED, Interface.ASGI): _AUTO_ASGI,
    (Workload.IO, Interface.WSGI): _WAIT,
    (Workload.IO, Interface.ASGI): Shape(
        UVICORN,
        CLASSIC,
        "spares for what blocks a loop",
        threads=IO_THREADS,
        threads_why="synchronous code waits in threads",
    ),
    (Workload.ASYNC, Interface.WSGI): _WAIT._replace(why="as io: async needs an ASGI application"),
    (Workload.ASYNC, Interface.ASGI): Shape(
        UVICORN, PER_CORE, "one event loop per core holds thousands of waits", threads_why=_LOOP
    ),
}


_FREE_CPU = Shape(
    THREADS,
    PAIR,
    "without the GIL the threads of a process compute at once; two, so that one serves while the "
    "other is replaced",
    threads_why="a thread for each core",
)


def shape_without_gil(shape: Shape, cores: float) -> Shape:
    """
    Return the row for *cores* in the place of *shape*, where Python runs without the GIL.

    Only what computes in processes with one thread each gains by it.
    """
    if shape != WORKLOADS[Workload.CPU, Interface.WSGI] or cores <= _FREE_CPU.workers.count(cores):
        return shape
    return _FREE_CPU._replace(threads=math.ceil(cores / _FREE_CPU.workers.count(cores)))


def shape_for(workload: Workload | None, interface: Interface, threads: int | None = None) -> Shape:
    """
    Return the row of the table for what was declared.

    *threads* are those that the operator wants of each worker. They show whether WSGI code is
    thread-safe: with one, workers serve one request at a time, and the count is for that.
    """
    shape = WORKLOADS[workload or Workload.AUTO, interface]
    if threads is None or interface is not Interface.WSGI:
        return shape
    if threads <= 1 < shape.threads:
        return WORKLOADS[Workload.AUTO, interface]
    return WORKLOADS[Workload.MIXED, interface] if workload is None and threads > 1 else shape
