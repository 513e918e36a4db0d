"""What the guard decides on traces that were written by hand. Sizes are in MiB."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from builders import MIB

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Permissions
from gunicorn_autoconf.memory.guard import decide, next_interval
from gunicorn_autoconf.memory.lines import render_why
from gunicorn_autoconf.memory.need import Needed
from gunicorn_autoconf.memory.plans import Plans
from gunicorn_autoconf.memory.why import GrowsBack, TooMany

KEEP = "keep"
KEEP_KIND = Kind.KEEP
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
    helper: float = 0,
    requests: int | None = 1000,
) -> WorkerSample:
    """Worker *pid* of so many MiB; *boot* is its size at boot, None while it boots."""
    return WorkerSample(
        pid=pid,
        age_seconds=age,
        uss_bytes=round(uss * MIB),
        pss_bytes=round((uss if pss is None else pss) * MIB),
        boot_uss_bytes=None if boot is None else round(boot * MIB),
        boot_seconds=took,
        earlier_bytes=None if earlier is None else round(earlier * MIB),
        helper_bytes=round(helper * MIB),
        helpers=bool(helper),
        requests=requests,
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

    def workers_for(size_bytes: int) -> int:
        return next(count for size, count in rows if size_bytes <= size * MIB)

    return workers_for


def always(count: int) -> Callable[[int], int]:
    return planned((inf, count))


def needed(
    reached: float = 0, *, declared: float | None = None, killed: float = 0, proved: bool = False
) -> Needed:
    """What a worker needs, in MiB."""
    return Needed(
        declared=None if declared is None else round(declared * MIB),
        reached=round(reached * MIB),
        killed=round(killed * MIB),
        is_proved=proved,
    )


FREE = Permissions()
STOOD_DOWN = Permissions(resizing=False)
LEAKING = Permissions(leaking=True)


def why(action: Action) -> str:
    """Why it is done, in words."""
    assert action.why is not None
    return render_why(action.why)


def decision(
    trace: Trace,
    beside: Callable[[int], int] | None = None,
    *,
    alone: Callable[[int], int] | None = None,
    need: Needed | None = None,
    permissions: Permissions = FREE,
) -> Action:
    """
    What is decided at the end of *trace*.

    As many workers as there are to be are planned, beside others and alone, unless it is said
    otherwise; a tenth of the limit is the reserve.
    """
    now = trace[-1]
    as_is = always(now.target or 1)
    plans = Plans(beside or as_is, alone or beside or as_is, now.limit_bytes * 9 // 10)
    return decide(trace, permissions, need or Needed(), plans)


def decided(
    trace: Trace,
    beside: Callable[[int], int] | None = None,
    *,
    alone: Callable[[int], int] | None = None,
    need: Needed | None = None,
    permissions: Permissions = FREE,
) -> str:
    """The same in one line."""
    return said(decision(trace, beside, alone=alone, need=need, permissions=permissions))


def said(action: Action) -> str:
    if action.kind is Kind.GROW:
        return f"grow {action.add}"
    if action.kind is Kind.RECYCLE:
        order = "replacement first" if action.replacement_first else "stop first"
        return f"recycle {action.pid}, {order}"
    return str(action.kind.value)


# -- grow --------------------------------------------------------------------------------------


def flat(pid: int, uss: float = 40, **changes: Any) -> WorkerSample:
    """One that has worked and does not grow."""
    return worker(pid, uss, **{"boot": uss, "earlier": uss, **changes})


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
        fleet = [flat(pid) for pid in range(running)]
        assert decided([seen(0, 900, *fleet, limit=1024)], always(plan)) == action

    @pytest.mark.parametrize(
        ("fleet", "target"),
        [
            pytest.param([flat(11), worker(12, 15, None)], 2, id="one boots"),
            pytest.param([flat(11)], 2, id="one is not forked yet"),
            pytest.param([flat(11), flat(12)], 1, id="one is on its way out"),
            pytest.param([worker(11, 15, None)], 1, id="the first boots"),
            pytest.param([], 1, id="none is there"),
        ],
    )
    def test_not_before_all_are_there(self, fleet: list[WorkerSample], target: int) -> None:
        sample = seen(0, 900, *fleet, limit=1024, target=target)
        assert decided([sample], always(8)) == KEEP

    # Up to 60 MiB nine fit, up to the guess three.
    PLAN = staticmethod(planned((60, 9), (150, 5), (256, 3), (inf, 1)))

    @pytest.mark.parametrize(
        ("other", "action"),
        [
            pytest.param(flat(13), "grow 3", id="has worked"),
            pytest.param(flat(13, requests=19), KEEP, id="has not worked yet"),
            pytest.param(flat(13, requests=0), KEEP, id="is idle"),
            pytest.param(flat(13, requests=None), KEEP, id="is of a class that cannot tell"),
            pytest.param(flat(13, age=11), KEEP, id="is young"),
            pytest.param(worker(13, 58, 40, earlier=54), KEEP, id="grows"),
            pytest.param(worker(13, 46, 40, earlier=45.2), "grow 3", id="stops growing"),
        ],
    )
    def test_on_evidence_of_work(self, other: WorkerSample, action: str) -> None:
        """An idle size is no size; and one that grows has not come to its size."""
        sample = seen(0, 800, flat(11), flat(12), other, limit=1024)
        assert decided([sample], self.PLAN) == action

    def test_a_minute_of_traffic_is_evidence(self) -> None:
        few = flat(11, requests=3)
        assert decided([seen(0, 900, few._replace(traffic_seconds=59))], self.PLAN) == "grow 1"
        assert decided([seen(0, 900, few._replace(traffic_seconds=60))], self.PLAN) == "grow 1"
        both = [few._replace(traffic_seconds=60), flat(12, requests=3)._replace(traffic_seconds=60)]
        assert decided([seen(0, 900, *both)], self.PLAN) == "grow 2"

    @pytest.mark.parametrize(("seconds", "action"), [(59, KEEP), (60, "grow 1")])
    def test_one_at_a_time_where_only_cpu_time_shows_work(
        self, seconds: float, action: str
    ) -> None:
        """Three run, and more than three of the first guess do not fit."""
        fleet = [flat(pid, requests=None)._replace(traffic_seconds=seconds) for pid in (11, 12, 13)]
        assert decided([seen(0, 900, *fleet)], self.PLAN) == action

    @pytest.mark.parametrize(
        ("running", "need", "action"),
        [
            (1, Needed(), "grow 1"),
            (2, Needed(), "grow 1"),
            (3, Needed(), KEEP),
            (1, needed(300), KEEP),
            (3, needed(declared=50), "grow 1"),
            (3, needed(declared=50, reached=140), "grow 1"),
        ],
    )
    def test_before_that_as_far_as_the_guess(self, running: int, need: Needed, action: str) -> None:
        """One at a time: what they come to is not known."""
        fleet = [flat(pid, requests=0) for pid in range(running)]
        sample = seen(0, 800, *fleet, limit=1024)
        assert decided([sample], self.PLAN, need=need) == action

    @pytest.mark.parametrize(
        ("largest", "action"),
        [
            pytest.param(flat(13, 58), "grow 3", id="flat: as it is"),
            pytest.param(worker(13, 47, 40, earlier=46.2), KEEP, id="still slowing: x 1.3"),
            pytest.param(worker(13, 46, 40, earlier=45.2), "grow 3", id="59.8 MiB with that"),
        ],
    )
    def test_room_for_growth_until_it_is_proved(self, largest: WorkerSample, action: str) -> None:
        plan = planned((60, 6), (inf, 3))
        assert decided([seen(0, 800, flat(11), flat(12), largest, limit=1024)], plan) == action

    @pytest.mark.parametrize(
        ("need", "action"),
        [
            (Needed(), "grow 3"),
            (needed(50), "grow 3"),
            (needed(100), "grow 2"),
            (needed(killed=100), "grow 2"),
            (needed(declared=100), "grow 2"),
            (needed(200), KEEP),
        ],
    )
    def test_for_what_any_has_needed(self, need: Needed, action: str) -> None:
        """Peers and predecessors, not those alone that run now."""
        fleet = [flat(pid) for pid in (11, 12, 13)]
        assert decided([seen(0, 800, *fleet, limit=1024)], self.PLAN, need=need) == action

    def test_helpers_count(self) -> None:
        fleet = [flat(11), flat(12), flat(13, helper=100, earlier=140)]
        assert decided([seen(0, 700, *fleet, limit=1024)], self.PLAN) == "grow 2"

    def test_shared_memory_is_counted_by_share(self) -> None:
        """PSS, not USS: what is preloaded counts, once."""
        fleet = [flat(11, 20, pss=70), flat(12, 20, pss=70)]
        assert decided([seen(0, 800, *fleet, limit=1024)], self.PLAN) == "grow 2"

    @pytest.mark.parametrize(
        ("permissions", "action"),
        [
            (Permissions(resizing=False), KEEP),
            (Permissions(growing=False), KEEP),
            (Permissions(most=4), "grow 1"),
            (Permissions(most=3), KEEP),
        ],
    )
    def test_as_far_as_it_may(self, permissions: Permissions, action: str) -> None:
        fleet = [flat(pid) for pid in (11, 12, 13)]
        sample = seen(0, 800, *fleet, limit=1024)
        assert decided([sample], always(9), permissions=permissions) == action

    def test_one_that_leaks_for_ever_does_not_hold_up_the_others(self) -> None:
        sample = seen(0, 700, flat(11), worker(12, 100, 40, earlier=80), limit=1024)
        plan = planned((150, 4), (inf, 2))
        assert decided([sample], plan) == KEEP
        assert decided([sample], plan, permissions=LEAKING) == "grow 2"

    def test_says_why(self) -> None:
        action = decision([seen(0, 900, flat(11), limit=1024)], always(8))
        assert why(action) == "workers need up to 40 MiB, the plan is 8"
        action = decision([seen(0, 900, flat(11, requests=0), limit=1024)], always(8))
        assert why(action) == "no worker has done any work yet, the plan is 8"


# -- shrink ------------------------------------------------------------------------------------


class TestShrink:
    """For sizes that were reached; they fit once workers 5 % smaller would."""

    FLEET = (flat(11), flat(12), flat(13), flat(14))
    PLAN = staticmethod(planned((100, 6), (190, 4), (300, 2), (inf, 0)))

    def shrunk(self, need: Needed, *, permissions: Permissions = FREE) -> str:
        trace = [seen(at, 400, *self.FLEET, limit=1024) for at in (0, 5)]
        return decided(trace, always(4), alone=self.PLAN, need=need, permissions=permissions)

    @pytest.mark.parametrize(
        ("need", "action"),
        [
            (needed(190), KEEP),
            (needed(200), KEEP),
            (needed(201), "shrink"),
            (needed(declared=201, reached=40), "shrink"),
            (needed(declared=201), KEEP),  # Before the first boot is seen.
            (needed(900), "shrink"),
            # One kill is no reason.
            (needed(killed=900, reached=40), KEEP),
        ],
    )
    def test_where_fewer_fit(self, need: Needed, action: str) -> None:
        assert self.shrunk(need) == action

    def test_says_why(self) -> None:
        trace = [seen(at, 400, *self.FLEET, limit=1024) for at in (0, 5)]
        action = decision(trace, always(4), alone=self.PLAN, need=needed(250))
        assert why(action) == "workers need 250 MiB, the plan is 2"

    def test_not_when_stood_down(self) -> None:
        assert self.shrunk(needed(900), permissions=STOOD_DOWN) == KEEP

    def test_not_on_a_limit_that_was_told_once(self) -> None:
        roomy = seen(0, 500, *self.FLEET, limit=1024)
        tight = [seen(at, 20, *self.FLEET, limit=180) for at in (5, 10)]
        assert decided([roomy, tight[0]], always(4), alone=always(1), need=needed(40)) == KEEP
        assert decided([roomy, *tight], always(4), alone=always(1), need=needed(40)) == "shrink"

    def test_not_while_one_boots(self) -> None:
        fleet = (*self.FLEET[:3], worker(14, 30, None))
        trace = [seen(at, 400, *fleet, limit=1024) for at in (0, 5)]
        assert decided(trace, always(4), alone=self.PLAN, need=needed(900)) == KEEP

    @pytest.mark.parametrize("left", [200, 20, 2, -10])
    def test_one_worker_stays_where_not_even_one_fits(self, left: int) -> None:
        trace = [seen(at, left, flat(11, 250)) for at in (0, 5, 10)]
        assert decided(trace, always(0), need=needed(250)) == KEEP


class TestTooMany:
    """OOM kills have shown the count to be too high."""

    @pytest.mark.parametrize(
        "fleet",
        [
            pytest.param((flat(11), flat(12), flat(13)), id="calm"),
            pytest.param((flat(11), flat(12), worker(13, 20, None)), id="the killed one boots"),
            pytest.param((flat(11), flat(12)), id="it is not forked yet"),
        ],
    )
    @pytest.mark.parametrize(("fits", "action"), [(2, "shrink"), (1, "shrink"), (3, KEEP)])
    def test_shrinks_at_once(self, fleet: tuple[WorkerSample, ...], fits: int, action: str) -> None:
        permissions = Permissions(too_many=TooMany(fits, seconds=9.0))
        sample = seen(0, 200, *fleet, target=3)
        assert decided([sample], always(3), permissions=permissions) == action

    def test_says_why(self) -> None:
        permissions = Permissions(too_many=TooMany(2, seconds=9.0))
        sample = seen(0, 200, flat(11), flat(12), flat(13))
        action = decision([sample], permissions=permissions)
        assert why(action) == "2 OOM kills in 9 s, the plan is 2"


class TestOthers:
    """What others took is no reason to shrink, unless the memory is gone."""

    FLEET = (flat(11, 100), flat(12, 100), flat(13, 100))

    @pytest.mark.parametrize(
        ("lefts", "action"),
        [
            ((300, 300), KEEP),
            ((60, 60), KEEP),
            ((21, 21), KEEP),
            ((19, 21), KEEP),
            ((21, 19), KEEP),
            ((19, 19), "shrink"),
            ((-5, -5), "shrink"),
        ],
    )
    def test_others_take_all(self, lefts: tuple[int, int], action: str) -> None:
        trace = [
            seen(at, left, *self.FLEET, limit=1000) for at, left in zip((0, 5), lefts, strict=True)
        ]
        assert decided(trace, always(2), alone=always(9), need=needed(100)) == action

    def test_says_why(self) -> None:
        trace = [seen(at, 15, *self.FLEET, limit=1000) for at in (0, 5)]
        action = decision(trace, always(2), alone=always(9), need=needed(100))
        assert why(action) == "15 MiB left of 1000 MiB, others use 685 MiB; the plan is 2"

    def test_not_where_that_frees_nothing_that_is_planned(self) -> None:
        trace = [seen(at, 15, *self.FLEET, limit=1000) for at in (0, 5)]
        assert decided(trace, always(3), need=needed(100)) == KEEP

    @pytest.mark.parametrize(
        ("left", "own", "plan", "action"),
        [
            pytest.param(15, 4, 2, KEEP, id="nearly all is shared by fork"),
            pytest.param(15, 6, 2, "shrink", id="enough is its own"),
            pytest.param(15, 4, 1, "shrink", id="two free enough"),
            pytest.param(-300, 100, 1, KEEP, id="others took more than all"),
        ],
    )
    def test_only_where_it_helps(self, left: float, own: float, plan: int, action: str) -> None:
        """What their ends free has to bring 2 % back."""
        fleet = [worker(pid, own, 4, pss=100, earlier=own) for pid in (11, 12, 13)]
        trace = [seen(at, left, *fleet, limit=1000) for at in (0, 5)]
        assert decided(trace, always(plan), alone=always(9), need=needed(100)) == action

    def test_not_when_stood_down(self) -> None:
        trace = [seen(at, 15, *self.FLEET, limit=1000) for at in (0, 5)]
        assert decided(trace, always(2), alone=always(9), permissions=STOOD_DOWN) == KEEP


@pytest.mark.parametrize("left", [0, -200])
def test_limit_of_zero_decides_nothing(left: int) -> None:
    """As ``memory.high`` may be for some seconds."""
    fleet = (flat(11, 200), flat(12, 200))
    trace = [seen(at, left, *fleet, limit=0) for at in (0, 1, 2)]
    assert decided(trace, always(1), need=needed(200)) == KEEP
    assert next_interval(trace) == 0.5


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
        assert why(decision(trace, always(3))) == (
            "90 MiB left of 1000 MiB; it uses 801 MiB, 40 MiB at boot"
        )

    def test_says_when_the_memory_would_be_gone(self) -> None:
        trace = [leak(0, 96, 800, limit=1000), leak(0.5, 90, 806, limit=1000)]
        assert why(decision(trace, always(3))) == (
            "90 MiB left of 1000 MiB, gone in 7.5 s; it uses 806 MiB, 40 MiB at boot"
        )

    @pytest.mark.parametrize(
        ("left", "decided_is"),
        [
            # 50 MiB/s. The exit of another may free enough, until two samples leave less than 4 s.
            (300, KEEP),
            (160, KEEP),
            (140, "recycle 12, stop first"),
            (60, "recycle 12, stop first"),
        ],
    )
    def test_while_another_worker_is_told_to_exit_and_hangs(
        self, left: float, decided_is: str
    ) -> None:
        """Worker 11, the oldest of four, is one too many: an operator took the count back."""
        trace = [
            seen(
                at,
                left + 50 * (2 - at),
                worker(11, 60, age=at + 30),
                worker(12, 600 - left - 50 * (2 - at), age=at + 20),
                worker(13, 50, age=at + 10),
                worker(14, 50, age=at + 5),
                limit=800,
                target=3,
            )
            for at in (0, 1, 2)
        ]
        assert decided(trace) == decided_is

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
        (23.0, 124.0, 83.0),
        (24.0, 100.0, 95.0),
        (25.0, 76.0, 107.0),
        (26.0, 52.0, 119.0),
    )

    @pytest.mark.parametrize(
        ("samples", "action"),
        [
            (1, KEEP),
            (2, KEEP),  # 100 MiB last for 4.2 s, two samples and an end take 4.
            (3, KEEP),  # 76 MiB last for 3.2 s; it was fine one sample ago.
            (4, "recycle 11, stop first"),
        ],
    )
    def test_fast_leak_goes_before_the_limit(self, samples: int, action: str) -> None:
        trace = [
            seen(at, left, worker(11, size + 1, 20, age=at), worker(12, size, 20, age=at))
            for at, left, size in self.FAST[:samples]
        ]
        assert decided(trace) == action

    def test_ends_that_were_slow_need_a_longer_notice(self) -> None:
        trace = [
            seen(at, left, worker(11, size, 20, age=at), worker(12, 20, 20, age=at))
            for at, left, size in [(30.0, 140.0, 120.0), (31.0, 130.0, 130.0), (32.0, 120.0, 140.0)]
        ]
        assert decided(trace) == KEEP
        slow = [sample._replace(end_seconds=20.0) for sample in trace]
        assert decided(slow) == "recycle 11, stop first"

    # 5 MiB a second with 60 left: soon enough for an end, too late for two boots as well.
    KNOWN = tuple(
        (at, 160.0 - 5 * at, 20.0 + 5 * at) for at in (15.0, 16.0, 17.0, 18.0, 19.0, 20.0)
    )

    @pytest.mark.parametrize(
        ("permissions", "took", "action"),
        [
            (FREE, 6, KEEP),
            (LEAKING, 3, KEEP),
            (LEAKING, 6, "recycle 11, stop first"),
        ],
    )
    def test_known_leak_goes_in_time_for_its_replacement(
        self, permissions: Permissions, took: float, action: str
    ) -> None:
        """A first warm-up towards a size that fits is none."""
        trace = [
            seen(at, left, worker(11, size, 20, age=at, took=took), worker(12, 20, 20, took=took))
            for at, left, size in self.KNOWN
        ]
        assert decided(trace, permissions=permissions) == action

    def test_one_that_is_too_large_for_all_goes_in_time(self) -> None:
        """Two of 150 MiB do not fit into 300 MiB less the reserve."""
        trace = [
            seen(at, left, worker(11, 50 + size, 20, age=at, took=6), worker(12, 20, 20, took=6))
            for at, left, size in self.KNOWN
        ]
        assert decided(trace) == "recycle 11, stop first"

    def test_forecast_ends_after_a_minute(self) -> None:
        """A boot of 5 minutes is no reason to look 10 minutes ahead."""
        trace = [
            seen(at, 300 - at, worker(11, 100 + at, 20, age=at, took=300), worker(12, 20, 20))
            for at in range(200, 220)
        ]
        assert decided(trace, permissions=LEAKING) == KEEP

    @pytest.mark.parametrize(
        ("need", "action"),
        [
            (needed(), "recycle 12, stop first"),
            (needed(150, proved=True), KEEP),
            (needed(150), "recycle 12, stop first"),  # Idle sizes prove nothing.
            (needed(145, proved=True), "recycle 12, stop first"),
            # Three of them do not fit, so that the declaration is no promise.
            (needed(declared=200), "recycle 12, stop first"),
        ],
    )
    def test_not_one_that_is_as_large_as_it_has_to_be(self, need: Needed, action: str) -> None:
        """Its replacement would grow to the same size: to 160 MiB."""
        trace = [leak(0, 29, 160), leak(5, 28, 161)]
        assert decided(trace, need=need) == action

    @pytest.mark.parametrize(
        ("size", "need", "action"),
        [
            (256, needed(), KEEP),
            (257, needed(), "recycle 11, stop first"),
            (257, needed(declared=300), KEEP),
            (301, needed(declared=300), "recycle 11, stop first"),
            (100, needed(declared=90), "recycle 11, stop first"),
            (100, needed(50, proved=True), "recycle 11, stop first"),
        ],
    )
    def test_not_one_as_large_as_the_plan_takes_it(
        self, size: float, need: Needed, action: str
    ) -> None:
        """Three of 256 or 300 MiB fit; others take the rest."""
        fleet = [worker(11, size), flat(12), flat(13)]
        trace = [seen(at, 20, *fleet, limit=1024) for at in (0, 5)]
        assert decided(trace, need=need) == action

    def test_not_one_as_large_as_a_peer_that_stops_growing(self) -> None:
        fleet = [worker(11, 100), worker(12, 98, earlier=94)]
        trace = [seen(at, 20, *fleet) for at in (0, 5)]
        assert decided(trace) == KEEP

    def test_growth_that_ends_in_time_is_left_alone(self) -> None:
        """7 MiB in the last quarter of its life: twice that is still free, or not."""
        slowing = worker(11, 200, earlier=193)
        assert decided([seen(at, 15, slowing, flat(12)) for at in (0, 5)]) == KEEP
        assert decided([seen(at, 13, slowing, flat(12)) for at in (0, 5)]) == (
            "recycle 11, stop first"
        )

    def test_helper_that_leaks(self) -> None:
        """It ends with its worker."""
        fleet = [worker(11, 18, 17, helper=200), flat(12, 17)]
        trace = [seen(at, 20, *fleet) for at in (0, 5)]
        assert decided(trace) == "recycle 11, stop first"
        assert why(decision(trace)) == (
            "20 MiB left of 300 MiB; it uses 18 MiB and 200 MiB in helpers, 17 MiB at boot"
        )

    def test_leak_in_bites(self) -> None:
        """120 MiB every 3 s, seen every second: two more are too much."""
        trace = [
            seen(at, 984 - size, worker(11, size, 20, age=at + 20.0), flat(12, 20), limit=1024)
            for at in range(20)
            for size in [20 + 120 * (at // 3)]
        ]
        assert trace[-1].headroom_bytes == 244 * MIB
        assert decided(trace[:-1]) == KEEP
        assert decided(trace) == "recycle 11, stop first"

    def test_two_bites_are_no_leak(self) -> None:
        sizes = [50, 50, 50, 150, 150, 150]
        trace = [
            seen(at, 260 - size, worker(11, size, 20), flat(12, 20))
            for at, size in enumerate(sizes)
        ]
        assert decided(trace) == KEEP

    @pytest.mark.parametrize(
        ("permissions", "alone", "action"),
        [
            (Permissions(churning=True), 2, "shrink"),
            (Permissions(churning=True), 3, KEEP),
            (Permissions(churning=True, resizing=False), 2, "recycle 12, stop first"),
            (FREE, 2, "recycle 12, stop first"),
        ],
    )
    def test_fewer_where_recycles_do_not_help(
        self, permissions: Permissions, alone: int, action: str
    ) -> None:
        trace = [leak(0, 29, 160), leak(1, 28, 161), leak(2, 12, 177)]
        assert decided(trace, always(3), alone=always(alone), permissions=permissions) == action

    def test_says_why_fewer(self) -> None:
        trace = [leak(0, 29, 160), leak(5, 28, 161)]
        action = decision(trace, alone=always(2), permissions=Permissions(churning=True))
        assert why(action) == "replacements grow back to 161 MiB, the plan is 2"

    @pytest.mark.parametrize("permissions", [Permissions(churning=True), FREE])
    def test_keeps_and_tells_why(self, permissions: Permissions) -> None:
        """Where it would be in vain, the log has to have it."""
        trace = [seen(at, 10, worker(11, 160), flat(12, 40)) for at in (0, 5)]
        action = decision(trace, need=needed(160, proved=True), permissions=permissions)
        assert action == Action(KEEP_KIND, GrowsBack(160 * MIB), pid=11)

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
        assert decided(trace, always(9), permissions=STOOD_DOWN) == "recycle 12, stop first"

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
    @pytest.mark.parametrize("permissions", [FREE, STOOD_DOWN])
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
        assert decided(trace, always(4), permissions=permissions) == KEEP


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_same_history_gives_the_same_action(samples: int) -> None:
    trace = [leak(at, 29, 160) for at in (0, 5, 10)][:samples]
    assert len({decision(trace, always(3)) for _ in range(5)}) == 1


@pytest.mark.parametrize("left", [300, 20, 0, -50])
def test_nobody_there(left: int) -> None:
    trace = [seen(at, left, target=2) for at in (0, 5, 10)]
    assert decided(trace, always(4)) == KEEP


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
