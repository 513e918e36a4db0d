"""Servers whose memory is watched: what they run, and waits for what the log says of it."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cgroups import Cgroup
from harness import (
    Server,
    get,
    wait_until,
)

MIB = 1024 * 1024

ASGI = "gunicorn_autoconf.demo:app"
WSGI = "gunicorn_autoconf.demo:wsgi_app"

# Each request keeps 100 kB. Not zeros: what is never written takes no memory.
LEAK = """
    kept = []

    async def asgi_app(scope, receive, send):
        if scope["type"] == "http":
            kept.append(b"x" * 100_000)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"kept"})

    def wsgi_app(environ, start_response):
        kept.append(b"x" * 100_000)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"kept"]
"""

# Answers with its pid, as the demo does, and takes memory when it is told to.
ON_DEMAND = """
    import os, time

    time.sleep(float(os.environ.get("APP_BOOT_SECONDS", "0")))
    kept = []

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/keep":
            kept.append(b"x" * (8 * 2**20))
        elif path == "/hog":
            kept.append(b"x" * (1024 * 2**20))
        elif path == "/hang":
            time.sleep(60)
        elif path == "/wait":
            while not os.path.exists("go"):
                time.sleep(0.05)
        start_response("200 OK", [])
        return [b"answered by worker %d" % os.getpid()]
"""

# A configuration with another patience of the guard.
IMPATIENT = """
    from gunicorn_autoconf import autoconf
    from gunicorn_autoconf.memory.timing import Timing
    from gunicorn_autoconf.server.hooks import ServerHooks
    found = autoconf()
    globals().update(found.settings)
    globals().update(ServerHooks(found, found._offered, Timing({timing})).by_name())
"""
SOON = (
    "min_age_seconds=1.0, slowest_seconds=0.2, booting_seconds=0.2, fastest_seconds=0.1, "
    "low_fraction={low_fraction}"
)
# It acts when half of the limit is used, ...
QUICK = IMPATIENT.format(timing=SOON.format(low_fraction=0.5))
# ... or already while plenty is left, so that the replacement boots first.
EARLY = IMPATIENT.format(timing=SOON.format(low_fraction=0.8))

EVERY_SAMPLE = {"GUNICORN_MEMORY_LOG_INTERVAL": "0.1"}
TWO_WORKERS = {"GUNICORN_WORKERS": "2", "GUNICORN_WORKLOAD": "cpu"}
# What is larger is more than workers are said to need.
SMALL = {"GUNICORN_WORKER_MEMORY": "20MiB"}
# Enough cores that memory decides.
BY_MEMORY = {"GUNICORN_CPUS": "8", "GUNICORN_WORKLOAD": "cpu"}


def fill(server: Server, cgroup: Cgroup, fraction: float = 0.6) -> None:
    """Let the workers take 80 MiB a second until *fraction* is used or the guard has seen it."""
    due = time.monotonic()

    def is_full() -> bool:
        nonlocal due
        if time.monotonic() >= due:
            assert server.get("/keep").status == 200
            due = time.monotonic() + 0.1
        return cgroup.used_fraction >= fraction or bool(server.lines("recycle worker"))

    wait_until(is_full, f"{fraction:.0%} of the limit are used")


@contextmanager
def load(server: Server, clients: int = 8, rate: float = 30) -> Iterator[Counter[str]]:
    """
    Ask from *clients* threads, each *rate* times a second and on a new connection each time.

    Hands over how often there was which status or error; it is complete after the block.
    """
    outcomes: Counter[str] = Counter()
    address, stop, lock = server.address, threading.Event(), threading.Lock()

    def ask() -> None:
        due = time.monotonic()
        while not stop.wait(max(due - time.monotonic(), 0)):
            due = max(due + 1 / rate, time.monotonic())
            try:
                outcome = str(get(address).status)
            except (OSError, http.client.HTTPException) as error:
                outcome = repr(error)
            with lock:
                outcomes[outcome] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def answering(server: Server, count: int, *, replacing: set[int] | None = None) -> set[int]:
    """Return the pids once there are *count* workers and each one has answered."""
    answered: set[int] = set()

    def complete() -> bool:
        pids = server.worker_pids()
        if len(pids) != count or pids & (replacing or set()):
            return False
        response = server.get()
        assert response.status == 200
        answered.add(int(response.body.rpartition(" ")[2]))
        return pids <= answered

    wait_until(complete, f"{count} workers answer")
    return server.worker_pids()


def wait_for_memory_lines(server: Server, times: int, workers: int) -> list[str]:
    """Return the lines of the next *times* samples; each of them sees so many *workers*."""
    known = len(server.lines(" memory workers="))

    def new() -> list[str]:
        return server.lines(" memory workers=")[known:]

    wait_until(lambda: len(new()) >= times, f"{times} lines about the memory")
    assert all(f"memory workers={workers} " in line for line in new()), new()
    return new()


def stays(server: Server, workers: int, times: int = 3) -> None:
    """Wait until *times* samples running see as many *workers*, all of them booted."""
    known = len(server.lines(" memory workers="))
    calm = rf" memory workers={workers} (?!.*booting)"

    def all_the_same() -> bool:
        lines = server.lines(" memory workers=")[known:][-times:]
        is_calm = len(lines) == times and all(re.search(calm, line) for line in lines)
        # A signal from before a reload may come late: one more is there then for a moment.
        return is_calm and len(server.worker_pids()) == workers

    wait_until(all_the_same, f"{times} samples of {workers} booted workers", 30)


def last_line(server: Server) -> str:
    lines = server.lines(" memory workers=")
    return lines[-1] if lines else ""
