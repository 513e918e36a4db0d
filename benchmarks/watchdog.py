"""What does everything that is on cost? ``python -m benchmarks.watchdog``.

Three servers live side by side, with the same application and the same number of workers: Gunicorn
with this package, everything on, and twice plain Gunicorn with uvicorn-worker's own class. wrk asks
them in neighbouring windows (A B C C B A ...), for views that compute for 0, 1, 10 and 100 ms. Then
all are started anew: where in memory a process has its objects makes it some percent faster or
slower for its whole life, as the second column of plain Gunicorn shows.

Compared are the servers of one round by the medians of their windows: CPU time for each request
over all processes of a server, the arbiter's too, and requests per second. Printed are the medians
and quartiles over all rounds. Then the memory of each, as the sum of PSS.

Run it on a machine that does nothing else; ``--rounds 1 --windows 1 --views 0`` is a short form
that shows that it works, and no more.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    total = 0
    for number in range(int(scope["path"][1:] or 0)):
        total += number
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
OURS = ("-c", "python:gunicorn_autoconf.conf")
THEIRS = ("-k", "uvicorn_worker.UvicornWorker")
REST_SECONDS = 0.1
SERVERS = {"ours": OURS, "theirs": THEIRS, "again": THEIRS}


class Server:
    """One running server."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = psutil.Process(process.pid)
        found = re.search(r"Listening at: (\S+)", log.read_text())
        assert found
        self.url = found[1]

    def processes(self) -> list[psutil.Process]:
        """The arbiter and its workers."""
        return [self.process, *self.process.children()]

    def cpu_seconds(self) -> float:
        """The CPU time of all processes, to the nanosecond."""
        tasks = (
            task
            for process in self.processes()
            for task in Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        )
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def come_to_rest(self) -> None:
        """Wait until what wrk no longer waits for is answered."""
        used = -1.0
        while self.cpu_seconds() - used > REST_SECONDS / 10:
            used = self.cpu_seconds()
            time.sleep(REST_SECONDS)

    def pss_mib(self) -> float:
        """The memory of all processes, what they share counted once."""
        return sum(process.memory_full_info().pss for process in self.processes()) / 2**20


class Window(NamedTuple):
    """What one server did in one window."""

    rate: float
    cpu_us: float


@contextmanager
def serving(directory: Path, name: str, options: tuple[str, ...], workers: int) -> Iterator[Server]:
    """Start a server in *directory* and hand it over when all of its workers serve."""
    (directory / "app.py").write_text(APPLICATION)
    log = directory / f"{name}.log"
    command = [sys.executable, "-m", "gunicorn", *options, "-b", "127.0.0.1:0", "-w", str(workers)]
    command += ["--chdir", str(directory), "app:app"]
    with log.open("wb") as stderr:
        environ = {**os.environ, "HOME": str(directory)}
        process = subprocess.Popen(command, env=environ, stderr=stderr)
    try:
        deadline = time.monotonic() + 60
        while log.read_text().count("Application startup complete") < workers:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield Server(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def turns_per_ms() -> float:
    """Return how often the application's loop turns in a millisecond of CPU time."""
    turns = 1_000_000
    total, began = 0, time.thread_time()
    for number in range(turns):
        total += number
    return turns / (time.thread_time() - began) / 1000


def measure(server: Server, path: str, *, seconds: int, connections: int) -> Window:
    """Ask for as much as the server answers."""
    url = f"{server.url}/{path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", url]
    before = server.cpu_seconds()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    server.come_to_rest()
    used = server.cpu_seconds() - before
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    count = re.search(r"(\d+) requests in ", output)
    assert rate, output
    assert count, output
    assert "Socket errors" not in output, output
    # wrk leaves one request of each connection behind; the server answers it all the same.
    return Window(float(rate[1]), used / (int(count[1]) + connections) * 1e6)


def windows(
    servers: dict[str, Server], path: str, options: argparse.Namespace
) -> dict[str, Window]:
    """Return the medians of each server's windows, which are neighbours of the others'."""
    load = {"seconds": options.seconds, "connections": options.connections}
    found: dict[str, list[Window]] = {name: [] for name in servers}
    for server in servers.values():
        measure(server, path, **load)  # Warm up.
    for number in range(options.windows):
        for name in list(servers) if number % 2 else reversed(servers):
            found[name].append(measure(servers[name], path, **load))
    return {
        name: Window(*map(statistics.median, zip(*each, strict=True)))
        for name, each in found.items()
    }


def spread(ratios: list[float]) -> str:
    """Return the median and the quartiles."""
    if len(ratios) < 2:
        return f"{ratios[0]:.3f}"
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def cells(rounds: list[dict[str, Window]]) -> list[str]:
    """Return the cells of a row: ratios of the servers of one round, over all rounds."""
    return [
        spread([of[name].cpu_us / of["theirs"].cpu_us for of in rounds])
        for name in ("ours", "again")
    ] + [spread([of[name].rate / of["theirs"].rate for of in rounds]) for name in ("ours", "again")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="of servers [12]")
    parser.add_argument("--windows", type=int, default=5, help="of each server and view [5]")
    parser.add_argument("--seconds", type=int, default=1, help="of each window [1]")
    parser.add_argument("--connections", type=int, default=32, help="of wrk [32]")
    parser.add_argument("--workers", type=int, default=2, help="of each server [2]")
    parser.add_argument("--views", default="0,1,10,100", help="computing, in ms [0,1,10,100]")
    options = parser.parse_args()
    per_ms = turns_per_ms()
    views = [int(each) for each in options.views.split(",")]
    found: dict[int, list[dict[str, Window]]] = {view: [] for view in views}
    pss: dict[str, list[float]] = {name: [] for name in SERVERS}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
            servers = {
                name: stack.enter_context(serving(Path(place), name, words, options.workers))
                for name, words in SERVERS.items()
            }
            for view in views:
                found[view].append(windows(servers, str(int(view * per_ms)), options))
            for name, server in servers.items():
                pss[name].append(server.pss_mib())
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    print("| view computes | CPU per request | of theirs again | requests/s | of theirs again |")
    print("|---|---|---|---|---|")
    for view, rounds in found.items():
        print(f"| {view} ms | {' | '.join(cells(rounds))} |")
    for name in ("ours", "theirs"):
        print(f"\n{name}: PSS {statistics.median(pss[name]):.1f} MiB")


if __name__ == "__main__":
    main()
