"""What the set that stands in for uvicorn's counts, and what a reader sees of it at any moment."""

from __future__ import annotations

import asyncio
import operator
import random
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gunicorn_autoconf.fleet.counted_tasks import CountedTasks, Sockets
from gunicorn_autoconf.fleet.counters import Counters, parse_counters
from gunicorn_autoconf.fleet.shared_page import Region, SharedPage, copy_numbers


class Task:
    """A task of a loop, as far as it is counted."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.callbacks: list[Callable[[Task], None]] = []

    def get_loop(self) -> Loop:
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.append(callback)


class Numbers:
    """The numbers of a slot, which are read after every single store."""

    def __init__(self, read: Callable[[], None]) -> None:
        self.page = SharedPage(1).doubles(0, Region.COUNTERS)
        self.read = read

    def __getitem__(self, index: int) -> float:
        return self.page[index]

    def __setitem__(self, index: int, value: float) -> None:
        self.page[index] = value
        self.read()


class Loop:
    """An event loop whose time passes when the test says so, and the requests on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.seen: list[Counters] = []
        self.numbers = Numbers(lambda: self.seen.append(self.read()))
        self.tasks = CountedTasks(self.numbers, lambda: self.now)  # type: ignore[arg-type]
        self.running: list[Task] = []
        self._timers: list[tuple[float, Callable[..., None], Any]] = []

    def call_later(self, seconds: float, call: Callable[..., None], argument: Any) -> None:
        self._timers.append((self.now + seconds, call, argument))

    def wait(self, seconds: float) -> None:
        """Let time pass; timers run when they are due."""
        ends = self.now + seconds
        while self._timers and self._timers[0][0] <= ends:
            self.now, call, argument = self._timers.pop(0)
            call(argument)
        self.now = ends

    def block(self, seconds: float) -> None:
        """Let time pass in which the loop runs nothing."""
        self.now += seconds

    def begin(self) -> None:
        """As uvicorn does it: httptools_impl.py, `on_message_complete`."""
        task = Task(self)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self.running.append(task)

    def end(self) -> None:
        task = self.running.pop(0)
        for callback in task.callbacks:
            callback(task)

    def serve_many(self) -> None:
        """Serve so many requests, one after the other, that each is no longer timed."""
        for _ in range(30):
            self.begin()
            self.block(0.0005)
            self.end()
        self.wait(0.005)

    def read(self) -> Counters:
        counters = parse_counters(copy_numbers(self.numbers.page), self.now)
        assert counters is not None
        return counters


def seen(counters: Counters) -> tuple[int, int, float, float]:
    """Return requests, in flight, busy seconds and slot seconds, rounded."""
    times = counters.busy_seconds, counters.slot_seconds
    return counters.requests, counters.in_flight, *(round(each, 6) for each in times)  # type: ignore[return-value]


def test_worker_without_a_request() -> None:
    loop = Loop()
    loop.wait(60)
    assert loop.read() == Counters()


def test_one_request() -> None:
    loop = Loop()
    loop.wait(60)
    loop.begin()
    loop.wait(2)
    assert seen(loop.read()) == (0, 1, 2.0, 2.0)
    loop.end()
    loop.wait(60)
    assert seen(loop.read()) == (1, 0, 2.0, 2.0)


def test_request_that_blocks_the_loop() -> None:
    """It is seen as it runs, though no timer does."""
    loop = Loop()
    loop.begin()
    loop.block(30)
    assert seen(loop.read()) == (0, 1, 30.0, 30.0)


def test_requests_side_by_side() -> None:
    loop = Loop()
    loop.begin()
    loop.wait(1)
    loop.begin()
    loop.wait(4)
    loop.end()
    loop.wait(2)
    assert seen(loop.read()) == (1, 1, 7.0, 11.0)
    loop.end()
    assert seen(loop.read()) == (2, 0, 7.0, 11.0)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 2)), max_size=20))
def test_slot_seconds_are_the_requests_times(steps: list[tuple[bool, float]]) -> None:
    """However they overlap: each begins or, where one runs, ends, after some seconds."""
    loop, began, expected_seconds = Loop(), list[float](), 0.0
    for begins, seconds in steps:
        loop.wait(seconds)
        if begins:
            began.append(loop.now)
            loop.begin()
        elif began:
            expected_seconds += loop.now - began.pop(0)
            loop.end()
    counters = loop.read()
    running_seconds = sum(loop.now - each for each in began)
    assert counters.slot_seconds == pytest.approx(expected_seconds + running_seconds)
    assert counters.busy_seconds <= loop.now - 100.0 + 1e-6
    assert counters.in_flight == len(began)


def test_many_requests_one_after_the_other() -> None:
    """Their time is exact although each is not timed."""
    loop = Loop()
    for _ in range(100):
        loop.serve_many()
    loop.wait(60)
    assert seen(loop.read()) == (3000, 0, 1.5, 1.5)


def test_many_requests_side_by_side() -> None:
    """Eight at a time, 2,000 a second: each takes 2 ms, and half of the time none runs."""
    loop = Loop()
    for _ in range(3000):
        for _ in range(8):
            loop.begin()
        loop.wait(0.002)
        for _ in range(8):
            loop.end()
        loop.wait(0.00213)  # So that samples come at any moment of it.
    loop.wait(60)
    counters = loop.read()
    assert (counters.requests, counters.in_flight) == (24_000, 0)
    assert counters.busy_seconds == pytest.approx(6.0)
    assert counters.slot_seconds == pytest.approx(48.0, rel=0.05)


def test_page_between_two_samples_of_many_requests() -> None:
    """It shows at once whether a request runs, and never too much; the sums are those before."""
    loop = Loop()
    loop.serve_many()
    loop.wait(0.001)
    for number in range(30, 90):
        loop.begin()
        loop.block(0.0001)
        assert (loop.read().requests, loop.read().in_flight) == (30, 1)
        loop.seen.clear()
        loop.end()
        assert loop.read().in_flight == 0
        busy_seconds = 0.015 + (number - 29) * 0.0001
        assert all(each.busy_seconds <= busy_seconds + 1e-9 for each in loop.seen)
    loop.begin()
    loop.block(30)
    assert seen(loop.read()) == (30, 1, 30.015, 30.015)
    loop.end()
    loop.tasks.show_ended()
    assert seen(loop.read()) == (91, 0, 30.021, 30.021)


def test_one_request_after_many_at_once() -> None:
    """It is one, not as many as the last sample found."""
    loop = Loop()
    loop.serve_many()
    loop.wait(0.001)
    loop.serve_many()
    for _ in range(8):
        loop.begin()
    loop.wait(0.02)
    assert loop.read().in_flight == 8
    for _ in range(8):
        loop.end()
    loop.begin()
    loop.block(30)
    before = loop.read().slot_seconds
    loop.block(1)
    assert loop.read().in_flight == 1
    assert loop.read().slot_seconds == pytest.approx(before + 1)


def test_one_long_request_beside_many_short_ones() -> None:
    """The ends that come after the last sample of a busy time are seen with the next one."""
    loop = Loop()
    loop.begin()
    for _ in range(100):
        loop.begin()
        loop.running.reverse()
        loop.block(0.0001)
        loop.end()
    loop.wait(0.05)
    assert loop.read().requests == 100
    assert loop.read().in_flight == 1


def test_timed_again_after_many_requests() -> None:
    loop = Loop()
    loop.serve_many()
    loop.wait(0.1)
    loop.begin()
    loop.begin()
    loop.wait(3)
    loop.end()
    loop.end()
    assert seen(loop.read()) == (32, 0, 3.015, 6.015)


def test_idle_worker_has_no_timer() -> None:
    loop = Loop()
    loop.serve_many()
    loop.wait(0.1)
    assert loop._timers == []


@pytest.mark.parametrize("many", [False, True])
def test_websocket_is_in_flight_and_no_request(*, many: bool) -> None:
    loop = Loop()
    if many:
        loop.serve_many()
    requests, _, busy_seconds, _ = before = seen(loop.read())
    sockets, socket = Sockets(loop.tasks), cast("asyncio.Task[Any]", Task(loop))
    sockets.add(socket)
    loop.wait(3600)
    assert seen(loop.read()) == (requests, 1, busy_seconds, busy_seconds)
    loop.begin()
    loop.begin()
    loop.wait(1)
    assert loop.read().in_flight == 3
    loop.end()
    loop.end()
    sockets.discard(socket)
    sockets.discard(socket)
    assert seen(loop.read()) == (before[0] + 2, 0, before[2] + 1.0, before[3] + 2.0)


def test_reader_in_the_middle_of_a_change_never_sees_too_much() -> None:
    """Neither does the arbiter, where a worker is killed there."""
    loop = Loop()
    slot_seconds = busy_seconds = running = 0
    for step in (loop.begin, loop.begin, loop.end, loop.begin, loop.end, loop.end) * 5:
        loop.block(4)
        slot_seconds += 4 * running
        busy_seconds += 4 * bool(running)
        running += 1 if step == loop.begin else -1
        loop.seen.clear()
        step()
        assert len(loop.seen) >= 2
        assert max(counters.slot_seconds for counters in loop.seen) <= slot_seconds
        assert max(counters.busy_seconds for counters in loop.seen) <= busy_seconds
        assert seen(loop.seen[-1])[2:] == (busy_seconds, slot_seconds)
    assert (loop.seen[-1].requests, loop.seen[-1].in_flight) == (15, 0)


def test_it_is_the_set_that_uvicorn_waits_for() -> None:
    """It looks at its length and at each task."""

    async def hold(tasks: CountedTasks) -> list[int]:
        loop = asyncio.get_running_loop()
        task = loop.create_task(asyncio.sleep(3600))
        task.add_done_callback(tasks.discard)
        tasks.add(task)
        lengths = [len(tasks)]
        for each in tasks:
            each.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return [*lengths, len(tasks)]

    numbers = SharedPage(1).doubles(0, Region.COUNTERS)
    assert asyncio.run(hold(CountedTasks(numbers, lambda: 100.0))) == [1, 0]
    assert parse_counters(copy_numbers(numbers), 100.0) == Counters(
        requests=1, durations=(1, *[0] * 11)
    )


def durations(loop: Loop) -> dict[int, int]:
    """Return how many requests took how long, by the place among the bounds."""
    return {place: count for place, count in enumerate(loop.read().durations) if count}


def test_how_long_requests_took() -> None:
    """Below 1,000 a second each is timed, however they overlap."""
    loop = Loop()
    loop.begin()
    loop.wait(0.03)
    loop.begin()
    loop.wait(0.004)
    loop.end()  # The first, after 34 ms.
    loop.wait(3)
    loop.end()
    loop.begin()
    loop.wait(60)
    loop.end()
    assert durations(loop) == {3: 1, 9: 1, 11: 1}


def test_how_long_many_requests_took() -> None:
    """Beyond that one in twenty or so is timed and stands for the others; none is lost."""
    loop = Loop()
    loop.numbers.read = lambda: None  # 60,000 requests: nobody looks in between.
    random.seed(1)
    for number in range(30_000):
        loop.begin()
        loop.begin()
        loop.block(0.0001)
        loop.running.reverse()
        loop.end()  # It took 0.1 ms, and every tenth 20 ms.
        if number % 10 == 0:
            loop.block(0.0199)
        loop.end()
        loop.wait(0.0)
    loop.wait(1)
    assert loop.read().requests == 60_000
    found = durations(loop)
    assert sum(found.values()) == 60_000
    assert set(found) == {0, 2}
    assert found[2] == pytest.approx(3_000, rel=0.15)


def test_one_that_stands_for_others_is_not_always_the_first_of_many_at_once() -> None:
    """Twenty arrive together and are served in turn: the last takes twenty times the first."""
    loop = Loop()
    loop.numbers.read = lambda: None  # 60,000 requests: nobody looks in between.
    random.seed(2)
    for _ in range(3_000):
        for _ in range(20):
            loop.begin()
        for _ in range(20):
            loop.block(0.0009)
            loop.end()
        loop.wait(0.0)
    loop.wait(1)
    found = durations(loop)
    assert sum(found.values()) == 60_000
    # Of twenty five take up to 5 ms, six up to 10 ms, nine up to 18 ms.
    assert found == {
        0: pytest.approx(15_000, rel=0.15),
        1: pytest.approx(18_000, rel=0.15),
        2: pytest.approx(27_000, rel=0.15),
    }


def test_requests_timed_again_lose_none_that_were_not() -> None:
    loop = Loop()
    for _ in range(50):
        loop.serve_many()
        loop.wait(1)
        loop.begin()
        loop.wait(2)
        loop.end()
    found = durations(loop)
    assert sum(found.values()) == loop.read().requests == 1550
    assert found[8] == 50


def test_requests_that_begin_among_many_and_end_among_few() -> None:
    """They are counted as any others are, and their time once."""
    loop = Loop()
    loop.serve_many()
    loop.wait(0.005)
    loop.begin()
    loop.begin()
    loop.wait(10)
    loop.end()
    loop.wait(10)
    assert seen(loop.read()) == (31, 1, 20.015, 30.015)
    loop.end()
    assert seen(loop.read()) == (32, 0, 20.015, 30.015)
    loop.wait(60)
    loop.serve_many()
    loop.wait(60)
    assert seen(loop.read()) == (62, 0, 20.03, 30.03)
    assert sum(durations(loop).values()) == 62


def test_request_that_begins_among_few_and_ends_among_many() -> None:
    loop = Loop()
    loop.begin()
    loop.wait(10)
    for _ in range(200):
        loop.begin()
        loop.running.reverse()
        loop.wait(0.0001)
        loop.end()
    loop.begin()
    loop.wait(0.0099)
    loop.end()
    loop.wait(0.0001)
    loop.end()
    assert loop.read().in_flight == 0
    loop.wait(60)
    counters = loop.read()
    assert (counters.requests, counters.in_flight) == (202, 0)
    assert counters.busy_seconds == pytest.approx(10.03)
    assert sum(durations(loop).values()) == 202


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12))
def test_many_and_few_requests_in_any_order(steps: list[tuple[int, bool]]) -> None:
    """Busy time and requests are exact once a sample has passed, and nothing falls meanwhile."""
    loop = Loop()
    busy_seconds, ended, before = 0.0, 0, Counters()
    for begun, is_many in steps:
        for _ in range(begun):
            loop.begin()
        for _ in range(40 if is_many else 2):
            loop.begin()
            loop.running.reverse()
            loop.wait(0.0004 if is_many else 0.02)
            busy_seconds += 0.0004 if is_many else 0.02
            loop.end()
            ended += 1
            loop.running.reverse()
        for _ in range(len(loop.running) // 2):
            loop.end()
            ended += 1
        loop.wait(0.05)
        busy_seconds += 0.05 * bool(loop.running)
        counters = loop.read()
        assert (counters.requests, counters.in_flight) == (ended, len(loop.running))
        assert counters.busy_seconds == pytest.approx(busy_seconds)
        assert counters.at_least(before).slot_seconds == counters.slot_seconds
        assert all(map(operator.ge, counters.durations, before.durations))
        before = counters
