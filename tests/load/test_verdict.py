"""Each workload of `benchmarks.compare` under each declaration: what a minute of load leads to."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
from loads import minute

from gunicorn_autoconf.load.capacity import Load
from gunicorn_autoconf.load.evidence import Evidence, Request
from gunicorn_autoconf.load.lines import render_verdict, verdict_fields
from gunicorn_autoconf.load.verdict import Cause, Serving, Verdict, judge
from gunicorn_autoconf.worker_classes import Interface

WSGI, ASGI = Interface.WSGI, Interface.ASGI
CORES = 2


class Work(NamedTuple):
    """What a request does, in seconds."""

    computing: float
    waiting: float = 0.0
    blocks: bool = False
    """Whether it waits in the event loop."""
    pool: bool = False
    """Whether it waits in a thread of anyio's pool."""


class Shape(NamedTuple):
    workers: int
    slots: int | None
    threads: int = 1


# What is planned for two cores.
DECLARED = {
    WSGI: {
        "none": Shape(5, 1),
        "cpu": Shape(2, 1),
        "mixed": Shape(3, 8, 8),
        "io": Shape(3, 100, 100),
        "async": Shape(3, 100, 100),
    },
    ASGI: {
        "none": Shape(5, None),
        "cpu": Shape(2, None),
        "mixed": Shape(5, None),
        "io": Shape(5, None, 100),
        "async": Shape(2, None),
    },
}

# The computing time is what two cores answered at most, from `benchmarks/results/two-cores`.
WORK = {
    WSGI: {
        "nothing": Work(0.00019),
        "compute": Work(0.0102),
        "mixed": Work(0.0055, 0.020),
        "wait-threads": Work(0.0006, 0.100),
        "django": Work(0.0042, 0.0003),
    },
    ASGI: {
        "nothing": Work(0.00006),
        "compute": Work(0.0101),
        "mixed": Work(0.0051, 0.020),
        "wait-async": Work(0.0003, 0.100),
        "wait-pool": Work(0.0006, 0.100, pool=True),
        "block": Work(0.0002, 0.100, blocks=True),
        "django": Work(0.0055, 0.0005),
        "fastapi": Work(0.0007),
    },
}

# By interface, workload and declaration: what to set. None: the declaration is as good as any.
EXPECTED: dict[tuple[Interface, str, str], str | None] = {
    (WSGI, "mixed", "none"): "mixed",
    (WSGI, "mixed", "cpu"): "mixed",
    (WSGI, "wait-threads", "none"): "io",
    (WSGI, "wait-threads", "cpu"): "io",
    (WSGI, "wait-threads", "mixed"): "io",
    # 200 clients fill the two loops' pools of 40 threads, not those of five.
    (ASGI, "wait-pool", "cpu"): "io",
    (ASGI, "wait-pool", "async"): "io",
    (ASGI, "block", "none"): "blocks",
    (ASGI, "block", "cpu"): "blocks",
    (ASGI, "block", "mixed"): "blocks",
    (ASGI, "block", "io"): "blocks",
    (ASGI, "block", "async"): "blocks",
}
CELLS = [
    (interface, work, declared)
    for interface, works in WORK.items()
    for work in works
    for declared in DECLARED[interface]
]
CLIENTS = 200
LOOPS: dict[str, Any] = {"slots": None, "has_loop": True}
POOL_THREADS = 40


def loads(work: Work, shape: Shape, share: float, crowded: float, noise: random.Random) -> Load:
    """
    What a minute of this work shows.

    Args:
        work: What a request does.
        shape: How requests are served.
        share: Of what the server can answer at most.
        crowded: How long a worker waits for a core, as a multiple of its computing.
        noise: Measures are some percent off.
    """
    whole = work.computing + work.waiting
    cores = min(CORES, shape.workers) / work.computing
    slots = shape.slots
    pool = max(shape.threads, POOL_THREADS if shape.threads == 1 else 0)
    if work.blocks:
        most = shape.workers / whole
    elif work.pool:
        most = min(shape.workers * pool, CLIENTS) / whole
    else:
        most = shape.workers * (slots or 1000) / whole
    most = min(most, cores, CLIENTS / whole)
    rate = most * share
    delay = work.computing * crowded
    takes = whole + delay
    if share == 1 and slots is None:
        takes = CLIENTS / rate  # They wait for each other in the worker.
    more: dict[str, Any] = {}
    if slots is None:
        # A loop that waits for a core is not busy.
        blocking = whole if work.blocks else work.computing
        more["loop"] = min(rate * blocking / shape.workers, 1.0)
        is_full = work.pool and share == 1 and shape.workers * pool < CLIENTS
        more["pool"] = 0.97 if is_full else 0.0
    elif slots > 1:
        more["pool"] = 0.97 if share == 1 and shape.workers * slots < CLIENTS else 0.0
    return minute(
        rate=rate * noise.uniform(0.95, 1.05),
        request=takes * noise.uniform(0.95, 1.05),
        computing=work.computing * noise.uniform(0.92, 1.08),
        delay=delay * noise.uniform(0.8, 1.2),
        workers=shape.workers,
        slots=slots,
        cores=CORES,
        has_loop=slots is None,
        **more,
    )


def verdict_of(interface: Interface, work: str, declared: str, seed: int) -> Verdict | None:
    """What ten minutes lead to, at a load that comes and goes on a machine that others use."""
    noise = random.Random(seed)
    shape = DECLARED[interface][declared]
    evidence = Evidence()
    found = None
    serving = Serving(interface, CORES, shape.workers, shape.slots, shape.threads)
    for share in (0.3, 0.7, 1.0) * 3:
        crowded = noise.choice([0.0, 0.3, 3.0])
        evidence.add(loads(WORK[interface][work], shape, share, crowded, noise))
        if request := evidence.request():
            found = judge(request, serving, found)
    return found


@pytest.mark.parametrize(("interface", "work", "declared"), CELLS)
def test_confusion_matrix(interface: Interface, work: str, declared: str) -> None:
    """Right in each of ten runs: no false alarm, and none that is missed."""
    expected = EXPECTED.get((interface, work, declared))
    for seed in range(10):
        found = verdict_of(interface, work, declared, seed)
        name = None if found is None else "blocks"
        if found is not None and found.workload is not None:
            name = found.workload.value
        assert name == expected, found


# From `benchmarks.results`, two cores, a new connection for each request: the rate as declared, and
# the rate of the best that was advised.
@pytest.mark.parametrize(
    ("interface", "work", "declared", "clients", "measured"),
    [
        (WSGI, "wait-threads", "none", 200, 1832 / 47),
        (WSGI, "mixed", "none", 32, 332 / 185),
        (ASGI, "wait-pool", "cpu", 200, 1863 / 756),
    ],
)
def test_gain_is_what_the_benchmark_shows(
    interface: Interface, work: str, declared: str, clients: int, measured: float
) -> None:
    """As far as so many clients ask: each waits for its answer before it asks again."""
    found = verdict_of(interface, work, declared, 1)
    assert found is not None
    asked_for = clients / (WORK[interface][work].computing + WORK[interface][work].waiting)
    gain = min(found.could_per_second, asked_for) / found.now_per_second
    assert gain == pytest.approx(measured, rel=0.25)


# What a closed queue of so many slots and cores gains where times are random (M/M/c//K), with all
# the clients that it takes: by far not what clients ask for, but what the log speaks of.
@pytest.mark.parametrize(
    ("cores", "computing", "waiting", "declared", "gain"),
    [
        (1, 0.005, 0.020, Shape(3, 1), 1.82),
        (1, 0.010, 0.300, Shape(2, 8, 8), 1.99),
        (2, 0.005, 0.050, Shape(5, 1), 4.08),
        (2, 0.005, 0.050, Shape(2, 1), 10.17),
        (1, 0.002, 0.050, Shape(2, 8, 8), 1.69),
    ],
)
def test_gain_is_what_queueing_theory_has(
    cores: float, computing: float, waiting: float, declared: Shape, gain: float
) -> None:
    request = Request(requests=1000, whole_seconds=computing + waiting, computing_seconds=computing)
    found = judge(request, Serving(WSGI, cores, *declared))
    assert found is not None
    assert found.gain == pytest.approx(gain, rel=0.1)


def test_line_of_a_verdict() -> None:
    evidence = Evidence()
    evidence.add(minute(rate=46, request=0.104, computing=0.003))
    request = evidence.request()
    assert request is not None
    found = judge(request, Serving(WSGI, 2, 5, 1))
    assert found is not None

    assert render_verdict(found) == (
        "gunicorn-autoconf: requests compute 3.0 ms of their 104 ms: 5 workers can answer 48/s, "
        "2 cores up to 670/s; set GUNICORN_WORKLOAD=io if your code is thread-safe"
    )
    assert verdict_fields(found)["workload"] == "io"


def test_threads_that_the_operator_set() -> None:
    evidence = Evidence()
    evidence.add(minute(rate=160, request=0.1, computing=0.0005, workers=4, slots=4))
    request = evidence.request()
    assert request is not None
    found = judge(request, Serving(WSGI, 2, 4, 4, threads=4, sets_workers=True, sets_threads=True))
    assert found is not None

    assert render_verdict(found).endswith(
        "4 workers, 16 requests at once, can answer 160/s, 2 cores up to 4,000/s; set threads to "
        "100 if your code is thread-safe"
    )


def test_bound_of_the_database_holds() -> None:
    evidence = Evidence()
    evidence.add(minute(rate=46, request=0.104, computing=0.003))
    request = evidence.request()
    assert request is not None

    assert judge(request, Serving(WSGI, 2, 5, 1, most_at_once=6)) is None


def test_nothing_is_said_on_few_requests() -> None:
    evidence = Evidence()
    evidence.add(minute(rate=16, request=0.104, computing=0.003))

    assert evidence.request() is None


def test_sandbox_without_cpu_times_gets_no_verdict() -> None:
    evidence = Evidence()
    evidence.add(minute(rate=46, request=0.104, computing=0.0))

    assert evidence.request() is None


def test_requests_that_wait_for_each_other_say_nothing_of_their_time() -> None:
    """Forty threads that compute: each request takes 40 times as long as it computes."""
    evidence = Evidence()
    evidence.add(minute(rate=190, request=0.6, computing=0.0102, workers=3, slots=100))

    assert evidence.request() is None


def test_crowded_machine_makes_computing_no_waiting() -> None:
    """The view only computes, and waits for a core three times as long."""
    evidence = Evidence()
    evidence.add(minute(rate=23, request=0.042, computing=0.010, delay=0.0318, workers=1, cores=1))
    request = evidence.request()

    assert request is not None
    assert request.computing_seconds / request.whole_seconds == pytest.approx(0.98, abs=0.02)


def test_loops_that_are_blocked_for_as_long_as_they_wait_for_a_core() -> None:
    """Of a second each is blocked for 300 ms, and its worker waits 300 ms for a core."""
    evidence = Evidence()
    evidence.add(minute(rate=30, request=0.15, computing=0.001, delay=0.05, loop=0.3, **LOOPS))
    request = evidence.request()
    assert request is not None
    assert request.blocking_seconds == pytest.approx(0.05)
    found = judge(request, Serving(ASGI, 2, 5, None))
    assert found is not None
    assert found.cause is Cause.BLOCKS
    assert found.now_per_second == pytest.approx(100)


def test_evidence_follows_what_requests_become() -> None:
    evidence = Evidence()
    for _ in range(60):
        evidence.add(minute(rate=100, request=0.01, computing=0.009))
    for _ in range(30):
        evidence.add(minute(rate=40, request=0.1, computing=0.001))
    request = evidence.request()

    assert request is not None
    assert request.whole_seconds > 0.09


def test_threads_that_are_always_full_are_judged() -> None:
    """What is under full load from its start on: a request begins when it has a thread."""
    evidence, serving = Evidence(), Serving(Interface.WSGI, 2.0, 3, 8, 8)
    full = minute(
        rate=237.0,
        request=0.1,
        computing=0.0005,
        delay=0.0,
        workers=3,
        slots=8,
        cores=2.0,
        pool=0.97,
    )
    for _ in range(3):
        evidence.add(full)
    request = evidence.request()

    assert request is not None
    verdict = judge(request, serving)
    assert verdict is not None
    assert (verdict.workload, round(verdict.now_per_second)) == ("io", 240)
