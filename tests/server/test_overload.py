"""Requests that have waited too long, and those that run too long, on the real server."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from gunicorn.workers import SUPPORTED_WORKERS
from harness import MODULE_DOOR, Launcher, Server, launching
from patience import stretched

pytestmark = pytest.mark.server

WSGI = """
    import os, time

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        print(f"serves {path}", flush=True)
        while path == "/held" and not os.path.exists("release"):
            time.sleep(0.02)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""

# The loop is blocked: what an application that computes does.
ASGI = """
    import os, time

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        path = scope["path"]
        print(f"serves {path}", flush=True)
        while path == "/held" and not os.path.exists("release"):
            time.sleep(0.02)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
"""

MINE = """
    from gunicorn_autoconf.workers import UvicornWorker

    class Asyncio(UvicornWorker):
        CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}
"""

CLASSES = {
    "sync": WSGI,
    "gunicorn_autoconf.workers.ThreadWorker": WSGI,
    "gthread": WSGI,
    "gunicorn_autoconf.workers.UvicornWorker": ASGI,
    "mine.Asyncio": ASGI,
}


class Client:
    """Asks for one path; the answer is read later."""

    def __init__(self, server: Server, path: str, **headers: str) -> None:
        if isinstance(server.address, str):
            self._connection = http.client.HTTPConnection("unix", timeout=stretched())
            self._connection.sock = socket.socket(socket.AF_UNIX)
            self._connection.sock.settimeout(stretched())
            self._connection.sock.connect(server.address)
        else:
            self._connection = http.client.HTTPConnection(*server.address, timeout=stretched())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=named)

    def answer(self) -> tuple[int, str | None]:
        response = self._connection.getresponse()
        response.read()
        self._connection.close()
        return response.status, response.headers["Retry-After"]


@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_request_that_has_waited_too_long_is_refused(
    gunicorn: Launcher, worker_class: str
) -> None:
    gunicorn.write("app.py", CLASSES[worker_class])
    gunicorn.write("mine.py", MINE)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_WORKERS="1",
        GUNICORN_THREADS="1",
        GUNICORN_MAX_QUEUE="0.5",
        GUNICORN_STALL_WARNING="0",
    )
    server.wait_for_workers(1)
    held = Client(server, "/held")
    server.wait_for("serves /held")
    waiting = [Client(server, path) for path in ("/old", "/healthz", "/old")]
    time.sleep(0.6)  # They grow old.
    gunicorn.write("release", "")

    assert held.answer() == (200, None)
    assert [client.answer() for client in waiting] == [(503, "1"), (200, None), (503, "1")]
    assert Client(server, "/new").answer() == (200, None)
    # A trusted proxy, as one on this machine is, has had it for longer.
    start = f"t={time.time() - 5:.3f}"
    assert Client(server, "/proxied", X_Request_Start=start).answer() == (503, "1")
    assert Client(server, "/healthz", X_Request_Start=start).answer() == (200, None)
    assert server.lines("serves /(old|proxied)") == []
    server.stop()
    (line,) = server.lines("answered 503")
    assert "3 requests in " in line
    assert "waited for more than 0.5 s (GUNICORN_MAX_QUEUE)" in line


def test_at_a_unix_socket_the_wait_for_a_thread_counts(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", WSGI)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        bind=f"unix:{gunicorn.folder}/s",
        GUNICORN_WORKER_CLASS="gunicorn_autoconf.workers.ThreadWorker",
        GUNICORN_WORKERS="1",
        GUNICORN_THREADS="1",
        GUNICORN_MAX_QUEUE="0.5",
    )
    server.wait_for_workers(1)
    held = Client(server, "/held")
    server.wait_for("serves /held")
    waiting = [Client(server, path) for path in ("/old", "/healthz")]
    time.sleep(0.8)  # They are accepted, and grow old.
    gunicorn.write("release", "")
    assert held.answer() == (200, None)
    assert [client.answer() for client in waiting] == [(503, "1"), (200, None)]


LIMITED_ASGI = """
    import asyncio, os, sys

    async def forever(kind):
        try:
            await asyncio.sleep(1000)  # Here it stands.
        finally:
            print(f"cleaned up {kind}", flush=True)

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        kind = scope["path"]
        headers = [(b"content-length", b"4")]
        begin = {"type": "http.response.start", "status": 200, "headers": headers}
        if kind == "/hangs":
            await forever(kind)
        while kind == "/goes-on" and not os.path.exists("release"):
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                pass
        await send(begin)
        if kind == "/begun":
            await send({"type": "http.response.body", "body": b"ha", "more_body": True})
            await forever(kind)
        await send({"type": "http.response.body", "body": b"done"})
        if kind == "/works-on":
            await asyncio.sleep(2)
            print("worked on", flush=True)
"""


def ask(server: Server, path: str) -> tuple[int, str]:
    """Return status and body; the body that was broken off."""
    assert not isinstance(server.address, str)
    connection = http.client.HTTPConnection(*server.address, timeout=stretched())
    connection.request("GET", path)
    response = connection.getresponse()
    try:
        body = response.read()
    except http.client.IncompleteRead as error:
        body = error.partial
    connection.close()
    return response.status, body.decode()


@pytest.mark.parametrize(
    "worker_class",
    ["gunicorn_autoconf.workers.UvicornWorker", "mine.Asyncio", "uvicorn_worker.UvicornWorker"]
    + ["asgi"] * ("asgi" in SUPPORTED_WORKERS),
)
def test_an_asgi_request_that_runs_too_long_is_cancelled(
    gunicorn: Launcher, worker_class: str
) -> None:
    gunicorn.write("app.py", LIMITED_ASGI)
    gunicorn.write("mine.py", MINE)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_WORKERS="1",
        GUNICORN_REQUEST_TIMEOUT="0.5",
        GUNICORN_STALL_WARNING="0",
    )
    server.wait_for_workers(1)
    late = (504, "Gateway Timeout: the request took too long\n")
    assert ask(server, "/works-on") == (200, "done")
    assert ask(server, "/hangs") == late
    assert ask(server, "/begun") == (200, "ha")
    assert ask(server, "/goes-on") == late
    gunicorn.write("release", "")
    assert ask(server, "/quick") == (200, "done")
    server.wait_for("worked on")

    assert server.lines("cleaned up /hangs")
    assert server.lines("cleaned up /begun")
    head = server.wait_for(r"GET /hangs has run for .* longer than GUNICORN_REQUEST_TIMEOUT .*")
    assert "it is cancelled. It was at" in head[0]
    assert server.lines(r"> .*app.py:\d+ in forever\(\): await asyncio.sleep\(1000\)")
    assert server.lines(r"GET /goes-on has run .* is still running although it was cancelled")


LIMITED_WSGI = """
    import os, time

    def app(environ, start_response):
        kind = environ["PATH_INFO"]
        print(f"serves {kind} {os.getpid()}", flush=True)
        if kind == "/stuck":
            time.sleep(1000)  # Here it stands.
        while kind == "/neighbour" and not os.path.exists("release"):
            time.sleep(0.02)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]
"""


def test_a_worker_with_a_stuck_thread_finishes_its_other_requests_and_is_replaced(
    gunicorn: Launcher,
) -> None:
    gunicorn.write("app.py", LIMITED_WSGI)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_WORKER_CLASS="gunicorn_autoconf.workers.ThreadWorker",
        GUNICORN_WORKERS="1",
        GUNICORN_THREADS="4",
        GUNICORN_REQUEST_TIMEOUT="2",
        GUNICORN_GRACEFUL_TIMEOUT="1000",
        GUNICORN_TIMEOUT="2000",
    )
    (old,) = server.wait_for_workers(1)
    stuck = Client(server, "/stuck")
    server.wait_for("serves /stuck")
    time.sleep(1)
    neighbour = Client(server, "/neighbour")  # It has a second more.
    server.wait_for("GET /stuck has run for .* A thread cannot be interrupted")
    gunicorn.write("release", "")

    assert neighbour.answer() == (200, None)
    (new,) = server.wait_for_workers(1, replacing={old})
    assert ask(server, "/quick") == (200, "done")
    assert server.lines(f"serves /quick {new}")
    assert server.lines(r"> .*app.py:\d+ in app\(\): time.sleep\(1000\)")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        stuck.answer()
    assert server.mistakes() == server.lines(r"\[ERROR\] gunicorn-autoconf: GET /stuck has run")


def test_a_sync_worker_with_a_stuck_request_is_killed_and_replaced(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", LIMITED_WSGI)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_WORKER_CLASS="sync",
        GUNICORN_WORKERS="1",
        GUNICORN_REQUEST_TIMEOUT="1",
        GUNICORN_TIMEOUT="1000",
    )
    (old,) = server.wait_for_workers(1)
    stuck = Client(server, "/stuck")
    server.wait_for("GET /stuck has run for .*GUNICORN_REQUEST_TIMEOUT .1 s.: this worker is kill")

    assert stuck.answer() == (500, None)  # Gunicorn's own answer, as after `timeout`.
    server.wait_for_workers(1, replacing={old})
    assert ask(server, "/quick") == (200, "done")
    assert server.lines(r"> .*app.py:\d+ in app\(\): time.sleep\(1000\)")
    server.wait_for(f"worker {old} was killed as its request ran longer than GUNICORN_REQUEST_TIM")


FROZEN = {
    "sync": LIMITED_WSGI,
    "gunicorn_autoconf.workers.ThreadWorker": LIMITED_WSGI,
    "gunicorn_autoconf.workers.UvicornWorker": """
        import asyncio, os

        async def app(scope, receive, send):
            if scope["type"] == "http":
                print(f"serves {scope['path']}", flush=True)
                while scope["path"] == "/stuck" or not os.path.exists("release"):
                    await asyncio.sleep(0.02)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"done"})
    """,
}
FROZEN_SECONDS = 8


def test_no_request_is_charged_with_the_time_in_which_the_whole_server_stood_still(
    tmp_path: Path,
) -> None:
    """As in a container that is frozen, or a virtual machine that is suspended."""
    with ExitStack() as stack:
        servers = {}
        for worker_class, source in FROZEN.items():
            folder = tmp_path / worker_class
            folder.mkdir()
            gunicorn = stack.enter_context(launching(folder))
            gunicorn.write("app.py", source)
            servers[folder] = gunicorn.start(
                *MODULE_DOOR,
                "app:app",
                GUNICORN_WORKER_CLASS=worker_class,
                GUNICORN_WORKERS="1",
                GUNICORN_THREADS="2" if "Thread" in worker_class else "1",
                GUNICORN_REQUEST_TIMEOUT="7",
                GUNICORN_TIMEOUT="1000",
                GUNICORN_MEMORY_LOG_INTERVAL="1",
            )
        pids = [(server.pid, *server.wait_for_workers(1)) for server in servers.values()]
        in_flight = []
        for server in servers.values():
            in_flight.append(Client(server, "/neighbour"))
            server.wait_for("serves /neighbour")
        for arbiter, worker in pids:
            os.kill(arbiter, signal.SIGSTOP)
            os.kill(worker, signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)  # As long as the machine is frozen.
        # The worker comes first: it must not judge before the arbiter knows.
        for arbiter, worker in pids:
            os.kill(worker, signal.SIGCONT)
            os.kill(arbiter, signal.SIGCONT)
        for _ in range(3):  # One a second at most: all that looks at requests has looked by then.
            for server, mark in [(server, server.mark()) for server in servers.values()]:
                server.wait_for("memory workers=", since=mark)
        for folder in servers:
            (folder / "release").touch()

        assert [client.answer() for client in in_flight] == [(200, None)] * len(servers)
        for server in servers.values():
            assert not server.lines("GUNICORN_REQUEST_TIMEOUT")
            assert server.mistakes() == []
        stuck = [Client(server, "/stuck") for server in servers.values()]
        for server, client in zip(servers.values(), stuck, strict=True):
            server.wait_for("GET /stuck has run for .*, longer than GUNICORN_REQUEST_TIMEOUT")
            with suppress(http.client.HTTPException, ConnectionError):
                assert client.answer()[0] in (500, 504)
