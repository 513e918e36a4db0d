"""Whose the waiting connections are: the level that all workers are filled up to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gunicorn_autoconf.workers.share import Patience, share_of

LOADS = st.lists(st.integers(0, 200), max_size=6)


@pytest.mark.parametrize(
    ("own", "others", "waiting", "expected"),
    [
        (0, [], 7, 7),  # nobody else
        (0, [0], 32, 16),  # opened at once
        (0, [0, 0, 0], 32, 8),
        (0, [16], 16, 16),  # the other came first and left us ours
        (16, [0], 16, 0),
        (16, [0], 20, 2),  # more than bring the other to our level
        (5, [5], 1, 1),  # either may
        (5, [4], 1, 0),
        (4, [5, 100], 1, 1),  # one that has very many takes nothing from the rest
        (6, [5, 100], 1, 0),
        (10, [0, 20], 9, 0),
        (10, [0, 20], 12, 1),
    ],
)
def test_share(own: int, others: list[int], waiting: int, expected: int) -> None:
    assert share_of(own, others, waiting) == expected


@settings(max_examples=60)
@given(loads=LOADS.filter(bool), waiting=st.integers(1, 500))
def test_somebody_takes_each_connection(loads: list[int], waiting: int) -> None:
    """The shares of all workers are all that waits, and at most one more for each worker."""
    shares = [
        share_of(own, loads[:index] + loads[index + 1 :], waiting)
        for index, own in enumerate(loads)
    ]
    assert waiting <= sum(shares) < waiting + len(loads)


@settings(max_examples=60)
@given(loads=LOADS.filter(bool), waiting=st.integers(1, 500))
def test_all_that_take_some_end_level_and_the_others_have_as_many(
    loads: list[int], waiting: int
) -> None:
    shares = [
        share_of(own, loads[:index] + loads[index + 1 :], waiting)
        for index, own in enumerate(loads)
    ]
    (level,) = {own + share for own, share in zip(loads, shares, strict=True) if share}
    assert all(own >= level for own, share in zip(loads, shares, strict=True) if not share)


def test_patience_ends_after_five_rounds_and_starts_again() -> None:
    patience = Patience()
    rounds = [patience.next_delay(10.0 + number / 100) for number in range(7)]
    assert rounds == [0.001, 0.002, 0.003, 0.004, 0.005, None, 0.001]


def test_a_connection_that_comes_later_is_another_one() -> None:
    patience = Patience()
    assert [patience.next_delay(now) for now in (1.0, 1.01, 2.0)] == [0.001, 0.002, 0.001]
