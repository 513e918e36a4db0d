"""Small applications that show each workload: ``demo:app`` is ASGI, ``demo:wsgi_app`` is WSGI.

``/`` answers at once, ``/io`` waits 0.1 s, ``/cpu`` computes about 10 ms, ``/block`` blocks 0.1 s:
in ASGI the classic mistake, as nothing else runs in that worker meanwhile. Each answers with the
worker's pid. No framework.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

WAIT_SECONDS = 0.1
COMPUTE_SECONDS = 0.01


def compute() -> None:
    """Use about 10 ms of CPU time, whatever the speed of the machine."""
    until = time.thread_time() + COMPUTE_SECONDS
    while time.thread_time() < until:
        sum(range(1000))


def block() -> None:
    """Wait 0.1 s without giving the thread away, as a database driver without async does."""
    time.sleep(WAIT_SECONDS)


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/io":
        await asyncio.sleep(WAIT_SECONDS)
    elif path == "/cpu":
        compute()
    elif path == "/block":
        block()
    body = _body(path)
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": _status(path), "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application; ``/io`` and ``/block`` are the same thing here."""
    path = environ["PATH_INFO"]
    if path in ("/io", "/block"):
        block()
    elif path == "/cpu":
        compute()
    body = _body(path)
    status = "200 OK" if _status(path) == 200 else "404 Not Found"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


def _status(path: str) -> int:
    return 200 if path in ("/", "/io", "/cpu", "/block") else 404


def _body(path: str) -> bytes:
    if _status(path) == 404:
        return b"try /, /io, /cpu or /block\n"
    return f"{path} answered by worker {os.getpid()}\n".encode()
