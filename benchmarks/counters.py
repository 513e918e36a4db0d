"""What does counting cost? ``python -m benchmarks.counters``.

For each worker class two Gunicorns with one worker and an application that does nothing, one that
counts its requests and one that does not. Both are alive all the time; wrk asks the one and the
other in turns (A B B A ...) for as much as it answers. Two processes of the same program differ by
a percent or two, by where their memory happens to be: so the pair is started anew several times,
and what counts is the median over the pairs. Prints for each class the CPU time of all processes
of a server for each request, and the ratios with and without counting: the median over the pairs
of servers and, in parentheses, the lowest and the highest of them. Where others use the machine,
the CPU time says more than the requests per second.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from .compare.load import require_wrk
from .compare.servers import APPS, environment
from .compare.workloads import ASGI, WSGI

OURS, STOCK = "gunicorn_autoconf.workers.UvicornWorker", "uvicorn_worker.UvicornWorker"
APPLICATIONS = {
    "sync": WSGI,
    "gthread": WSGI,
    "gevent": WSGI,
    "asgi": ASGI,
    OURS: ASGI,
    STOCK: ASGI,
}

# The whole of `attach`, so that "off" is a server as it was before anything was counted.
CONF = """
import os
from gunicorn_autoconf.server import hooks
if os.environ["COUNTERS"] == "off":
    hooks.attach = lambda *_: False
from gunicorn_autoconf.conf import *
"""


class Window(NamedTuple):
    """One run of wrk: requests per second, and the server's CPU time for each."""

    rate: float
    cpu_us: float


class Server(NamedTuple):
    """A running Gunicorn."""

    url: str
    arbiter: psutil.Process

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all its processes; /proc/<pid>/stat has it in steps of 10 ms only."""
        pids = (self.arbiter.pid, *(child.pid for child in self.arbiter.children()))
        tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextlib.contextmanager
def serving(worker_class: str, counters: str) -> Iterator[Server]:
    """Run a server until the end of the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "gunicorn.conf.py").write_text(CONF)
        log_path = folder / "server.log"
        command = [sys.executable, "-m", "gunicorn", "-c", str(folder / "gunicorn.conf.py")]
        command += ["-b", "127.0.0.1:0", "-k", worker_class, APPLICATIONS[worker_class]]
        if worker_class == "gthread":
            command += ["--threads", "8"]
        environ = environment(folder) | {"COUNTERS": counters, "GUNICORN_WORKERS": "1"}
        with log_path.open("wb") as log:
            popen = subprocess.Popen(command, env=environ, cwd=APPS, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not re.search(r"worker is ready|workers are ready", text := log_path.read_text()):
                if time.monotonic() > deadline or popen.poll() is not None:
                    raise RuntimeError(f"{worker_class} did not start:\n{text[-1000:]}")
                time.sleep(0.02)
            url = re.search(r"Listening at: (\S+)", text)
            assert url
            yield Server(url[1], psutil.Process(popen.pid))
        finally:
            popen.send_signal(signal.SIGTERM)
            popen.wait()


def measure(wrk: str, server: Server, *, seconds: float, connections: int) -> Window:
    """Ask for as much as the server answers."""
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", server.url]
    before = server.cpu_seconds
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = server.cpu_seconds - before
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    count = re.search(r"(\d+) requests in ", output)
    assert rate, output
    assert count, output
    assert "Non-2xx" not in output, output
    return Window(float(rate[1]), used / int(count[1]) * 1e6)


class Ratios(NamedTuple):
    """One pair of servers: the CPU time without counting, and with counting by without."""

    off_us: float
    cpu: float
    rate: float


def compare(
    wrk: str, worker_class: str, *, windows: int, seconds: float, connections: int
) -> Ratios:
    """Return what one pair of servers shows."""
    load = {"seconds": seconds, "connections": connections}
    seen: dict[str, list[Window]] = {"off": [], "on": []}
    with serving(worker_class, "off") as off, serving(worker_class, "on") as on:
        servers = {"off": off, "on": on}
        for server in servers.values():
            measure(wrk, server, **load)  # Warm up.
        for number in range(windows):
            for name in ("off", "on")[:: 1 if number % 2 else -1]:
                seen[name].append(measure(wrk, servers[name], **load))
    pairs = list(zip(seen["off"], seen["on"], strict=True))
    return Ratios(
        statistics.median(window.cpu_us for window in seen["off"]),
        statistics.median(b.cpu_us / a.cpu_us for a, b in pairs),
        statistics.median(b.rate / a.rate for a, b in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", nargs="+", choices=APPLICATIONS, default=list(APPLICATIONS))
    parser.add_argument("--pairs", type=int, default=8, help="of servers, for each class [8]")
    parser.add_argument("--windows", type=int, default=20, help="of load for each server [20]")
    parser.add_argument("--seconds", type=int, default=1, help="of each window [1]")
    parser.add_argument("--connections", type=int, default=32, help="of wrk [32]")
    options = parser.parse_args()
    wrk = require_wrk()
    if os.getloadavg()[0] > 0.5:
        print(f"load average {os.getloadavg()[0]:.1f}: others use this machine", file=sys.stderr)
    print("| class | CPU per request, off | CPU on/off | requests/s on/off |")
    print("|---|---|---|---|")
    for worker_class in options.classes:
        found = [
            compare(
                wrk,
                worker_class,
                windows=options.windows,
                seconds=options.seconds,
                connections=options.connections,
            )
            for _ in range(options.pairs)
        ]
        off_us = statistics.median(each.off_us for each in found)
        cpu, rate = spread([each.cpu for each in found]), spread([each.rate for each in found])
        print(f"| {worker_class} | {off_us:.1f} us | {cpu} | {rate} |", flush=True)


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})"


if __name__ == "__main__":
    main()
