"""How long workers take to end, and how late samples come."""

from __future__ import annotations

from gunicorn_autoconf.memory.ends import Ends


def test_two_seconds_while_none_was_seen() -> None:
    assert Ends().seconds(100) == 2.0


def test_as_long_as_the_slowest_of_the_last_ten_minutes() -> None:
    ends = Ends()
    ends.see({11, 12}, 100)
    ends.see({12}, 107)
    assert ends.seconds(107) == 7.0
    ends.see(set(), 139)
    assert ends.seconds(139) == 39.0
    assert ends.seconds(738) == 39.0
    assert ends.seconds(739) == 2.0


def test_one_that_goes_on_counts() -> None:
    ends = Ends()
    ends.see({11}, 100)
    assert ends.seconds(101) == 2.0
    assert ends.seconds(125) == 25.0


def test_of_many_the_last_ones_count() -> None:
    ends = Ends()
    for number in range(20):
        ends.see({number}, 100 + number)
    ends.see(set(), 150)
    assert len(ends._ends) == 8


def sampled(ends: Ends, now: float, late: float) -> None:
    ends.expect(now - late)
    ends.see(set(), now)


def test_one_late_sample_tells_nothing() -> None:
    ends = Ends()
    for now, late in ((100, 0.0), (101, 30.0), (102, 0.2)):
        sampled(ends, now, late)
    assert ends.late_seconds(102) == 0.0


def test_samples_that_are_late_again_and_again() -> None:
    """An end takes as much longer while none was seen, and as long as it took from then on."""
    ends = Ends()
    for now, late in ((100, 2.0), (101, 30.0), (102, 1.5)):
        sampled(ends, now, late)
    assert ends.late_seconds(102) == 2.0
    assert ends.seconds(102) == 4.0
    assert ends.late_seconds(159) == 2.0
    assert ends.late_seconds(160) == 1.5
    assert ends.late_seconds(161) == 0.0
    assert ends.seconds(161) == 2.0


def test_what_was_not_due_is_not_late() -> None:
    ends = Ends()
    for now in (100, 200, 300):
        ends.see(set(), now)
    assert ends.late_seconds(300) == 0.0
