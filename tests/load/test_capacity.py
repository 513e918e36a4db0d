"""What requests do and what bounds the server, from readings that tests write down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from loads import HTTP, minute

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.load.capacity import Backlog, Bound, Reading, Supply, measure
from gunicorn_autoconf.load.lines import load_fields, render_load
from gunicorn_autoconf.load.window import Window


def test_numbers_of_a_minute() -> None:
    load = minute(rate=46, request=0.104, computing=0.003, waiting=18)

    assert load.seconds == 60
    assert load.requests == 2760
    assert load.rate == 46
    assert load.request_seconds == pytest.approx(0.104)
    assert load.computing_seconds == pytest.approx(0.003)
    assert load.busy_slots == pytest.approx(4.784)
    assert load.slots == 5
    assert load.busy_fraction == pytest.approx(0.9568)
    assert load.cores_fraction == pytest.approx(0.069)
    assert load.waiting == 18
    assert load.bound_by is Bound.SLOTS


def test_line_of_a_minute() -> None:
    load = minute(rate=46, request=0.104, computing=0.003, waiting=18)

    assert render_load(load) == (
        "gunicorn-autoconf: load 46/s, 104 ms each (3.0 ms computing), 4.8 of 5 slots busy, "
        "cores 7 %, 18 waiting: bound by slots"
    )
    fields = load_fields(load)
    assert fields["requests_per_second"] == 46
    assert fields["bound_by"] == "slots"


def test_line_of_event_loops() -> None:
    load = minute(rate=300, request=0.026, computing=0.005, slots=None, has_loop=True)

    assert render_load(load) == (
        "gunicorn-autoconf: load 300/s, 26 ms each (5.0 ms computing), 7.8 at once, "
        "loops 30 % busy, cores 75 %"
    )


def test_line_of_event_loops_of_which_one_has_all_connections() -> None:
    load = minute(rate=300, request=0.026, computing=0.005, slots=None, has_loop=True)
    uneven = replace(load, loop_fraction=0.21, busiest_fraction=0.998, bound_by=Bound.ONE_LOOP)

    assert render_load(uneven) == (
        "gunicorn-autoconf: load 300/s, 26 ms each (5.0 ms computing), 7.8 at once, "
        "loops 21 % busy, one 100 %, cores 75 %: bound by one event loop"
    )
    assert load_fields(uneven)["busiest_loop_fraction"] == 0.998


def loops(*workers: tuple[float, int], since: float = 0.0) -> Bound:
    """
    Return what bounds a server whose event loops were busy for as many of 60 seconds.

    Each had as many requests; the first worker is there from *since* on.
    """
    readings = []
    for at in (0.0, since, 60.0):
        share = at / 60
        each = {
            pid: Counters(
                requests=int(requests * share), loop_seconds=(at - since) / (60 - since) * busy
            )
            if pid == 10
            else Counters(requests=int(requests * share), loop_seconds=busy * share)
            for pid, (busy, requests) in enumerate(workers, 10)
            if pid != 10 or at >= since
        }
        total = Counters(requests=sum(row.requests for row in each.values()))
        readings.append(Reading(at_seconds=at, total=total, workers=each))
    load = measure(readings, Supply(cores=4, workers=len(workers), slots=None, has_loop=True))
    assert load
    return load.bound_by


def test_one_full_loop_beside_idle_ones() -> None:
    assert loops((59.0, 600), (3.0, 30), (2.0, 20), (1.0, 10)) is Bound.ONE_LOOP
    assert loops((40.0, 600), (3.0, 30), (2.0, 20), (1.0, 10)) is Bound.NOTHING
    assert loops((59.0, 600), (58.0, 600), (59.0, 600), (57.0, 600)) is Bound.LOOP


def test_loop_of_a_worker_that_serves_nothing() -> None:
    """It loads a model, or a background task of the application computes."""
    assert loops((59.0, 0), (3.0, 30), (2.0, 20), (1.0, 10)) is Bound.NOTHING


def test_full_loop_of_a_worker_that_has_just_come() -> None:
    assert loops((9.0, 90), (3.0, 30), (2.0, 20), (1.0, 10), since=50.0) is Bound.NOTHING
    assert loops((29.0, 90), (3.0, 30), (2.0, 20), (1.0, 10), since=30.0) is Bound.ONE_LOOP


def test_line_of_threads_that_share_a_core() -> None:
    load = minute(rate=98, request=0.5, computing=0.010, workers=1, slots=100, waiting=None)

    assert render_load(load).endswith(
        "49 of 100 slots busy, cores 49 %: bound by processes (the GIL)"
    )


def test_line_without_a_request() -> None:
    load = minute(rate=0, request=0, computing=0, waiting=None)

    assert load.request_seconds is None
    assert render_load(load) == "gunicorn-autoconf: load 0/s, 0 of 5 slots busy, cores 0 %"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        # Waiting, and the same with room on the slots.
        ({"rate": 46, "request": 0.104, "computing": 0.003}, Bound.SLOTS),
        ({"rate": 35, "request": 0.104, "computing": 0.003}, Bound.NOTHING),
        ({"rate": 35, "request": 0.104, "computing": 0.003, "waiting": 4}, Bound.SLOTS),
        ({"rate": 10, "request": 0.104, "computing": 0.003, "waiting": 4}, Bound.NOTHING),
        # Computing on two cores.
        ({"rate": 190, "request": 0.026, "computing": 0.010}, Bound.CORES),
        ({"rate": 100, "request": 0.012, "computing": 0.010}, Bound.NOTHING),
        # Others use the machine: the workers are busy, and mostly wait for a core.
        ({"rate": 90, "request": 0.055, "computing": 0.010, "delay": 0.040}, Bound.CORES),
        # The same of event loops; and of loops that mostly wait for nothing.
        (
            {"rate": 150, "request": 0.08, "computing": 0.010, "delay": 0.020, "loop": 0.3}
            | {"slots": None, "has_loop": True},
            Bound.CORES,
        ),
        (
            {"rate": 100, "request": 0.08, "computing": 0.010, "delay": 0.020, "loop": 0.2}
            | {"slots": None, "has_loop": True},
            Bound.NOTHING,
        ),
        # Requests wait for something else, and a little for a core.
        ({"rate": 46, "request": 0.104, "computing": 0.003, "delay": 0.004}, Bound.SLOTS),
        # Nothing that we could add.
        (
            {"rate": 46, "request": 0.104, "computing": 0.003, "memory_forbids": True},
            Bound.MEMORY,
        ),
        (
            {"rate": 46, "request": 0.104, "computing": 0.003, "database_forbids": True},
            Bound.DATABASE,
        ),
        # One process computes on one core, however many threads it has.
        (
            {"rate": 98, "request": 0.5, "computing": 0.010, "workers": 1, "slots": 100},
            Bound.LOOP,
        ),
        (
            {"rate": 98, "request": 0.5, "computing": 0.010, "workers": 1, "slots": None}
            | {"has_loop": True},
            Bound.LOOP,
        ),
        # Something blocks the loops without computing; and the same half of the time.
        (
            {"rate": 50, "request": 0.1, "computing": 0.0002, "slots": None, "has_loop": True}
            | {"loop": 0.98},
            Bound.LOOP,
        ),
        (
            {"rate": 25, "request": 0.1, "computing": 0.0002, "slots": None, "has_loop": True}
            | {"loop": 0.5},
            Bound.NOTHING,
        ),
        # Calls wait for a thread of a pool.
        (
            {"rate": 794, "request": 0.25, "computing": 0.0006, "slots": None, "has_loop": True}
            | {"workers": 2, "pool": 0.97},
            Bound.SLOTS,
        ),
        (
            {"rate": 1900, "request": 0.1, "computing": 0.0003, "workers": 3, "slots": 100},
            Bound.NOTHING,
        ),
        ({"rate": 0, "request": 0, "computing": 0}, Bound.NOTHING),
    ],
)
def test_what_bounds_the_server(what: dict[str, Any], expected: Bound) -> None:
    assert minute(**what).bound_by is expected


def test_no_worker_is_to_be() -> None:
    """``gunicorn -w 0``, while the last ones end."""
    readings = [
        reading(at, total=Counters(requests=at, slot_seconds=at), w10=Counters()) for at in (0, 5)
    ]

    load = measure(readings, Supply(cores=2, workers=0))

    assert load is not None
    assert load.busy_fraction is None
    assert load.bound_by is Bound.NOTHING


def reading(
    at: float, *, total: Counters, waiting: float | None = None, **workers: Counters
) -> Reading:
    by_pid = {int(name.removeprefix("w")): counters for name, counters in workers.items()}
    return Reading(at_seconds=at, total=total, workers=by_pid, backlogs=(Backlog(HTTP, waiting),))


def test_import_of_a_new_worker_is_no_request() -> None:
    """Two seconds of CPU time for its start do not count as computing of requests."""
    old = Counters(requests=100, cpu_seconds=5.0, slot_seconds=10.0)
    readings = [
        reading(0, total=old, w10=old),
        reading(
            5,
            total=Counters(requests=200, cpu_seconds=8.0, slot_seconds=20.0),
            w10=Counters(requests=200, cpu_seconds=6.0, slot_seconds=20.0),
            w11=Counters(cpu_seconds=2.0),
        ),
    ]

    load = measure(readings, Supply(cores=2, workers=2))

    assert load is not None
    assert load.requests == 100
    assert load.computing_seconds == pytest.approx(0.010)


def test_requests_of_a_worker_that_ended_count() -> None:
    readings = [
        reading(
            0, total=Counters(requests=100), w10=Counters(requests=60), w11=Counters(requests=40)
        ),
        reading(5, total=Counters(requests=190), w11=Counters(requests=80)),
    ]

    load = measure(readings, Supply(cores=2, workers=2))

    assert load is not None
    assert load.requests == 90


def test_backlog_is_a_mean() -> None:
    readings = [
        reading(at, total=Counters(), waiting=waiting, w10=Counters())
        for at, waiting in ((0, 50), (5, 10), (10, 20))
    ]

    load = measure(readings, Supply(cores=2, workers=1))

    assert load is not None
    assert load.backlogs == (Backlog(HTTP, 15),)


@pytest.mark.parametrize(
    "readings",
    [
        [],
        [reading(0, total=Counters(), w10=Counters())],
        [reading(0, total=Counters()), reading(5, total=Counters())],
        [reading(5, total=Counters(), w10=Counters())] * 2,
    ],
    ids=["none", "one", "nobody counts", "no time has passed"],
)
def test_nothing_is_known(readings: list[Reading]) -> None:
    assert measure(readings, Supply(cores=2, workers=1)) is None


def test_queue_time() -> None:
    readings = [
        reading(0, total=Counters(queued=10, queue_seconds=1.0), w10=Counters()),
        reading(5, total=Counters(queued=30, queue_seconds=9.0), w10=Counters()),
    ]

    load = measure(readings, Supply(cores=2, workers=1))

    assert load is not None
    assert load.queued == 20
    assert load.queue_seconds == pytest.approx(0.4)


def test_window_slides() -> None:
    window = Window()
    supply = Supply(cores=2, workers=1)
    for at in range(0, 1001, 5):
        requests = at * 10 if at <= 940 else 9400
        window.add(reading(at, total=Counters(requests=requests), w10=Counters()))

    minute = window.last(60, supply)
    assert minute is not None
    assert (minute.seconds, minute.requests) == (60, 0)
    longer = window.last(120, supply)
    assert longer is not None
    assert (longer.seconds, longer.requests) == (120, 600)
    longest = window.last(3600, supply)
    assert longest is not None
    assert longest.seconds == 300
