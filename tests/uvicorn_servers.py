"""Servers with the ASGI worker class, on uvloop with httptools or on asyncio with h11."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket

from harness import MODULE_DOOR, Launcher, Server, wait_until
from patience import stretched

OURS = "gunicorn_autoconf.workers.UvicornWorker"

# The other loop and the other parser, as a user would choose them.
ASYNCIO = """
    from gunicorn_autoconf.workers import UvicornWorker

    class Asyncio(UvicornWorker):
        CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}
"""

APP = """
    import asyncio, os, time
    from concurrent.futures import ThreadPoolExecutor

    active = most = 0

    def hold(seconds):
        global active, most
        active += 1
        most = max(most, active)
        time.sleep(seconds)
        active -= 1

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                event = (await receive())["type"]
                print(f"{event} {os.getpid()}", flush=True)
                await send({"type": f"{event}.complete"})
                if event == "lifespan.shutdown":
                    return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while True:
                event = await receive()
                if event["type"] == "websocket.disconnect":
                    return
                await send({"type": "websocket.send", "text": event["text"].upper()})
        seconds = float(scope["query_string"] or b"0")
        kind = scope["path"]
        if kind != "/":
            print(f"begun {kind}", flush=True)
        if kind == "/sleep":
            await asyncio.sleep(seconds)
        elif kind == "/held":
            while not os.path.exists("release"):
                await asyncio.sleep(0.02)
        elif kind == "/block":
            time.sleep(seconds)
        elif kind == "/thread":
            await asyncio.to_thread(hold, seconds)
        elif kind == "/anyio":
            import anyio.to_thread
            await anyio.to_thread.run_sync(hold, seconds)
        body = {
            "/most": str(most),
            "/scheme": scope["scheme"],
            "/loop": type(asyncio.get_running_loop()).__module__,
        }.get(kind, str(os.getpid())).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
"""

HOOKS = """
    from gunicorn_autoconf import compose
    from gunicorn_autoconf.conf import *

    def worker_int(worker):
        worker.log.info("worker_int ran in %s", worker.pid)

    def worker_abort(worker):
        worker.log.info("worker_abort ran in %s", worker.pid)

    def worker_exit(server, worker):
        worker.log.info("worker_exit ran in %s", worker.pid)
"""


def serve(
    gunicorn: Launcher,
    loop: str,
    *options: str,
    app: str = APP,
    hooks: str | None = None,
    bind: str = "127.0.0.1:0",
    workers: int = 1,
    **variables: str,
) -> Server:
    """
    Start the worker class on *app* by our configuration and return when it has booted.

    Its log says nothing of a loop that is late: on a busy machine one may be.
    """
    gunicorn.write("app.py", app)
    worker_class = OURS
    if loop == "asyncio":
        gunicorn.write("mine.py", ASYNCIO)
        worker_class = "mine.Asyncio"
    door = MODULE_DOOR
    if hooks is not None:
        gunicorn.write("gunicorn.conf.py", hooks)
        door = ("-c", "gunicorn.conf.py")
    server = gunicorn.start(
        *door,
        *options,
        "app:app",
        bind=bind,
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_WORKERS=str(workers),
        **{"GUNICORN_STALL_WARNING": "0", **variables},
    )
    server.wait_for_workers(workers)
    if app is APP:
        wait_until(lambda: len(server.lines("lifespan.startup")) >= workers, "they have started")
    return server


def recycle(server: Server) -> set[int]:
    """Ask the only worker to end, as the arbiter and the memory guard do; return its pid."""
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGTERM)
    return {worker}


def reload(server: Server) -> set[int]:
    """Have the arbiter replace its workers; return the pids of the old ones."""
    workers = server.worker_pids()
    server.signal(signal.SIGHUP)
    return workers


UPGRADE = (
    "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)


def open_websocket(address: tuple[str, int] | str) -> socket.socket:
    """Return a connection on which the server has accepted a WebSocket."""
    assert not isinstance(address, str)
    connection = socket.create_connection(address, timeout=stretched())
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(UPGRADE.format(key=key).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return connection


def say(connection: socket.socket, text: str) -> str:
    """Send a short text message and return the short text that is the answer."""
    mask = b"\0\0\0\0"
    connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + text.encode())
    while True:
        kind, length = connection.recv(1)[0], connection.recv(1)[0]
        payload = connection.recv(length)
        if kind != 0x89:  # A ping, which comes every 20 s.
            assert kind == 0x81
            return payload.decode()


def ended(server: Server, pid: int, *, hooks: list[str]) -> None:
    """Wait until *pid* is replaced; it must have run *hooks* in this order, each once."""
    server.wait_for_workers(1, replacing={pid})
    ran = re.findall(rf"(worker_\w+) ran in {pid}$", server.log, re.MULTILINE)
    assert ran == hooks
