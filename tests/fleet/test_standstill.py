"""The time in which nothing ran: what counts as such, and that no request is charged with it."""

from __future__ import annotations

from gunicorn_autoconf.fleet.standstill import Looks, Standstill


def test_a_step_that_is_far_too_late_is_time_in_which_nothing_ran() -> None:
    standstill = Standstill()
    late: list[float] = []
    for late_seconds in (0.0, 5.0, 0.9, 12.0):
        standstill.step(late_seconds)
        late.append(standstill.seconds)
    assert late == [0.0, 5.0, 5.0, 17.0]


def test_a_late_look_waits_for_the_arbiter_once() -> None:
    looks = Looks(0.25)
    looks.begin(0.0)
    judged = [looks.may_judge(at) for at in (0.25, 12.5, 12.75, 13.0, 13.25)]
    assert judged == [True, False, False, True, True]


def test_looks_that_are_late_again_and_again_judge() -> None:
    """An application that blocks the loop for two seconds at a time is not excused for ever."""
    looks = Looks(0.25)
    assert [looks.may_judge(at) for at in (0.0, 2.0, 4.0, 6.0)] == [True, False, True, True]
