"""What becomes of workers that grow late? ``python -m benchmarks.warm_ups``, as root.

Runs small applications that have misled memory guards, each in a memory cgroup of its own and
under load: a model that the first request or the lifespan loads, caches that fill after a slow
import, workers just below the first guess. Prints the count at the start and at the end, the
guard's steps and recycles and the kernel's count of OOM kills beside what is right.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.cgroups import limited

FILLED = """
def filled(mib):
    block = bytearray(mib * 2**20)
    block[::4096] = b"x" * (mib * 256)
    return block
"""

LAZY_MODEL = """
import os, threading, time
from fastapi import FastAPI

time.sleep(float(os.environ.get("BOOT", "0")))
app = FastAPI()
model, lock = [], threading.Lock()


@app.get("/")
def predict():
    with lock:
        while len(model) < 10:
            model.append(bytearray(os.urandom(2**20) * 13))
            time.sleep(0.3)
    return os.getpid()
"""

LIFESPAN_MODEL = """
import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI

model = {}


@asynccontextmanager
async def lifespan(app):
    for part in range(8):
        model[part] = bytearray(b"x" * (25 * 2**20))
        await asyncio.sleep(0.5)
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
def root():
    return len(model)
"""

WARM_UP = """
import os, threading, time

time.sleep(float(os.environ.get("BOOT", "0")))
cache, lock = [], threading.Lock()


def app(environ, start_response):
    with lock:
        while len(cache) < 15:
            cache.append(b"x" * (10 << 20))
            time.sleep(0.3)
    time.sleep(0.05)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

WARM_UP_SLOW_BOOT = f"""
import threading, time
from flask import Flask
{FILLED}
time.sleep(30)
kept = [filled(265)]
once = threading.Lock()
app = Flask(__name__)


@app.get("/")
def root():
    with once:
        while len(kept) < 51:
            kept.append(filled(2))
            time.sleep(0.3)
    return "ok"
"""

JUST_BELOW_THE_GUESS = f"""
from flask import Flask
{FILLED}
app = Flask(__name__)
ballast = filled(218)


@app.get("/")
def root():
    return "ok"
"""

GROWS_AFTER_BOOT = f"""
import time
from flask import Flask
{FILLED}
app = Flask(__name__)
time.sleep(3)
born = time.monotonic()
kept = [filled(149)]


@app.get("/")
def root():
    if len(kept) == 1 and time.monotonic() - born > 1.5:
        kept.append(filled(8))
    return "ok"
"""

HELPER_LEAKS = """
import multiprocessing, os, time

started = []


def leak():
    kept = []
    while True:
        kept.append(os.urandom(2**20) * 6)
        time.sleep(1)


def app(environ, start_response):
    if not started and not os.path.exists("leaked"):
        open("leaked", "w").close()
        started.append(multiprocessing.Process(target=leak, daemon=True))
        started[0].start()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class Case(NamedTuple):
    """An application, how it is run and what is right."""

    source: str
    limit_mib: int
    environ: dict[str, str]
    options: tuple[str, ...]
    right: str


IO, CPU = {"GUNICORN_WORKLOAD": "io"}, {"GUNICORN_WORKLOAD": "cpu"}
TWO_CORES = {"GUNICORN_CPUS": "2"}
CASES = {
    "lazy_model": Case(LAZY_MODEL, 512, IO | {"BOOT": "6"}, (), "at most 2 kills, then 2"),
    "lazy_model_1g": Case(LAZY_MODEL, 1024, {}, (), "no kill"),
    "lifespan_model": Case(LIFESPAN_MODEL, 512, {}, (), "no kill, 1"),
    "lifespan_model_1g": Case(LIFESPAN_MODEL, 1024, {}, (), "no kill, 3"),
    "warm_up": Case(
        WARM_UP,
        600,
        {"BOOT": "10", "GUNICORN_WORKER_MEMORY": "180MiB"},
        ("-k", "gthread", "--threads", "4"),
        "no recycle",
    ),
    "warm_up_slow_boot": Case(WARM_UP_SLOW_BOOT, 1024, CPU, (), "no recycle"),
    "just_below_the_guess": Case(JUST_BELOW_THE_GUESS, 1024, {}, (), "3 stay"),
    "grows_after_boot": Case(GROWS_AFTER_BOOT, 512, {}, (), "2"),
    "helper_leaks": Case(
        HELPER_LEAKS, 300, {"GUNICORN_WORKERS": "2"}, (), "the helper named, 2 stay"
    ),
}


class Load:
    """Requests from several clients, each on a new connection."""

    def __init__(self, port: int, clients: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the last answers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stopping.wait(0.05):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            try:
                connection.request("GET", "/")
                self.outcomes[str(connection.getresponse().status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[type(error).__name__] += 1
            finally:
                connection.close()


def run(case: Case, seconds: float, port: int) -> tuple[str, str]:
    """Run one case; return its row and its log."""
    with (
        tempfile.TemporaryDirectory() as folder,
        limited(case.limit_mib * 2**20, "autoconf_guard") as cgroup,
    ):
        Path(folder, "app.py").write_text(case.source)
        log = Path(folder, "log")
        command = [sys.executable, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
        command += ["-b", f"127.0.0.1:{port}", *case.options, "app:app"]
        environ = os.environ | TWO_CORES | {"GUNICORN_MEMORY_LOG_INTERVAL": "10"} | case.environ
        with log.open("w") as file:
            server = subprocess.Popen(
                cgroup.wrap(command), cwd=folder, env=environ, stdout=file, stderr=file
            )
        load = Load(port, 4)
        try:
            time.sleep(seconds)
        finally:
            load.stop()
            text = log.read_text()
            kills = cgroup.oom_kills
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
    counts = re.findall(r"memory workers=(\d+)", text)
    steps = re.findall(r"guard: ((?:grow|shrink|keep)[^:]*):", text)
    recycles = len(re.findall(r"guard: recycle", text))
    row = (
        f"workers {counts[0] if counts else '?'} -> {counts[-1] if counts else '?'}, "
        f"{kills} OOM kills, {recycles} recycles, steps {steps}, {dict(load.outcomes)}"
    )
    return row, text


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=8731)
    parser.add_argument("--logs", action="store_true", help="print the guard's and memory lines")
    options = parser.parse_args()
    for name in options.cases:
        row, text = run(CASES[name], options.seconds, options.port)
        print(f"{name}: {row}; right: {CASES[name].right}", flush=True)
        if options.logs:
            for line in text.splitlines():
                if re.search(r"guard|memory workers|OOM|booted|ready in|failed", line):
                    print("   ", line[:220], flush=True)


if __name__ == "__main__":
    main()
