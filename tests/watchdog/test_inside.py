"""What a worker does for the watchdog: ticks, thread pools, tasks, long requests."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from harness import wait_until

import gunicorn_autoconf
from gunicorn_autoconf.watchdog import ticker as ticker_module
from gunicorn_autoconf.watchdog.frames import find_request, read_threads
from gunicorn_autoconf.watchdog.listener import Listener
from gunicorn_autoconf.watchdog.loop import Thresholds
from gunicorn_autoconf.watchdog.pools import PoolWatcher, render_places
from gunicorn_autoconf.watchdog.requests import LongRequests
from gunicorn_autoconf.watchdog.sources import add_sources, find_origins
from gunicorn_autoconf.watchdog.stacks import Frame, Origins, ThreadStack, find_culprit
from gunicorn_autoconf.watchdog.stamps import Moment, Stamps, State, tick_seconds
from gunicorn_autoconf.watchdog.tasks import await_frames
from gunicorn_autoconf.watchdog.ticker import Ticker


def make_stamps() -> Stamps:
    page = memoryview(bytearray(320))
    return Stamps(page[:64].cast("d"), page[64:])


def test_stamps_are_read_as_they_were_written() -> None:
    stamps = make_stamps()
    stamps.tick(5.0, 1.5, 0.25)
    stamps.collecting(5.5)
    stamps.collected(0.125)
    stamps.reach(State.LISTENING)
    stamps.reach(State.LOADED)
    stamps.leave(State.LISTENING)
    stamps.end(9.0)
    stamps.end(10.0)

    moment = stamps.read()
    assert moment == Moment(5.0, 1.5, 0.25, 0.0, 0.125, float(State.LOADED), 9.0, 0.0)
    assert moment.has(State.LOADED)
    assert not moment.has(State.LISTENING)


def test_request_of_a_sync_worker_is_on_the_page_while_it_runs() -> None:
    stamps = make_stamps()
    assert stamps.request() is None
    stamps.begin_request(1.0, "GET", "/" + "ä" * 500 + "?secret")
    found = stamps.request() or ""
    assert found.startswith("GET /ää")
    assert "secret" not in found
    stamps.begin_request(2.0, "GET", "/b")
    assert stamps.request() == "GET /b"
    stamps.end_request()
    assert stamps.request() is None


@pytest.mark.parametrize(("threshold", "tick"), [(0.25, 0.05), (0.01, 0.005), (60.0, 0.5)])
def test_ticks_are_some_in_a_threshold(threshold: float, tick: float) -> None:
    assert tick_seconds(threshold) == tick


class Loop:
    """A loop whose turns take what the test says, and the clock that goes with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.stamps = make_stamps()
        self._due: list[tuple[float, Callable[[], None]]] = []
        clock = SimpleNamespace(monotonic=lambda: self.now, thread_time=lambda: 0.0)
        monkeypatch.setattr(ticker_module, "time", clock)
        listener = cast("Listener", SimpleNamespace(check=lambda: None))
        worker = cast("Any", SimpleNamespace(log=logging.getLogger("test")))
        self.ticker = Ticker(
            worker, self.stamps, listener, stall_seconds=0.25, watchers=[], clock=lambda: self.now
        )
        self.ticker._begin(cast("asyncio.AbstractEventLoop", self))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._due.append((self.now + seconds, callback))

    def turn(self, seconds: float) -> float:
        """Pass *seconds* and run what is due; return how old the stamp on the page is."""
        self.now += seconds
        due = [callback for at, callback in self._due if at <= self.now]
        self._due = [row for row in self._due if row[0] > self.now]
        for callback in due:
            callback()
        return round(self.now - self.stamps.read().tick, 3)


def test_short_turns_in_a_row_are_one_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch)

    assert loop.turn(0.05) == 0.0
    assert [loop.turn(0.125) for _ in range(3)] == [0.125, 0.25, 0.375]
    assert loop.turn(0.05) == 0.0
    # One that lasts for as long as the load does is a stall a second.
    ages = [loop.turn(0.125) for _ in range(30)]
    assert max(ages) == 1.0
    assert ages.count(0.0) == 3


def test_ticks_that_are_late_for_want_of_a_cpu_are_no_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As under a quota that is used up: what the code computes between the waits is no stall."""
    loop = Loop(monkeypatch)
    queued = loop.ticker._queued_seconds = 0.0
    monkeypatch.setattr(loop.ticker, "_read_clocks", lambda: (0.0, queued))
    ages = set()
    for _ in range(30):
        queued += 0.1
        ages.add(loop.turn(0.125))

    assert ages == {0.0}


def test_loop_that_is_on_time_is_stamped_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch)

    assert {loop.turn(0.0625) for _ in range(50)} == {0.0}
    assert loop.turn(0.6) == 0.0  # A long turn is a stall of its own, and over.


def test_watcher_that_fails_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(monkeypatch)
    seen: list[float] = []

    def fail(now: float) -> None:
        raise RuntimeError(now)

    loop.ticker._watchers = [fail, seen.append]
    loop.turn(1.0)
    loop.turn(1.0)

    assert seen == [101.0, 102.0]
    assert caplog.text.count("part of the watchdog crashed") == 1


def test_watchers_wait_until_the_arbiter_knows_of_a_standstill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = Loop(monkeypatch)
    seen: list[float] = []
    loop.ticker._watchers = [seen.append]
    for seconds in (1.0, 60.0, 1.0):
        loop.turn(seconds)

    assert seen == [101.0, 162.0]


def test_pool_is_reported_once_it_has_been_full_for_some_seconds() -> None:
    said: list[str] = []
    watcher = PoolWatcher(
        find_origins(None), lambda level, event, text, **_: said.append(f"{level}: {text}")
    )
    done = threading.Event()
    with ThreadPoolExecutor(2, thread_name_prefix="reports") as pool:
        calls = [pool.submit(done.wait) for _ in range(5)]
        try:
            for now in (0.0, 4.0, 5.0, 6.0, 64.0, 65.0):
                watcher(now)
        finally:
            done.set()
    assert all(call.result() for call in calls)

    heads = [text.splitlines()[0] for text in said if "pool reports" in text]
    assert [head.partition(", 3 calls wait. ")[0] for head in heads] == [
        "warning: 2 of 2 threads of pool reports busy for 5 s",
        "warning: 2 of 2 threads of pool reports busy for 65 s",
    ]


def test_threads_of_a_pool_are_grouped_by_place() -> None:
    origins = Origins()
    here = ThreadStack("", (Frame("/srv/db.py", 7, "session"),))
    there = ThreadStack("", (Frame("/srv/db.py", 9, "query"),), "GET /q")

    assert render_places([here, there, here], origins) == [
        "  2 at /srv/db.py:7 in session()",
        "  1 at /srv/db.py:9 in query(), serving GET /q",
    ]


async def connect() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def context() -> AsyncIterator[None]:
    await connect()
    yield


async def enter() -> None:
    async with context():
        pass


async def of_task() -> None:
    await asyncio.ensure_future(connect())


@pytest.mark.parametrize(
    ("function", "chain"),
    [
        (enter, ["enter", "__aenter__", "context", "connect", "wait"]),
        (of_task, ["of_task", "connect", "wait"]),
    ],
)
def test_await_is_followed_to_its_end(function: Any, chain: list[str]) -> None:
    """Through an asynchronous context manager, as a lifespan is, and into another task."""

    async def look() -> list[str]:
        task = asyncio.ensure_future(function())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        names = [frame.f_code.co_name for frame in await_frames(task.get_coro())]
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()
        return names

    assert asyncio.run(look()) == chain


def test_thread_is_read_where_it_is() -> None:
    inside, done = threading.Event(), threading.Event()

    def wait_here(scope: dict[str, str]) -> None:
        inside.set()
        done.wait()

    scope = {"type": "http", "method": "GET", "path": "/here"}
    thread = threading.Thread(target=wait_here, args=(scope,), name="reader")
    thread.start()
    try:
        assert inside.wait(10)
        (found,) = (row for row in read_threads() if row.name == "reader")
    finally:
        done.set()
        thread.join()

    assert found.request == "GET /here"
    own = find_culprit(found.stack, find_origins(None))
    assert own is not None
    assert own.function.endswith("wait_here")
    assert "done.wait()" in [frame.source for frame in add_sources(found.stack)]


class Proxy:
    """Stands for a request, as Flask's does: outside of its thread nothing may be asked of it."""

    def refuse(self) -> Any:
        raise RuntimeError("Working outside of request context.")

    __dict__ = property(refuse)
    __class__ = property(refuse)


@pytest.mark.parametrize("name", ["request", "scope", "environ"])
def test_request_that_is_a_proxy_costs_no_stack(name: str) -> None:
    import sys

    namespace: dict[str, Any] = {"find_request": find_request, "sys": sys}
    exec(f"def view({name}):\n    return find_request(sys._getframe())", namespace)

    assert namespace["view"](Proxy()) is None


def test_long_requests_that_were_not_reported_are_counted() -> None:
    done, said = threading.Event(), list[str]()
    worker = SimpleNamespace(handle_request=None)
    request = SimpleNamespace(method="GET", path="/a")
    limits = Thresholds(0.25, 5.0, 30.0, find_origins(None))
    requests = LongRequests(
        worker, limits, lambda level, event, text, **_: said.append(text), time.monotonic
    )
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.ident is not None
        wait_until(thread.is_alive, "the thread runs")
        for now in (0.0, 20.0, 40.0, 61.0, 122.0):
            requests._report(thread.ident, request, 6.0, now)
    finally:
        done.set()
        thread.join()

    first, second, third = (text.splitlines()[0] for text in said)
    assert first.endswith("which does not end requests in this worker class")
    assert second.endswith("worker class; 2 more here since the last report")
    assert third == first


def test_a_long_request_that_came_before_the_standstill_was_known() -> None:
    """Its thread may run before the arbiter takes the standstill off the clock."""
    now, said = 3700.0, list[str]()
    worker = SimpleNamespace(pid=1, alive=True)

    def serve(request: Any, connection: Any) -> None:
        nonlocal now
        for now in (100.0, 103.0, 105.0):  # The arbiter has noted an hour.
            requests(now)

    worker.handle_request = serve
    requests = LongRequests(
        worker,
        Thresholds(0.25, 5.0, 30.0, find_origins(None)),
        lambda level, event, text, **_: said.append(text.partition(",")[0]),
        clock=lambda: now,
    )
    worker.handle_request(SimpleNamespace(method="GET", path="/"), None)

    assert said == ["a request has run for 5.0 s"]


def test_applications_package_is_its_own() -> None:
    """Wherever it is installed; of our own package only the demo is."""
    from hypothesis import strategies

    assert find_origins("hypothesis.extra:app").is_own(str(Path(strategies.__file__)))
    demo = find_origins("gunicorn_autoconf.demo:app")
    package = Path(gunicorn_autoconf.__file__).parent
    assert not demo.is_own(str(package / "hooks.py"))
    assert demo.is_own(str(package / "demo.py"))
    assert not find_origins("no.such.module").is_own(threading.__file__)


def test_heartbeat_with_each_request_looks_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now, thread_time=lambda: 0.0)
    monkeypatch.setattr(ticker_module, "time", clock)
    seen: list[float] = []
    beats: list[float] = []
    worker = cast("Any", SimpleNamespace(notify=lambda: beats.append(now)))
    listener = cast("Listener", SimpleNamespace(check=lambda: None))
    ticker = Ticker(
        worker, make_stamps(), listener, stall_seconds=0, watchers=[seen.append], clock=lambda: now
    )
    ticker._follow_heartbeat()
    for _ in range(25):
        worker.notify()
        now += 0.125

    assert len(beats) == 25
    assert seen == [100.0, 101.0, 102.0, 103.0]
