"""The guard against fleets that live for minutes and hours of simulated time. Sizes are in MiB."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from signal import SIGHUP, SIGTTIN, SIGTTOU, Signals
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from simulation import Fleet, Law, bites, leak, plateau, ramp, spike, tide

from gunicorn_autoconf.memory.actions import Kind

pytestmark = pytest.mark.one_python

MINUTES, HOUR = 60, 3600
THREE = {"GUNICORN_WORKERS": "3"}


def static(fleet: Fleet, workers: int, seconds: float) -> Fleet:
    """The same fleet with as many workers from the start to the end, and no guard."""
    off = {"GUNICORN_WORKERS": str(workers), "GUNICORN_MEMORY_GUARD": "off"}
    plain = replace(
        fleet,
        workers=workers,
        environ=fleet.environ | off,
        now=0,
        actions=[],
        counts=[],
        oom_kills=[],
        mistakes=[],
    )
    return plain.run(seconds)


def counted(fleet: Fleet, kind: Kind) -> int:
    return sum(action.kind is kind for _, action in fleet.actions)


def counts_that_came_back(fleet: Fleet) -> list[int]:
    """The counts that were reached again after the guard had begun to go down from them."""
    count, least_too_many, came_back = fleet.workers, math.inf, []
    before = Kind.KEEP
    for _, action in fleet.actions:
        if action.kind is Kind.SHRINK:
            if before is not Kind.SHRINK:
                least_too_many = min(least_too_many, count)
            count -= 1
        elif action.kind is Kind.GROW:
            count += action.add
            if count >= least_too_many:
                came_back.append(count)
        before = action.kind
    return came_back


# -- named fleets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fleet", "seconds", "story"),
    [
        pytest.param(
            Fleet([plateau(40, 60)], workers=3), 10 * MINUTES, ["grow 3", "grow 3"], id="grow"
        ),
        pytest.param(
            Fleet([plateau(40, 45)], workers=1),
            10 * MINUTES,
            ["grow 1", "grow 1", "grow 3", "grow 3"],
            id="grow from one",
        ),
        pytest.param(
            Fleet([plateau(40, 45)], workers=3, cores=1), 10 * MINUTES, [], id="as planned"
        ),
        pytest.param(
            Fleet([tide(40, 80, 5 * MINUTES)], workers=3),
            20 * MINUTES,
            ["grow 3", "grow 2", "grow 1"],
            id="traffic that rises and falls",
        ),
        pytest.param(
            Fleet([spike(plateau(40, 60), 240, at=100, seconds=3)], workers=3, cores=1),
            10 * MINUTES,
            [],
            id="spike in each worker",
        ),
        pytest.param(
            Fleet(
                [
                    plateau(40, 60),
                    spike(plateau(40, 60), 450, at=100, seconds=0.4),
                    plateau(40, 60),
                ],
                workers=3,
                cores=1,
                limit_mib=[(0, 700)],
            ),
            10 * MINUTES,
            [],
            id="spike nearly to the limit",
        ),
        pytest.param(
            Fleet(
                [plateau(40, 60), leak(40, 0.5), plateau(40, 60)],
                workers=3,
                cores=1,
                limit_mib=[(0, 512)],
            ),
            15 * MINUTES,
            ["recycle 12"],
            id="slow leak in one of three",
        ),
        pytest.param(
            Fleet(
                [*[plateau(40, 42)] * 5, leak(40, 2), plateau(40, 42)],
                workers=9,
                limit_mib=[(0, 700)],
            ),
            10 * MINUTES,
            ["recycle 16"],
            id="one leaker among many",
        ),
        pytest.param(
            Fleet([plateau(40, 42)], workers=3, sidecar=lambda seconds: min(seconds, 600)),
            15 * MINUTES,
            ["grow 3", "grow 3"],
            id="sidecar that grows",
        ),
        pytest.param(
            Fleet([plateau(40, 45)], workers=3, limit_mib=[(0, 1024), (200, 512)]),
            10 * MINUTES,
            ["grow 3", "grow 3"],
            id="limit cut in half, and all fit",
        ),
        pytest.param(
            Fleet([plateau(70, 75)], workers=3, limit_mib=[(0, 1024), (200, 750), (500, 1024)]),
            15 * MINUTES,
            ["grow 3", "grow 3"],
            id="limit cut to what is used, and all fit",
        ),
        pytest.param(
            Fleet([plateau(70, 75)], workers=3, limit_mib=[(0, 1024), (200, 700), (500, 1024)]),
            15 * MINUTES,
            ["grow 3", "grow 3", "shrink", "grow 1"],
            id="limit cut and raised",
        ),
        pytest.param(
            Fleet([plateau(40, 250, 20)], workers=3), 10 * MINUTES, [], id="all become large"
        ),
        pytest.param(
            Fleet(
                [plateau(40, 98, 600)],
                workers=9,
                sidecar=lambda seconds: 60 if seconds > HOUR else 0,
            ),
            HOUR + 10 * MINUTES,
            [],
            id="all are large for an hour",
        ),
        # Caches that fill up to nearly the limit, for a count that is not ours to change.
        pytest.param(
            Fleet([plateau(80, 130, 20)], workers=3, limit_mib=[(0, 440)], environ=THREE),
            20 * MINUTES,
            [],
            id="flat at 93 percent",
        ),
        pytest.param(
            Fleet([plateau(40, 125, 5)], workers=3, limit_mib=[(0, 425)], environ=THREE),
            20 * MINUTES,
            [],
            id="soon flat at 93 percent",
        ),
        pytest.param(
            Fleet([plateau(40, 125, 5)], workers=3, limit_mib=[(0, 407)], environ=THREE),
            20 * MINUTES,
            [],
            id="soon flat at 97 percent",
        ),
        pytest.param(
            Fleet([plateau(40, 125, 300)], workers=3, limit_mib=[(0, 407)], environ=THREE),
            40 * MINUTES,
            [],
            id="fills for 5 minutes, to 97 percent",
        ),
        pytest.param(
            Fleet([ramp(40, 125, 300)], workers=3, limit_mib=[(0, 407)], environ=THREE),
            40 * MINUTES,
            ["recycle 11"],
            id="fills evenly for 5 minutes, to 97 percent",
        ),
        pytest.param(
            Fleet(
                [plateau(40, 60, 20)],
                workers=3,
                cores=1,
                physical_mib=(16384, 15360),
                environ=THREE,
            ),
            20 * MINUTES,
            [],
            id="host that is nearly full",
        ),
        pytest.param(
            Fleet([plateau(40, 60, 20)], workers=3, cores=1, physical_mib=(16384, 15360)),
            20 * MINUTES,
            [],
            id="host that is nearly full and a count that is ours",
        ),
    ],
)
def test_story(fleet: Fleet, seconds: float, story: list[str]) -> None:
    fleet.run(seconds)
    assert fleet.story == story
    assert fleet.oom_kills == []
    assert fleet.mistakes == []


@pytest.mark.parametrize(
    ("workers", "boot_seconds", "rate"), [(2, 0.1, 27), (2, 3, 23), (3, 2, 27), (3, 3, 27)]
)
def test_fast_leak_is_survived(workers: int, boot_seconds: float, rate: float) -> None:
    """Up to 28 MB/s under 300 MiB, which are gone as soon as a worker is 10 s old."""
    fleet = Fleet(
        [leak(20, rate / workers)],
        workers=workers,
        limit_mib=[(0, 300)],
        boot_seconds=boot_seconds,
        environ={"GUNICORN_WORKERS": str(workers)},
    ).run(10 * MINUTES)
    assert fleet.oom_kills == []
    assert fleet.mistakes == []
    assert fleet.last_count == workers
    assert counted(fleet, Kind.RECYCLE) > 20


@pytest.mark.parametrize(
    ("workers", "boot", "late_seconds", "stop_seconds"),
    [(2, 20, 2, 4), (2, 40, 1, 4), (2, 40, 3, 4), (2, 40, 2, 6), (3, 20, 2, 4), (3, 40, 1, 4)],
)
def test_leak_on_a_busy_machine_is_survived(
    workers: int, boot: float, late_seconds: float, stop_seconds: float
) -> None:
    """5 MB/s under 256 MiB. Before the first end only late samples tell how long one takes."""
    fleet = Fleet(
        [leak(boot, 5 / workers)],
        workers=workers,
        limit_mib=[(0, 256)],
        stop_seconds=stop_seconds,
        late_seconds=late_seconds,
        environ={"GUNICORN_WORKERS": str(workers)},
    ).run(10 * MINUTES)
    assert fleet.oom_kills == []
    assert fleet.mistakes == []
    assert counted(fleet, Kind.RECYCLE) > 15


@pytest.mark.parametrize("late_seconds", [1, 3])
@pytest.mark.parametrize("law", [plateau(40, 60), ramp(20, 60, 60), tide(30, 60, 300)])
def test_fleet_that_fits_is_left_alone_on_a_busy_machine(law: Law, late_seconds: float) -> None:
    fleet = Fleet([law], workers=3, limit_mib=[(0, 256)], late_seconds=late_seconds, environ=THREE)
    assert fleet.run(20 * MINUTES).story == []
    assert fleet.oom_kills == []


def test_request_that_wants_more_than_there_is_takes_no_growth_back() -> None:
    """It was over before a sample could show it; what its end has freed tells of it."""
    one = spike(plateau(40, 60), 2000, at=100, seconds=0.1)
    fleet = Fleet([one, plateau(40, 60)], workers=2, cores=1, limit_mib=[(0, 800)])
    fleet.run(10 * MINUTES)
    assert len(fleet.oom_kills) == 1
    assert fleet.story == ["grow 1"]


def test_leak_that_leaves_no_time_to_serve_costs_one_kill_an_hour() -> None:
    """After three recycles one worker may grow on, as it boots for longer than it serves."""
    fleet = Fleet(
        [leak(80, 50)],
        workers=1,
        limit_mib=[(0, 504)],
        boot_seconds=17,
        environ={"GUNICORN_WORKERS": "1"},
    ).run(2 * HOUR - MINUTES)
    assert 1 <= len(fleet.oom_kills) <= 2
    assert fleet.mistakes == []


def test_server_that_stops_is_left_alone() -> None:
    """Gunicorn has closed its listeners, and its workers drain."""
    fleet = Fleet([leak(20, 10)], limit_mib=[(0, 300)], environ={"GUNICORN_WORKERS": "2"})

    def stop() -> None:
        fleet.arbiter.LISTENERS = ()

    assert fleet.run(12, at={5: stop}).story == []


def test_without_the_guard_it_is_not() -> None:
    """The simulator's own kernel does kill."""
    fleet = Fleet(
        [leak(20, 12)],
        limit_mib=[(0, 300)],
        environ={"GUNICORN_WORKERS": "2", "GUNICORN_MEMORY_GUARD": "off"},
    ).run(60)
    assert fleet.story == []
    assert len(fleet.oom_kills) > 1


def test_observes() -> None:
    fleet = Fleet([plateau(40, 60)], workers=3, environ={"GUNICORN_MEMORY_GUARD": "observe"})
    fleet.run(60)
    assert fleet.story == []
    assert fleet.arbiter.log.later == [
        "gunicorn-autoconf: guard would grow by 3: workers need up to 72.3 MiB, the plan is 9"
    ]


def test_slow_leak_in_all() -> None:
    """One at a time, and the count stays as it is."""
    fleet = Fleet([leak(40, 0.1)], workers=3, cores=1, limit_mib=[(0, 512)]).run(HOUR)
    assert {action.kind for _, action in fleet.actions} == {Kind.RECYCLE}
    assert fleet.counts[0][1] == fleet.last_count == 3
    assert fleet.oom_kills == []
    assert fleet.mistakes == []


@pytest.mark.parametrize("boot_seconds", [2, 3, 6, 10])
def test_worker_that_is_restarted_takes_no_other_with_it(boot_seconds: float) -> None:
    """Each that ran into ``max_requests`` is replaced; the others have ended their growth."""
    fleet = Fleet(
        [plateau(80, 110, 20)],
        workers=4,
        boot_seconds=boot_seconds,
        limit_mib=[(0, 540)],
        environ={"GUNICORN_WORKERS": "4"},
    )
    fleet.run(10 * MINUTES, at=dict.fromkeys((200, 300, 400, 500), fleet.restart_oldest))
    assert fleet.story == []
    assert fleet.last_count == 4


def test_says_once_that_recycles_help_nobody() -> None:
    """Flat at 98 percent."""
    fleet = Fleet([plateau(80, 130, 20)], workers=3, limit_mib=[(0, 420)], environ=THREE).run(HOUR)
    assert fleet.story == ["recycle 11"]
    assert fleet.oom_kills == []
    assert fleet.mistakes == []
    spared = [line for line in fleet.arbiter.log.lines if "keep" in line]
    assert spared == [
        ("gunicorn-autoconf: guard: keep worker 12: its replacement would grow to 128.7 MiB again")
    ]


def test_leak_after_recycles_that_helped_nobody() -> None:
    """Memory that does run out is saved, however often that was in vain."""
    full = plateau(80, 130, 20)
    leaker = lambda age: full(age) + leak(0, 0.5, since=600)(age)  # noqa: E731
    fleet = Fleet([full] * 3 + [leaker, full], workers=3, limit_mib=[(0, 420)], environ=THREE).run(
        HOUR
    )
    assert fleet.story == ["recycle 11", "recycle 14"]
    assert fleet.oom_kills == []
    assert fleet.mistakes == []


@pytest.mark.parametrize("stop_seconds", [70, 150])
def test_long_drains_leave_the_count(stop_seconds: float) -> None:
    fleet = Fleet(
        [leak(40, 0.2)],
        workers=3,
        limit_mib=[(0, 700)],
        stop_seconds=stop_seconds,
        environ=THREE,
    ).run(HOUR)
    assert counted(fleet, Kind.RECYCLE) > 5
    assert fleet.last_count == 3
    assert fleet.mistakes == []


# -- from the field ------------------------------------------------------------------------------


def asked_from(second: float) -> Law:
    """Ten requests a second for each worker, from *second* on."""
    return lambda seconds: 10 if seconds >= second else 0


class TestLateGrowth:
    """Workers that take their memory when they have booted, or with their first request."""

    MODEL = staticmethod(ramp(34, 165, 3))

    def lazy(self, **changes: Any) -> Fleet:
        """The first request loads a model of 130 MiB in 3 s."""
        options: dict[str, Any] = {
            "is_lazy": True,
            "traffic": asked_from(20),
            "answers_after": 3,
            "boot_seconds": 6,
        }
        return Fleet([self.MODEL], **options | changes)

    def test_idle_workers_are_no_evidence(self) -> None:
        """Five fit while they are idle, and two once they have loaded their model."""
        fleet = self.lazy(workers=1, limit_mib=[(0, 512)], traffic=asked_from(600)).run(1200)
        assert fleet.story == ["grow 1"]
        assert fleet.actions[0][0] > 610
        assert fleet.oom_kills == []
        assert fleet.mistakes == []

    def test_model_that_the_first_request_loads(self) -> None:
        fleet = self.lazy(workers=3).run(10 * MINUTES)
        assert fleet.story == ["grow 2"]
        assert fleet.oom_kills == []
        assert fleet.in_use / fleet.limit == pytest.approx(0.83, abs=0.01)

    def test_model_that_a_request_loads_after_many_others(self) -> None:
        """Health checks are requests, too. A kill takes the growth back; then two fit."""
        fleet = Fleet(
            [ramp(34, 165, 3, since=120)],
            workers=1,
            limit_mib=[(0, 512)],
            boot_seconds=6,
            is_lazy=True,
            traffic=lambda seconds: 1,
        ).run(30 * MINUTES)
        assert len(fleet.oom_kills) == 1
        assert fleet.last_count == 2
        assert fleet.actions[-1][0] < 300
        assert fleet.mistakes == []

    def test_class_that_cannot_tell_its_requests(self) -> None:
        """What fits by the first guess has to do until a minute of CPU time shows work."""
        fleet = self.lazy(counts_requests=False, workers=3, traffic=asked_from(300))
        fleet.run(30 * MINUTES)
        assert fleet.story == ["grow 1", "grow 1"]
        assert fleet.actions[0][0] > 360
        assert fleet.actions[1][0] - fleet.actions[0][0] > 60
        assert fleet.oom_kills == []

    def test_class_that_cannot_tell_its_requests_and_gets_none(self) -> None:
        fleet = self.lazy(counts_requests=False, workers=3, traffic=asked_from(3600)).run(HOUR)
        assert fleet.story == []

    def test_class_that_cannot_tell_its_requests_takes_a_step_back(self) -> None:
        """Six of those that become large after minutes of work are too many; five fit."""
        fleet = Fleet([ramp(34, 190, 3, since=200)], workers=3, counts_requests=False)
        fleet.run(30 * MINUTES)
        assert fleet.story == ["grow 1", "grow 1", "grow 1", "shrink"]
        assert fleet.oom_kills == []

    @pytest.mark.parametrize(
        ("limit", "workers", "story"), [(512, 1, []), (1024, 3, [])], ids=["512", "1024"]
    )
    def test_model_that_the_lifespan_loads_unseen(
        self, limit: float, workers: int, story: list[str]
    ) -> None:
        """Where the class says that it has booted before it has."""
        fleet = Fleet(
            [ramp(34, 235, 4)], workers=workers, limit_mib=[(0, limit)], boot_seconds=0.1
        ).run(10 * MINUTES)
        assert fleet.story == story
        assert fleet.oom_kills == []

    def test_model_that_the_lifespan_loads(self) -> None:
        fleet = Fleet([ramp(235, 236, 5)], workers=3, boot_seconds=5).run(10 * MINUTES)
        assert fleet.story == []
        assert fleet.oom_kills == []

    @pytest.mark.parametrize("second", [20, 30, 33, 37, 42, 60, 200])
    def test_warm_up_after_a_slow_boot(self, second: float) -> None:
        """Two of 390 MiB fit; a boot of 30 s makes a long forecast."""
        fleet = Fleet(
            [ramp(290, 390, 15)],
            workers=2,
            cores=2,
            boot_seconds=30,
            is_lazy=True,
            traffic=asked_from(second),
            environ={"GUNICORN_WORKLOAD": "cpu"},
        ).run(15 * MINUTES)
        assert fleet.story == []
        assert fleet.oom_kills == []

    @pytest.mark.parametrize("second", [0, 15, 100])
    def test_warm_up_to_what_is_declared(self, second: float) -> None:
        fleet = Fleet(
            [ramp(20, 160, 4.5)],
            workers=3,
            limit_mib=[(0, 600)],
            boot_seconds=10,
            is_lazy=True,
            answers_after=4.5,
            traffic=asked_from(second),
            environ={"GUNICORN_WORKER_MEMORY": "180MiB"},
        ).run(15 * MINUTES)
        assert fleet.story == []
        assert fleet.oom_kills == []

    @pytest.mark.parametrize("second", [0, 1.5, 2.5, 3, 3.5, 4, 5, 6.5, 8, 10, 12])
    def test_growth_in_any_second_gives_the_same_count(self, second: float) -> None:
        """8 MiB more while the next worker boots, or before, or after."""
        fleet = Fleet(
            [ramp(174, 182, 0.1, since=second)],
            workers=1,
            cores=2,
            boot_seconds=3,
            limit_mib=[(0, 512)],
        ).run(10 * MINUTES)
        assert fleet.story == ["grow 1"]
        assert fleet.last_count == 2

    def test_workers_just_below_the_guess_stay(self) -> None:
        """Three of 242 MiB are 73 %: what is measured fits."""
        fleet = Fleet([ramp(240, 242, 10)], workers=3, cores=2).run(30 * MINUTES)
        assert fleet.story == []


class TestOthers:
    """What others take under the same limit."""

    @pytest.mark.parametrize("stop_seconds", [1, 4])
    def test_helper_that_leaks_goes_with_its_worker(self, stop_seconds: float) -> None:
        fleet = Fleet(
            [plateau(17, 18)],
            workers=2,
            cores=1,
            boot_seconds=0.3,
            stop_seconds=stop_seconds,
            limit_mib=[(0, 300)],
            environ={"GUNICORN_WORKERS": "2"},
            helpers={11: lambda age: max(age - 30, 0) * 6},
        ).run(10 * MINUTES)
        assert fleet.story == ["recycle 11"]
        assert fleet.last_count == 2
        assert fleet.oom_kills == []

    def test_helper_of_a_steady_size_counts_while_it_is_there(self) -> None:
        """One worker starts a pool of 300 MiB; three workers of 360 MiB would be too many."""
        fleet = Fleet(
            [plateau(60, 61)],
            workers=3,
            cores=1,
            helpers={12: lambda age: 300 if 200 < age < 500 else 0},
        ).run(20 * MINUTES)
        assert fleet.story == ["shrink", "grow 1"]
        assert fleet.last_count == 3
        assert fleet.oom_kills == []

    def test_sidecar_that_leaves_room_moves_nothing(self) -> None:
        """93 % are in use, but our own workers fit."""
        fleet = Fleet(
            [plateau(60, 70)],
            workers=3,
            sidecar=lambda seconds: 300 if seconds % 1200 > 600 else 0,
        ).run(40 * MINUTES)
        assert fleet.story == ["grow 3", "grow 3"]
        assert fleet.oom_kills == []

    def test_sidecar_that_takes_all_and_leaves(self) -> None:
        """The count goes down with it and comes back, later each time."""
        fleet = Fleet(
            [plateau(60, 70)],
            workers=3,
            sidecar=lambda seconds: min(max(seconds % 1200 - 600, 0) * 2, 450),
        ).run(80 * MINUTES)
        assert fleet.oom_kills == []
        assert fleet.mistakes == []
        assert fleet.story[:6] == ["grow 3", "grow 3", "shrink", "shrink", "grow 2", "shrink"]
        assert min(count for second, count in fleet.counts if second > 200) == 7
        assert max(count for _, count in fleet.counts) == 9
        downs = sum("shrink" in step for step in fleet.story)
        assert downs <= 2 * 4

    @pytest.mark.parametrize("law", [plateau(20, 70), ramp(20, 70, 5)])
    def test_sidecar_beside_workers_that_have_grown(self, law: Law) -> None:
        """They are kept, as they would grow back; the count makes room, and comes back."""
        fleet = Fleet(
            [law],
            workers=3,
            sidecar=lambda seconds: min((seconds - 300) * 2, 450) if 300 < seconds < 700 else 0,
        ).run(18 * MINUTES)
        assert fleet.story == ["grow 3", "grow 3", "shrink", "shrink", "grow 2"]
        assert fleet.oom_kills == []
        assert fleet.mistakes == []

    def test_sidecar_that_takes_all_at_once(self) -> None:
        """Nothing can foresee that. The count is down after some kills, and comes back."""
        fleet = Fleet(
            [plateau(60, 70)],
            workers=3,
            sidecar=lambda seconds: 450 if 200 < seconds < 500 else 0,
        ).run(20 * MINUTES)
        assert len(fleet.oom_kills) <= len(static(fleet, 9, 20 * MINUTES).oom_kills)
        assert fleet.last_count == 9
        assert fleet.mistakes == []

    def test_limit_of_zero_for_some_seconds(self) -> None:
        fleet = Fleet(
            [plateau(40, 45, 10)],
            workers=3,
            told_mib=lambda seconds: 0 if 100 < seconds < 130 else 1024,
        ).run(10 * MINUTES)
        assert fleet.story == ["grow 3", "grow 3"]
        assert not any("failed" in line for line in fleet.arbiter.log.lines)


@pytest.mark.parametrize(
    ("mib", "limit", "workers", "fraction"),
    [(45, 512, 10, 0.92), (110, 1024, 8, 0.88), (75, 1024, 12, 0.90), (150, 2048, 12, 0.89)],
)
def test_use_of_the_limit_once_all_are_flat(
    mib: float, limit: float, workers: int, fraction: float
) -> None:
    """Between 75 and 92 %, the arbiter included, where the cores do not bound the count."""
    fleet = Fleet([plateau(mib * 0.9, mib, 10)], workers=1, cores=40, limit_mib=[(0, limit)]).run(
        10 * MINUTES
    )
    assert fleet.last_count == workers
    assert fleet.in_use / limit == pytest.approx(fraction, abs=0.01)
    assert counted(fleet, Kind.SHRINK) == counted(fleet, Kind.RECYCLE) == 0
    assert fleet.oom_kills == []


class TestLeaks:
    def test_before_the_count_was_ever_at_the_plan(self) -> None:
        """It lasts two samples: the leaker goes, and the count grows on."""
        fleet = Fleet(
            [plateau(69, 70), leak(69, 50, since=3), plateau(69, 70)],
            workers=2,
            cores=2,
            limit_mib=[(0, 800)],
        ).run(10 * MINUTES)
        assert fleet.story[0] == "recycle 12"
        assert counted(fleet, Kind.SHRINK) == 0
        assert fleet.last_count == 5
        assert fleet.oom_kills == []

    @pytest.mark.parametrize(
        ("law", "workers", "kills"),
        [
            pytest.param(bites(30, 120, 3), 1, 1, id="40 MB/s in one worker"),
            pytest.param(bites(30, 60, 3), 1, 1, id="20 MB/s in one worker"),
            pytest.param(bites(30, 60, 3), 2, 2, id="40 MB/s in two"),
        ],
    )
    def test_in_big_bites(self, law: Law, workers: int, kills: int) -> None:
        """
        One bite alone is taken for a request; 1 GiB fills in 10 to 25 s.

        After three recycles the only worker may show where its growth ends.
        """
        fleet = Fleet([law], workers=workers, environ={"GUNICORN_WORKERS": str(workers)})
        fleet.run(10 * MINUTES)
        assert len(fleet.oom_kills) <= kills
        assert fleet.mistakes == [] or fleet.oom_kills

    @pytest.mark.parametrize(("stop_seconds", "kills"), [(7, 0), (20, 1), (39, 7)])
    def test_with_slow_ends(self, stop_seconds: float, kills: int) -> None:
        """Two samples and an end: the first ends show how long the next ones take."""
        fleet = Fleet(
            [leak(40, 1)],
            workers=2,
            limit_mib=[(0, 400)],
            stop_seconds=stop_seconds,
            environ={"GUNICORN_WORKERS": "2"},
        ).run(HOUR)
        assert len(fleet.oom_kills) <= kills
        assert all(second < 15 * MINUTES for second in fleet.oom_kills)
        assert counted(fleet, Kind.RECYCLE) > 5


class TestOperator:
    def test_count_is_left_alone(self) -> None:
        """What would grow to nine stays at four; the leaker among them is recycled."""
        fleet = Fleet(
            [plateau(40, 42), leak(40, 2), plateau(40, 42)], workers=3, limit_mib=[(0, 500)]
        )
        fleet.run(10 * MINUTES, at={1: lambda: fleet.arbiter.queue.append(SIGTTIN)})
        assert set(fleet.story) == {"recycle 12"}
        assert fleet.last_count == 4
        assert fleet.arbiter.log.later[0] == (
            "gunicorn-autoconf: an operator set the count to 4; it stays so until a reload"
        )

    def test_count_that_was_declared(self) -> None:
        fleet = Fleet([plateau(40, 42)], workers=3, environ={"WEB_CONCURRENCY": "3"})
        fleet.run(10 * MINUTES)
        assert fleet.story == []
        assert fleet.last_count == 3

    @pytest.mark.parametrize("second", [18.9, 19.3, 20.1, 21.0, 21.7, 22.5, 23.3, 24.9])
    def test_reload_in_the_middle_of_a_recycle(self, second: float) -> None:
        fleet = Fleet(
            [leak(40, 4)],
            workers=3,
            limit_mib=[(0, 500)],
            environ={"GUNICORN_WORKERS": "3"},
        )
        fleet.run(30, at={second: lambda: fleet.arbiter.queue.append(SIGHUP)})
        assert fleet.last_count == 3
        assert len(fleet.lives) == 3


def leaks_too_fast_for_three() -> Fleet:
    """Each has to be recycled about once a minute."""
    return Fleet([leak(41, 2, since=41)], workers=1, cores=1, limit_mib=[(0, 200)])


def test_leak_that_recycles_cannot_hold_brings_the_count_down() -> None:
    """Recycles, a shrink, growth and the same again would go on for ever."""
    fleet = leaks_too_fast_for_three().run(4 * HOUR)
    steps = [
        (round(second / HOUR), action.kind)
        for second, action in fleet.actions
        if action.kind is not Kind.RECYCLE
    ]
    assert steps == [
        *[(0, Kind.GROW), (0, Kind.GROW), (0, Kind.SHRINK), (0, Kind.SHRINK)],
        # It has come down twice, so it is tried again after two hours, and then after eight.
        *[(2, Kind.GROW), (2, Kind.GROW), (2, Kind.SHRINK), (2, Kind.SHRINK)],
    ]
    assert fleet.oom_kills == []
    assert fleet.mistakes == []


# -- random fleets -----------------------------------------------------------------------------

# Each example is ten minutes; a slow machine may take its time.
RANDOM = settings(
    deadline=None,
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)


@st.composite
def laws(draw: st.DrawFn, *, may_leak: bool = True) -> Law:
    boot = draw(st.integers(15, 80))
    kinds = ["plateau", "tide", *(["leak"] if may_leak else [])]
    match = draw(st.sampled_from(kinds))
    law: Law
    if match == "leak":
        law = leak(boot, draw(st.floats(0.01, 5)), since=draw(st.integers(0, 200)))
    elif match == "tide":
        law = tide(boot, boot * draw(st.floats(1, 2)), draw(st.integers(60, 1200)))
    else:
        law = plateau(boot, boot * draw(st.floats(1, 3)), draw(st.integers(3, 200)))
    if draw(st.booleans()):
        at, seconds = draw(st.integers(0, 500)), draw(st.integers(1, 20))
        law = spike(law, draw(st.integers(10, 100)), at=at, seconds=seconds)
    return law


@st.composite
def sidecars(draw: st.DrawFn) -> Law:
    rate, most = draw(st.floats(0, 2)), draw(st.integers(0, 200))
    return lambda seconds: min(rate * seconds, most)


@st.composite
def fleets(
    draw: st.DrawFn, *, limits: int = 1, most_stop_seconds: int = 12, is_explicit: bool = False
) -> Callable[[], Fleet]:
    """A fleet, to be had as often as one likes."""
    each = draw(st.lists(laws(), min_size=1, max_size=5))
    workers, cores = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    count = draw(st.integers(1, limits))
    limit_mib = [(number * 200.0, float(draw(st.integers(200, 1600)))) for number in range(count)]
    boot_seconds, stop_seconds = draw(st.floats(0.3, 8)), draw(st.floats(0.1, most_stop_seconds))
    sidecar = draw(sidecars())
    explicit = {"GUNICORN_WORKERS": str(workers)}
    environ = explicit if is_explicit else draw(st.sampled_from([{}, explicit]))
    return lambda: Fleet(
        each,
        workers=workers,
        cores=cores,
        limit_mib=limit_mib,
        boot_seconds=boot_seconds,
        stop_seconds=stop_seconds,
        sidecar=sidecar,
        environ=environ,
    )


@RANDOM
@given(fleets(limits=3))
def test_never_without_a_worker_never_two_at_once_never_a_young_one(
    make: Callable[[], Fleet],
) -> None:
    fleet = make().run(10 * MINUTES)
    # Where the kernel kills, Gunicorn's replacements come and go as they must.
    assert fleet.mistakes == [] or fleet.oom_kills
    assert min(count for _, count in fleet.counts) >= 1


@RANDOM
@given(fleets())
@example(leaks_too_fast_for_three)
def test_count_never_swings(make: Callable[[], Fleet]) -> None:
    """
    While the limit stays and others do not leave, no count comes back that was too many.

    A step that an OOM kill has taken back may be followed by a smaller one, to what then fits.
    """
    assert counts_that_came_back(make().run(10 * MINUTES)) == []


@RANDOM
@given(
    fleets(most_stop_seconds=150, is_explicit=True),
    st.dictionaries(st.integers(1, 400), st.sampled_from([SIGTTIN, SIGTTOU]), max_size=6),
    st.sets(st.integers(1, 400), max_size=2),
)
def test_count_is_the_operators_when_all_has_settled(
    make: Callable[[], Fleet], changes: dict[int, Signals], reloads: set[int]
) -> None:
    """What was configured and what was changed since, whatever was recycled meanwhile."""
    fleet = make()
    expected = fleet.workers
    due: dict[float, Callable[[], None]] = {}
    for second, number in sorted((changes | dict.fromkeys(reloads, SIGHUP)).items()):
        if number == SIGTTOU and expected == 1:
            continue
        expected = {SIGTTIN: expected + 1, SIGTTOU: expected - 1, SIGHUP: fleet.workers}[number]
        due[second] = functools.partial(fleet.arbiter.queue.append, number)

    def observe() -> None:
        fleet.replaced = ("child_exit",)

    # Then nothing begins any more; what is under way may take two drains and the guard's patience.
    fleet.run(15 * MINUTES, at=due | {450: observe})
    assert fleet.last_count == expected
    assert len(fleet.lives) == expected


@settings(RANDOM, max_examples=3)
@given(fleets(limits=3))
def test_same_fleet_has_the_same_story(make: Callable[[], Fleet]) -> None:
    assert make().run(3 * MINUTES).actions == make().run(3 * MINUTES).actions


@settings(RANDOM, max_examples=12)
@given(
    workers=st.integers(2, 6),
    limit_mib=st.integers(150, 2000),
    boot=st.integers(15, 80),
    rate=st.floats(0.02, 40),
    boot_seconds=st.floats(0.3, 6),
    stop_seconds=st.floats(0.1, 1.5),
)
@example(workers=2, limit_mib=300, boot=20, rate=9, boot_seconds=2, stop_seconds=1)
def test_one_leaker_never_reaches_the_limit(
    *,
    workers: int,
    limit_mib: int,
    boot: int,
    rate: float,
    boot_seconds: float,
    stop_seconds: float,
) -> None:
    """
    Wherever recycling it in time is possible at all.

    It may be recycled when it is 10 s old. What is free then has to last for the notice that the
    guard wants (two boots and 3 s), and for one sample that came just before (5 s and 1 s more);
    and while the notice runs it has to be large enough to be told from the others.
    """
    at_boot = limit_mib - 20 - workers * boot
    notice = 2 * boot_seconds + 3
    assume(at_boot - 10 * rate >= rate * (notice + 6))
    assume(at_boot - rate * notice >= max(boot / 4, 8))
    steady = plateau(boot, boot)
    fleet = Fleet(
        # The first one leaks, and so does each that comes in its place.
        [leak(boot, rate), *[steady] * (workers - 1), leak(boot, rate)],
        workers=workers,
        limit_mib=[(0, limit_mib)],
        boot_seconds=boot_seconds,
        stop_seconds=stop_seconds,
        environ={"GUNICORN_WORKERS": str(workers)},
    ).run(10 * MINUTES)
    assert fleet.oom_kills == []
    assert fleet.mistakes == []
    assert fleet.last_count == workers
    steady_ones = {f"recycle {pid}" for pid in range(12, 11 + workers)}
    assert steady_ones.isdisjoint(fleet.story)


@settings(RANDOM, max_examples=10)
@given(
    workers=st.integers(1, 6),
    victim=st.integers(0, 5),
    at=st.integers(12, 200),
    seconds=st.floats(0.1, 0.4),
    share=st.floats(0.1, 0.98),
)
def test_one_spike_recycles_nobody(
    *, workers: int, victim: int, at: int, seconds: float, share: float
) -> None:
    """However large, if it is over before the guard has looked twice."""
    full = [plateau(40, 60)] * workers
    room = 600 - 20 - workers * 60
    full[victim % workers] = spike(plateau(40, 60), room * share, at=at, seconds=seconds)
    fleet = Fleet(
        [*full, plateau(40, 60)],
        workers=workers,
        limit_mib=[(0, 600)],
        environ={"GUNICORN_WORKERS": str(workers)},
    ).run(5 * MINUTES)
    assert fleet.story == []
    assert fleet.oom_kills == []


def of_late_growth(
    limit: int,
    boot: int,
    growth: int,
    seconds: float,
    boot_seconds: float,
    second: int,
    *,
    is_lazy: bool,
    workers: int = 1,
    cores: int = 1,
) -> Fleet:
    """Workers that grow once, after they have booted or from *second* on, which brings requests."""
    return Fleet(
        [ramp(boot, boot + growth, seconds)],
        workers=workers,
        cores=cores,
        limit_mib=[(0, limit)],
        boot_seconds=boot_seconds,
        is_lazy=is_lazy,
        answers_after=seconds if is_lazy else 0,
        traffic=asked_from(second),
    )


@settings(RANDOM, max_examples=12)
@given(
    cores=st.integers(1, 6),
    limit=st.integers(300, 2500),
    boot=st.integers(20, 120),
    growth=st.integers(0, 300),
    seconds=st.floats(0.5, 40),
    boot_seconds=st.floats(0.2, 30),
    second=st.integers(0, 150),
    is_lazy=st.booleans(),
)
@example(
    cores=1, limit=504, boot=80, growth=248, seconds=4.9, boot_seconds=17.3, second=23, is_lazy=True
)
@example(
    cores=6,
    limit=347,
    boot=60,
    growth=237,
    seconds=21.2,
    boot_seconds=27.2,
    second=119,
    is_lazy=False,
)
def test_late_growth_that_fits_is_left_alone(
    *,
    cores: int,
    limit: int,
    boot: int,
    growth: int,
    seconds: float,
    boot_seconds: float,
    second: int,
    is_lazy: bool,
) -> None:
    """
    No worker is killed where the plan's first count fits.

    Where it fits the budget, the count is never lowered, and no worker is recycled if the growth
    leaves time to boot a replacement. A faster growth looks like a leak at first: it may cost three
    recycles, of young workers if there is no time to wait. Beyond the budget, up to 95 % of the
    limit, it may cost four, and one worker.
    """
    workers = min(max(int(limit * 0.9 // 256), 1), 2 * cores + 1)
    used = workers * (boot + growth) + 20
    assume(used <= limit * 0.95)
    is_slow = workers * growth / seconds * boot_seconds <= limit * 0.95 - used
    fleet = of_late_growth(
        *(limit, boot, growth, seconds, boot_seconds, second),
        is_lazy=is_lazy,
        workers=workers,
        cores=cores,
    ).run(12 * MINUTES)
    assert fleet.oom_kills == []
    assert [each for each in fleet.mistakes if is_slow or "of a young worker" not in each] == []
    if used <= limit * 0.9:
        assert counted(fleet, Kind.RECYCLE) <= (0 if is_slow else 3)
        assert counted(fleet, Kind.SHRINK) == 0
    else:
        assert counted(fleet, Kind.RECYCLE) <= 4
        assert counted(fleet, Kind.SHRINK) <= 1


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize(
    ("limit", "boot", "growth", "seconds", "boot_seconds", "second"),
    [(347, 60, 237, 21.2, 27.2, 119), (363, 113, 205, 24.7, 9.7, 62), (326, 89, 200, 7.5, 1.5, 58)],
)
def test_one_worker_that_ends_its_growth_near_the_limit_is_left_alone(
    limit: int,
    boot: int,
    growth: int,
    seconds: float,
    boot_seconds: float,
    second: int,
    is_lazy: bool,
) -> None:
    """
    At 88 to 95 % of it, by a growth that looks like a leak for as long as it lasts.

    What recycles have shown is forgotten after four minutes, which pass four times here.
    """
    asked = (limit, boot, growth, seconds, boot_seconds, second)
    fleet = of_late_growth(*asked, is_lazy=is_lazy).run(20 * MINUTES)
    assert fleet.oom_kills == []
    assert counted(fleet, Kind.RECYCLE) <= 4


@settings(RANDOM, max_examples=5)
@given(
    limit=st.integers(300, 1500),
    boot=st.integers(20, 250),
    growth=st.integers(0, 40),
    seconds=st.lists(st.integers(0, 60), min_size=4, max_size=4, unique=True),
)
def test_count_does_not_depend_on_the_second_of_the_growth(
    limit: int, boot: int, growth: int, seconds: list[int]
) -> None:
    def last_count(second: int) -> int:
        fleet = Fleet(
            [ramp(boot, boot + growth, 2, since=second)],
            workers=max(int(limit * 0.9 // 256), 1),
            cores=3,
            limit_mib=[(0, limit)],
        )
        return fleet.run(10 * MINUTES).last_count

    assume(max(int(limit * 0.9 // 256), 1) * (boot + growth) <= limit * 0.85)
    assert len({last_count(second) for second in seconds}) == 1
