"""What the guard decides on traces that were written by hand. Sizes are in MiB."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
from builders import MIB

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.guard import decide, is_full, is_reached, next_interval

KEEP = "keep"
Trace = list[Sample]


def worker(
    pid: int,
    uss: float,
    boot: float | None = 40,
    *,
    age: float = 600,
    earlier: float | None = None,
    pss: float | None = None,
    took: float = 2,
) -> WorkerSample:
    """Worker *pid* of so many MiB; *boot* is its size at boot, None while it boots."""
    return WorkerSample(
        pid=pid,
        age_seconds=age,
        uss_bytes=round(uss * MIB),
        pss_bytes=round((uss if pss is None else pss) * MIB),
        boot_uss_bytes=None if boot is None else round(boot * MIB),
        boot_seconds=took,
        earlier_uss_bytes=None if earlier is None else round(earlier * MIB),
    )


def seen(
    at: float, left: float, *workers: WorkerSample, limit: int = 300, target: int | None = None
) -> Sample:
    """A sample after *at* seconds with *left* MiB of headroom under *limit*."""
    return Sample(
        at_seconds=at,
        limit_bytes=limit * MIB,
        headroom_bytes=round(left * MIB),
        target=len(workers) if target is None else target,
        workers=workers,
    )


def planned(*rows: tuple[float, int]) -> Callable[[int], int]:
    """A plan of (up to so many MiB a worker, so many workers)."""

    def workers_for(measured_bytes: int) -> int:
        return next(count for size, count in rows if measured_bytes <= size * MIB)

    return workers_for


def always(count: int) -> Callable[[int], int]:
    return planned((inf, count))


REACHED = Permissions(shrinking=False, growing=False)
STOOD_DOWN = Permissions(resizing=False, shrinking=False, growing=False)


def decided(
    trace: Trace,
    plan: Callable[[int], int] | None = None,
    permissions: Permissions = REACHED,
) -> str:
    """What is done at the end of *trace*, in one line."""
    return said(decide(trace, permissions, plan or always(len(trace[-1].workers) or 1)))


def said(action: Action) -> str:
    if action.kind is Kind.GROW:
        return f"grow {action.add}"
    if action.kind is Kind.RECYCLE:
        order = "replacement first" if action.replacement_first else "stop first"
        return f"recycle {action.pid}, {order}"
    return str(action.kind.value)


# -- grow --------------------------------------------------------------------------------------


class TestGrow:
    @pytest.mark.parametrize(
        ("running", "plan", "action"),
        [
            (1, 8, "grow 1"),
            (2, 8, "grow 2"),
            (4, 8, "grow 4"),
            (8, 8, KEEP),
            (3, 9, "grow 3"),
            (6, 9, "grow 3"),
            (4, 5, "grow 1"),
            (6, 8, "grow 2"),
            (1, 2, "grow 1"),
            (1, 1, KEEP),
        ],
    )
    def test_as_many_as_run_up_to_the_plan(self, running: int, plan: int, action: str) -> None:
        fleet = [worker(pid, 40, age=2) for pid in range(running)]
        assert decided([seen(0, 900, *fleet, limit=1024)], always(plan), Permissions()) == action

    @pytest.mark.parametrize(
        ("fleet", "target"),
        [
            pytest.param([worker(11, 40), worker(12, 15, None)], 2, id="one boots"),
            pytest.param([worker(11, 40)], 2, id="one is not forked yet"),
            pytest.param([worker(11, 40), worker(12, 40)], 1, id="one is on its way out"),
            pytest.param([worker(11, 15, None)], 1, id="the first boots"),
            pytest.param([], 1, id="none is there"),
        ],
    )
    def test_not_before_all_are_there(self, fleet: list[WorkerSample], target: int) -> None:
        sample = seen(0, 900, *fleet, limit=1024, target=target)
        assert decided([sample], always(8), Permissions()) == KEEP

    def test_the_largest_is_what_the_plan_is_asked_for(self) -> None:
        plan = planned((50, 9), (100, 4), (inf, 1))
        fleet = [worker(11, 40), worker(12, 90), worker(13, 45)]
        assert decided([seen(0, 800, *fleet, limit=1024)], plan, Permissions()) == "grow 1"

    def test_shared_memory_is_counted_by_share(self) -> None:
        """PSS, not USS: what is preloaded counts, once."""
        plan = planned((50, 9), (100, 4), (inf, 1))
        fleet = [worker(11, 20, 20, pss=70), worker(12, 20, 20, pss=70)]
        assert decided([seen(0, 800, *fleet, limit=1024)], plan, Permissions()) == "grow 2"

    def test_says_why(self) -> None:
        action = decide([seen(0, 900, worker(11, 40), limit=1024)], Permissions(), always(8))
        assert action.reason == "the largest of 1 uses 40 MiB, the plan is 8"

    def test_not_after_the_plan_was_reached(self) -> None:
        fleet = [worker(11, 40), worker(12, 40)]
        assert decided([seen(0, 900, *fleet, limit=1024)], always(8), REACHED) == KEEP


@pytest.mark.parametrize(
    ("fleet", "target", "plan", "reached"),
    [
        ([worker(11, 40), worker(12, 40)], 2, 2, True),
        ([worker(11, 40), worker(12, 40)], 2, 4, False),
        ([worker(11, 40), worker(12, 40)], 2, 1, False),
        ([worker(11, 40), worker(12, 20, None)], 2, 2, False),
        ([worker(11, 40)], 2, 2, False),
        ([], 0, 2, False),
    ],
)
def test_plan_is_reached(fleet: list[WorkerSample], target: int, plan: int, reached: bool) -> None:
    trace = [seen(at, 200, *fleet, target=target) for at in (0, 1)]
    assert is_reached(trace, always(plan)) is reached
    assert not is_reached(trace[1:], always(plan))


def test_plan_is_not_reached_by_one_large_moment() -> None:
    """Three are planned for what they use but in the moment in which one of them uses more."""
    plan = planned((50, 3), (inf, 2))
    busy = (worker(11, 40), worker(12, 400))
    small = seen(0, 900, worker(11, 40), worker(12, 40), limit=1024)
    large = seen(1, 500, *busy, limit=1024)
    assert not is_reached([small, large], plan)
    assert not is_reached([large, small], plan)
    assert is_reached([large, large], plan)
    # Nor by a worker that was seen in that moment alone.
    other = seen(1, 500, worker(11, 40), worker(13, 400), limit=1024)
    assert not is_reached([small, other], plan)


def test_one_that_leaks_does_not_end_the_growth() -> None:
    """
    Two run after a reload, three are planned for what they use, and one of them leaks.

    Two is the plan for the one that leaks, and would be the count for good once it is replaced. One
    is the plan when it leaks on, but nobody is retired for that: it is its turn to be replaced.
    """
    plan = planned((100, 3), (400, 2), (inf, 1))
    small = worker(11, 69, 69)
    leak = [
        seen(at, 700 - size, small, worker(12, size, 69, earlier=size - 50), limit=800)
        for at, size in ((0, 301), (1, 351), (2, 401), (3, 451))
    ]
    assert is_reached(leak[:2], plan)
    assert not is_full(leak[:2], plan)
    on_its_way = Permissions(shrinking=False)
    assert decided(leak, plan, on_its_way) == KEEP
    replaced = [seen(at, 660, small, worker(13, 69, 69), limit=800) for at in (4, 5)]
    assert decided(leak + replaced, plan, on_its_way) == "grow 1"


@pytest.mark.parametrize(
    ("sizes", "is_there"), [((60, 90), True), ((40, 60), False), ((40, 40), False), ((60,), False)]
)
def test_plan_is_full(sizes: tuple[float, ...], is_there: bool) -> None:
    """Two are the plan but for workers of up to 50 MiB."""
    plan = planned((50, 3), (inf, 2))
    fleet = [worker(11 + number, size) for number, size in enumerate(sizes)]
    trace = [seen(at, 200, *fleet, limit=1024, target=2) for at in (0, 1)]
    assert is_full(trace, plan) is is_there
    assert not is_full(trace[1:], plan)


# -- follow ------------------------------------------------------------------------------------


class TestFollow:
    """After a start, a reload and a change of the limit the count goes to the plan, either way."""

    FLEET = (worker(11, 50), worker(12, 60), worker(13, 55), worker(14, 50))

    @pytest.mark.parametrize(
        ("plan", "permissions", "action"),
        [
            (9, Permissions(), "grow 4"),
            (5, Permissions(), "grow 1"),
            (4, Permissions(), KEEP),
            (3, Permissions(), "shrink"),
            (1, Permissions(), "shrink"),
            (9, REACHED, KEEP),
            (1, REACHED, KEEP),
            (9, Permissions(resizing=False), KEEP),
            (1, Permissions(resizing=False), KEEP),
        ],
    )
    def test_both_ways(self, plan: int, permissions: Permissions, action: str) -> None:
        trace = [seen(at, 400, *self.FLEET, limit=1024) for at in (0, 1)]
        assert decided(trace, always(plan), permissions) == action

    def test_one_moment_is_no_size(self) -> None:
        """One request takes much: the count would go down, and nothing would bring it up again."""
        plan = planned((60, 4), (inf, 1))
        busy = (*self.FLEET[:3], worker(14, 400))
        moment = [seen(0, 400, *self.FLEET, limit=1024), seen(1, 300, *busy, limit=1024)]
        assert decided(moment, plan, Permissions()) == KEEP
        assert decided(moment[1:], plan, Permissions()) == KEEP
        assert decided([*moment, seen(2, 300, *busy, limit=1024)], plan, Permissions()) == "shrink"

    def test_a_worker_that_was_seen_once_may_be_seen_in_such_a_moment(self) -> None:
        plan = planned((60, 4), (inf, 1))
        fleet = (*self.FLEET[:3], worker(15, 400))
        trace = [seen(0, 400, *self.FLEET, limit=1024), seen(1, 400, *fleet, limit=1024)]
        assert decided(trace, plan, Permissions()) == KEEP
        assert decided([*trace, seen(2, 400, *fleet, limit=1024)], plan, Permissions()) == "shrink"

    def test_limit_cut_in_half(self) -> None:
        """600 -> 300 MiB with 215 in use: one goes, and that nobody was asked is no leak."""
        trace = [
            seen(0, 385, *self.FLEET, limit=600),
            seen(5, 385, *self.FLEET, limit=600),
            seen(10, 85, *self.FLEET, limit=300),
        ]
        assert decided(trace, always(3), Permissions()) == "shrink"

    def test_limit_cut_below_what_is_in_use(self) -> None:
        """Nobody is flat and all are small: the plan alone says to shrink."""
        fleet = [worker(pid, 50, 45, age=60) for pid in (11, 12, 13, 14)]
        trace = [
            seen(0, 380, *fleet, limit=600),
            seen(5, -20, *fleet, limit=200),
            seen(5.5, -20, *fleet, limit=200),
        ]
        assert decided(trace, always(2), Permissions()) == "shrink"

    @pytest.mark.parametrize("left", [200, 20, 2, -10])
    def test_one_worker_stays_where_not_even_one_fits(self, left: int) -> None:
        trace = [seen(at, left, worker(11, 250, 240)) for at in (0, 5, 10)]
        assert decided(trace, always(0), Permissions()) == KEEP


# -- shrink ------------------------------------------------------------------------------------


def large(pid: int, uss: float = 200, **changes: float) -> WorkerSample:
    """One that has grown from 40 MiB and is at the end of its growth."""
    return worker(pid, uss, **{"earlier": uss - 2, **changes})


class TestShrink:
    # Asked without the allowance for growth, 200 MiB are 153.8 and 120 MiB are 92.3.
    PLAN = staticmethod(planned((100, 6), (150, 4), (230, 3), (inf, 1)))

    def shrunk(self, *fleet: WorkerSample, permissions: Permissions = REACHED) -> str:
        trace = [seen(at, 200, *fleet, limit=1024) for at in (0, 5)]
        return decided(trace, self.PLAN, permissions)

    def test_all_are_large_and_flat(self) -> None:
        assert self.shrunk(*(large(pid) for pid in (11, 12, 13, 14))) == "shrink"

    def test_says_why(self) -> None:
        fleet = [large(11, 220), large(12), large(13), large(14)]
        trace = [seen(at, 200, *fleet, limit=1024) for at in (0, 5)]
        action = decide(trace, REACHED, self.PLAN)
        assert action.reason == "all 4 workers use 200 MiB or more, the plan is 3"

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(large(14, 120), id="is small enough"),
            pytest.param(large(14, 200, boot=180), id="has not grown"),
            pytest.param(large(14, 200, boot=170), id="has grown by less than a quarter"),
            pytest.param(large(14, 200, earlier=160), id="still grows"),
            pytest.param(large(14, 200, earlier=190), id="grew 10 of 160 MiB lately"),
            pytest.param(worker(14, 200), id="is not known for long enough"),
            pytest.param(large(14, 200, age=9), id="is young"),
            pytest.param(worker(14, 200, None), id="boots"),
        ],
    )
    def test_not_where_one(self, other: WorkerSample) -> None:
        assert self.shrunk(large(11), large(12), large(13), other) == KEEP

    def test_flat_within_a_twentieth_of_the_growth(self) -> None:
        assert self.shrunk(large(11), large(12), large(13), large(14, 200, earlier=193)) == "shrink"

    def test_the_allowance_for_growth_is_used_up(self) -> None:
        """180 MiB are planned for as 138.5, and that fits four times."""
        assert self.shrunk(*(large(pid, 180) for pid in (11, 12, 13, 14))) == KEEP

    def test_not_on_one_sample(self) -> None:
        fleet = [large(pid) for pid in (11, 12, 13, 14)]
        assert decided([seen(0, 200, *fleet, limit=1024)], self.PLAN) == KEEP

    def test_not_where_it_was_otherwise_one_sample_ago(self) -> None:
        fleet = [large(pid) for pid in (11, 12, 13)]
        trace = [
            seen(0, 300, *fleet, large(14, 120), limit=1024),
            seen(5, 200, *fleet, large(14), limit=1024),
        ]
        assert decided(trace, self.PLAN) == KEEP

    def test_stays(self) -> None:
        """With one worker less the same sizes are as planned, whether it follows or not."""
        fleet = [large(pid) for pid in (11, 12, 13)]
        plan = planned((160, 3), (230, 3), (270, 2), (inf, 1))
        trace = [seen(at, 400, *fleet, limit=1024) for at in (10, 15, 20)]
        assert decided(trace, plan) == KEEP
        assert decided(trace, plan, Permissions()) == KEEP

    def test_never_below_one(self) -> None:
        trace = [seen(at, 200, large(11, 800), limit=1024) for at in (0, 5)]
        assert decided(trace, always(0)) == KEEP

    def test_down_to_one(self) -> None:
        trace = [seen(at, 200, large(11, 800), large(12, 800), limit=1024) for at in (0, 5)]
        assert decided(trace, self.PLAN) == "shrink"

    def test_not_when_stood_down(self) -> None:
        fleet = [large(pid) for pid in (11, 12, 13, 14)]
        assert self.shrunk(*fleet, permissions=STOOD_DOWN) == KEEP

    def test_all_leak_alike(self) -> None:
        """A leak does not become flat: it is recycled when it is time, the count stays."""
        fleet = [large(pid, 200, earlier=160) for pid in (11, 12, 13, 14)]
        assert self.shrunk(*fleet) == KEEP


# -- recycle -----------------------------------------------------------------------------------


def leak(at: float, left: float, leaker: float, *, age: float = 3600, **changes: int) -> Sample:
    """Worker 12 of three leaks, the others stay at 50 MiB."""
    others = worker(11, 50, age=age), worker(13, 50, age=age)
    return seen(at, left, others[0], worker(12, leaker, age=age), others[1], **changes)


class TestRecycle:
    def test_slow_leak_in_one_worker(self) -> None:
        """0.2 MiB in 5 s: nothing until less than a tenth is left, then with no loss."""
        assert decided([leak(0, 110.4, 789.6, limit=1000), leak(5, 110.2, 789.8, limit=1000)]) == (
            KEEP
        )
        assert decided([leak(0, 100.1, 799.9, limit=1000), leak(5, 99.9, 800.1, limit=1000)]) == (
            KEEP
        )
        assert decided([leak(5, 99.9, 800.1, limit=1000), leak(5.5, 99.9, 800.1, limit=1000)]) == (
            "recycle 12, replacement first"
        )

    def test_says_why(self) -> None:
        trace = [leak(0, 91, 800, limit=1000), leak(5, 90, 801, limit=1000)]
        assert decide(trace, REACHED, always(3)).reason == (
            "90 MiB left of 1000 MiB; it uses 801 MiB, 40 MiB at boot"
        )

    def test_says_when_the_memory_would_be_gone(self) -> None:
        trace = [leak(0, 96, 800, limit=1000), leak(0.5, 90, 806, limit=1000)]
        assert decide(trace, REACHED, always(3)).reason == (
            "90 MiB left of 1000 MiB, gone in 7.5 s; it uses 806 MiB, 40 MiB at boot"
        )

    def test_replacement_waits_where_there_is_no_room(self) -> None:
        """30 MiB left and a worker boots with 40."""
        trace = [leak(0, 29, 160), leak(5, 28, 161)]
        assert decided(trace) == "recycle 12, stop first"

    @pytest.mark.parametrize(
        ("left", "order"),
        [
            # 40 MiB at boot and 30 % more are 52, and 25 MiB of 1000 are not touched.
            (78, "replacement first"),
            (76, "stop first"),
        ],
    )
    def test_room_for_one_more(self, left: float, order: str) -> None:
        trace = [leak(0, left, 800, limit=1000), leak(5, left, 800, limit=1000)]
        assert decided(trace) == f"recycle 12, {order}"

    def test_room_shrinks_while_the_replacement_boots(self) -> None:
        """90 MiB would do, but 7 MiB a second are lost for 8 s."""
        trace = [leak(0, 97, 800, limit=1000), leak(1, 90, 807, limit=1000)]
        assert decided(trace) == "recycle 12, stop first"

    FAST = (
        # at, left, sizes: two workers leak 12 MiB/s each under 300 MiB.
        (20.0, 220.0, 35.0),
        (21.0, 196.0, 47.0),
        (22.0, 172.0, 59.0),
        (23.0, 148.0, 71.0),
    )

    @pytest.mark.parametrize(
        ("samples", "action"),
        [
            (1, KEEP),
            (2, KEEP),  # 196 MiB last for 8.2 s, a replacement takes 8.
            (3, KEEP),  # 172 MiB last for 7.2 s; it was fine one sample ago.
            (4, "recycle 11, stop first"),
        ],
    )
    def test_fast_leak_goes_before_the_limit(self, samples: int, action: str) -> None:
        trace = [
            seen(at, left, worker(11, size + 1, 20, age=at), worker(12, size, 20, age=at))
            for at, left, size in self.FAST[:samples]
        ]
        assert decided(trace[-3:]) == action

    def test_slow_boot_needs_a_longer_notice(self) -> None:
        """1 MiB a second with 60 left: soon enough for a boot of 2 s, not for one of 30 s."""
        quick = [
            seen(at, left, worker(11, 100), worker(12, 50), limit=400)
            for at, left in [(0, 62), (1, 61), (2, 60)]
        ]
        slow = [
            seen(at, left, worker(11, 100, took=30), worker(12, 50), limit=400)
            for at, left in [(0, 62), (1, 61), (2, 60)]
        ]
        assert decided(quick) == KEEP
        assert decided(slow) == "recycle 11, stop first"

    def test_one_leaker_among_many(self) -> None:
        fleet = [worker(pid, 60) for pid in range(11, 26)]
        fleet[9] = worker(20, 75)
        trace = [seen(at, 40, *fleet, limit=1000) for at in (0, 5)]
        assert decided(trace) == "recycle 20, stop first"

    def test_one_that_is_large_from_the_start_is_not_to_blame(self) -> None:
        fleet = [worker(11, 150, 145), worker(12, 70, 40)]
        trace = [seen(at, 20, *fleet) for at in (0, 5)]
        assert decided(trace) == "recycle 12, stop first"

    @pytest.mark.parametrize(
        ("boot", "now", "action"),
        [
            (40, 49, KEEP),  # less than a quarter
            (40, 50, "recycle 11, stop first"),
            (20, 27, KEEP),  # more than a quarter, less than 8 MiB
            (20, 28, "recycle 11, stop first"),
            (100, 90, KEEP),
        ],
    )
    def test_only_one_that_has_grown(self, boot: float, now: float, action: str) -> None:
        trace = [seen(at, 5, worker(11, now, boot), worker(12, 40)) for at in (0, 5)]
        assert decided(trace) == action

    @pytest.mark.parametrize(
        "lefts",
        [
            pytest.param((150, 150, 20), id="spike"),
            pytest.param((150, 20, 150), id="spike that is over"),
            pytest.param((20, 150, 20), id="two spikes"),
            pytest.param((150, 60, 60), id="step that stays, with room"),
            pytest.param((150, 150, 1), id="to the brim"),
        ],
    )
    def test_one_spike_recycles_nobody(self, lefts: tuple[int, ...]) -> None:
        trace = [
            seen(at, left, worker(11, 200 - left), worker(12, 50))
            for at, left in zip((0, 5, 10), lefts, strict=True)
        ]
        assert decided(trace) == KEEP

    def test_nobody_on_the_first_sample(self) -> None:
        assert decided([seen(0, 1, worker(11, 200), worker(12, 50))]) == KEEP

    @pytest.mark.parametrize(
        ("age", "action"), [(9.9, KEEP), (10, "recycle 11, stop first"), (0.5, KEEP)]
    )
    def test_never_one_younger_than_ten_seconds(self, age: float, action: str) -> None:
        trace = [seen(at, 2, worker(11, 200, age=age), worker(12, 60, age=age)) for at in (0, 0.5)]
        assert decided(trace) == action

    def test_an_older_one_goes_in_place_of_a_young_one(self) -> None:
        trace = [seen(at, 2, worker(11, 200, age=5), worker(12, 60)) for at in (0, 0.5)]
        assert decided(trace) == "recycle 12, stop first"

    @pytest.mark.parametrize(
        ("left", "limit", "action"),
        [
            (90, 1000, "recycle 11, replacement first"),  # There is room for two.
            (60, 1000, KEEP),  # No room, but more than 5 % left.
            (50, 1000, KEEP),
            (49, 1000, "recycle 11, stop first"),
            (20, 300, KEEP),
            (14, 300, "recycle 11, stop first"),
        ],
    )
    def test_the_last_worker(self, left: int, limit: int, action: str) -> None:
        trace = [seen(at, left, worker(11, limit - left), limit=limit) for at in (0, 5)]
        assert decided(trace) == action

    def test_the_only_one_that_has_booted(self) -> None:
        """The other one boots: it does not serve yet."""
        fleet = [worker(11, 200), worker(12, 30, None, age=1)]
        assert decided([seen(at, 20, *fleet) for at in (0, 1)]) == KEEP
        assert decided([seen(at, 14, *fleet) for at in (0, 1)]) == "recycle 11, stop first"

    def test_not_while_another_one_is_on_its_way_out(self) -> None:
        fleet = [worker(11, 200), worker(12, 60), worker(13, 40)]
        trace = [seen(at, 2, *fleet, target=2) for at in (0, 0.5)]
        assert decided(trace) == KEEP

    def test_shared_limit_with_a_sidecar_that_grows(self) -> None:
        """Nobody of ours has grown: there is nobody to blame."""
        trace = [
            seen(at, left, worker(11, 41), worker(12, 42))
            for at, left in [(0, 40), (5, 20), (6, 16)]
        ]
        assert decided(trace) == KEEP

    def test_goes_on_when_stood_down(self) -> None:
        trace = [leak(0, 29, 160), leak(5, 28, 161)]
        assert decided(trace, always(9), STOOD_DOWN) == "recycle 12, stop first"

    @pytest.mark.parametrize("booted", [False, True])
    def test_a_worker_that_boots_is_no_leak(self, booted: bool) -> None:
        """12 ran into max_requests; what the next one takes to boot ends with its boot."""
        flat = worker(11, 110, 80, earlier=110)
        trace = [
            seen(0, 134, flat, worker(13, 26, None, age=1), limit=540),
            seen(1, 107, flat, worker(13, 53, None, age=2), limit=540),
            seen(2, 80, flat, worker(13, 80, 80 if booted else None, age=3), limit=540),
        ]
        assert decided(trace) == KEEP

    def test_a_leak_shows_beside_a_worker_that_boots(self) -> None:
        trace = [
            seen(0, 160, worker(11, 200), worker(12, 50), worker(13, 10, None, age=1), limit=540),
            seen(1, 130, worker(11, 220), worker(12, 50), worker(13, 20, None, age=2), limit=540),
            seen(2, 100, worker(11, 240), worker(12, 50), worker(13, 30, None, age=3), limit=540),
        ]
        assert decided(trace) == "recycle 11, stop first"

    def test_a_limit_that_fell_is_no_rate(self) -> None:
        """2000 -> 1000 MiB in one sample is nothing that grew."""
        trace = [
            leak(0, 1200, 700, limit=2000),
            leak(5, 200, 700, limit=1000),
            leak(6, 200, 700, limit=1000),
        ]
        assert decided(trace) == KEEP

    def test_two_samples_at_the_same_time(self) -> None:
        assert decided([leak(5, 200, 50), leak(5, 100, 150)]) == KEEP


class TestNight:
    """Sizes fall and rise with the traffic; the count is left alone."""

    @pytest.mark.parametrize(
        "sizes",
        [
            pytest.param((120, 100, 80), id="evening"),
            pytest.param((60, 60, 60), id="night"),
            pytest.param((60, 80, 100), id="morning"),
        ],
    )
    @pytest.mark.parametrize("permissions", [REACHED, STOOD_DOWN])
    def test_nothing_is_done(self, sizes: tuple[int, ...], permissions: Permissions) -> None:
        trace = [
            seen(
                at,
                900 - 4 * size,
                *(worker(pid, size, earlier=sizes[0]) for pid in (11, 12, 13, 14)),
                limit=1000,
            )
            for at, size in zip((0, 5, 10), sizes, strict=True)
        ]
        assert decided(trace, planned((70, 9), (150, 6), (inf, 5)), permissions) == KEEP


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_same_history_gives_the_same_action(samples: int) -> None:
    trace = [leak(at, 29, 160) for at in (0, 5, 10)][:samples]
    assert len({decide(tuple(trace), Permissions(), always(3)) for _ in range(5)}) == 1


@pytest.mark.parametrize("left", [300, 20, 0, -50])
def test_nobody_there(left: int) -> None:
    trace = [seen(at, left, target=2) for at in (0, 5, 10)]
    assert decided(trace, always(4), Permissions()) == KEEP


# -- when to look again ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "seconds"),
    [
        pytest.param([leak(0, 150, 50)], 1, id="first sample"),
        pytest.param([leak(0, 150, 50), leak(5, 150, 50)], 5, id="nothing changes"),
        pytest.param([leak(0, 150, 50), leak(5, 160, 40)], 5, id="it falls"),
        pytest.param([leak(0, 150, 50), leak(5, 145, 55)], 5, id="145 s left"),
        pytest.param([leak(0, 200, 50), leak(5, 160, 90)], 2.5, id="20 s left"),
        pytest.param([leak(0, 104, 50), leak(1, 80, 74)], 0.5, id="3.3 s left"),
        pytest.param([leak(0, 30.5, 50), leak(5, 30, 50)], 5, id="a tenth left"),
        pytest.param([leak(0, 29, 50), leak(5, 29, 50)], 0.5, id="less than a tenth left"),
        pytest.param([leak(0, -5, 50), leak(0.5, -5, 50)], 0.5, id="above the limit"),
        pytest.param([seen(0, 200, worker(11, 9, None))], 1, id="the first boots"),
        pytest.param([seen(0, 200, worker(11, 50), worker(12, 9, None))], 1, id="one boots"),
        pytest.param([seen(0, 200, worker(11, 50), target=2)], 1, id="one is missing"),
        pytest.param([seen(0, 200, target=2)], 1, id="none is there"),
        pytest.param(
            [seen(0, 900, limit=900, target=1), seen(1, 10, worker(11, 50), limit=100)],
            5,
            id="limit changed",
        ),
    ],
)
def test_next_interval(trace: Trace, seconds: float) -> None:
    assert next_interval(trace) == pytest.approx(seconds)
