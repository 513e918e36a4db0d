"""What serves requests that only compute best? ``python -m benchmarks.cpu_left``.

One server for each way to run the same WSGI application with as many workers as there are cores:
`sync`, as the plan for `cpu` has it, Gunicorn's `gthread` and our `ThreadWorker` with one thread
and with two, each with the parser that is written in Python and, where `gunicorn_h1c` is installed,
with the fast one. All servers are alive all the time; wrk asks them in turns, in rounds, for an
answer that takes no time and one that takes 1 ms of computing, with kept connections and with new
ones. Prints the median over the rounds: requests per second, the CPU time of the server for each
request, and the rate as a share of `sync` in the same rounds, with the lowest and highest.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from .compare.load import require_wrk

OURS = "gunicorn_autoconf.workers.ThreadWorker"
APP = """
import time

def app(environ, start_response):
    milliseconds = float(environ["QUERY_STRING"] or 0)
    ends = time.thread_time() + milliseconds / 1000
    while milliseconds and time.thread_time() < ends:
        pass
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
START_SECONDS = 30.0
CONNECTIONS = 32


class Way(NamedTuple):
    """One way to run the application."""

    name: str
    options: tuple[str, ...]


class Figures(NamedTuple):
    """One run of wrk."""

    rate: float
    cpu_us: float


def ways(cores: int) -> list[Way]:
    """Return every way that the installed Gunicorn has, `sync` first."""
    has_fast = importlib.util.find_spec("gunicorn_h1c") is not None
    found = []
    for parser in ("python", "fast") if has_fast else ("",):
        chosen = ("--http-parser", parser) if parser else ()
        shown = f", {parser}" if parser else ""
        for worker_class, threads in (("sync", 1), ("gthread", 1), (OURS, 1), (OURS, 2)):
            name = f"{worker_class.rpartition('.')[2]} {cores} x {threads}{shown}"
            options = ("-k", worker_class, "-w", str(cores), "--threads", str(threads), *chosen)
            found.append(Way(name, options))
    return found


def start(folder: str, way: Way) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server with our hooks; return it and its port once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GUNICORN_")}
    environ = {**kept, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), folder])}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
    command += [*way.options, "--bind", f"127.0.0.1:{port}", "--log-level", "error", "app:app"]
    server = subprocess.Popen(command, cwd=folder, env=environ)
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                if connection.recv(1):
                    return server, port
        except OSError:
            time.sleep(0.1)
    server.terminate()
    raise SystemExit(f"{way.name} does not answer")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the server and its workers."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children()]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def ask(
    wrk: str, server: tuple[subprocess.Popen[bytes], int], query: str, *, new: bool, seconds: int
) -> Figures:
    """Return what one run of wrk has seen."""
    process, port = server
    url = f"http://127.0.0.1:{port}/?{query}"
    headers = ["-H", "Connection: close"] if new else []
    before = cpu_seconds(process.pid)
    printed = subprocess.run(
        [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *headers, url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    requests = int(re.search(r"(\d+) requests in", printed)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec: +([\d.]+)", printed)[1])  # type: ignore[index]
    return Figures(rate, 1e6 * (cpu_seconds(process.pid) - before) / max(requests, 1))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of wrk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    wrk, every = require_wrk(), ways(options.cores)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(APP, encoding="utf-8")
        servers = [start(folder, way) for way in every]
        try:
            for query, new in (("", False), ("", True), ("1", False), ("1", True)):
                seen: list[list[Figures]] = [[] for _ in every]
                for number in range(options.rounds):
                    order = range(len(every)) if number % 2 == 0 else reversed(range(len(every)))
                    for index in order:
                        figures = ask(wrk, servers[index], query, new=new, seconds=options.seconds)
                        seen[index].append(figures)
                print(f"\n{query or 0} ms, {'new' if new else 'kept'} connections")
                for way, runs in zip(every, seen, strict=True):
                    shares = [a.rate / b.rate for a, b in zip(runs, seen[0], strict=True)]
                    print(
                        f"  {way.name:26} {statistics.median(r.rate for r in runs):8.0f}/s "
                        f"{statistics.median(r.cpu_us for r in runs):8.0f} us  "
                        f"{statistics.median(shares):5.2f} ({min(shares):.2f}-{max(shares):.2f})",
                        flush=True,
                    )
        finally:
            for process, _ in servers:
                process.send_signal(signal.SIGTERM)
            for process, _ in servers:
                process.wait()


if __name__ == "__main__":
    main()
