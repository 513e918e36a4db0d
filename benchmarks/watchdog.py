"""What does the watchdog cost? ``python -m benchmarks.watchdog``.

Starts Gunicorn with one worker and a trivial ASGI application, and asks it with wrk for as many
requests as it answers, with the watchdog's thread and without it in turns (A B B A ...). It is the
same worker all the time, in which the application stops the thread and starts it: two processes
differ by more than what is to be measured. Prints the medians of requests per second and of the
worker's CPU time for each request, the ratios within pairs, and what an idle worker uses. Where
others use the machine, the CPU time says more than the requests per second.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

VARIANTS = ("without", "with")
MODULE = """
import threading

watchdog = None


async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] != "/":
            switch(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def switch(path):
    global watchdog
    if watchdog is None:
        (thread,) = (t for t in threading.enumerate() if t.name == "gunicorn-autoconf watchdog")
        watchdog = thread._target.__self__
    watchdog._stop_thread()
    if path == "/with":
        watchdog._start_thread()
"""


@contextmanager
def serving(directory: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start the server in *directory*; hand over its URL and its one worker."""
    (directory / "app.py").write_text(MODULE)
    log = directory / "server.log"
    command = [sys.executable, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
    command += ["-b", "127.0.0.1:0", "--chdir", str(directory), "app:app"]
    environ = {**os.environ, "HOME": str(directory), "GUNICORN_WORKERS": "1"}
    with log.open("wb") as stderr:
        server = subprocess.Popen(command, env=environ, stderr=stderr)
    try:
        wait_for(log, "Application startup complete")
        url = re.search(r"Listening at: (\S+)", log.read_text())
        assert url
        yield url[1], psutil.Process(server.pid).children()[0]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{text!r} did not come within 30 s")
        time.sleep(0.02)


def switch(url: str, worker: psutil.Process, variant: str) -> None:
    """Have the watchdog's thread or not."""
    with urllib.request.urlopen(f"{url}/{variant}", timeout=10) as response:
        response.read()
    assert worker.num_threads() == 1 + VARIANTS.index(variant)


class Sample(NamedTuple):
    """One run of wrk: requests per second, and the worker's CPU time for each."""

    rate: float
    cpu_us: float


def measure(url: str, worker: psutil.Process, *, seconds: int, connections: int) -> Sample:
    """Ask for as much as the server answers."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", url]
    before = cpu_seconds(worker)
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(worker) - before
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    count = re.search(r"(\d+) requests in ", output)
    assert rate, output
    assert count, output
    assert "Socket errors" not in output, output
    return Sample(float(rate[1]), used / int(count[1]) * 1e6)


def cpu_seconds(worker: psutil.Process) -> float:
    """Return the CPU time of all threads of *worker*."""
    tasks = Path(f"/proc/{worker.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def idle_percent(worker: psutil.Process, seconds: int) -> float:
    """Return the share of a core that *worker* uses when nobody asks for anything."""
    before = cpu_seconds(worker)
    time.sleep(seconds)
    return (cpu_seconds(worker) - before) / seconds * 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="pairs [40]")
    parser.add_argument("--seconds", type=int, default=1, help="of load each [1]")
    parser.add_argument("--connections", type=int, default=32, help="of wrk [32]")
    parser.add_argument("--idle", type=int, default=10, help="seconds without load, once [10]")
    options = parser.parse_args()
    load = {"seconds": options.seconds, "connections": options.connections}
    samples: dict[str, list[Sample]] = {variant: [] for variant in VARIANTS}
    idle: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as (url, worker):
        measure(url, worker, **load)  # Warm up.
        for number in range(options.rounds):
            for variant in VARIANTS[:: 1 if number % 2 else -1]:
                switch(url, worker, variant)
                samples[variant].append(measure(url, worker, **load))
        for variant in VARIANTS:
            switch(url, worker, variant)
            idle[variant] = idle_percent(worker, options.idle)
    report(samples, idle)


def report(samples: dict[str, list[Sample]], idle: dict[str, float]) -> None:
    print("| watchdog | requests/s | CPU per request | idle worker |")
    print("|---|---|---|---|")
    for variant, seen in samples.items():
        rate = statistics.median(sample.rate for sample in seen)
        cpu_us = statistics.median(sample.cpu_us for sample in seen)
        print(f"| {variant} | {rate:,.0f} | {cpu_us:.2f} us | {idle[variant]:.2f} % of a core |")
    pairs = list(zip(*samples.values(), strict=True))
    print(f"\nwith / without, {len(pairs)} pairs, median (quartiles):")
    print(f"  requests/s       {spread([b.rate / a.rate for a, b in pairs])}")
    print(f"  CPU per request  {spread([b.cpu_us / a.cpu_us for a, b in pairs])}")


def spread(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.4f} ({low:.4f} to {high:.4f})"


if __name__ == "__main__":
    main()
