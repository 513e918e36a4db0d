"""The time in which nothing ran: what counts as such, and that nothing is charged with it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gunicorn_autoconf.fleet import standstill as module
from gunicorn_autoconf.fleet.standstill import Heartbeats, Looks, Standstill


def test_a_step_that_is_far_too_late_is_time_in_which_nothing_ran() -> None:
    standstill = Standstill()
    late: list[float] = []
    for late_seconds in (0.0, 5.0, 0.9, 12.0):
        standstill.step(100.0, 100.0 + late_seconds)
        late.append(standstill.seconds)
    assert late == [0.0, 5.0, 5.0, 17.0]


def test_a_step_that_waited_for_a_cpu_is_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is merely crowded must not stretch every limit. A stopped one comes after."""
    queued, standstill, stood = 7.0, Standstill(), list[float]()
    monkeypatch.setattr(module, "read_queued_seconds", lambda: queued)
    for due, now, queued in (  # noqa: B007
        (100.0, 100.0, 7.0),
        (100.1, 103.0, 9.8),
        (103.1, 106.0, 12.7),
        (106.1, 166.1, 12.7),
    ):
        standstill.step(due, now)
        stood.append(standstill.seconds)
    assert stood == [0.0, 0.0, 0.0, 60.0]


def test_times_of_the_monotonic_clock_are_put_on_one_without_standstills() -> None:
    standstill = Standstill()
    standstill.step(100.0, 160.0)
    standstill.step(170.0, 200.0)

    at = (90.0, 100.0, 130.0, 160.0, 165.0, 200.0, 210.0)
    assert [standstill.running(each) for each in at] == [90, 100, 100, 100, 105, 110, 120]


def test_a_moment_stays_the_same_number_after_a_standstill() -> None:
    """A watch compares stamps: another last digit would be another tick, or a new heartbeat."""
    standstill = Standstill()
    ticks = [1000 + number / 7 for number in range(50)]
    before = [standstill.running(tick) for tick in ticks]
    standstill.step(1100.3, 1159.17)
    between = [standstill.running(1160 + tick) for tick in ticks]
    standstill.step(2300.1, 2333.33)

    assert [standstill.running(tick) for tick in ticks] == before
    assert [standstill.running(1160 + tick) for tick in ticks] == between


def test_gunicorns_timeout_goes_on_after_a_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its main loop asks once a second, for one worker after the other."""
    now = 100.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    heartbeats = Heartbeats()
    first, second = (SimpleNamespace(last_update=lambda beat=beat: beat) for beat in (95.0, 99.0))
    read = heartbeats.follow(first)
    heartbeats.follow(second)
    for now, ages in (
        (100.0, [5.0, 1.0]),
        (101.0, [6.0, 2.0]),
        (162.0, [7.0, 3.0]),  # For a minute it stood still.
        (163.0, [8.0, 4.0]),
    ):
        assert [now - tmp.last_update() for tmp in (first, second)] == ages
    assert read() == (95.0, 8.0)


def test_gunicorns_timeout_holds_where_the_arbiter_seldom_gets_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, ages = 100.0, list[float]()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(module, "read_queued_seconds", lambda: now - 100.0)
    tmp, heartbeats = SimpleNamespace(last_update=lambda: 100.0), Heartbeats()
    heartbeats.follow(tmp)
    for now in (103.0, 106.0, 109.0):
        heartbeats.step()
        ages.append(now - tmp.last_update())
    assert ages == [3.0, 6.0, 9.0]


def test_a_late_look_waits_for_the_arbiter_once() -> None:
    looks = Looks(0.25)
    looks.begin(0.0)
    judged = [looks.may_judge(at) for at in (0.25, 12.5, 12.75, 13.0, 13.25)]
    assert judged == [True, False, False, True, True]


def test_looks_judge_as_soon_as_the_arbiter_has_taken_a_standstill_off() -> None:
    """Those before that had the time of the standstill, and must not wait for it once more."""
    looks = Looks(0.25)
    looks.begin(0.0)
    judged = [looks.may_judge(at) for at in (0.25, 12.5, 0.75, 1.0)]
    assert judged == [True, False, True, True]


def test_looks_that_are_late_again_and_again_judge() -> None:
    """An application that blocks the loop for two seconds at a time is not excused for ever."""
    looks = Looks(0.25)
    assert [looks.may_judge(at) for at in (0.0, 2.0, 4.0, 6.0)] == [True, False, True, True]
