"""Requests without a framework; the path says what they spend their time on."""

import asyncio
import time

import anyio.to_thread

COMPUTE_SECONDS = {"/compute": 0.010, "/mixed": 0.005}
WAIT_SECONDS = {"/mixed": 0.020, "/wait": 0.100, "/pool": 0.100, "/block": 0.100}
BODY = b"hello"


def compute(path):
    """Use CPU time, the same on each machine and however many threads share it."""
    until = time.thread_time() + COMPUTE_SECONDS.get(path, 0)
    while time.thread_time() < until:
        sum(range(1000))


def block(path):
    time.sleep(WAIT_SECONDS.get(path, 0))


async def asgi_app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path in COMPUTE_SECONDS:
        compute(path)
    if path == "/pool":
        # As Starlette and FastAPI run a view without async: 40 threads in each process.
        await anyio.to_thread.run_sync(block, path)
    elif path == "/block":
        block(path)
    elif path in WAIT_SECONDS:
        await asyncio.sleep(WAIT_SECONDS[path])
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def wsgi_app(environ, start_response):
    path = environ["PATH_INFO"]
    if path in COMPUTE_SECONDS:
        compute(path)
    if path in WAIT_SECONDS:
        block(path)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [BODY]
