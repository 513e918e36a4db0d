"""One block: a candidate's server is started, warmed up, loaded and ended."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import psutil

from gunicorn_autoconf.cli.tune.boot import await_boot, died
from gunicorn_autoconf.cli.tune.job import Job, Seen
from gunicorn_autoconf.cli.tune.latencies import is_steady
from gunicorn_autoconf.cli.tune.load import LoadProcesses
from gunicorn_autoconf.cli.tune.noise import CpuClock, disturbance
from gunicorn_autoconf.cli.tune.objective import LIGHT_LOAD, LOADS
from gunicorn_autoconf.cli.tune.outcome import Failure, Outcome, Result, Step, Trouble
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.cli.tune.server import Server, reason_in, serving

# A window is longer where requests are slow.
_WINDOW_LATENCIES = 3.0
_MOST_WINDOWS = 12
# Clients that the search begins with, and at most. Each takes a connection and a file descriptor.
_FIRST_CLIENTS, _MOST_CLIENTS = 8, 1024
# More clients that do not raise the rate by this are no use.
_GAIN = 1.05
# And not a second time either: one window may have been unlucky.
_IDLE_DOUBLINGS = 2
# The measurements themselves: long enough for the 99th percentile of so many requests.
_MOST_SECONDS = 4.0
_REQUESTS = 200
# More bad answers than this, and the candidate cannot be measured.
_MOST_BAD = 0.01
# Source: Gunicorn, arbiter.py, murder_workers and reap_workers.
_DIED = re.compile("WORKER TIMEOUT|was sent SIG(?!TERM|QUIT|INT)|exited with code [1-9]")
# A load that takes this part of its cores cannot go faster.
_LOAD_BOUND = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """
    What all blocks have in common.

    Attributes:
        arguments: For Gunicorn, before those of the candidate: the last of an option counts.
        first_request: The one that shows that a server is up.
        clients: The most clients, or None to find how many it takes.
        server_cpus: The CPUs of the servers; empty for all.
        patience_seconds: How long a server may take to boot.
        timeout_seconds: How long a request may take.
        window_seconds: Of the warm-up, and of the search for clients.
        least_seconds: Of each measurement.
    """

    environ: Mapping[str, str]
    load: LoadProcesses
    first_request: Request
    arguments: Sequence[str] = ()
    clients: int | None = None
    is_new_connections: bool = False
    server_cpus: Collection[int] = ()
    patience_seconds: float = 120.0
    timeout_seconds: float = 10.0
    window_seconds: float = 0.4
    least_seconds: float = 1.5


def measure(
    bench: Bench,
    arguments: Sequence[str],
    *,
    seed: int,
    clients: int | None,
    wants_light: bool = False,
) -> Result:
    """
    Start Gunicorn with *arguments* and return what a block with it came to.

    The *clients* ask as fast as they can; None searches for how many it takes.
    """
    began, reference_seconds = time.monotonic(), _compute()
    with serving([*bench.arguments, *arguments], bench.environ, bench.server_cpus) as server:
        failure = await_boot(server, bench.first_request, bench.patience_seconds)
        if failure:
            return failure
        booted = time.monotonic()
        block = _Block(bench, server, seed)
        try:
            outcome = block.load(block.warm_up(), clients, wants_light=wants_light)
        except _BadAnswersError as error:
            return block.failure(error.seen)
        if died_workers := block.died():
            return died_workers
        return replace(
            outcome,
            boot_seconds=booted - began,
            reference_seconds=reference_seconds,
            seconds=time.monotonic() - began,
        )


def _compute() -> float:
    """Compute the same as ever; return the seconds it took, the shortest of a few."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        sum(range(200_000))
        took.append(time.perf_counter() - began)
    return min(took)


class _BadAnswersError(Exception):
    """Too many requests were not answered well."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen


class _Block:
    """The measurements on one server that is up."""

    def __init__(self, bench: Bench, server: Server, seed: int) -> None:
        self._bench, self._server = bench, server
        self._workers = server.worker_pids()
        self._job = Job(
            port=server.port,
            seconds=bench.window_seconds,
            clients=1,
            seed=seed,
            timeout_seconds=bench.timeout_seconds,
            new_connections=bench.is_new_connections,
        )

    def warm_up(self) -> float:
        """Ask one request after the other until latency has no slope; return its median."""
        medians: list[float] = []
        seconds = self._bench.window_seconds
        while len(medians) < _MOST_WINDOWS and not is_steady(medians):
            seen = self._run(seconds=seconds)
            if (median := seen.latencies.quantile(0.5)) is not None:
                medians.append(median)
            seconds = max(self._bench.window_seconds, _WINDOW_LATENCIES * (medians or [0.0])[-1])
            if not medians and seen.bad == 0:
                # Slower than the window: the next one is long enough for one request.
                seconds = self._bench.timeout_seconds
        return medians[-1]

    def load(self, unloaded: float, clients: int | None, *, wants_light: bool) -> Outcome:
        """Return the capacity, and the latencies at parts of it."""
        window = max(self._bench.window_seconds, _WINDOW_LATENCIES * unloaded)
        clients = clients or self._bench.clients or self._search_clients(window)
        ramp = max(0.2, 1.5 * unloaded)
        clock, cpu, wall = self._clock(0.0), self._server.cpu_seconds(), time.monotonic()
        seconds = ramp + max(self._bench.least_seconds, window)
        seen = self._run(seconds=seconds, clients=clients, ramp=ramp)
        wall = time.monotonic() - wall
        server_cores = (self._server.cpu_seconds() - cpu) / wall
        load_cores = seen.cpu_seconds / wall
        memory_bytes, worker_bytes = self._server.memory()
        light = self._step(LIGHT_LOAD, seen.rate, clients, ramp) if wants_light else None
        return Outcome(
            capacity=seen.rate,
            clients=clients,
            light=light,
            steps=tuple(self._step(part, seen.rate, clients, ramp) for part in LOADS),
            cpu_cores=server_cores,
            load_cores=load_cores,
            memory_bytes=memory_bytes,
            worker_bytes=worker_bytes,
            disturbed_fraction=disturbance(clock, self._clock(seen.cpu_seconds)),
            is_load_bound=load_cores > _LOAD_BOUND * len(self._bench.load.pids),
            statuses=dict(seen.statuses),
        )

    def _search_clients(self, window: float) -> int:
        """Return how many clients it takes until twice and four times as many gain nothing."""
        best, best_rate = _FIRST_CLIENTS, 0.0
        clients, idle = _FIRST_CLIENTS, 0
        while clients <= _MOST_CLIENTS and idle < _IDLE_DOUBLINGS:
            rate = self._run(seconds=window, clients=clients, ramp=window / 3).rate
            idle += 1
            if rate >= best_rate * _GAIN:
                best, best_rate, idle = clients, rate, 0
            clients *= 2
        return best

    def _step(self, fraction: float, capacity: float, clients: int, ramp: float) -> Step:
        rate = max(fraction * capacity, 0.1)
        seconds = min(max(self._bench.least_seconds, _REQUESTS / rate), _MOST_SECONDS)
        # More clients than it takes: those that wait for an answer hold no other up.
        job = replace(
            self._job,
            seconds=ramp + seconds,
            ramp_seconds=ramp,
            rate=rate,
            clients=self._bench.clients or min(4 * clients, _MOST_CLIENTS),
        )
        seen = self._bench.load.run(job)
        return Step(
            fraction=fraction, rate=rate, latencies=seen.latencies, bad_fraction=seen.bad_fraction
        )

    def _run(self, *, seconds: float, clients: int = 1, ramp: float = 0.0) -> Seen:
        """Return what such a job has seen; raise where too many answers are bad."""
        job = replace(self._job, seconds=seconds, clients=clients, ramp_seconds=ramp)
        seen = self._bench.load.run(job)
        if seen.bad_fraction > _MOST_BAD:
            raise _BadAnswersError(seen)
        return seen

    def _clock(self, load_seconds: float) -> CpuClock:
        times = psutil.cpu_times()
        own_times = os.times()
        own = self._server.cpu_seconds() + load_seconds + own_times.user + own_times.system
        busy = times.user + times.nice + times.system
        # Guests are part of user.
        total = sum(times[:8])
        return CpuClock(total=total, busy=busy, stolen=getattr(times, "steal", 0.0), own=own)

    def died(self) -> Failure | None:
        """Return the failure of a server whose workers have crashed; None where none has."""
        gone = self._workers - self._server.worker_pids()
        if gone and _DIED.search(self._server.log):
            return died(self._server, len(gone))
        return None

    def failure(self, seen: Seen) -> Failure:
        """Return why the answers in *seen* are no good."""
        if found := self.died():
            return found
        if self._server.has_ended:
            return Failure(trouble=Trouble.WORKERS_DIED, text=reason_in(self._server.log))
        total = seen.latencies.total + seen.bad
        if seen.unanswered:
            reason, count = max(seen.unanswered.items(), key=lambda row: row[1])
            text = f"{reason}, {count} of {total} requests"
            return Failure(trouble=Trouble.NO_ANSWER, text=text)
        status, count = max(
            ((status, count) for status, count in seen.statuses.items() if status >= 500),
            key=lambda row: row[1],
        )
        return Failure(trouble=Trouble.ERRORS, text=f"status {status}, {count} of {total} requests")
