"""Who accepts the connections that wait, and which are served first, on the real server."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter

import pytest
import uvicorn_servers
from gunicorn.workers.gthread import ThreadWorker
from harness import MODULE_DOOR, Launcher, Server, wait_until
from patience import stretched

pytestmark = pytest.mark.server

WSGI = """
    import os

    def app(environ, start_response):
        body = str(os.getpid()).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""

ASGI = """
    import os

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        body = str(os.getpid()).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
"""

MINE = """
    from gunicorn_autoconf.workers import UvicornWorker

    class Asyncio(UvicornWorker):
        CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}
"""

CLASSES = ["gunicorn_autoconf.workers.UvicornWorker", "mine.Asyncio"]
# Gunicorn 23 cannot stop to accept.
if hasattr(ThreadWorker, "set_accept_enabled"):
    CLASSES.append("gunicorn_autoconf.workers.ThreadWorker")

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def serve(
    gunicorn: Launcher, worker_class: str, *options: str, bind: str = "127.0.0.1:0"
) -> Server:
    gunicorn.write("app.py", WSGI if worker_class.endswith("ThreadWorker") else ASGI)
    gunicorn.write("mine.py", MINE)
    server = gunicorn.start(
        *MODULE_DOOR,
        *options,
        "app:app",
        bind=bind,
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_WORKERS="2",
        GUNICORN_THREADS="4",
        GUNICORN_STALL_WARNING="0",
    )
    server.wait_for_workers(2)
    return server


def connect(address: tuple[str, int] | str, count: int) -> list[socket.socket]:
    """Return connections that nobody has accepted yet."""
    is_path = isinstance(address, str)
    connections = []
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX if is_path else socket.AF_INET)
        connection.settimeout(stretched())
        connection.connect(address)
        connection.sendall(REQUEST)
        connections.append(connection)
    return connections


def answers(connections: list[socket.socket]) -> Counter[int]:
    """Return how many of *connections* each worker answers, by pid."""
    pids: list[int] = []
    for connection in connections:
        answer = b""
        while not (answer.rpartition(b"\r\n\r\n")[2] and b"\r\n\r\n" in answer):
            part = connection.recv(4096)
            assert part, "closed without an answer"
            answer += part
        assert answer.startswith(b"HTTP/1.1 200 ")
        pids.append(int(answer.rpartition(b"\r\n\r\n")[2]))
    return Counter(pids)


def send(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        os.kill(pid, number)


@pytest.mark.parametrize("worker_class", CLASSES)
def test_connections_that_wait_are_shared(gunicorn: Launcher, worker_class: str) -> None:
    server = serve(gunicorn, worker_class)
    first, second = server.worker_pids()
    send(signal.SIGSTOP, first, second)
    connections = connect(server.address, 32)
    send(signal.SIGCONT, first, second)
    shares = answers(connections)
    # 16 and 16; where a busy machine lets one wait for a CPU, the other takes a few more.
    assert sum(shares.values()) == 32
    assert max(shares.values()) <= 20

    # Those of a worker that does not come are taken by the other one, soon.
    send(signal.SIGSTOP, first)
    more = connect(server.address, 6)
    assert answers(more) == {second: 6}
    send(signal.SIGCONT, first)
    for connection in connections + more:
        connection.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"], indirect=True)
def test_requests_begin_in_the_order_in_which_they_arrive(gunicorn: Launcher, loop: str) -> None:
    """Whichever connections were served in the round before."""
    server = uvicorn_servers.serve(gunicorn, loop)
    assert not isinstance(server.address, str)
    blocking, again, beside, late = (
        socket.create_connection(server.address, timeout=stretched()) for _ in range(4)
    )

    def ask(connection: socket.socket, path: str) -> None:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())

    ask(blocking, "/block?0.3")
    wait_until(lambda: len(server.lines("begun /block")) == 1, "the loop is blocked")
    # The next round, which the late one misses.
    ask(again, "/block?0.3")
    ask(beside, "/block?0.3")
    wait_until(lambda: len(server.lines("begun /block")) == 2, "the next round has begun")
    ask(late, "/late")
    answers([again])
    ask(again, "/again")
    answers([late, again])
    order = [line.split()[1] for line in server.lines("begun /(late|again)")]
    assert order == ["/late", "/again"]
    for connection in (blocking, again, beside, late):
        connection.close()


def test_a_unix_socket_serves(gunicorn: Launcher) -> None:
    """How many wait is not known there: each takes one at a time."""
    path = f"unix:{gunicorn.folder}/s"
    server = serve(gunicorn, CLASSES[0], bind=path)
    connections = connect(server.address, 16)
    shares = answers(connections)
    assert sum(shares.values()) == 16
    assert max(shares.values()) <= 12
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_worker_with_a_listener_of_its_own_accepts_what_waits_before_it_ends(
    gunicorn: Launcher, worker_class: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()  # Each worker binds it, so that it cannot be 0.
    bind = f"127.0.0.1:{address[1]}"
    server = serve(gunicorn, worker_class, "--reuse-port", bind=bind)
    first, second = server.worker_pids()
    send(signal.SIGSTOP, first, second)
    connections = connect(address, 40)
    send(signal.SIGTERM, first)
    send(signal.SIGCONT, first, second)
    shares = answers(connections)
    assert sum(shares.values()) == 40
    assert set(shares) == {first, second}
    for connection in connections:
        connection.close()
    server.wait_for_workers(2, replacing={first})
