"""What a worker counts, and what a reader makes of it at any moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.fleet.counters import (
    FINISHED,
    STARTED,
    Counters,
    parse_counters,
)
from gunicorn_autoconf.fleet.meter import Header, Meter
from gunicorn_autoconf.fleet.shared_page import Region, SharedPage, copy_numbers


def took(*places: int) -> tuple[int, ...]:
    """Return how many requests took how long, of some with these *places* among the bounds."""
    return tuple(places.count(place) for place in range(12))


HEADER = Header("X-REQUEST-START", lambda request, value: None)
REQUEST: Any = SimpleNamespace(headers=[("HOST", "a")])
SCOPE = {"type": "http", "headers": [(b"host", b"a")]}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Handled:
    """Requests that run until they are told to end, each in a thread."""

    def __init__(self, meter: Meter) -> None:
        self._handle = meter.handler(HEADER)(self._wait)
        self._running: list[tuple[threading.Thread, threading.Event]] = []

    def _wait(self, request: Any, events: tuple[threading.Event, threading.Event]) -> None:
        begun, end = events
        begun.set()
        end.wait()

    def enter(self) -> None:
        begun, end = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._handle, args=(REQUEST, (begun, end)), daemon=True)
        thread.start()
        begun.wait()
        self._running.append((thread, end))

    def leave(self) -> None:
        thread, end = self._running.pop(0)
        end.set()
        thread.join()


class Suspended:
    """Calls of an ASGI application that go on when they are told to."""

    def __init__(self, meter: Meter) -> None:
        self._call = meter.calls(self._app, self._app, HEADER)
        self._running: list[Coroutine[Any, Any, Any]] = []

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await Pause()

    def enter(self) -> None:
        call: Any = self._call(SCOPE, None, None)
        call.send(None)
        self._running.append(call)

    def leave(self) -> None:
        with pytest.raises(StopIteration):
            self._running.pop(0).send(None)


class Pause:
    def __await__(self) -> Generator[None]:
        yield


class Scene:
    """One worker's slot, its requests, and a clock that both sides look at."""

    def __init__(self, kind: type[Handled | Suspended] = Suspended) -> None:
        self.clock = Clock()
        self.numbers = SharedPage(1).doubles(0, Region.COUNTERS)
        self.meter = Meter(self.numbers, clock=self.clock)
        requests = kind(self.meter)
        self.enter, self.leave = requests.enter, requests.leave

    def read(self) -> Counters:
        counters = parse_counters(self.numbers.tolist(), self.clock.now)
        assert counters is not None
        return counters


@pytest.fixture(params=[Handled, Suspended])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


def test_worker_that_has_not_begun_to_count() -> None:
    assert parse_counters(SharedPage(1).doubles(0, Region.COUNTERS).tolist(), 100.0) is None


def test_class_whose_requests_are_not_counted() -> None:
    """0 requests would look like a worker that has never worked."""
    numbers = SharedPage(1).doubles(0, Region.COUNTERS)
    Meter(numbers)
    assert parse_counters(copy_numbers(numbers), 100.0) is None


def test_idle_worker(scene: Scene) -> None:
    scene.clock.now += 60
    assert scene.read() == Counters()


def test_one_request(scene: Scene) -> None:
    scene.clock.now += 60
    scene.enter()
    scene.clock.now += 2
    scene.leave()
    scene.clock.now += 60
    assert scene.read() == Counters(
        requests=1, busy_seconds=2.0, slot_seconds=2.0, durations=took(8)
    )


def test_request_that_still_runs(scene: Scene) -> None:
    """Its time counts as it passes, not when it is over."""
    scene.enter()
    scene.clock.now += 30
    assert scene.read() == Counters(in_flight=1, busy_seconds=30.0, slot_seconds=30.0)


def test_requests_side_by_side(scene: Scene) -> None:
    scene.enter()
    scene.clock.now += 1
    scene.enter()
    scene.clock.now += 4
    scene.leave()
    scene.clock.now += 2
    first = scene.read()
    scene.leave()
    assert first == Counters(
        requests=1, in_flight=1, busy_seconds=7.0, slot_seconds=11.0, durations=took(9)
    )
    assert scene.read() == Counters(
        requests=2, busy_seconds=7.0, slot_seconds=11.0, durations=took(9, 10)
    )


def test_websocket_is_in_flight_and_no_request(scene: Scene) -> None:
    scene.meter.websocket(1)
    scene.clock.now += 3600
    assert scene.read() == Counters(in_flight=1)
    scene.meter.websocket(-1)
    assert scene.read() == Counters()


def test_what_others_count(scene: Scene) -> None:
    scene.meter.queued(0.25)
    scene.meter.queued(0.5)
    scene.meter.rejected()
    assert scene.read() == Counters(queue_seconds=0.75, queued=2, rejected=1)


def test_cpu_time_at_the_end(scene: Scene) -> None:
    scene.meter.exiting()
    assert scene.read().cpu_seconds > 0


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 50)), max_size=40),
    st.lists(st.floats(0, 50), max_size=40),
)
def test_slot_seconds_are_the_requests_times(
    steps: list[tuple[bool, float]], left: list[float]
) -> None:
    """However they overlap: each begins or, where one runs, ends, after some seconds."""
    scene, began, expected_seconds = Scene(), list[float](), 0.0
    for begins, seconds in steps:
        scene.clock.now += seconds
        if begins:
            began.append(scene.clock.now)
            scene.enter()
        elif began:
            expected_seconds += scene.clock.now - began.pop(0)
            scene.leave()
    running_seconds = sum(scene.clock.now - each for each in began)
    counters = scene.read()
    assert counters.slot_seconds == pytest.approx(expected_seconds + running_seconds)
    assert counters.busy_seconds <= scene.clock.now - 100.0 + 1e-6
    assert counters.in_flight == len(began)


class Watched:
    """The numbers of a slot, which are read after every single store."""

    def __init__(self, numbers: memoryview[float], read: Callable[[], None]) -> None:
        self.numbers, self.read = numbers, read

    def __getitem__(self, index: int) -> float:
        return self.numbers[index]

    def __setitem__(self, index: int, value: float) -> None:
        self.numbers[index] = value
        self.read()


@pytest.mark.parametrize("kind", [Handled, Suspended])
def test_reader_in_the_middle_of_a_change_never_sees_too_much(
    kind: type[Handled | Suspended],
) -> None:
    """Neither does the arbiter, where a worker is killed there."""
    clock, seen = Clock(), list[Counters]()
    numbers = SharedPage(1).doubles(0, Region.COUNTERS)

    def read() -> None:
        counters = parse_counters(copy_numbers(numbers), clock.now)
        assert counters is not None
        seen.append(counters)

    requests = kind(Meter(Watched(numbers, read), clock=clock))  # type: ignore[arg-type]
    enter, leave = requests.enter, requests.leave
    slot_seconds = busy_seconds = running = 0
    for step in (enter, enter, leave, enter, leave, leave) * 5:
        clock.now += 4
        slot_seconds += 4 * running
        busy_seconds += 4 * bool(running)
        running += 1 if step == enter else -1
        seen.clear()
        step()
        assert len(seen) >= 2
        assert max(counters.slot_seconds for counters in seen) <= slot_seconds
        assert max(counters.busy_seconds for counters in seen) <= busy_seconds
        assert (seen[-1].slot_seconds, seen[-1].busy_seconds) == (slot_seconds, busy_seconds)
    assert (seen[-1].requests, seen[-1].in_flight) == (15, 0)


def test_reader_between_whom_and_whose_copy_a_request_ends_reads_again() -> None:
    """The last request ends in the middle of the copy: its time is there, its end is not."""
    torn = [0.0, 1.0, 0.0, 0.0, 10.0, 90.0]
    then = [1.0, 1.0, 0.0, 0.0, 10.0, 90.0]
    copies = iter([torn, then, then])

    class Numbers:
        def __iter__(self) -> Iterator[float]:
            return iter(next(copies))

    assert copy_numbers(Numbers()) == then  # type: ignore[arg-type]


def test_asgi_call_that_is_no_request() -> None:
    clock, called = Clock(), list[str]()
    numbers = SharedPage(1).doubles(0, Region.COUNTERS)

    async def other(scope: Any, receive: Any, send: Any) -> str:
        called.append(scope["type"])
        return "handed on"

    call: Any = Meter(numbers, clock=clock).calls(other, other, HEADER)
    with pytest.raises(StopIteration) as end:
        call({"type": "websocket"}, None, None).send(None)
    assert (called, end.value.value) == (["websocket"], "handed on")
    assert parse_counters(copy_numbers(numbers), 100.0) == Counters()


@pytest.mark.parametrize("error", [RuntimeError("x"), SystemExit(1), asyncio.CancelledError()])
def test_asgi_call_that_raises(error: BaseException) -> None:
    clock = Clock()
    numbers = SharedPage(1).doubles(0, Region.COUNTERS)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now += 2
        raise error

    call: Any = Meter(numbers, clock=clock).calls(app, app, HEADER)
    with pytest.raises(type(error)) as raised:
        call(SCOPE, None, None).send(None)
    assert raised.value is error
    assert parse_counters(copy_numbers(numbers), 200.0) == Counters(
        requests=1, busy_seconds=2.0, slot_seconds=2.0, durations=took(8)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((REQUEST, "connection"), id="gthread"),
        pytest.param((REQUEST, "connection", "HTTP/2"), id="gthread, HTTP/2"),
        pytest.param(("listener", REQUEST, "socket", "address"), id="gevent"),
    ],
)
def test_handler_gets_its_arguments_and_the_header_its_request(arguments: tuple[Any, ...]) -> None:
    found: list[Any] = []
    header = Header("HOST", lambda request, value: found.append((request, value)))
    meter = Meter(SharedPage(1).doubles(0, Region.COUNTERS))
    handle = meter.handler(header, is_second=arguments[1] is REQUEST)(lambda *given: given)

    assert handle(*arguments) == arguments
    assert found == [(REQUEST, "a")]


def test_threads_lose_nothing() -> None:
    """Another thread comes between any two stores."""
    clock = Clock()
    numbers = SharedPage(1).doubles(0, Region.COUNTERS)
    yielding = Watched(numbers, lambda: time.sleep(1e-5))
    meter = Meter(yielding, clock=clock)  # type: ignore[arg-type]
    handle = meter.handler(HEADER)(lambda request, connection: None)

    together = threading.Barrier(4)

    def serve() -> None:
        together.wait()
        for _ in range(100):
            handle(REQUEST, None)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (numbers[STARTED], numbers[FINISHED]) == (400.0, 400.0)
    assert parse_counters(copy_numbers(numbers), clock.now) == Counters(
        requests=400, durations=took(*[0] * 400)
    )


def test_sums() -> None:
    one = Counters(
        requests=3,
        in_flight=1,
        busy_seconds=0.5,
        slot_seconds=2.0,
        cpu_seconds=0.25,
        durations=took(0, 0, 6),
    )
    other = Counters(
        requests=4,
        in_flight=2,
        busy_seconds=1.0,
        rejected=2,
        queued=5,
        durations=took(0, 6, 6, 11),
    )
    assert one.plus(other) == Counters(
        requests=7,
        in_flight=3,
        busy_seconds=1.5,
        slot_seconds=2.0,
        cpu_seconds=0.25,
        rejected=2,
        queued=5,
        durations=took(0, 0, 0, 6, 6, 6, 11),
    )


def test_only_what_is_in_flight_falls() -> None:
    now = Counters(requests=3, in_flight=1, busy_seconds=2.5, durations=took(0, 0, 1))
    earlier = Counters(requests=4, in_flight=7, busy_seconds=2.0, durations=took(0, 1, 1, 1))
    assert now.at_least(earlier) == Counters(
        requests=4, in_flight=1, busy_seconds=2.5, durations=took(0, 0, 1, 1, 1)
    )
