"""What does the plan cost at start? ``python -m benchmarks.boot``.

Starts Gunicorn with this package's module and with a static configuration of equal values, in
turns (A B A B ...), once for each interface. Prints the time from the start of the process to the
first answered request, and what the module adds to it, to the CPU time of the arbiter until then
and to its memory (PSS). The lowest CPU time of many starts holds on a busy machine, too.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import pprint
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from gunicorn_autoconf import autoconf

# Not the demo: that would load this package in the workers of the static configuration, too.
MODULE = """
async def asgi_app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def wsgi_app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
APPLICATIONS = ("app:asgi_app", "app:wsgi_app")


class Start(NamedTuple):
    """One start: seconds to the first answer; of the arbiter the CPU time until then, and bytes."""

    seconds: float
    cpu_seconds: float
    pss_bytes: int


def write_static_config(directory: Path, application: str) -> Path:
    """Write the planned values as a configuration file without a hook."""
    planned = autoconf(argv=["gunicorn", "--chdir", str(directory), application]).plan.settings
    path = directory / f"static_{application.rpartition(':')[2]}.py"
    path.write_text("".join(f"{name} = {pprint.pformat(v)}\n" for name, v in planned.items()))
    return path


def measure(config: str, application: str, directory: Path) -> Start:
    """Start the server once and stop it."""
    address = str(directory / "boot.sock")
    command = [sys.executable, "-m", "gunicorn", "-c", config, "-b", f"unix:{address}"]
    command += ["--chdir", str(directory), application]
    environ = {**os.environ, "HOME": str(directory)}
    # As pip leaves it: compiled. Where Python may not write that down, the module's own source is
    # compiled at each start, and the static configuration has none.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    server = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        until_answered(address)
        seconds = time.perf_counter() - began
        # In nanoseconds; the times in /proc/<pid>/stat are in steps of 10 ms.
        clock = Path(f"/proc/{server.pid}/schedstat").read_text(encoding="utf-8")
        cpu_seconds = int(clock.split()[0]) / 1e9
        pss_bytes = psutil.Process(server.pid).memory_full_info().pss
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    return Start(seconds, cpu_seconds, pss_bytes)


def until_answered(address: str) -> None:
    """Return as soon as the server at the socket *address* has answered a request."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException), closing_socket(address) as s:
            connection = http.client.HTTPConnection("localhost")
            connection.sock = s
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        time.sleep(0.002)
    raise TimeoutError("the server did not answer within 30 s")


@contextlib.contextmanager
def closing_socket(address: str) -> Iterator[socket.socket]:
    """A connected Unix socket that is closed in the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(address)
        yield connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="starts of each kind [20]")
    rounds = parser.parse_args().rounds
    print(
        "| application | to the first answer, static | autoconf | ratio | CPU, lowest | PSS added |"
    )
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "app.py").write_text(MODULE)
        for application in APPLICATIONS:
            static = str(write_static_config(directory, application))
            pairs = [
                (
                    measure(static, application, directory),
                    measure("python:gunicorn_autoconf.conf", application, directory),
                )
                for _ in range(rounds + 1)
            ][1:]  # The first pair reads the disk.
            print(row(application, pairs))


def row(application: str, pairs: list[tuple[Start, Start]]) -> str:
    """One line of the table: medians, and medians of what each pair shows."""
    median = statistics.median
    before = median(a.seconds for a, _ in pairs)
    after = median(b.seconds for _, b in pairs)
    ratios = [b.seconds / a.seconds for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    added = median(b.pss_bytes - a.pss_bytes for a, b in pairs) / 2**20
    cpu = [min(each.cpu_seconds for each in starts) * 1000 for starts in zip(*pairs, strict=True)]
    return (
        f"| {application} | {before * 1000:.0f} ms | {after * 1000:.0f} ms "
        f"| {middle:.3f} ({low:.3f} to {high:.3f}) | {cpu[0]:.0f} and {cpu[1]:.0f} ms "
        f"| {added:+.1f} MiB |"
    )


if __name__ == "__main__":
    main()
