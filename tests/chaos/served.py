"""
The application under chaos, as WSGI and as ASGI. It journals which request begins in which worker.

A line of the journal is ``<monotonic seconds> <pid> <what> <words>``, written in one go: lines of
several workers do not mix. What is asked for is the path, the request's id is the query.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

MIB = 2**20

BALLAST_MIB = int(os.environ.get("CHAOS_BALLAST_MIB", "0"))
BLOCK_SECONDS = 1.0
HANG_SECONDS = float(os.environ.get("CHAOS_HANG_SECONDS", "0"))
WAIT_SECONDS = 0.05
# As the guard promises to survive 25 MB/s under a limit of 300 MiB.
LEAK_BYTES_A_SECOND = 50 * MIB
LONGEST_LEAK_SECONDS = 0.5
HOG_MIB = 2048
# For good, as far as a test can tell.
STUCK_SECONDS = 10_000.0
WAITS_SECONDS = {"/wait": WAIT_SECONDS, "/stuck": STUCK_SECONDS}
LARGE_BYTES = MIB

_journal = os.open(
    os.environ.get("CHAOS_JOURNAL", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT
)
_ballast = b"x" * (BALLAST_MIB * MIB)
_hogged: list[bytes] = []

# Held while a thread of gthread accepts, and by a request that will not end well while it notes the
# connections of its worker; for good by one that leads to an OOM kill. The other classes accept in
# one thread with the requests.
accepting = threading.Lock()


def note(what: str, *words: object) -> None:
    """Write one line to the journal."""
    line = " ".join(map(str, (f"{time.monotonic():.6f}", os.getpid(), what, *words)))
    os.write(_journal, f"{line}\n".encode())


def peer_ports() -> list[int]:
    """Return the ports from which the clients of this worker are connected."""
    ports = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # Closed meanwhile, or one that listens.
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.family == socket.AF_INET:
                    ports.append(connection.getpeername()[1])
    return ports


class Leak:
    """What the requests of a worker leave behind: so much in a second, however many there are."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._at: float | None = None

    def grow(self, *, begins: bool) -> None:
        """Keep what is due since the last request; nothing before one with which it *begins*."""
        if self._at is None and not begins:
            return
        now = time.monotonic()
        seconds = min(now - (self._at or now), LONGEST_LEAK_SECONDS)
        self._kept.append(b"x" * round(seconds * LEAK_BYTES_A_SECOND))
        self._at = now


_leak = Leak()


def answer(kind: str, request: str) -> bytes:
    """Do what a request of this *kind* does but waiting, and return the body of the response."""
    _leak.grow(begins=kind == "/leak")
    if kind == "/block":
        time.sleep(BLOCK_SECONDS)
    elif kind == "/hang":
        with accepting:
            note("held", "hang", *peer_ports())
        time.sleep(HANG_SECONDS)
    elif kind == "/hog":
        with accepting:
            note("held", "hog", *peer_ports())
            _hogged.append(b"x" * (HOG_MIB * MIB))
    body = f"{request} {os.getpid()}\n".encode()
    return body.ljust(LARGE_BYTES) if kind == "/large" else body


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    kind, request = environ["PATH_INFO"], environ["QUERY_STRING"]
    note("begin", request)
    if kind in WAITS_SECONDS:
        time.sleep(WAITS_SECONDS[kind])
    body = answer(kind, request)
    note("end", request)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi_app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    kind, request = scope["path"], scope["query_string"].decode()
    note("begin", request)
    if kind in WAITS_SECONDS:
        await asyncio.sleep(WAITS_SECONDS[kind])
    body = answer(kind, request)
    note("end", request)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
