"""How long workers take to end."""

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
