"""Does refusing old requests keep a server useful? ``python -m benchmarks.overload``.

For each worker class one server whose requests compute for 10 ms, without and with
``GUNICORN_MAX_QUEUE``. Requests come at fixed times, whether or not the server answers (an open
loop), each on a connection of its own: at 0.8, 1.5 and 3 times what the server was measured to
answer just before. Prints how many a second were answered within a second, as a share of the
capacity too, how many were refused, and the 99th percentile of those that were answered.

The clients are one process beside the server: on a machine with few cores they take a part of what
the server could use, with and without the limit alike.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

CLASSES = {
    "sync": "app:wsgi",
    "gunicorn_autoconf.workers.ThreadWorker": "app:wsgi",
    "gunicorn_autoconf.workers.UvicornWorker": "app:asgi",
}
APP = """
import time

def compute():
    ends = time.thread_time() + 0.01
    while time.thread_time() < ends:
        pass

def wsgi(environ, start_response):
    compute()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    compute()
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
FACTORS = (0.8, 1.5, 3.0)
MAX_QUEUE_SECONDS = 0.4
IN_TIME_SECONDS = 1.0
GIVE_UP_SECONDS = 10.0
START_SECONDS = 30.0


class Answer(NamedTuple):
    """One request: what came, and after how long since it was due."""

    status: int
    seconds: float


async def ask(port: int, due: float) -> Answer:
    """Send one request at *due*; status 0 where no answer came."""
    await asyncio.sleep(max(due - time.monotonic(), 0))
    writer = None
    try:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            head = await reader.readline()
            await reader.read()
        status = int(head.split()[1])
    except (OSError, TimeoutError, IndexError, ValueError):
        status = 0
    finally:
        if writer:
            writer.close()
    return Answer(status, time.monotonic() - due)


async def offer(port: int, rate: float, seconds: float) -> list[Answer]:
    """Return the answers to *rate* requests a second, which come at even distances."""
    begins = time.monotonic() + 0.1
    count = round(rate * seconds)
    return await asyncio.gather(*(ask(port, begins + n / rate) for n in range(count)))


async def capacity(port: int, seconds: float) -> float:
    """Return how many requests a second are answered where each of 8 clients waits for its own."""
    ends = time.monotonic() + seconds

    async def client() -> int:
        answered = 0
        while time.monotonic() < ends:
            answered += (await ask(port, time.monotonic())).status == 200
        return answered

    return sum(await asyncio.gather(*(client() for _ in range(8)))) / seconds


def start(folder: str, worker_class: str, max_queue: float, workers: int) -> tuple[int, int]:
    """Start a server; return its pid and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GUNICORN_")}
    environ = {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), folder]),
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_WORKERS": str(workers),
        "GUNICORN_THREADS": "1",
        "GUNICORN_STALL_WARNING": "0",
        "GUNICORN_MAX_QUEUE": str(max_queue),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "error", CLASSES[worker_class]]
    server = subprocess.Popen(command, cwd=folder, env=environ)
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(REQUEST)
                if connection.recv(1):
                    return server.pid, port
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{worker_class} does not answer")


class Run(NamedTuple):
    """One load on one server."""

    worker_class: str
    max_queue: float
    factor: float
    capacity: float
    seconds: float


def row(run: Run, answers: list[Answer]) -> str:
    """Return one line of the table."""
    served = [answer.seconds for answer in answers if answer.status == 200]
    in_time = sum(each <= IN_TIME_SECONDS for each in served) / run.seconds
    refused = sum(answer.status == 503 for answer in answers)
    lost = sum(answer.status not in {200, 503} for answer in answers)
    p99 = statistics.quantiles(served, n=100)[98] if len(served) > 1 else float("nan")
    name = run.worker_class.rpartition(".")[2]
    return (
        f"{name:14} {run.max_queue:9g} {run.factor:6g} {run.capacity:9.0f}/s {in_time:9.0f}/s "
        f"{in_time / run.capacity:8.2f} {refused:8} {lost:6} {p99:8.2f} s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--classes", nargs="*", default=list(CLASSES), choices=list(CLASSES))
    parser.add_argument("--factors", nargs="*", type=float, default=list(FACTORS))
    options = parser.parse_args()
    print(
        f"{'class':14} {'max queue':>9} {'load':>6} {'capacity':>11} {'in time':>11} {'share':>8} "
        f"{'refused':>8} {'lost':>6} {'p99':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(APP, encoding="utf-8")
        for worker_class in options.classes:
            for max_queue in (0.0, MAX_QUEUE_SECONDS):
                pid, port = start(folder, worker_class, max_queue, options.workers)
                try:
                    for factor in options.factors:
                        full = asyncio.run(capacity(port, options.seconds / 3))
                        answers = asyncio.run(offer(port, factor * full, options.seconds))
                        run = Run(worker_class, max_queue, factor, full, options.seconds)
                        print(row(run, answers), flush=True)
                        time.sleep(2 * IN_TIME_SECONDS)  # What waits still is served.
                finally:
                    os.kill(pid, signal.SIGTERM)
                    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
