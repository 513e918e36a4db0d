"""
The load process: reads jobs from standard input, sends requests, writes what it has seen.

It is a process of its own, so that neither the display nor the statistics delay a request. The
requests come first, then one `Job` after the other; the answer to a job is a `Seen`. All of them
are pickled, by this package and for it. A thread sleeps until each request of an open loop is due,
as timers of event loops are a millisecond late. It ends with its standard input. Needs aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import aiohttp
from yarl import URL

from gunicorn_autoconf.cli.tune.job import Job, Seen, receive, send
from gunicorn_autoconf.cli.tune.latencies import Latencies
from gunicorn_autoconf.cli.tune.request import Request

# Requests that are chosen in one go.
_CHUNK = 256


class Load:
    """One job while it runs. Everything but the clock's thread runs on the event loop."""

    def __init__(
        self, job: Job, requests: Sequence[Request], session: aiohttp.ClientSession
    ) -> None:
        self.job = job
        self.session = session
        self.chosen = _choose(requests, job.seed)
        self.latencies = Latencies()
        self.statuses: Counter[int] = Counter()
        self.unanswered: Counter[str] = Counter()

    async def closed(self) -> float:
        """Let each client ask until the time is over; return the seconds that were counted."""
        began = time.perf_counter()
        counts_from, ends = began + self.job.ramp_seconds, began + self.job.seconds

        async def client() -> None:
            while (sent := time.perf_counter()) < ends:
                outcome = await self._ask()
                now = time.perf_counter()
                # A request without an answer counts whenever its time was over.
                if counts_from <= now < ends or isinstance(outcome, str):
                    self._count(outcome, now - sent)
                if isinstance(outcome, str):
                    await asyncio.sleep(0.01)  # A server that refuses is not asked in a busy loop.

        clients = [asyncio.create_task(client()) for _ in range(self.job.clients)]
        # The last answers are awaited, so that the server's queue is empty afterwards.
        await asyncio.wait(clients)
        return self.job.counted_seconds

    async def open(self) -> float:
        """Send each request when it is due, and await all answers."""
        loop, running = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        over = asyncio.Event()
        began = time.perf_counter()
        counts_from = began + self.job.ramp_seconds

        async def ask(due: float) -> None:
            outcome = await self._ask()
            if due >= counts_from:
                self._count(outcome, time.perf_counter() - due)

        def send(due: float) -> None:
            task = asyncio.create_task(ask(due))
            running.add(task)
            task.add_done_callback(running.discard)

        def clock() -> None:
            for due in _due_times(self.job, began):
                if (wait := due - time.perf_counter()) > 0:
                    time.sleep(wait)
                loop.call_soon_threadsafe(send, due)
            loop.call_soon_threadsafe(over.set)

        threading.Thread(target=clock, daemon=True).start()
        await over.wait()
        while running:
            await asyncio.wait(running)
        return self.job.counted_seconds

    async def _ask(self) -> int | str:
        """Send the next request; return the status, or why there is none."""
        request, url = next(self.chosen)
        try:
            async with self.session.request(
                request.method,
                url,
                data=request.body or None,
                headers=request.headers,
                allow_redirects=False,
            ) as response:
                await response.read()
                return response.status
        except asyncio.TimeoutError:
            return "no answer in time"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _reason(error)

    def _count(self, outcome: int | str, seconds: float) -> None:
        if isinstance(outcome, str):
            self.unanswered[outcome] += 1
            return
        self.statuses[outcome] += 1
        if outcome < 500:
            self.latencies.add(seconds)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection refused"
    if isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError)):
        return "connection broken"
    return f"{type(error).__name__}"


def _choose(requests: Sequence[Request], seed: int) -> Iterator[tuple[Request, URL]]:
    """Yield requests by their weights, the same ones for the same *seed*, without end."""
    chance = random.Random(seed)
    weights = [request.weight for request in requests]
    asked = [(request, URL(request.target, encoded=True)) for request in requests]
    while True:
        yield from chance.choices(asked, weights, k=_CHUNK)


def _due_times(job: Job, began: float) -> Iterator[float]:
    """Yield when requests are due: independent of each other, as those of many people are."""
    assert job.rate
    chance, due = random.Random(job.seed), began
    while (due := due + chance.expovariate(job.rate)) < began + job.seconds:
        yield due


async def _run(job: Job, requests: Sequence[Request]) -> Seen:
    # The limit holds requests back until one of the clients is free; that counts as latency.
    connector = aiohttp.TCPConnector(limit=job.clients, force_close=job.new_connections)
    # A due time may be in the past: a request waits for a client, then for its answer.
    timeout = aiohttp.ClientTimeout(total=job.timeout_seconds)
    cpu_before = time.process_time()
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{job.port}",
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        load = Load(job, requests, session)
        seconds = await (load.closed() if job.rate is None else load.open())
    return Seen(
        seconds=seconds,
        latencies=load.latencies,
        statuses=load.statuses,
        unanswered=load.unanswered,
        cpu_seconds=time.process_time() - cpu_before,
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def main() -> None:
    """Do what standard input says, until it closes."""
    # Ctrl-C is for the parent, which then closes our standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop = _new_loop()
    with contextlib.suppress(EOFError):
        requests = receive(sys.stdin.buffer)
        send(sys.stdout.buffer, "ready")  # All that takes long to load is loaded.
        while True:
            job = receive(sys.stdin.buffer)
            send(sys.stdout.buffer, loop.run_until_complete(_run(job, requests)))
    loop.close()


if __name__ == "__main__":
    main()
