"""Is the load that the server logs right, and does `auto` follow it? ``python -m benchmarks.load``.

Two parts. `measure`: open-loop load, arrivals at random times and a new connection for each, of
known rate on an application that knows how long its requests take and compute, on each worker
class, at 0.2, 0.5 and 0.8 of what the server can answer; on the machine as it is, and beside
processes that compute. Printed are the requests at once and the computing time of a request as the
arbiter has them, beside what the application summed up. It does not see a request before its first
line and after its last; the client's column has all that and the way there and back: what the
arbiter says should lie between. Points are those of the share of busy slots, against what the
application knows.

`auto`: each workload of `benchmarks.compare` on a server with memory to spare where nothing is
declared. Printed are the requests per second in the first seconds, after a minute of load, the
best of the same server with a fixed count of workers, and the counts to which `auto` went. More
workers are tried as long as they answer more. All workloads take about 21 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .compare.__main__ import prepare
from .compare.load import begin, finish, require_wrk
from .compare.servers import APPS, environment, free_port
from .compare.workloads import UNLIMITED, WORKLOADS, Workload

OURS = "gunicorn_autoconf.workers.UvicornWorker"
# Name, workers and threads.
CLASSES = {"sync": (4, 1), "gthread": (2, 8), "asgi": (2, 1), OURS: (2, 1)}
SHARES = (0.2, 0.5, 0.8)
COMPUTING_SECONDS, WAITING_SECONDS = 0.010, 0.030
WARM_UP_SECONDS = 3.0
# Where more workers answer hardly more, still more would not either.
RISE = 1.05
T = TypeVar("T")

# Each worker sums up what its requests took, in a mapped file: that costs hardly anything.
APPLICATION = f"""
import asyncio, mmap, os, threading, time

with open(f"totals-{{os.getpid()}}", "w+b") as file:
    file.write(bytes(24))
    file.flush()
    TOTALS = memoryview(mmap.mmap(file.fileno(), 24)).cast("d")
LOCK = threading.Lock()

def compute():
    ends = time.thread_time() + {COMPUTING_SECONDS}
    while time.thread_time() < ends:
        sum(range(200))

def count(began, cpu):
    with LOCK:
        TOTALS[0] += 1
        TOTALS[1] += time.perf_counter() - began
        TOTALS[2] += cpu

def wsgi(environ, start_response):
    began, cpu = time.perf_counter(), time.thread_time()
    compute()
    time.sleep({WAITING_SECONDS})
    count(began, time.thread_time() - cpu)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError
    began, cpu = time.perf_counter(), time.thread_time()
    compute()
    cpu = time.thread_time() - cpu
    await asyncio.sleep({WAITING_SECONDS})
    count(began, cpu)
    await send({{"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2"), (b"connection", b"close")]}})
    await send({{"type": "http.response.body", "body": b"ok"}})
"""

CONF = """
import json, os, threading, time
from gunicorn_autoconf import compose
from gunicorn_autoconf.conf import *
from gunicorn_autoconf.load.lines import load_fields
from gunicorn_autoconf.server.state import state_of

def tell(server):
    def run():
        while True:
            time.sleep(0.5)
            watch = state_of(server).load
            load = watch and watch.last(float(os.environ["LOAD_SECONDS"]))
            if load:
                with open("load.new", "w") as file:
                    json.dump(load_fields(load), file)
                os.replace("load.new", "load")
    threading.Thread(target=run, daemon=True).start()

when_ready = compose(when_ready, tell)
"""


class Seen(NamedTuple):
    """The load, by the arbiter, by the application and by the client."""

    at_once: float
    at_once_known: float
    at_once_client: float
    slots: int | None
    computing_ms: float
    computing_known_ms: float

    @property
    def busy_points(self) -> float | None:
        """By how many points of the share of busy slots the arbiter is off; None without slots."""
        return self.slots and 100 * (self.at_once - self.at_once_known) / self.slots

    @property
    def computing_percent(self) -> float:
        """By how many percent its computing time is off."""
        return 100 * (self.computing_ms / self.computing_known_ms - 1)


@contextlib.contextmanager
def gunicorn(folder: Path, words: list[str], environ: dict[str, str], cwd: Path) -> Iterator[str]:
    """Run a server with our configuration and these *words*; hand over its address."""
    address = f"127.0.0.1:{free_port()}"
    log_path = folder / "server.log"
    command = [sys.executable, "-m", "gunicorn", "-b", address, *words]
    with log_path.open("wb") as log:
        popen = subprocess.Popen(command, env=environment(folder) | environ, cwd=cwd, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not re.search(r"worker is ready|workers are ready", log_path.read_text()):
                if time.monotonic() > deadline or popen.poll() is not None:
                    raise RuntimeError(log_path.read_text()[-1000:])
                time.sleep(0.05)
            time.sleep(1)
            yield address
        finally:
            popen.send_signal(signal.SIGTERM)
            popen.wait()


@contextlib.contextmanager
def crowd(processes: int) -> Iterator[None]:
    """Have so many *processes* compute until the end of the block."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


async def open_loop(
    address: str, rate: float, seconds: float, look: Callable[[], T]
) -> tuple[T, T, float, float]:
    """
    Ask at random times, whether or not earlier requests have been answered.

    Return what *look* sees after three seconds and at the end, the time between, and the sum of the
    times for which the client waited in it.
    """
    host, port = address.split(":")
    waited_seconds = 0.0

    async def ask() -> None:
        nonlocal waited_seconds
        asked = time.monotonic()
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await reader.read()
            waited_seconds += time.monotonic() - asked
            writer.close()

    began = due = time.monotonic()
    first: tuple[float, T] | None = None
    tasks = set()
    while due < began + WARM_UP_SECONDS + seconds:
        if first is None and due >= began + WARM_UP_SECONDS:
            first = time.monotonic(), look()
            waited_seconds = 0.0
        due += random.expovariate(rate)
        await asyncio.sleep(max(due - time.monotonic(), 0))
        task = asyncio.ensure_future(ask())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    last, waited_by_then = (time.monotonic(), look()), waited_seconds
    await asyncio.gather(*tasks)
    assert first
    return first[1], last[1], last[0] - first[0], waited_by_then


def measure(worker_class: str, share: float, others: int, seconds: float) -> Seen:
    """Return what a server of this class shows at a *share* of what it can answer."""
    workers, threads = CLASSES[worker_class]
    cores = len(os.sched_getaffinity(0))
    whole = COMPUTING_SECONDS + WAITING_SECONDS
    slots = workers * threads if worker_class in ("sync", "gthread") else 1000
    most = min(slots / whole, min(cores, workers) / COMPUTING_SECONDS)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "app.py").write_text(APPLICATION)
        (folder / "gunicorn.conf.py").write_text(CONF)
        interface = "wsgi" if worker_class in ("sync", "gthread") else "asgi"
        words = ["-c", "gunicorn.conf.py", "-k", worker_class, f"app:{interface}"]
        words += ["-w", str(workers), "--threads", str(threads)]
        # A reading each second, so that both see the same time.
        environ = {"GUNICORN_MEMORY_LOG_INTERVAL": "1", "LOAD_SECONDS": str(seconds)}
        address = stack.enter_context(gunicorn(folder, words, environ, folder))
        stack.enter_context(crowd(others))
        rate = most * share / (1 + others / cores)

        def look() -> tuple[list[float], dict[str, Any]]:
            load = folder / "load"
            return known(folder), json.loads(load.read_text()) if load.exists() else {}

        (before, _), (after, load), passed, waited = asyncio.run(
            open_loop(address, rate, seconds, look)
        )
    requests, slot_seconds, cpu_seconds = (b - a for a, b in zip(before, after, strict=True))
    return Seen(
        at_once=load["busy_slots"],
        at_once_known=slot_seconds / passed,
        at_once_client=waited / passed,
        slots=load["slots"],
        computing_ms=load["computing_seconds"] * 1e3,
        computing_known_ms=cpu_seconds / requests * 1e3,
    )


def known(folder: Path) -> list[float]:
    """Return what all workers have summed up: requests, their time, their computing."""
    rows = [struct.unpack("=3d", path.read_bytes()) for path in folder.glob("totals-*")]
    return [sum(column) for column in zip(*rows, strict=True)]


def report_measure(classes: list[str], shares: list[float], seconds: float) -> None:
    """Print the table of the first part."""
    print("| class | share | others | at once | known | client | points | computing | known | % |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for others in (0, len(os.sched_getaffinity(0))):
        for worker_class in classes:
            for share in shares:
                seen = measure(worker_class, share, others, seconds)
                points = "" if seen.busy_points is None else f"{seen.busy_points:+.1f}"
                print(
                    f"| {worker_class} | {share} | {others} "
                    f"| {seen.at_once:.2f} | {seen.at_once_known:.2f} | {seen.at_once_client:.2f} "
                    f"| {points} | {seen.computing_ms:.1f} ms "
                    f"| {seen.computing_known_ms:.1f} ms | {seen.computing_percent:+.0f} % |",
                    flush=True,
                )


def rates(
    workload: Workload, workers: int | None, seconds: tuple[int, ...]
) -> tuple[list[float], list[str]]:
    """
    Return the requests per second in each part of a load, and the counts to which a guard went.

    *workers* is None for auto.
    """
    environ = dict(workload.environ) | {"GUNICORN_MEMORY": "16GiB", "GUNICORN_LOAD_GUARD": "act"}
    if workers:
        environ["GUNICORN_WORKERS"] = str(workers)
    with tempfile.TemporaryDirectory() as name:
        prepare([workload], Path(name))
        words = ["-c", "python:gunicorn_autoconf.conf", workload.application]
        with gunicorn(Path(name), words, environ, APPS) as address:
            found = [
                finish(begin(require_wrk(), workload, "new", address, part), "new").rate
                for part in seconds
            ]
        log = (Path(name) / "server.log").read_text()
    return found, re.findall(r"(?:load|memory) guard: .* from \d+ to (\d+) workers", log)


def best_of(workload: Workload, window: int, counts: list[int]) -> tuple[float, int]:
    """Return the highest rate of a fixed count of workers, and that count.

    Ends after two counts in a row that were no better than the best before them.
    """
    best, misses = (0.0, 0), 0
    for count in counts:
        (_, rate), _ = rates(workload, count, (1, window))
        misses = misses + 1 if rate < best[0] * RISE else 0
        best = max(best, (rate, count))
        if misses == 2:
            break
    return best


def report_auto(names: list[str], seconds: int, window: int, counts: list[int]) -> None:
    """Print the table of the second part."""
    print("| workload | first | after | best of fixed counts | after/best | went to |")
    print("|---|---|---|---|---|---|")
    for name in names:
        workload = WORKLOADS[name]
        (first, _, after), went_to = rates(workload, None, (5, seconds - 5, window))
        best, count = best_of(workload, window, sorted(counts))
        print(
            f"| {name} | {first:.0f}/s | {after:.0f}/s | {best:.0f}/s with {count} "
            f"| {after / best:.2f} | {', '.join(went_to) or 'stayed'} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("measure", "auto"))
    parser.add_argument("--seconds", type=int, default=60, help="of load before a reading [60]")
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--window", type=int, default=6, help="of a rate, in auto [6]")
    parser.add_argument("--workloads", nargs="+", choices=UNLIMITED, default=UNLIMITED)
    parser.add_argument("--counts", nargs="+", type=int, default=[2, 5, 10, 20, 40])
    options = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"load average {os.getloadavg()[0]:.1f}: others use this machine", file=sys.stderr)
    if options.part == "measure":
        report_measure(options.classes, options.shares, options.seconds)
    else:
        report_auto(options.workloads, options.seconds, options.window, options.counts)


if __name__ == "__main__":
    main()
