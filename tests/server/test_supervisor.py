"""The arbiter's thread where not everything is as it should be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from signal import SIGTTIN, SIGTTOU
from typing import Any

import pytest
from builders import MIB
from harness import wait_until
from simulation import Fleet, leak, plateau

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.timing import Timing
from gunicorn_autoconf.server.load_watch import LoadWatch
from gunicorn_autoconf.server.paused_thread import PausedThread

THREE = {"GUNICORN_WORKERS": "3"}
IMPATIENT = Timing(retry_seconds=0.01)


def leaking(**changes: Any) -> Fleet:
    """Three workers that fill their limit in a minute and a half."""
    options: dict[str, Any] = {"workers": 3, "limit_mib": [(0, 700)], "environ": THREE} | changes
    return Fleet([leak(40, 2)], **options)


class TestReplacedHooks:
    def test_guard_only_observes(self) -> None:
        """Without them it would count wrongly."""
        fleet = leaking(replaced=("child_exit", "on_reload")).run(88)
        assert fleet.story == []
        assert fleet.last_count == 3
        (line,) = fleet.arbiter.log.later
        assert line.startswith("gunicorn-autoconf: guard would recycle worker 11 ")

    @pytest.mark.parametrize(("replaced", "lines"), [((), 1), (("child_exit",), 0)])
    def test_oom_kills_that_nobody_could_claim_are_not_told(
        self, replaced: tuple[str, ...], lines: int
    ) -> None:
        """Without our child_exit a worker that was killed would be no worker."""
        kills = [1]
        fleet = leaking(replaced=replaced, unclaimed_kills=lambda: kills.pop() if kills else 0).run(
            10
        )
        told = [
            line
            for line in fleet.arbiter.log.lines
            if "1 process in this cgroup that was not a worker" in line
        ]
        assert len(told) == lines

    def test_a_reload_brings_one(self) -> None:
        """What is under way is finished; nothing new begins."""
        fleet = leaking()

        def replace() -> None:
            fleet.replaced = ("child_exit",)

        fleet.run(300, at={20: replace})
        assert len(fleet.story) <= 1
        assert fleet.last_count == 3


def test_failure_is_told_once_and_the_next_step_follows() -> None:
    """One bad sample does not end the guard."""
    fleet = leaking(timing=IMPATIENT).run(10)
    steps = [0]

    def fail() -> None:
        steps[0] += 1
        if steps[0] <= 2:
            raise ZeroDivisionError("a limit of 0")

    fleet.look = fail
    thread = PausedThread(fleet.supervisor.try_step, 0.5)
    thread.start()
    wait_until(lambda: steps[0] >= 3, "a step follows")
    thread.stop()
    assert fleet.arbiter.log.later == [
        "gunicorn-autoconf: the memory guard failed; retrying in 0.01 s"
    ]


def test_memory_is_guarded_although_the_load_cannot_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: LoadWatch) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(LoadWatch, "look", fail)
    fleet = leaking().run(300)

    assert "recycle 11" in fleet.story
    assert fleet.oom_kills == []
    assert fleet.arbiter.log.lines.count("gunicorn-autoconf: the load could not be measured") == 1


def test_failures_take_the_replacement_back() -> None:
    fleet = leaking(timing=IMPATIENT).run(10)
    recycle = Action(Kind.RECYCLE, pid=11, replacement_first=True)
    workers = tuple(WorkerSample(pid, 10, 50 * MIB, 50 * MIB) for pid in (11, 12, 13))
    sample = Sample(fleet.now, 700 * MIB, 500 * MIB, target=3, workers=workers)
    fleet.supervisor.executor.start(recycle, sample)

    def fail() -> None:
        raise RuntimeError("a mistake of ours")

    fleet.look = fail
    thread = PausedThread(fleet.supervisor.try_step, 0.5)
    thread.start()
    wait_until(lambda: SIGTTOU in fleet.arbiter.queue, "the replacement is taken back")
    thread.stop()
    assert fleet.arbiter.queue == [SIGTTIN, SIGTTOU]


def test_step_whose_place_another_thread_took_does_nothing() -> None:
    """A sample took longer than a fork waits; when it has come, another thread goes on."""
    fleet = leaking(environ={**THREE, "GUNICORN_MEMORY_LOG_INTERVAL": "1"}).run(10)
    before, stopped = len(fleet.arbiter.log.lines), threading.Event()
    fleet.now += 60
    fleet.look = stopped.set
    fleet.supervisor.step(stopped)
    assert len(fleet.arbiter.log.lines) == before > 0
    fleet.supervisor.step(threading.Event())
    assert len(fleet.arbiter.log.lines) > before


def test_reload_that_does_not_wait_harms_nobody() -> None:
    """A step is held up for longer than a reload waits."""
    reloads: list[Callable[[], None]] = []

    def kills() -> int:
        while reloads:
            reloads.pop()()
        return 0

    fleet = leaking(unclaimed_kills=kills).run(10)
    reloads.append(fleet.supervisor.reloaded)
    assert fleet.supervisor.step(threading.Event()) > 0
    assert not reloads
    fleet.run(300)
    assert fleet.last_count == 3
    assert fleet.mistakes == []


@pytest.mark.parametrize(("boot_seconds", "lines"), [(2, 2), (3600, 1)])
def test_memory_is_logged_where_no_worker_tells_that_it_has_booted(
    boot_seconds: float, lines: int
) -> None:
    """Sooner where they do."""
    fleet = Fleet(
        [plateau(40, 42)],
        workers=1,
        cores=1,
        boot_seconds=boot_seconds,
        environ={"GUNICORN_WORKERS": "1", "GUNICORN_MEMORY_LOG_INTERVAL": "60"},
    )
    fleet.run(65)
    found = [line for line in fleet.arbiter.log.lines if " memory workers=1 " in line]
    assert len(found) == lines
