"""Does the watchdog name what blocks? ``python -m benchmarks.blockers``.

Nineteen ways in which public reports say that an event loop was blocked. Each is a view of one
application, run in the real server under our `UvicornWorker`; the log must name the line of the
view and the class of its cause. Prints a table, which names what is left out: what needs a package
that is not installed (requests, SQLAlchemy, pandas). Each blocks for about two seconds on a quiet
machine, or for ever, so that other processes cannot hide it.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Blocker(NamedTuple):
    """One view: what it is, the text of its line, what the log has to say of it."""

    name: str
    line: str
    cause: str
    needs: str = ""
    patience_seconds: float = 60


WAITS, COMPUTES, COLLECTOR = "waits", "computes", "collector"
BLOCKERS = (
    Blocker("time.sleep", "time.sleep(2)", WAITS),
    Blocker("DNS", "socket.getaddrinfo(SLOW_NAME, 80)", WAITS),
    Blocker("a lock", "LOCK.acquire(timeout=2)", WAITS),
    Blocker("subprocess", "subprocess.run(['sleep', '2'])", WAITS),
    Blocker("requests", "requests.get(SLOW_URL, timeout=5)", WAITS, "requests"),
    Blocker("an HTTP client without async", "urllib.request.urlopen(SLOW_URL).read()", WAITS),
    Blocker("an ORM's query", "connection.execute(QUERY)", WAITS, "sqlalchemy"),
    Blocker("sqlite3, a locked database", "database.execute('INSERT INTO t VALUES (1)')", WAITS),
    Blocker("json of 100 MB", "json.loads(TEXT)", COMPUTES),
    Blocker("a regular expression", "PATTERN.match('a' * 26)", COMPUTES),
    Blocker("pandas", "FRAME.groupby('k').apply(lambda rows: rows.sum())", COMPUTES, "pandas"),
    Blocker("native code that holds the GIL", "sum(range(200_000_000))", COMPUTES),
    Blocker("native code without the GIL", "pbkdf2_hmac('sha256', b'', b'', 10_000_000)", COMPUTES),
    Blocker("asyncio.run inside", "POOL.submit(asyncio.run, pause(2)).result()", WAITS),
    Blocker("a nested loop", "for x in range(7000): [x * y for y in range(7000)]", COMPUTES),
    Blocker("logging into a full pipe", "print('x' * 200_000, file=FULL, flush=True)", WAITS),
    Blocker("os.write into a full pipe", "os.write(BRIMFUL, b'a line')", WAITS, patience_seconds=4),
    Blocker("a slow __del__", "del slow", WAITS),
    Blocker("the garbage collector", "[gc.collect() for _ in range(12)]", COLLECTOR),
)  # fmt: skip

HEAD = """
import asyncio, gc, hashlib, json, os, re, socket, sqlite3, subprocess, threading, time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from hashlib import pbkdf2_hmac

pause = asyncio.sleep
LOCK = threading.Lock()
LOCK.acquire()
POOL = ThreadPoolExecutor(1)
PATTERN = re.compile(r"(a+)+$b")
TEXT = None
SLOW_NAME = "host.invalid"
_look_up = socket.getaddrinfo

def getaddrinfo(*args, **options):  # As a name server that does not answer.
    if args[0] == SLOW_NAME:
        select.select([], [], [], 2)
        return []
    return _look_up(*args, **options)

import select
socket.getaddrinfo = getaddrinfo

def serve():
    server = socket.create_server(("127.0.0.1", 0))
    def answer():
        while True:
            peer, _ = server.accept()
            peer.recv(1000)
            time.sleep(2)
            peer.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
            peer.close()
    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/"

class Slow:
    def __del__(self):
        time.sleep(2)

def fill():
    reading, writing = os.pipe()
    def empty():  # As a log collector that is slow.
        select.select([reading], [], [])
        time.sleep(2)
        while os.read(reading, 1 << 20):
            pass
    threading.Thread(target=empty, daemon=True).start()
    return os.fdopen(writing, "w")  # As a handler of logging does, it writes until all is written.

def fill_to_the_brim():  # As with a log collector that has stopped reading.
    global unread
    unread, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return writing

async def app(scope, receive, send):
    if scope["type"] == "http":
        VIEWS[scope["path"]]()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

SLOW_URL = serve()
VIEWS = {"/": lambda: None}
"""
SETUP = {
    "json of 100 MB": "TEXT = json.dumps(list(range(15_000_000)))",
    "sqlite3, a locked database": (
        "holder = sqlite3.connect('t.db', isolation_level=None); "
        "holder.execute('CREATE TABLE IF NOT EXISTS t (n)'); holder.execute('BEGIN EXCLUSIVE'); "
        "database = sqlite3.connect('t.db', timeout=2)"
    ),
    "logging into a full pipe": "FULL = fill()",
    "os.write into a full pipe": "BRIMFUL = fill_to_the_brim()",
    "a slow __del__": "slow = Slow()",
    "the garbage collector": "kept = [[] for _ in range(6_000_000)]",
    "requests": "import requests",
    "pandas": "import pandas; FRAME = pandas.DataFrame({'k': range(20_000), 'v': range(20_000)})",
    "an ORM's query": (
        "import sqlalchemy; engine = sqlalchemy.create_engine('sqlite://'); "
        "connection = engine.connect(); "
        "connection.connection.create_function('wait', 0, lambda: time.sleep(2)); "
        "QUERY = sqlalchemy.text('SELECT wait()')"
    ),
}


def application(blocker: Blocker) -> str:
    """Return the source of an application with one view."""
    guard = "try:\n        {}\n    except Exception as error:\n        print(error)"
    body = guard.format(blocker.line)
    setup = SETUP.get(blocker.name, "")
    return f"{HEAD}\n{setup}\n\ndef view():\n    global slow\n    {body}\n\nVIEWS['/x'] = view\n"


def judge(log: str, blocker: Blocker) -> str:
    """Return what the log got wrong; nothing where all is right."""
    if blocker.cause == COLLECTOR:
        # Beside other load, which takes a core from the collector, it is one of two causes.
        return "" if re.search(r"not because of your code.*\n?.*collector", log) else "not named"
    head = re.search(r"has been blocked for [\d.]+ s by (.*)\n((?:  .*\n)*)", log)
    if not head:
        return "not reported"
    found = re.search(r"^  the thread (\w+);", head[2], re.MULTILINE)
    wrong = [] if "in view()" in head[2] and blocker.line[:20] in head[0] else ["another line"]
    wrong += [] if found and found[1] == blocker.cause else [f"cause: {found and found[1]}"]
    return ", ".join(wrong)


def run(blocker: Blocker, directory: Path) -> str:
    """Run one server with one view; return what its log got wrong."""
    (directory / "app.py").write_text(application(blocker))
    log = directory / "server.log"
    command = [sys.executable, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
    environ = {**os.environ, "HOME": str(directory), "GUNICORN_WORKERS": "1"}
    environ["GUNICORN_GRACEFUL_TIMEOUT"] = "3"  # One of them blocks for ever.
    with log.open("wb") as stderr:
        server = subprocess.Popen(
            [*command, "-b", "127.0.0.1:0", "app:app"], cwd=directory, env=environ, stderr=stderr
        )
    try:
        deadline = time.monotonic() + 60
        while "Application startup complete" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        url = re.search(r"Listening at: (\S+)", log.read_text())
        if not url:
            return "did not start"
        with suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{url[1]}/x", timeout=blocker.patience_seconds).read()
        time.sleep(1)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    return judge(log.read_text(), blocker)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="those whose name has this in it")
    parser.add_argument("--logs", action="store_true", help="print the log of each that went wrong")
    options = parser.parse_args()
    failed = 0
    print("| blocker | line | cause | verdict |\n|---|---|---|---|")
    for blocker in BLOCKERS:
        if options.only not in blocker.name:
            continue
        if blocker.needs and not has(blocker.needs):
            verdict = f"left out: {blocker.needs} is not installed"
        else:
            with tempfile.TemporaryDirectory() as name:
                wrong = run(blocker, Path(name))
                if wrong and options.logs:
                    print((Path(name) / "server.log").read_text())
            failed += bool(wrong)
            verdict = wrong or "right"
        print(f"| {blocker.name} | `{blocker.line}` | {blocker.cause} | {verdict} |", flush=True)
    return failed


def has(module: str) -> bool:
    """Whether *module* is installed."""
    return subprocess.run([sys.executable, "-c", f"import {module}"], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
