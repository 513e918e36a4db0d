"""What a seed gives: every fault, each round anew, the same again."""

from __future__ import annotations

import pytest
from faults import COURSES
from hypothesis import given
from hypothesis import strategies as st
from schedule import Fault, Lane, Round, draw_round


def faults_of(drawn: Round) -> list[Fault]:
    return [step.fault for steps in drawn.values() for step in steps]


def test_each_fault_is_in_one_lane_and_has_a_course() -> None:
    lanes = [fault for lane in Lane for fault in lane.value]
    assert sorted(lanes) == sorted(Fault) == sorted(COURSES)


@given(seed=st.integers(), number=st.integers(0, 100))
def test_every_fault_comes_once_a_round(seed: int, number: int) -> None:
    assert sorted(faults_of(draw_round(seed, number))) == sorted(Fault)


@given(without=st.sets(st.sampled_from(Fault)))
def test_what_is_left_out_does_not_come(without: set[Fault]) -> None:
    assert sorted(faults_of(draw_round(1, 0, without))) == sorted(set(Fault) - without)


@given(seed=st.integers(), number=st.integers(0, 100))
def test_a_seed_gives_the_same_again(seed: int, number: int) -> None:
    assert draw_round(seed, number) == draw_round(seed, number)


@pytest.mark.parametrize("other", [(2, 0), (1, 1)], ids=["seed", "round"])
def test_another_one_gives_another_order(other: tuple[int, int]) -> None:
    assert faults_of(draw_round(1, 0)) != faults_of(draw_round(*other))


def test_pauses_reach_from_none_to_a_second() -> None:
    pauses = [
        step.pause_seconds
        for number in range(20)
        for steps in draw_round(1, number).values()
        for step in steps
    ]
    assert 0 <= min(pauses) < 0.05
    assert 0.95 < max(pauses) <= 1
