"""What does a request cost beside the server's own work? ``python -m benchmarks.instructions``.

Counts instructions, which other processes on the machine do not change. Each server has one worker,
serves an application that does nothing, and runs in Valgrind (Debian: `valgrind`), which counts
from the end of the warm-up to that of the load: the application tells it. These are the
instructions in user space. We add no system call to a request, except under GUNICORN_MAX_QUEUE, so
our share of its CPU time is smaller than that of its instructions. Prints for each worker class how
many instructions a request executes with each of `PARTS`: what we add is the difference to `plain`.
With ``--at-once 1`` there is one connection with one request at a time. `UvicornWorker` saves a
system call that `uvicorn-worker` makes, which the instructions do not show.

``--alone`` prints what counting alone adds, in a loop without a server: the same on each run, also
for `UvicornWorker`, whose servers differ by how many of its requests are sampled.

Time passes some 50 times faster for a server in Valgrind. What runs by a timer is therefore turned
off, or stretched.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .compare.servers import environment

OURS = "gunicorn_autoconf.workers"
ROWS = {
    "sync": ("-k sync", "wsgi"),
    "gthread": ("-k gthread --threads 8", "wsgi"),
    "ThreadWorker": (f"-k {OURS}.ThreadWorker --threads 8", "wsgi"),
    "asgi": ("-k asgi --asgi-loop uvloop", "asgi"),
    "uvicorn-worker": ("-k uvicorn_worker.UvicornWorker", "asgi"),
    "UvicornWorker": (f"-k {OURS}.UvicornWorker", "asgi"),
    "UvicornWorker, asyncio": (f"-k {OURS}.UvicornWorker --asgi-loop asyncio", "asgi"),
}
QUEUE, TIMEOUT = "GUNICORN_MAX_QUEUE", "GUNICORN_REQUEST_TIMEOUT"
# The first has none of our hooks, though perhaps our worker class. The last two have the watchdog.
PARTS = {
    "plain": ("--timeout 30", {}),
    "counters": ("--timeout 0", {}),
    "watchdog": ("--timeout 30", {}),
    "max queue": ("--timeout 30", {QUEUE: "5"}),
    "request timeout": ("--timeout 30", {TIMEOUT: "30"}),
}
SLOWER = 50
# At full load the requests of uvicorn are sampled; in Valgrind there are fewer in each sample.
CONF = f"""
from gunicorn_autoconf.fleet import counted_tasks
from gunicorn_autoconf.watchdog import ticker
counted_tasks.SAMPLE_SECONDS *= {SLOWER}
counted_tasks.TIMED_REQUESTS = 1
ticker.WATCHERS_SECONDS *= {SLOWER}
from gunicorn_autoconf.conf import *
"""
# Valgrind's "client request" is a sequence of instructions that do nothing elsewhere: the bytes are
# include/valgrind.h, VALGRIND_DO_CLIENT_REQUEST_EXPR for amd64, the numbers callgrind.h's.
APPLICATION = """
import ctypes, gc, mmap

CODE = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
CODE.write(bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3"))
ask = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(
    ctypes.addressof(ctypes.c_char.from_buffer(CODE)))
BASE = (ord("C") << 24) + (ord("T") << 16)
ON_PATH = {path: (ctypes.c_long * 6)(BASE + n) for n, path in ((4, "/start"), (5, "/stop"))}

def look(path):
    if path in ON_PATH:
        if path == "/start":
            gc.collect()
            gc.freeze()  # Else one server has a full collection more than another.
        ask(ctypes.addressof(ON_PATH[path]))

def wsgi(environ, start_response):
    look(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    look(scope["path"])
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})
"""
WARM_UP_REQUESTS = 400
VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--log-file=/dev/null")
ALONE = ("UvicornWorker", "sync", "gthread", "asgi")
ALONE_REQUESTS = 5000
DEADLINE_SECONDS = 120.0


def count(row: str, part: str, requests: int, at_once: int) -> float:
    """Return how many instructions the worker executes for each of so many requests."""
    (words, application), (more, environ) = ROWS[row], PARTS[part]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "gunicorn.conf.py").write_text("" if part == "plain" else CONF)
        (folder / "nothing.py").write_text(APPLICATION)
        command = [*VALGRIND, f"--callgrind-out-file={folder}/%p", sys.executable, "-m", "gunicorn"]
        command += ["-b", "127.0.0.1:0", "-w", "1", "--keep-alive", "600", *words.split()]
        command += [*more.split(), f"nothing:{application}"]
        environ = environment(folder) | environ | {"PYTHONHASHSEED": "0"}
        environ |= {"GUNICORN_STALL_WARNING": "0", "GUNICORN_MEMORY_LOG_INTERVAL": "0"}
        log = folder / "log"
        with log.open("wb") as file:
            popen = subprocess.Popen(command, env=environ, cwd=folder, stderr=file)
        try:
            port = int(_wait_for(log, r"Listening at: http://127.0.0.1:(\d+)", popen))
            pid = _wait_for(log, r"Booting worker with pid: (\d+)", popen)
            load(int(pid), port, requests, at_once, is_kept="sync" not in words)
        finally:
            popen.send_signal(signal.SIGTERM)
            popen.wait(DEADLINE_SECONDS)
        return _total(folder / pid) / requests


def count_alone(row: str) -> float:
    """Return how many instructions counting adds to each request."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("plain", "counted"):
            out = Path(folder, kind)
            command = [*VALGRIND, f"--callgrind-out-file={out}", sys.executable]
            command += ["-m", "benchmarks.counting_loop", row, kind]
            subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "0"}, check=True)
            found[kind] = _total(out)
    return (found["counted"] - found["plain"]) / ALONE_REQUESTS


def _total(out: Path) -> int:
    found = re.search(r"^totals: (\d+)", text := out.read_text(), re.MULTILINE)
    assert found, text
    return int(found[1])


def _wait_for(log: Path, pattern: str, popen: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := re.search(pattern, text := log.read_text())):
        if time.monotonic() > deadline or popen.poll() is not None:
            raise RuntimeError(f"no {pattern!r} in:\n{text[-2000:]}")
        time.sleep(0.05)
    return found[1]


def load(pid: int, port: int, requests: int, at_once: int, *, is_kept: bool) -> None:  # noqa: C901
    """Warm up; then ask as often, so many at once."""

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS)

    def ask(connections: list[socket.socket], path: str) -> None:
        for connection in connections:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
            connection.sendall(head.encode())
        os.kill(pid, signal.SIGCONT)
        for connection in connections:
            got = b""
            while not got.endswith(b"hello"):
                new = connection.recv(4096)
                assert new, got
                got += new
            assert got.startswith(b"HTTP/1.1 200 "), got
            if not is_kept:
                connection.close()

    connections = [connect() for _ in range(at_once)] if is_kept else []

    def turn(count: int, path: str) -> None:
        # It finds all requests of a turn when it goes on, as each time.
        os.kill(pid, signal.SIGSTOP)
        if not is_kept:
            connections[:] = [connect() for _ in range(count)]
        ask(connections[:count], path)

    for _ in range(WARM_UP_REQUESTS // at_once):
        turn(at_once, "/")
    turn(1, "/start")
    for _ in range(requests // at_once):
        turn(at_once, "/")
    turn(1, "/stop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--requests", type=int, default=2048)
    parser.add_argument("--at-once", type=int, default=32, help="1 for one at a time [32]")
    parser.add_argument("--alone", action="store_true", help="what counting adds, in a loop")
    options = parser.parse_args()
    if options.alone:
        for row in ALONE:
            print(f"{row}: counting adds {count_alone(row):,.0f} instructions", flush=True)
        return
    print("| class |", " | ".join(options.parts), "|")
    print("|---" * (len(options.parts) + 1) + "|")
    for row in options.rows:
        found = [count(row, part, options.requests, options.at_once) for part in options.parts]
        print(f"| {row} |", " | ".join(f"{each:,.0f}" for each in found), "|", flush=True)


if __name__ == "__main__":
    main()
