"""What the load asks for where memory has had its say meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from loads import minute

from gunicorn_autoconf.load.capacity import Bound, Load
from gunicorn_autoconf.load.follow import Cause, Change, Follow, Limits, demand

# 5 and then 40 workers, all of them busy, answer the same 47 requests a second.
FULL = minute(rate=47, request=0.106, computing=0.003, workers=5)
FULLER = minute(rate=47, request=0.85, computing=0.003, workers=40)
QUIET = minute(rate=1, request=0.1, computing=0.003, workers=6)


def stepped() -> Follow:
    """After a step from 5 to 40 workers that was made at 0 s."""
    follow = Follow()
    follow.changed(0.0, Change(Cause.BUSY, before=5, workers=40, planned=5, load=FULL))
    return follow


def test_step_in_vain_goes_back() -> None:
    change = stepped().decide(100.0, FULLER, FULLER, Limits(workers=40, planned=5, most=40))

    assert change is not None
    assert (change.cause, change.workers) == (Cause.IN_VAIN, 5)


def test_step_that_memory_took_back_is_not_judged() -> None:
    """What it began with is more than fits by now."""
    follow = stepped()
    limits = Limits(workers=3, planned=5, most=3)

    assert follow.decide(100.0, FULLER, FULLER, limits) is None
    assert follow.settled_seconds(100.0) is None


def test_step_that_memory_took_back_ends_no_rule() -> None:
    """Quiet follows the load that the step was for."""
    follow = stepped()
    for now in range(0, 700, 10):
        follow.saw(float(now), QUIET)
    assert follow.decide(700.0, QUIET, FULLER, Limits(workers=6, planned=6, most=6)) is None
    change = follow.decide(710.0, QUIET, None, Limits(workers=6, planned=5, most=6))

    assert change is not None
    assert (change.cause, change.workers) == (Cause.QUIET, 5)


BLOCKED: dict[str, Any] = {
    "rate": 48,
    "request": 0.66,
    "computing": 0.0005,
    "has_loop": True,
    "loop": 0.99,
}


@pytest.mark.parametrize(
    ("load", "bound", "wanted"),
    [
        (minute(rate=47, request=0.106, computing=0.003, waiting=30), Bound.SLOTS, 35),
        (minute(rate=47, request=0.106, computing=0.003, waiting=None), Bound.SLOTS, 20),
        # Blocked loops have accepted all that asks, 32 requests, or leave a few for later.
        (minute(**BLOCKED, slots=None), Bound.LOOP, 40),
        (minute(**BLOCKED, slots=None, waiting=4), Bound.LOOP, 45),
        (minute(**BLOCKED, slots=1000), Bound.LOOP, 40),
        (minute(**BLOCKED | {"request": 0.1}, slots=None), Bound.LOOP, 10),
        # 200 streams are no more than 48 a second of at most a second each.
        (minute(**BLOCKED, slots=None, streams=200), Bound.LOOP, 60),
        (minute(**BLOCKED | {"request": 0.1}, slots=None, streams=200), Bound.LOOP, 10),
        # Loops that do all that is asked, if late, whatever waits for them.
        (minute(**BLOCKED | {"loop": 0.9}, slots=None, streams=200), Bound.LOOP, 6),
        # How many a full thread pool serves at once is not known.
        (minute(**BLOCKED | {"loop": 0.1}, slots=None, pool=0.95), Bound.SLOTS, 20),
    ],
    ids=[
        "waiting",
        "unknown",
        "loops",
        "backlog",
        "greenlets",
        "few",
        "streams",
        "few-and-streams",
        "late",
        "pool",
    ],
)
def test_demand(load: Load, bound: Bound, wanted: int) -> None:
    assert (load.bound_by, demand(load)) == (bound, wanted)


STREAMS: dict[str, Any] = {"rate": 20, "request": 0.01, "computing": 0.002, "streams": 200}


def test_streams_that_idle_are_no_load() -> None:
    """Two hundred on five event loops, or on greenlets that hold a thousand each."""
    loops = minute(**STREAMS, slots=None, has_loop=True)
    greenlets = minute(**STREAMS, slots=1000, has_loop=True)

    assert loops.bound_by is greenlets.bound_by is Bound.NOTHING
    assert loops.busy_workers == pytest.approx(0.04)
    assert greenlets.busy_workers == pytest.approx(0.2, rel=0.01)


def test_streams_that_hold_a_thread_each_are_load() -> None:
    """Nothing else is answered by two workers of 100 threads."""
    threads = minute(**STREAMS, workers=2, slots=100)

    assert threads.busy_fraction == pytest.approx(1.0, abs=0.01)
    assert threads.bound_by is Bound.SLOTS


# Two workers of 100 threads that take turns to compute, on eight cores.
TURNS: dict[str, Any] = {"rate": 180, "request": 0.2, "computing": 0.0095, "workers": 2, "cores": 8}


@pytest.mark.parametrize(
    ("load", "after_seconds"),
    [
        (minute(**TURNS, slots=100), 0.0),
        (minute(**TURNS, slots=None, has_loop=True, loop=0.9), 30.0),
    ],
    ids=["threads", "loops"],
)
def test_only_loops_that_may_be_late_by_chance_are_waited_for(
    load: Load, after_seconds: float
) -> None:
    follow, limits = Follow(), Limits(workers=2, planned=2, most=16)
    times = [float(now) for now in range(0, 60, 10)]
    changed = [now for now in times if follow.decide(now, load, None, limits)]
    assert load.bound_by is Bound.LOOP
    assert changed[0] == after_seconds


@pytest.mark.parametrize(("loop", "wanted"), [(0.9, 4), (0.98, 12)], ids=["late", "full"])
def test_streams_that_open_while_loops_are_late_are_not_piled_up(loop: float, wanted: int) -> None:
    """A deployment has 200 of them connect anew in the same ten seconds."""
    asked = minute(
        rate=10, request=0.3, computing=0.001, workers=3, slots=None, has_loop=True, loop=loop
    )
    opened = replace(asked, seconds=10.0, requests=100, present=(3.0, 203.0))
    assert demand(opened) == wanted
