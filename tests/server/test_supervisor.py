"""The arbiter's thread where not everything is as it should be."""

from __future__ import annotations

import threading
import time
from signal import SIGTTIN, SIGTTOU
from types import SimpleNamespace
from typing import Any

import pytest
from simulation import Fleet, leak, plateau, signals_to

from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.server import supervisor as supervisor_module

THREE = {"GUNICORN_WORKERS": "3"}


def leaking(**changes: tuple[str, ...]) -> Fleet:
    """Three workers that fill their limit in a minute and a half."""
    return Fleet([leak(40, 2)], workers=3, limit_mib=[(0, 700)], environ=THREE, **changes)  # type: ignore[arg-type]


class TestReplacedHooks:
    def test_guard_only_observes(self) -> None:
        """Without them it would count wrongly."""
        fleet = leaking(replaced=("child_exit", "on_reload")).run(88)
        assert fleet.story == []
        assert fleet.last_count == 3
        first, second = fleet.arbiter.log.lines
        assert first == (
            "gunicorn-autoconf: the guard only observes, "
            "as your own child_exit and on_reload replaced ours"
        )
        assert second.startswith("gunicorn-autoconf: guard would recycle worker 11 ")

    def test_nothing_is_said_where_it_would_not_act(self) -> None:
        fleet = Fleet(
            [plateau(40, 42)],
            workers=3,
            replaced=("child_exit",),
            environ={**THREE, "GUNICORN_MEMORY_GUARD": "observe"},
        ).run(60)
        assert fleet.arbiter.log.lines == []

    @pytest.mark.parametrize(("replaced", "lines"), [((), 1), (("child_exit",), 0)])
    def test_oom_kills_that_nobody_could_claim_are_not_told(
        self, replaced: tuple[str, ...], lines: int
    ) -> None:
        """Without our child_exit a worker that was killed would be no worker."""
        fleet = leaking(replaced=replaced)
        kills = [1]
        oom: Any = SimpleNamespace(forget_unclaimed=lambda now: kills.pop() if kills else 0)
        fleet.supervisor._oom = oom
        fleet.run(10)
        told = [line for line in fleet.arbiter.log.lines if "that were no workers" in line]
        assert len(told) == lines

    def test_a_reload_brings_one(self) -> None:
        """What is under way is finished; nothing new begins."""
        fleet = leaking()

        def replace() -> None:
            fleet.replaced = ("child_exit",)

        fleet.run(300, at={20: replace})
        assert len(fleet.story) <= 1
        assert fleet.last_count == 3
        assert "as your own child_exit replaced ours" in "".join(fleet.arbiter.log.lines)


def test_failure_is_told_once_and_the_next_step_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad sample does not end the guard."""
    monkeypatch.setattr(supervisor_module, "RETRY_SECONDS", 0)
    fleet = leaking().run(10)
    steps, stopping = list[str](), threading.Event()

    def step(stopping: threading.Event) -> None:
        steps.append("step")
        if len(steps) < 3:
            raise ZeroDivisionError("a limit of 0")
        stopping.set()

    fleet.supervisor._step = step  # type: ignore[method-assign]
    fleet.supervisor._due = time.monotonic()
    fleet.supervisor._run(stopping)
    assert steps == ["step", "step", "step"]
    assert fleet.arbiter.log.lines == [
        "gunicorn-autoconf: the memory guard failed; it tries again in 0 s"
    ]


def test_failures_take_the_replacement_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "RETRY_SECONDS", 0)
    fleet = leaking().run(10)
    steps, stopping = list[str](), threading.Event()

    def fail(stopping: threading.Event) -> None:
        steps.append("step")
        if len(steps) == 3:
            stopping.set()
        raise RuntimeError("a mistake of ours")

    with signals_to(fleet.arbiter):
        sample = fleet.supervisor._history[-1]
        recycle = Action(Kind.RECYCLE, "it leaks", pid=11, replacement_first=True)
        fleet.supervisor.executor.start(recycle, sample)
        fleet.supervisor._step = fail  # type: ignore[method-assign]
        fleet.supervisor._due = time.monotonic()
        fleet.supervisor._run(stopping)
    assert fleet.arbiter.queue == [SIGTTIN, SIGTTOU]


def test_thread_whose_place_another_one_took_does_nothing() -> None:
    """A sample took longer than a fork waits; when it has come, another thread goes on."""
    fleet = leaking().run(10)
    before = list(fleet.supervisor._history)
    stopped = threading.Event()

    class Forks:
        def forks(self, workers: object) -> dict[int, object]:
            stopped.set()
            return {}

    fleet.supervisor._records = Forks()  # type: ignore[assignment]
    fleet.supervisor._step(stopped)
    assert list(fleet.supervisor._history) == before


def test_reload_waits_for_the_step_that_is_under_way() -> None:
    """What it looks at is not taken away from under it."""
    fleet = leaking().run(10)
    supervisor, before = fleet.supervisor, len(fleet.supervisor._history)
    under_way, seen = threading.Event(), list[int]()

    def step(stopping: threading.Event) -> None:
        under_way.set()
        stopping.wait()
        seen.append(len(supervisor._history))

    supervisor._step = step  # type: ignore[method-assign]
    supervisor._due = time.monotonic()
    supervisor._begin()
    assert under_way.wait(10)
    supervisor.reloaded()
    assert seen == [before]
    assert not supervisor._history
    assert supervisor._thread is not None
    supervisor.stop()


def test_reload_that_does_not_wait_harms_nobody() -> None:
    """A step is held up for longer than a reload waits."""
    fleet = leaking().run(10)
    supervisor = fleet.supervisor
    supervisor._log_unclaimed = lambda sample: supervisor.reloaded()  # type: ignore[method-assign]
    supervisor._step(threading.Event())
    assert not supervisor._history
    assert supervisor._interval() > 0


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
    fleet.supervisor._began_at = 0
    fleet.run(65)
    found = [line for line in fleet.arbiter.log.lines if " memory workers=1 " in line]
    assert len(found) == lines
