"""
Where should a model be loaded? ``python -m benchmarks.model_server``.

Serves an application with a model of 200 MiB by three workers: loaded when it is imported, with and
without `preload_app`; in the lifespan; by the first request. Prints how long a worker took until it
could serve, how long the first request took, and what all processes use together at the start and
after each worker has answered.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

APP = """
import os, time

def load():
    time.sleep(float(os.environ["LOAD_SECONDS"]))
    return b"x" * (int(os.environ["MODEL_MIB"]) * 2**20)

model = load() if os.environ["MODE"] == "import" else None

async def app(scope, receive, send):
    global model
    if scope["type"] == "lifespan":
        await receive()
        if os.environ["MODE"] == "lifespan":
            model = load()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    if model is None:
        model = load()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
WORKERS = 3
MIB = 2**20
# By what the table calls it: where the model is loaded, options of Gunicorn.
WAYS = {
    "at import, preload_app": ("import", ["--preload"]),
    "at import": ("import", []),
    "in the lifespan": ("lifespan", []),
    "by the first request": ("lazy", []),
}


class Seen(NamedTuple):
    """What one way shows: seconds, and MiB of all processes together."""

    ready: float
    first_request: float
    at_start: float
    after: float
    line: str


def used_mib(arbiter: psutil.Process) -> float:
    """Return what the processes of a server use; shared pages count once."""
    processes = [arbiter, *arbiter.children()]
    return sum(each.memory_full_info().pss for each in processes) / MIB


def run(mode: str, options: Sequence[str], model_mib: int, load_seconds: float) -> Seen:
    """Serve in one way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP)
        log_path = folder / "log"
        command = [sys.executable, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
        command += ["-b", "127.0.0.1:0", "-w", str(WORKERS), *options, "app:app"]
        environ = {**os.environ, "MODE": mode, "MODEL_MIB": str(model_mib)}
        environ |= {"LOAD_SECONDS": str(load_seconds), "GUNICORN_INTERFACE": "asgi"}
        began = time.monotonic()
        with log_path.open("wb") as log:
            server = subprocess.Popen(command, env=environ, cwd=folder, stderr=log)
        try:
            while len(lines := re.findall(r"worker \d+ ready .*", log_path.read_text())) < WORKERS:
                if server.poll() is not None or time.monotonic() - began > 120:
                    sys.exit(log_path.read_text())
                time.sleep(0.05)
            ready = time.monotonic() - began
            arbiter = psutil.Process(server.pid)
            at_start = used_mib(arbiter)
            address = re.search(r"Listening at: (\S+)", log_path.read_text())
            assert address
            seconds = ask_each(address[1])
            return Seen(ready, seconds, at_start, used_mib(arbiter), lines[-1])
        finally:
            server.terminate()
            server.wait(30)


def ask_each(url: str) -> float:
    """Ask until every worker has answered; return how long the longest answer took."""
    longest, pids = 0.0, set[bytes]()
    while len(pids) < WORKERS:
        began = time.monotonic()
        with urllib.request.urlopen(url, timeout=60) as answer:
            pids.add(answer.read())
        longest = max(longest, time.monotonic() - began)
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-mib", type=int, default=200)
    parser.add_argument("--load-seconds", type=float, default=1.0)
    options = parser.parse_args()
    print(
        f"{WORKERS} workers, a model of {options.model_mib} MiB, {options.load_seconds} s to load\n"
    )
    print("| loaded | all ready after | slowest first request | memory at start | after requests |")
    print("|---|---|---|---|---|")
    for name, (mode, more) in WAYS.items():
        seen = run(mode, more, options.model_mib, options.load_seconds)
        sizes = f"{seen.at_start:.0f} MiB | {seen.after:.0f} MiB"
        print(f"| {name} | {seen.ready:.1f} s | {seen.first_request:.2f} s | {sizes} |", flush=True)
        print(f"<!-- {seen.line} -->", file=sys.stderr)


if __name__ == "__main__":
    main()
