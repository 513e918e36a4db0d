"""What one worker sees of the others on the shared page."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from gunicorn_autoconf.fleet.meter import Header, Meter
from gunicorn_autoconf.fleet.peers import Peers
from gunicorn_autoconf.fleet.shared_page import Region, SharedPage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fleet(count: int) -> tuple[SharedPage, Clock, list[Peers]]:
    page, clock = SharedPage(8), Clock()
    slots = [slot for _ in range(count) if (slot := page.take()) is not None]
    return page, clock, [Peers(page, slot, clock=clock) for slot in slots]


def test_sees_the_connections_of_those_that_accept() -> None:
    _, _, (own, second, third) = fleet(3)
    second.accept()
    second.open(7)
    third.open(3)  # It boots.
    assert own.connections() == [7]
    third.accept()
    second.open(8)
    assert own.connections() == [8, 3]
    second.stop()
    assert own.connections() == [3]


def test_one_that_comes_is_seen_and_one_that_is_gone_is_not() -> None:
    page, clock, (own, second) = fleet(2)
    second.accept()
    assert own.connections() == [0]
    page.free(1)
    clock.now += 0.2
    assert own.connections() == []
    slot = page.take()
    assert slot == 1
    clock.now += 0.2
    assert own.connections() == []  # Its predecessor's numbers are gone.
    Peers(page, slot).accept()
    assert own.connections() == [0]


def busy(
    page: SharedPage, slot: int, clock: Clock, during: Callable[[], None], seconds: float = 1.2
) -> None:
    """Have the worker of *slot* serve one request, in which *during* is called after *seconds*."""

    def serve(request: Any, connection: Any) -> None:
        clock.now += seconds
        during()

    meter = Meter(page.doubles(slot, Region.COUNTERS), clock=clock)
    header = Header("X-REQUEST-START", lambda request, value: None)
    meter.handler(header)(serve)(SimpleNamespace(headers=[]), None)


def test_one_that_is_always_busy_has_no_room_however_few_connections_it_has() -> None:
    page, clock, (own, second) = fleet(2)
    second.accept()
    own.connections()
    seen: list[list[int]] = []
    busy(page, 1, clock, lambda: seen.append(own.connections()))
    assert seen == [[]]
    clock.now += 1.2
    assert own.connections() == [0]


def test_one_that_has_just_answered_a_few_requests_keeps_its_share() -> None:
    page, clock, (own, second) = fleet(2)
    second.accept()
    own.connections()
    seen: list[list[int]] = []
    busy(page, 1, clock, lambda: seen.append(own.connections()), seconds=0.12)
    assert seen == [[0]]


def test_both_busy_are_compared_by_their_connections() -> None:
    page, clock, (own, second) = fleet(2)
    second.accept()
    own.connections()
    seen: list[list[int]] = []
    busy(page, 0, clock, lambda: busy(page, 1, clock, lambda: seen.append(own.connections())))
    assert seen == [[0]]
