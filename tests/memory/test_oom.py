"""Which processes the kernel's OOM killer killed, from counters as the kernel shows them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gunicorn_autoconf.machine.memory_events import Events
from gunicorn_autoconf.memory.oom import OomWatch, explains, out_of_memory_at, reached_at

MIB = 2**20


class Kernel:
    """The counters of a leaf and of what is above it, v2 unless told otherwise."""

    def __init__(self, kills: int | None = 0, levels: int = 2, *, v1: bool = False) -> None:
        start = Events(limit_hits=0) if v1 else Events(0, 0, 0, 0)
        self.levels = [start] * levels
        self.levels[0] = start._replace(oom_kills=kills)
        self.watch = OomWatch(self.read, lambda levels: levels[0].oom_kills)

    def read(self) -> Sequence[Events]:
        return tuple(self.levels)

    def kill(self, times: int = 1) -> None:
        self._add("oom_kills", 0, times)

    def run_out(self, level: int) -> None:
        self._add("ooms", level, 1)
        self._add("limit_hits", level, 1)

    def reach(self, level: int, times: int) -> None:
        self._add("limit_hits", level, times)

    def _add(self, name: str, level: int, times: int) -> None:
        count = (getattr(self.levels[level], name) or 0) + times
        self.levels[level] = self.levels[level]._replace(**{name: count})


class TestClaim:
    """Each kill is laid to one worker that ended."""

    def test_worker_that_ended_by_itself(self) -> None:
        assert Kernel().watch.claim(1) is None

    def test_kills_from_before_are_not_ours(self) -> None:
        assert Kernel(kills=5).watch.claim(1) is None

    @pytest.mark.parametrize("kills", [1, 2])
    def test_each_kill_is_one_workers(self, kills: int) -> None:
        kernel = Kernel(kills=5)
        kernel.kill(kills)
        claims = [kernel.watch.claim(1) for _ in range(3)]
        assert [claim is not None for claim in claims] == [True] * kills + [False] * (3 - kills)

    def test_each_has_its_own_time(self) -> None:
        kernel = Kernel()
        kernel.kill()
        kernel.watch.peek(3)
        kernel.kill()
        kernel.watch.peek(8)
        found = [kernel.watch.claim(9), kernel.watch.claim(9)]
        assert [kill.at_seconds for kill in found if kill] == [3, 8]

    def test_a_look_takes_none_away(self) -> None:
        kernel = Kernel()
        kernel.kill()
        assert kernel.watch.peek(1) == kernel.watch.peek(2) == kernel.watch.claim(3)

    def test_no_counter(self) -> None:
        watch = Kernel(kills=None).watch
        assert watch.claim(1) is None
        assert watch.unclaimed(100, are_well=True) == []

    def test_counter_that_goes_away(self) -> None:
        kernel = Kernel(kills=3)
        kernel.levels[0] = Events()
        assert kernel.watch.claim(1) is None

    def test_counter_that_begins_anew(self) -> None:
        kernel = Kernel(kills=3)
        kernel.levels[0] = Events(0, 0, 0, 0)
        assert kernel.watch.claim(1) is None
        kernel.kill()
        assert kernel.watch.claim(2) is not None


class TestLevel:
    """The level whose limit was hit."""

    @pytest.mark.parametrize("level", [0, 1])
    def test_v2_is_the_one_that_ran_out(self, level: int) -> None:
        kernel = Kernel()
        kernel.run_out(level)
        kernel.reach(1 - level, 40)
        kernel.kill()
        kill = kernel.watch.claim(1)
        assert kill is not None
        assert kill.level == level

    def test_lowest_where_those_above_count_it_too(self) -> None:
        """memory.events, which counts a level with those below it."""
        before, now = [Events(0, 0, 0)] * 3, [Events(1, 0, 0), Events(1, 1, 1), Events(1, 1, 1)]
        assert out_of_memory_at(before, now) == 1

    def test_none_where_the_machine_ran_out(self) -> None:
        kernel = Kernel()
        kernel.reach(0, 5)  # Something could be freed each time.
        kernel.kill()
        kill = kernel.watch.claim(1)
        assert kill is not None
        assert kill.level is None

    @pytest.mark.parametrize(("seconds", "level"), [(9, 1), (11, None)])
    def test_a_look_between_hit_and_kill(self, seconds: float, level: int | None) -> None:
        kernel = Kernel()
        kernel.run_out(1)
        assert kernel.watch.peek(100) is None
        kernel.kill()
        kill = kernel.watch.claim(100 + seconds)
        assert kill is not None
        assert kill.level == level

    def test_v1_is_the_one_that_reached_its_limit_most_often(self) -> None:
        kernel = Kernel(v1=True)
        kernel.reach(0, 2)
        kernel.reach(1, 300)
        kernel.kill()
        kill = kernel.watch.claim(1)
        assert kill is not None
        assert kill.level == 1

    def test_v1_where_no_limit_was_reached(self) -> None:
        assert reached_at([Events(0, None, 7)], [Events(1, None, 7)]) is None


class TestStrangers:
    """A kill that no worker claims was that of another process."""

    def test_at_the_second_look_at_workers_that_are_well(self) -> None:
        kernel = Kernel()
        kernel.watch.unclaimed(90, are_well=True)
        kernel.kill()
        assert kernel.watch.unclaimed(100, are_well=True) == []
        assert len(kernel.watch.unclaimed(100.5, are_well=True)) == 1
        assert kernel.watch.claim(101) is None
        assert kernel.watch.unclaimed(200, are_well=True) == []

    def test_not_while_a_worker_is_ending(self) -> None:
        """An end at the limit may take a minute; it claims the kill."""
        kernel = Kernel()
        kernel.kill()
        assert kernel.watch.unclaimed(100, are_well=True) == []
        assert kernel.watch.unclaimed(105, are_well=False) == []
        assert kernel.watch.unclaimed(109, are_well=False) == []
        assert kernel.watch.claim(109.5) is not None
        assert kernel.watch.unclaimed(110, are_well=True) == []

    def test_not_right_after_one_was_ending(self) -> None:
        kernel = Kernel()
        kernel.kill()
        assert kernel.watch.unclaimed(100, are_well=False) == []
        assert kernel.watch.unclaimed(105, are_well=True) == []
        assert len(kernel.watch.unclaimed(106, are_well=True)) == 1

    def test_in_the_end_although_a_worker_hangs(self) -> None:
        kernel = Kernel()
        kernel.kill()
        assert kernel.watch.unclaimed(100, are_well=False) == []
        assert kernel.watch.unclaimed(109.9, are_well=False) == []
        assert len(kernel.watch.unclaimed(110, are_well=False)) == 1

    def test_one_of_two(self) -> None:
        kernel = Kernel()
        kernel.kill(2)
        kernel.watch.unclaimed(100, are_well=True)
        assert kernel.watch.claim(100.1) is not None
        assert len(kernel.watch.unclaimed(101, are_well=True)) == 1


@pytest.mark.parametrize(
    ("left_mib", "largest_mib", "explained"),
    [
        pytest.param(85, 30, False, id="most of the limit is free again"),
        pytest.param(85, 200, True, id="it was large"),
        pytest.param(280, 27, True, id="what is left is shared memory"),
    ],
)
def test_what_sizes_explain(left_mib: int, largest_mib: int, explained: bool) -> None:
    assert explains(300 * MIB, left_mib * MIB, largest_mib * MIB) is explained
