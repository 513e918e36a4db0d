"""The latencies that `tune` measures, against a server whose queue is calculated."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

import pytest
from patience import slowness

from gunicorn_autoconf.cli.tune import generator
from gunicorn_autoconf.cli.tune.job import Job, Seen, together
from gunicorn_autoconf.cli.tune.latencies import Latencies, is_steady, merged
from gunicorn_autoconf.cli.tune.load import loading
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.errors import AutoconfError

pytestmark = pytest.mark.one_python

SERVICE_SECONDS = 0.020
# From the server's answer to the moment at which the load has read it.
OVERHEAD_SECONDS = 0.002


class OneSlot:
    """
    A worker with one slot: each request takes `SERVICE_SECONDS`, one after the other.

    Answers are sent when they are due by calculation, not after a sleep: no error adds up.
    """

    def __init__(self) -> None:
        self.free_at = 0.0
        self.methods: list[str] = []
        self.answering_at: list[float] = []
        self.answered_at: list[float] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.methods.append(head.split(b" ", 1)[0].decode())
            self.free_at = max(self.free_at, time.perf_counter()) + SERVICE_SECONDS
            await asyncio.sleep(self.free_at - time.perf_counter())
            status = b"503 No" if b"/bad" in head else b"200 OK"
            self.answering_at.append(time.perf_counter())
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
            self.answered_at.append(time.perf_counter())
            await writer.drain()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await self.serve(reader, writer)
        writer.close()


@contextmanager
def serving(slot: OneSlot) -> Iterator[int]:
    """Serve in a thread; yield the port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(slot.handle, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:

        async def stop() -> None:
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # Connections are closed in the next turn.

        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def calculated(rate: float, seconds: float, seed: int) -> Latencies:
    """The latencies of one slot for requests that arrive by chance: Lindley's recursion."""
    chance, due, free_at, found = Random(seed), 0.0, 0.0, Latencies()
    while (due := due + chance.expovariate(rate)) < seconds:
        free_at = max(free_at, due) + SERVICE_SECONDS
        found.add(free_at - due)
    return found


@pytest.mark.parametrize("rate", [25.0, 75.0], ids=["half", "overload"])
def test_latency_of_a_known_queue(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Within 5 % of when requests were due and answered, also where more are due than are served.

    A client that waits for its answer before it asks again would see 4 x 20 ms at most.
    """
    due: list[float] = []

    def due_times(job: Job, began: float) -> Iterator[float]:
        for each in original(job, began):
            due.append(each)
            yield each

    original = generator._due_times
    monkeypatch.setattr(generator, "_due_times", due_times)
    slot = OneSlot()
    with serving(slot) as port:
        job = Job(port=port, seconds=2.0, clients=4, rate=rate, seed=7, timeout_seconds=60.0)
        seen = asyncio.run(generator._run(job, [Request()]))
    # This thread may have to wait for a CPU right after it has written an answer.
    earliest, latest = Latencies(), Latencies()
    for began_at, ended_at, due_at in zip(slot.answering_at, slot.answered_at, due, strict=True):
        earliest.add(began_at - due_at)
        latest.add(ended_at - due_at)
    least = calculated(rate, 2.0, seed=7)

    assert (seen.latencies.total, seen.bad) == (least.total, 0)
    for fraction in (0.5, 0.99):
        told = seen.latencies.quantile(fraction)
        low, high = earliest.quantile(fraction), latest.quantile(fraction)
        assert told is not None
        assert low is not None
        assert high is not None
        overhead_seconds = OVERHEAD_SECONDS * slowness()
        assert 0.95 * low - overhead_seconds <= told <= 1.05 * high + overhead_seconds
        assert told >= 0.98 * (least.quantile(fraction) or 0)
    if rate > 1 / SERVICE_SECONDS:
        assert (seen.latencies.quantile(0.99) or 0) > 0.5


def test_closed_loop_finds_the_capacity_and_counts_what_is_bad() -> None:
    slot = OneSlot()
    kinds = [Request(weight=3), Request(target="/bad"), Request(method="HEAD", weight=1e-9)]
    with serving(slot) as port, loading(kinds, count=2) as load:
        seen = load.run(Job(port=port, seconds=0.8, ramp_seconds=0.3, clients=4, seed=1))

    assert seen.seconds == pytest.approx(0.5)
    assert sum(seen.statuses.values()) == pytest.approx(25, abs=5)
    assert seen.bad == seen.statuses[503] > 0
    assert seen.rate == pytest.approx(2 * seen.statuses[200])
    assert set(slot.methods) == {"GET"}


def test_nothing_listens() -> None:
    with loading([Request()]) as load:
        seen = load.run(Job(port=1, seconds=0.1, clients=1))
        process_count = len(load.pids)

    assert process_count == 1
    assert set(seen.unanswered) == {"connection refused"}
    assert seen.bad_fraction == 1.0


def test_load_process_that_ends_is_one_line() -> None:
    with loading([Request()]) as load:
        for process in load._processes:
            process.kill()
            process.wait()
        with pytest.raises(AutoconfError, match="the load process has ended, with status -9"):
            load.run(Job(port=1, seconds=0.1, clients=1))


def test_quantiles() -> None:
    latencies = Latencies()
    for milliseconds in range(1, 101):
        latencies.add(milliseconds / 1000)

    assert latencies.quantile(0.5) == pytest.approx(0.050, rel=0.01)
    assert latencies.quantile(0.99) == pytest.approx(0.099, rel=0.01)
    assert latencies.mean == pytest.approx(0.0505, rel=0.01)
    assert merged([latencies, latencies]).total == 200
    assert Latencies().quantile(0.5) is Latencies().mean is None


def test_together() -> None:
    parts = [
        Seen(
            seconds=2.0,
            latencies=Latencies({100: 3}),
            statuses={200: 3, 503: 1},
            unanswered={"no answer in time": count},
            cpu_seconds=0.5,
        )
        for count in (1, 2)
    ]

    seen = together(parts)
    assert (seen.seconds, seen.cpu_seconds) == (2.0, 1.0)
    assert seen.latencies.counts == {100: 6}
    assert (seen.statuses, seen.unanswered) == ({200: 6, 503: 2}, {"no answer in time": 3})
    assert seen.bad_fraction == 5 / 11


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ([], False),
        ([1.0, 1.0, 1.0], False),
        ([9.0, 5.0, 3.0, 2.0], False),
        ([9.0, 1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 1.0, 0.98, 0.97], True),
        ([1.0, 1.0, 2.0, 2.0], True),
    ],
)
def test_warm(medians: list[float], expected: bool) -> None:
    assert is_steady(medians) is expected
