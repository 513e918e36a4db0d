"""The ASGI worker class on the real server: heartbeat and drain."""

from __future__ import annotations

import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from harness import Launcher, wait_until
from patience import stretched
from uvicorn_servers import (
    HOOKS,
    recycle,
    reload,
    serve,
)

from gunicorn_autoconf.workers.uvicorn_server import LINGER_SECONDS

pytestmark = [pytest.mark.server, pytest.mark.one_python, pytest.mark.each_gunicorn]


@pytest.mark.parametrize("loop", ["asyncio"], indirect=True)
def test_request_longer_than_timeout_is_served(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, GUNICORN_TIMEOUT="4", GUNICORN_GRACEFUL_TIMEOUT="1")

    assert server.get("/sleep?6").status == 200
    assert not server.mistakes()


@pytest.mark.parametrize(
    ("loop", "replace"), [("uvloop", recycle), ("asyncio", reload)], indirect=["loop"]
)
def test_drain_longer_than_timeout_is_finished(gunicorn: Launcher, loop: str, replace: Any) -> None:
    server = serve(gunicorn, loop, GUNICORN_TIMEOUT="4", GUNICORN_GRACEFUL_TIMEOUT="20")

    with server.ask("/sleep?6") as answer:
        server.wait_for("begun")
        old = replace(server)
        server.wait_for_workers(1, replacing=old)
        assert answer() == (200, str(*old))
    assert not server.mistakes()


@pytest.mark.parametrize(
    ("loop", "replace", "kind"),
    [
        ("uvloop", recycle, "sleep"),
        ("uvloop", reload, "thread"),
        ("asyncio", recycle, "anyio"),
    ],
    indirect=["loop"],
)
def test_graceful_timeout_cuts_the_drain(
    gunicorn: Launcher, loop: str, replace: Any, kind: str
) -> None:
    """A request in a thread cannot be cancelled; the process ends without it."""
    if kind == "anyio":
        pytest.importorskip("anyio")
    server = serve(
        gunicorn, loop, hooks=HOOKS, GUNICORN_TIMEOUT="30", GUNICORN_GRACEFUL_TIMEOUT="2"
    )

    with server.ask(f"/{kind}?60") as answer:
        server.wait_for("begun")
        began = time.monotonic()
        (old,) = replace(server)
        assert answer().status == 500
        assert 1.7 < time.monotonic() - began < stretched()
        server.wait_for_workers(1, replacing={old})
    wait_until(lambda: not psutil.pid_exists(old), "the old worker is gone")
    assert server.lines(r"\[ERROR\] Cancel 1 running task\(s\), timeout graceful shutdown exceeded")
    assert len(server.lines(f"worker_exit ran in {old}")) == 1
    assert bool(server.lines(f"pid:{old}. does not wait for its threads")) is (kind != "sleep")


@pytest.mark.parametrize("loop", ["uvloop"], indirect=True)
def test_graceful_timeout_cuts_the_stop_of_the_server(gunicorn: Launcher, loop: str) -> None:
    def ends_in_time() -> bool:
        server = serve(gunicorn, loop, hooks=HOOKS, GUNICORN_GRACEFUL_TIMEOUT="5")
        (worker,) = server.worker_pids()
        with server.ask("/sleep?60") as answer:
            server.wait_for("begun")
            server.signal(signal.SIGTERM)
            assert answer().status == 500
        assert server.wait() == 0
        assert server.lines("Cancel 1 running task")
        # Half a second after the cut the arbiter kills, and may not have the time to say so.
        ends = [f"lifespan.shutdown {worker}", f"worker_exit ran in {worker}"]
        return all(map(server.lines, ends)) and not server.lines("SIGKILL")

    wait_until(ends_in_time, "the worker ends between the cut and SIGKILL", quiet_seconds=40)


@pytest.mark.parametrize("loop", ["uvloop"], indirect=True)
def test_worker_whose_arbiter_is_killed_ends(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop)

    server.signal(signal.SIGKILL)
    server.process.wait()

    wait_until(lambda: not server.processes(), "the worker ends")
    assert server.lines("Parent changed, shutting down")


def test_no_request_fails_while_workers_are_replaced(gunicorn: Launcher, loop: str) -> None:
    """Each request has a connection of its own; uvicorn closes those that it has just accepted."""
    server = serve(gunicorn, loop, workers=2)
    done = threading.Event()

    def ask() -> list[int]:
        statuses = []
        while not done.is_set():
            statuses.append(server.get("/?0.001").status)
        return statuses

    with ThreadPoolExecutor(4) as clients:
        loads = [clients.submit(ask) for _ in range(4)]
        try:
            for _ in range(2):
                old = reload(server)
                server.wait_for_workers(2, replacing=old)
        finally:
            done.set()
        statuses = [status for load in loads for status in load.result()]
    assert len(statuses) > 50
    assert set(statuses) == {200}


@pytest.mark.parametrize(
    ("loop", "replace"), [("uvloop", recycle), ("asyncio", reload)], indirect=["loop"]
)
def test_request_whose_head_arrives_slowly_is_answered(
    gunicorn: Launcher, loop: str, replace: Any
) -> None:
    """A client on a bad line, or one that tries to hold up the end: half of the drain is for it."""
    server = serve(gunicorn, loop, GUNICORN_GRACEFUL_TIMEOUT="20")
    assert not isinstance(server.address, str)
    with (
        socket.create_connection(server.address, timeout=stretched(30)) as slow,
        socket.create_connection(server.address, timeout=stretched(30)) as slower,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHo")
        slower.sendall(b"G")
        # Answered, so that the worker has accepted these too.
        assert server.get("/").status == 200
        (old,) = replace(server)
        began = time.monotonic()
        time.sleep(LINGER_SECONDS + 2)
        slow.sendall(b"st: a\r\nConnection: close\r\n\r\n")
        with slow.makefile("rb") as response:
            assert response.read().endswith(f"\r\n\r\n{old}".encode())
        assert slower.recv(1) == b""
        assert 8 < time.monotonic() - began < 5 + stretched(10)
    server.wait_for_workers(1, replacing={old})
    assert not server.mistakes()
