"""What steps of the count and OOM kills lead to. Times are in seconds."""

from __future__ import annotations

import pytest

from gunicorn_autoconf.memory.steps import Steps
from gunicorn_autoconf.memory.why import TooMany

ENOUGH = 99


def killed(steps: Steps, now: float, count: int, beside: int = ENOUGH, alone: int = ENOUGH) -> None:
    steps.oom_killed(count, beside=beside, alone=alone, now=now)


class TestTooMany:
    def test_one_kill_is_an_accident(self) -> None:
        steps = Steps()
        killed(steps, 100, 4)
        assert steps.too_many(4) is None
        assert steps.most(100) is None

    @pytest.mark.parametrize(("second", "is_told"), [(101, True), (699, True), (700, False)])
    def test_two_in_ten_minutes_are_none(self, second: float, is_told: bool) -> None:
        steps = Steps()
        killed(steps, 100, 4)
        killed(steps, second, 4)
        expected = TooMany(3, seconds=max(second - 100, 1)) if is_told else None
        assert steps.too_many(4) == expected

    @pytest.mark.parametrize(("beside", "fits"), [(99, 3), (3, 3), (2, 2), (0, 1)])
    def test_down_to_what_fits(self, beside: int, fits: int) -> None:
        steps = Steps()
        for now in (100, 110):
            killed(steps, now, 4, beside, beside)
        told = steps.too_many(4)
        assert told is not None
        assert told.fits == fits

    def test_until_the_count_is_there(self) -> None:
        steps = Steps()
        killed(steps, 100, 4, 2, 2)
        killed(steps, 110, 4, 2, 2)
        assert steps.too_many(4)
        assert steps.too_many(3)
        assert steps.too_many(2) is None
        assert steps.too_many(4) is None

    def test_a_loop_of_kills_is_two_and_two(self) -> None:
        steps = Steps()
        for now in (100, 101, 102):
            killed(steps, now, 4)
        told = steps.too_many(4)
        assert told is not None
        assert told.fits == 3

    @pytest.mark.parametrize(("second", "is_told"), [(399, True), (400, False)])
    def test_a_step_that_is_followed_by_a_kill_is_taken_back(
        self, second: float, is_told: bool
    ) -> None:
        steps = Steps()
        steps.grew(2, 100)
        killed(steps, second, 4)
        expected = TooMany(2, grown=(2, 4)) if is_told else None
        assert steps.too_many(4) == expected

    @pytest.mark.parametrize(
        ("before", "alone", "is_told"), [(2, 1, False), (2, 2, True), (1, 1, True)]
    )
    def test_a_step_is_not_to_blame_for_one_large_worker(
        self, before: int, alone: int, is_told: bool
    ) -> None:
        """A request that wants more than there is kills its worker at the count before as well."""
        steps = Steps()
        steps.grew(before, 100)
        killed(steps, 102, 3, alone, alone)
        assert (steps.too_many(3) is not None) is is_told

    def test_one_large_worker_that_takes_a_neighbour_with_it_is_one_accident(self) -> None:
        """Both kills show in one sample. Where two of that size fit, they are two kills."""
        large, small = Steps(), Steps()
        for _ in range(2):
            killed(large, 100, 3, 1, 1)
            killed(small, 100, 3, 2, 2)
        assert large.too_many(3) is None
        # A float: the line says "2 OOM kills in 1 s".
        assert repr(small.too_many(3)) == "TooMany(fits=2, grown=None, seconds=1.0)"

        killed(large, 160, 3, 1, 1)
        assert large.too_many(3) == TooMany(1, seconds=60)

    def test_several_steps_are_taken_back_together(self) -> None:
        steps = Steps()
        for before, now in ((1, 100), (2, 120), (4, 140)):
            steps.grew(before, now)
        killed(steps, 160, 8)
        assert steps.too_many(8) == TooMany(1, grown=(1, 8))

    def test_what_others_took_is_given_way_to(self) -> None:
        """Six fit alone, four beside others: at once, and not out of reach."""
        steps = Steps()
        steps.grew(3, 90)
        killed(steps, 100, 6, 4, 6)
        assert steps.too_many(6) == TooMany(4)
        assert steps.most(100) is None


class TestMost:
    def test_what_no_size_explains_is_out_of_reach_for_an_hour(self) -> None:
        steps = Steps()
        killed(steps, 100, 4)
        killed(steps, 110, 4)
        assert steps.most(110) == 3
        assert steps.most(3709) == 3
        assert steps.most(3710) is None

    def test_what_a_size_explains_is_planned_for(self) -> None:
        steps = Steps()
        killed(steps, 100, 4, 2, 2)
        killed(steps, 110, 4, 2, 2)
        assert steps.most(110) is None

    def test_what_recycles_cannot_hold_is_out_of_reach_for_longer_each_time(self) -> None:
        """For 1 h, 2 h, 4 h, 8 h, 16 h, 24 h, 24 h."""
        steps = Steps()
        for now, until in (
            *[(0, 3600), (10_000, 17_200), (20_000, 34_400), (40_000, 68_800)],
            *[(100_000, 157_600), (200_000, 286_400), (300_000, 386_400)],
        ):
            steps.churned(2, now)
            assert steps.most(until - 1) == 2
            assert steps.most(until) is None


class TestHold:
    def test_grows_freely_at_first(self) -> None:
        assert Steps().may_grow(0)

    def test_waits_longer_each_time(self) -> None:
        """60 s, 120 s, 240 s: a sidecar that comes and goes moves the count less and less."""
        steps = Steps()
        for now, until in ((100, 160), (200, 320), (400, 640)):
            steps.shrank(now)
            assert not steps.may_grow(until - 1)
            assert steps.may_grow(until)

    def test_steps_in_a_row_are_one(self) -> None:
        steps = Steps()
        for now in (100, 102, 104):
            steps.shrank(now)
        assert not steps.may_grow(163)
        assert steps.may_grow(164)

    def test_never_longer_than_an_hour(self) -> None:
        steps = Steps()
        for number in range(20):
            steps.shrank(number * 10_000)
        assert not steps.may_grow(193_599)
        assert steps.may_grow(193_600)
