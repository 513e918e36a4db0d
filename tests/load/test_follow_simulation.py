"""Workload ``auto`` on fleets whose requests wait, compute, or wait for each other."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from simulation import Fleet, Law, Work, leak, plateau

from gunicorn_autoconf.memory.actions import Kind

MINUTE, HOUR = 60, 3600
SMALL = plateau(30, 45, 10)

GROWS = (
    "gunicorn-autoconf: load guard{} grow from 5 to 40 workers: all are busy, cores 7 %, "
    "200 waiting; up to 40 database connections"
)


def waiting(rate: Law, **more: Any) -> Work:
    """Requests that compute 3 of their 104 ms."""
    return Work(rate=rate, whole=0.104, computing=0.003, **more)


def fleet(work: Work, *, law: Law = SMALL, limit: float = 4096, **more: Any) -> Fleet:
    """Five sync workers on two cores, as planned where nothing is declared."""
    given: dict[str, Any] = {"workers": 5, "cores": 2, **more}
    return Fleet([law], limit_mib=[(0, limit)], work=work, **given)


def wave(high: float, low: float, *, on: float, off: float) -> Law:
    return lambda seconds: high if seconds % (on + off) < on else low


def gaps(fleet: Fleet) -> list[float]:
    """The seconds between one action and the next."""
    times = [at for at, _ in fleet.actions]
    return [after - before for before, after in pairwise(times)]


def lines(fleet: Fleet, what: str) -> list[str]:
    return [line for line in fleet.arbiter.log.lines if what in line]


def test_requests_that_wait_are_answered_five_times_as_fast_within_a_minute() -> None:
    work = waiting(lambda seconds: 3000)
    busy = fleet(work).run(2 * MINUTE)

    assert work.per_second(3, 8) == pytest.approx(48, abs=2)
    assert work.per_second(60, 90) >= 5 * 48
    assert busy.last_count == 40
    assert lines(busy, "load guard") == [GROWS.format(":")]
    assert (busy.oom_kills, busy.mistakes) == ([], [])


def test_count_is_what_is_asked_for() -> None:
    """Sixty a second take 6.3 workers; that they queued for a while takes some more."""
    work = waiting(lambda seconds: 60)
    busy = fleet(work).run(5 * MINUTE)

    assert 8 <= busy.last_count <= 40
    assert work.waiting < 2


def test_back_at_the_plan_in_the_quiet() -> None:
    """Ten minutes of load, and fifty without."""
    work = waiting(wave(300, 1, on=10 * MINUTE, off=2 * HOUR))
    day = fleet(work).run(HOUR)

    assert max(count for _, count in day.counts) == 40
    assert day.last_count == 5
    assert all(action.remove == 1 for _, action in day.actions)
    assert min(gaps(day)) >= MINUTE
    assert (day.oom_kills, day.mistakes) == ([], [])


@pytest.mark.parametrize(
    ("on", "off", "seconds", "most"),
    [(30, 30, HOUR / 3, 2), (150, 150, HOUR / 3, 2), (900, 900, HOUR, 6)],
)
def test_square_wave(on: float, off: float, seconds: float, most: int) -> None:
    work = waiting(wave(250, 2, on=on, off=off))
    hour = fleet(work).run(seconds)

    assert len(hour.actions) <= seconds / MINUTE
    assert min(gaps(hour), default=MINUTE) >= MINUTE
    # Once up it stays up: the quiet is too short to come down far.
    assert sum(action.kind is Kind.GROW for _, action in hour.actions) <= most
    assert work.per_second(on + off + 5, on + off + on) == pytest.approx(250, rel=0.1)
    assert (hour.oom_kills, hour.mistakes) == ([], [])


@pytest.mark.parametrize("size", [40, 60, 150])
def test_half_a_gigabyte_is_enough(size: float) -> None:
    work = waiting(lambda seconds: 3000)
    small = fleet(work, law=plateau(size * 0.8, size, 10), limit=512, workers=1).run(20 * MINUTE)

    assert small.oom_kills == []
    assert small.mistakes == []
    assert small.last_count == int(0.9 * 512) // size
    last = max(small.actions, key=lambda action: action[0])[0]
    assert last < 10 * MINUTE


def test_bound_by_memory_is_never_a_guess() -> None:
    """One worker of a guessed 256 MiB fits into 512 MiB, and nine of the 50 MiB that they need."""

    def bounds(seconds: float, **declared: str) -> list[str]:
        environ = {"GUNICORN_MEMORY_LOG_INTERVAL": "4", **declared}
        work, law = waiting(lambda seconds: 3000), plateau(30, 50, 20)
        small = fleet(work, law=law, limit=512, workers=1, environ=environ).run(seconds)
        return [line.rpartition("bound by ")[2] for line in lines(small, "bound by")]

    seen = bounds(6 * MINUTE)
    assert (seen[0], seen[-1]) == ("slots", "memory")
    assert bounds(30, GUNICORN_WORKER_MEMORY="256MiB")[0] == "memory"


def test_memory_comes_first() -> None:
    """A sidecar takes half of the memory while the load asks for more."""
    work = waiting(lambda seconds: 3000)

    def beside(seconds: float) -> float:
        return min(max(seconds - 200, 0) * 0.5, 400)

    pressed = fleet(work, limit=1024, law=plateau(55, 60, 10), sidecar=beside).run(20 * MINUTE)

    before = [count for at, count in pressed.counts if at < 200][-1]
    assert before == int(0.9 * 1024) // 60
    assert pressed.oom_kills == []
    assert pressed.last_count < before
    late = [action.kind for at, action in pressed.actions if at > 300]
    assert Kind.GROW not in late


def test_leak_under_load_is_recycled_as_ever() -> None:
    work = waiting(lambda seconds: 3000)
    leaking = fleet(work, limit=1024, law=leak(40, 0.3)).run(15 * MINUTE)

    assert leaking.oom_kills == []
    assert any(action.kind is Kind.RECYCLE for _, action in leaking.actions)


def test_step_in_vain_is_taken_back_for_an_hour() -> None:
    """All requests wait for one lock."""
    work = waiting(lambda seconds: 3000, most=47)
    locked = fleet(work).run(HOUR)

    assert locked.story[:2] == ["grow 35", "shrink"]
    assert locked.last_count == 5
    assert len(locked.actions) == 2
    assert "go back from 40 to 5 workers: 40 answer 47/s, fewer answered 47/s" in "\n".join(
        lines(locked, "load guard")
    )


@pytest.mark.parametrize(
    ("work", "more"),
    [
        (Work(lambda seconds: 3000, whole=0.011, computing=0.010), {}),
        (waiting(lambda seconds: 30), {}),
        (waiting(lambda seconds: 3000), {"environ": {"GUNICORN_WORKLOAD": "cpu"}, "workers": 2}),
        (waiting(lambda seconds: 3000), {"environ": {"GUNICORN_LOAD_GUARD": "off"}}),
        (waiting(lambda seconds: 3000), {"environ": {"GUNICORN_MAX_WORKERS": "5"}}),
        (waiting(lambda seconds: 3000), {"environ": {"GUNICORN_MAX_CONCURRENCY": "5"}}),
        (waiting(lambda seconds: 3000), {"environ": {"GUNICORN_WORKERS": "5"}}),
        (waiting(lambda seconds: 3000), {"replaced": ("child_exit",)}),
    ],
    ids=["cores", "room", "declared", "off", "workers", "concurrency", "explicit", "hooks"],
)
def test_count_stays(work: Work, more: dict[str, Any]) -> None:
    quiet = {"GUNICORN_MEMORY_LOG_INTERVAL": "0"}
    more = {**more, "environ": quiet | more.get("environ", {})}
    assert fleet(work, **more).run(5 * MINUTE).actions == []


def test_observing_says_it_once() -> None:
    seen = fleet(waiting(lambda seconds: 3000), environ={"GUNICORN_LOAD_GUARD": "observe"}).run(
        5 * MINUTE
    )

    assert seen.actions == []
    assert lines(seen, "load guard") == [GROWS.format(" would")]


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_load_is_followed_where_the_memory_guard_may_not_act(mode: str) -> None:
    """It would go back to the plan of 5, which a guess has cut to 3."""
    environ = {"GUNICORN_MEMORY_GUARD": mode, "GUNICORN_LOAD_GUARD": "act"}
    busy = fleet(waiting(lambda seconds: 3000), limit=1024, workers=3, environ=environ).run(
        2 * MINUTE
    )

    assert busy.last_count > 5
    assert busy.oom_kills == []


def test_operator_has_the_last_word() -> None:
    busy = fleet(waiting(wave(3000, 3000, on=1, off=1)))

    def operator() -> None:
        busy.arbiter.num_workers += 1

    busy.run(10 * MINUTE, at={5: operator})
    assert busy.actions == []
    assert busy.last_count == 6


def test_large_host_grows_by_need() -> None:
    """Twelve workers are planned for 64 cores; computing takes them all."""
    work = Work(lambda seconds: 5000, whole=0.0105, computing=0.010, clients=500)
    large = fleet(work, cores=64, workers=12, limit=65536, physical_mib=(128 * 1024, 0)).run(
        10 * MINUTE
    )

    assert 60 <= large.last_count <= 70
    assert work.per_second(500, 590) == pytest.approx(5000, rel=0.05)
    assert not math.isnan(large.in_use)
