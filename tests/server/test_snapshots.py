"""What is known of a server at one moment: which of its workers serve, and how much at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from builders import machine, plan_for

from gunicorn_autoconf.fleet.counters import CHANGED_AT_SECONDS, STARTED
from gunicorn_autoconf.fleet.records import WorkerRecords
from gunicorn_autoconf.fleet.shared_page import Region
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.metrics.endings import STALL, Ending
from gunicorn_autoconf.metrics.snapshot import State
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.server.snapshots import Snapshots

BOOTING, READY, DRAINING = State.BOOTING, State.READY, State.DRAINING


class Scene:
    """A server whose workers are 11, 12 and 13, of these the first two ready."""

    def __init__(self) -> None:
        self.records = WorkerRecords()
        self.exiting: frozenset[int] = frozenset()
        executor = SimpleNamespace(exiting=self.exiting)
        self.supervisor: Any = SimpleNamespace(executor=executor, latest=None)
        cfg = SimpleNamespace(threads=4, worker_connections=100, worker_class_str="gthread")
        self.server: Any = SimpleNamespace(
            WORKERS={},
            num_workers=3,
            cfg=cfg,
            worker_class="gthread",
            LISTENERS=[],
            maybe_promote_master=lambda: None,
            stop=lambda: None,
        )
        for pid in (11, 12, 13):
            self.fork(pid)
        for pid in (11, 12):
            self.records.ready(self.server.WORKERS[pid], ProcessMemory(1, 1, 1))
        final = SimpleNamespace(
            root="/nowhere", machine=machine(2), declaration=Declaration(), plan=plan_for({})
        )
        known: Any = SimpleNamespace(
            final=final,
            records=self.records,
            happened={**dict.fromkeys(Ending, 0), STALL: 2, Ending.OOM: 1},
            supervisor=self.supervisor,
            load=None,
        )
        self.snapshots = Snapshots(self.server, known)

    def fork(self, pid: int) -> None:
        worker: Any = SimpleNamespace(pid=pid, age=pid)
        self.records.forking(worker)
        self.server.WORKERS[pid] = worker

    def begin(self, pid: int, requests: int) -> None:
        """Let a worker count requests that go on."""
        numbers = self.records.doubles(self.server.WORKERS[pid], Region.COUNTERS)
        assert numbers is not None
        numbers[CHANGED_AT_SECONDS] = time.monotonic()
        numbers[STARTED] = requests

    def end(self, pid: int) -> None:
        """Let a worker stamp that it ends."""
        numbers = self.records.doubles(self.server.WORKERS[pid], Region.STAMPS)
        assert numbers is not None
        numbers[6] = 5.0


def _exits(scene: Scene) -> None:
    scene.supervisor.executor.exiting = frozenset({12})


def _has_too_many(scene: Scene) -> None:
    scene.server.num_workers = 2


def _stops(scene: Scene) -> None:
    scene.server.stop()


@pytest.mark.parametrize(
    ("happens", "states"),
    [
        (lambda _: None, {11: READY, 12: READY, 13: BOOTING}),
        (_exits, {11: READY, 12: DRAINING, 13: BOOTING}),
        (_has_too_many, {11: DRAINING, 12: READY, 13: BOOTING}),
        (lambda scene: scene.end(12), {11: READY, 12: DRAINING, 13: BOOTING}),
        (_stops, {11: DRAINING, 12: DRAINING, 13: DRAINING}),
    ],
    ids=["runs", "recycles", "shrinks or reloads", "ends by itself", "stops"],
)
def test_states(happens: Callable[[Scene], None], states: dict[int, State]) -> None:
    scene = Scene()
    happens(scene)

    assert scene.snapshots.states() == states


def test_slots_and_requests_of_those_that_serve() -> None:
    scene = Scene()
    scene.begin(11, 3)
    scene.begin(12, 1)
    scene.end(12)

    now = scene.snapshots.take()

    assert now.workers == {BOOTING: 1, READY: 1, DRAINING: 1}
    assert (now.slots, now.busy_slots, now.in_flight, now.totals.in_flight) == (4, 3, 3, 4)
    assert (now.target, now.stalls, now.endings[Ending.OOM]) == (3, 2, 1)
    assert now.numbers == {11: 0, 12: 1, 13: 2}
    assert (now.sample, now.budget_bytes, now.bounds, now.advice) == (None, None, {}, None)


@pytest.mark.parametrize(
    ("worker_class", "slots"),
    [
        ("sync", 2),
        ("gthread", 8),
        ("gevent", 200),
        ("gunicorn_autoconf.workers.UvicornWorker", None),
        ("somebody.elses.Worker", None),
    ],
)
def test_slots_of_two_ready_workers(worker_class: str, slots: int | None) -> None:
    scene = Scene()
    scene.server.worker_class = worker_class

    assert scene.snapshots.take().slots == slots


def test_replacement_takes_over_the_number() -> None:
    scene = Scene()
    scene.records.ended(scene.server.WORKERS.pop(12))
    scene.fork(14)

    assert scene.snapshots.take().numbers == {11: 0, 13: 2, 14: 1}
