"""What do clients notice of a reload? ``python -m benchmarks.reload``, which needs ``wrk``.

Puts our UvicornWorker and uvicorn-worker's under the same load in turns, sends SIGHUP every three
seconds, and prints side by side what failed: once with a new connection for each request, once with
connections that are kept, of which any server closes some under its clients when it reloads.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CLASSES = ("gunicorn_autoconf.workers.UvicornWorker", "uvicorn_worker.UvicornWorker")
LOADS = {"new connections": ["-H", "Connection: close"], "kept connections": []}

# Not the demo: its lifespan and its paths are beside the point. A request waits, so that a reload
# finds some in work.
MODULE = """
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep({wait_seconds})
        await send({{"type": "http.response.start", "status": 200, "headers": [
            (b"content-length", b"5")]}})
        await send({{"type": "http.response.body", "body": b"hello"}})
"""


class Noticed(NamedTuple):
    """What wrk counted, and what the server's log holds."""

    requests: int
    failures: dict[str, int]
    reloads: int
    mistakes: int

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


@contextlib.contextmanager
def serving(worker_class: str, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server with two workers, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "-k", worker_class, "-w", "2"]
    command += ["-b", f"127.0.0.1:{port}", "--chdir", str(directory), "app:app"]
    environ = {**os.environ, "HOME": str(directory)}
    with (directory / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environ, stderr=log)
    try:
        until_answered(port)
        yield server, port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def until_answered(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/")
            connection.getresponse().read()
            connection.close()
            return
        time.sleep(0.01)
    raise TimeoutError("the server did not answer within 30 s")


def measure(
    worker_class: str, options: list[str], seconds: int, every_seconds: float, directory: Path
) -> Noticed:
    """Load the server for *seconds* and reload it meanwhile."""
    with serving(worker_class, directory) as (server, port):
        command = ["wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s", *options]
        load = subprocess.Popen(
            [*command, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, text=True
        )
        reloads = 0
        while True:
            try:
                printed, _ = load.communicate(timeout=every_seconds)
                break
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGHUP)
                reloads += 1
    log = (directory / "server.log").read_text(errors="replace")
    mistakes = [
        line
        for line in log.splitlines()
        if re.search(r"\[(CRITICAL|ERROR)\]|Traceback", line) and "sent SIGTERM" not in line
    ]
    return Noticed(requests_of(printed), failures_of(printed), reloads, len(mistakes))


def requests_of(printed: str) -> int:
    found = re.search(r"(\d+) requests in", printed)
    assert found, printed
    return int(found[1])


def failures_of(printed: str) -> dict[str, int]:
    """What wrk counted as failed: by kind, and responses other than 2xx and 3xx."""
    failures = {}
    if errors := re.search(r"Socket errors: (.+)", printed):
        failures = {kind: int(n) for kind, n in re.findall(r"(\w+) (\d+)", errors[1])}
    if others := re.search(r"Non-2xx or 3xx responses: (\d+)", printed):
        failures["status"] = int(others[1])
    return {kind: count for kind, count in failures.items() if count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="length of each load [30]")
    parser.add_argument("--every", type=float, default=3, help="seconds between reloads [3]")
    parser.add_argument("--wait", type=float, default=0.005, help="seconds a request waits [0.005]")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        parser.error("wrk is not installed")
    print("| load | worker class | reloads | requests | failed | mistakes in the log |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "app.py").write_text(MODULE.format(wait_seconds=arguments.wait))
        for load, options in LOADS.items():
            for worker_class in CLASSES:
                noticed = measure(
                    worker_class, options, arguments.seconds, arguments.every, directory
                )
                kinds = ", ".join(f"{kind} {n}" for kind, n in noticed.failures.items())
                print(
                    f"| {load} | `{worker_class}` | {noticed.reloads} | {noticed.requests} "
                    f"| {noticed.failed}{f' ({kinds})' if kinds else ''} | {noticed.mistakes} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
