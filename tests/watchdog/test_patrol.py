"""The arbiter's side: whose pid a line has, and what ends the watch."""

from __future__ import annotations

import logging
import os
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from interruptions import Interruption

from gunicorn_autoconf.fleet import standstill as standstill_module
from gunicorn_autoconf.fleet.records import WorkerRecords
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.watchdog import patrol as patrol_module
from gunicorn_autoconf.watchdog.loop import Thresholds
from gunicorn_autoconf.watchdog.patrol import Patrol
from gunicorn_autoconf.watchdog.stacks import Origins
from gunicorn_autoconf.watchdog.stamps import Stamps, State
from gunicorn_autoconf.watchdog.watch import WorkerWatch

WORKER = cast("Any", SimpleNamespace(pid=42))


class Log:
    """Gunicorn's logger, as far as it is used here."""

    def __init__(self) -> None:
        self.error_log: Any = logging.getLogger("test.patrol")

    def warning(self, text: str, *args: object, **fields: object) -> None:
        self.error_log.warning(text, *args, **fields)


class Plain:
    """A logger class of the user's: nothing but the methods that Gunicorn calls."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, text: str, *args: object, **_: object) -> None:
        self.said.append(text % args)


def make_patrol(log: Any, **settings: Any) -> Patrol:
    cfg = SimpleNamespace(**{"reuse_port": False, "preload_app": False, **settings})
    server = SimpleNamespace(log=log, cfg=cfg, LISTENERS=["one"], WORKERS={})
    return Patrol(cast("Any", server), WorkerRecords(), Declaration, "/", quota_seconds=60.0)


def make_watch(pid: int, *, booting_seconds: float = 0.0) -> Any:
    watch = SimpleNamespace(worker=SimpleNamespace(pid=pid), boot_reported_seconds=0.0, told=[])
    watch.is_ticking = True
    watch.booting_seconds = lambda now: booting_seconds

    def report_boot(now: float, others: int, *, preloads: bool) -> None:
        watch.told.append((others, preloads))
        watch.boot_reported_seconds = booting_seconds

    watch.report_boot = report_boot
    return watch


def test_line_has_the_pid_of_its_worker(caplog: pytest.LogCaptureFixture) -> None:
    make_patrol(Log())._say(WORKER, "warning", "stall", "it is late")

    (record,) = caplog.records
    assert record.process == 42
    assert record.getMessage() == "gunicorn-autoconf: it is late"
    assert (record.__dict__["event_name"], record.__dict__["worker"]) == ("stall", 42)


def test_line_names_its_worker_where_the_logger_is_the_users_own() -> None:
    plain = Plain()
    make_patrol(plain)._say(WORKER, "warning", "stall", "it is late")

    assert plain.said == ["gunicorn-autoconf: worker 42: it is late"]


def test_workers_that_may_not_be_asked_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    patrol = make_patrol(Log())
    watch = make_watch(7)

    def look(now: float, *, stopping_since: float | None) -> None:
        raise PermissionError(1, "Operation not permitted")

    watch.look, watch.pipe = look, SimpleNamespace(is_waiting=False)
    patrol._watches[1] = watch
    patrol._server.WORKERS[7] = watch.worker
    patrol._look(1.0)
    patrol._look(2.0)

    assert caplog.text.count("may not send signals to its workers") == 1


def test_starts_that_are_slow_at_once_are_one_line() -> None:
    patrol = make_patrol(Log(), preload_app=False)
    first = make_watch(1, booting_seconds=5.5)
    watches = [first, make_watch(2, booting_seconds=5.2), make_watch(3, booting_seconds=1.0)]
    for _ in range(3):
        patrol._report_boots(cast("list[WorkerWatch]", watches), 10.0)

    assert first.told == [(1, False)]


def test_crash_is_logged_once_and_ends_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    patrol = make_patrol(Log())
    patrol._server.log.exception = patrol._server.log.error_log.exception
    patrol._server.LISTENERS = None
    patrol._server.cfg = cast("Any", None)

    assert patrol.step(threading.Event()) is None
    assert caplog.text.count("the watchdog crashed and is off") == 1
    cut_short = threading.Event()
    cut_short.set()
    assert patrol.step(cut_short) == 0.0


def test_worker_that_is_reaped_while_the_patrol_stops() -> None:
    """Gunicorn 23 reaps in a signal handler; each watch is closed once."""
    closed: list[int] = []
    lines = 0
    while True:
        patrol = make_patrol(Log())
        closed.clear()
        for age in (1, 2, 3):
            watch = make_watch(age)
            watch.close = lambda age=age: closed.append(age)
            patrol._watches[age] = watch
        interruption = Interruption(
            Patrol.stop,
            lambda patrol=patrol: patrol.ended(SimpleNamespace(age=2)),  # type: ignore[misc]
        )
        with interruption.at(lines, file="gunicorn_autoconf"):
            patrol.stop()
        assert sorted(closed) == [1, 2, 3]
        if not interruption.has_come:
            break
        lines += 1
    assert lines > 3


def test_a_pause_of_our_own_is_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a reload that imports for a minute the thread ends, and another one goes on."""
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(patrol_module, "time", clock)
    patrol = make_patrol(Log())
    stopping = threading.Event()
    stood = []
    for now, began_at in ((100.0, 99.0), (160.0, 159.9), (172.0, 159.9)):  # noqa: B007
        assert patrol.step(stopping, began_at)
        stood.append(round(patrol.standstill.seconds, 1))
    assert stood == [0.0, 0.0, 11.9]


@pytest.mark.parametrize(
    ("is_watched", "timeout", "ages"), [(False, 30, [1.0, 2.0, 3.0]), (True, 0, [1.0, 62.0, 63.0])]
)
def test_age_of_a_heartbeat_around_a_standstill(
    monkeypatch: pytest.MonkeyPatch, *, is_watched: bool, timeout: int, ages: list[float]
) -> None:
    """Gunicorn measures its `timeout` by it; without one, only its control interface asks."""
    now, seen, patrol = 100.0, list[float](), make_patrol(Log())
    monkeypatch.setattr(standstill_module, "time", SimpleNamespace(monotonic=lambda: now))
    tmp = SimpleNamespace(last_update=lambda: 100.0)
    cfg = SimpleNamespace(timeout=timeout, graceful_timeout=30)
    worker = cast("Any", SimpleNamespace(cfg=cfg, tmp=tmp, app=None, age=1))
    if is_watched:
        patrol._records.forking(worker)
    patrol.forking(worker)
    for now in (101.0, 162.0, 163.0):
        seen.append(now - tmp.last_update())
    patrol._forked()
    assert (patrol._watches != {}) == is_watched
    patrol.stop()
    assert seen == ages


def test_no_start_or_end_is_charged_with_a_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now)
    for module in (patrol_module, standstill_module):
        monkeypatch.setattr(module, "time", clock)
    patrol, page, said = make_patrol(Log()), memoryview(bytearray(320)), list[str]()
    stamps = Stamps(page[:64].cast("d"), page[64:], patrol.standstill.running)
    worker = SimpleNamespace(pid=os.getpid())
    patrol._watches[1] = WorkerWatch(
        cast("Any", worker),
        stamps,
        cast("Any", SimpleNamespace(ask_all=lambda *_, **__: [], is_waiting=False)),
        Thresholds(0.0, 0.0, 30.0, Origins()),
        read_quota=dict,
        say=lambda level, event, text, **_: said.append(text.splitlines()[0].partition(";")[0]),
        read_beat=None,
        now=patrol.standstill.now(),
    )
    patrol._server.WORKERS[os.getpid()] = cast("Any", worker)

    def run(seconds: float) -> None:
        nonlocal now
        ends = now + seconds
        while now < ends:
            now += patrol.step(threading.Event()) or 0.0

    run(3.0)
    now += 60.0
    run(1.5)
    assert said == []
    run(1.0)
    assert said == ["still booting after 5 s"]
    stamps.reach(State.LOADED)
    stamps.end(now)
    run(3.0)
    now += 60.0
    run(1.5)
    assert len(said) == 1
    run(1.0)
    assert said[1:] == ["this worker has not exited after 5.5 s"]


@pytest.mark.parametrize(
    ("state", "age_seconds", "timeout", "request_timeout", "seconds"),
    [
        (State.LOADED, 20.0, 60.0, 0.0, 0.5),
        (State.LOADED | State.TICKING, 20.0, 60.0, 0.0, 0.0625),
        (State.LOADED, 1.0, 60.0, 0.0, 0.0625),  # It may begin a loop yet.
        (State.LOADED, 20.0, 2.0, 0.0, 0.2),  # Its silence is reported from 1.6 s on.
        (State.LOADED, 20.0, 0.0, 0.3, 0.15),
        (State.LOADED, 20.0, 0.0, 0.0, 0.5),
    ],
)
def test_looks_are_frequent_where_there_is_a_loop(
    state: State, age_seconds: float, timeout: float, request_timeout: float, seconds: float
) -> None:
    """Each look of 62 ms costs an idle server CPU time; only a loop is late so soon."""
    patrol, page = make_patrol(Log()), memoryview(bytearray(320))
    stamps = Stamps(page[:64].cast("d"), page[64:])
    stamps.reach(state)
    stamps.tick(100.0, 0.0, 0.0)
    watch = WorkerWatch(
        cast("Any", SimpleNamespace(pid=os.getpid())),
        stamps,
        cast("Any", SimpleNamespace(is_waiting=False)),
        Thresholds(0.25, timeout, 30.0, Origins(), request_timeout),
        read_quota=dict,
        say=lambda *_, **__: None,
        read_beat=None,
        now=100.0 - age_seconds,
    )
    patrol._declaration = lambda: Declaration(stall_warning_seconds=0.25)
    patrol._watches[1] = watch
    patrol._server.WORKERS[os.getpid()] = watch.worker

    assert patrol._look(100.0) == pytest.approx(seconds)


def test_looks_are_frequent_until_there_are_workers() -> None:
    """Else a stall in the first half second of the first worker would go unseen."""
    assert make_patrol(Log())._look(100.0) == pytest.approx(0.0625)
