"""What each worker class counts on the real server, and what outlives its workers."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers import SUPPORTED_WORKERS
from harness import MODULE_DOOR, Launcher, Server, wait_until
from patience import stretched

from gunicorn_autoconf.fleet.counters import Counters

pytestmark = pytest.mark.server

# Every few hundredths of a second, as a metrics endpoint would ask.
CONF = """
    import json, os, threading, time
    from gunicorn_autoconf import compose
    from gunicorn_autoconf.conf import *
    from gunicorn_autoconf.server.state import state_of

    def tell(server):
        def run():
            while True:
                records = state_of(server).records
                seen = {
                    "total": records.tally(server.WORKERS).total._asdict(),
                    "workers": {
                        pid: each._asdict()
                        for pid, each in records.tally(server.WORKERS).workers.items()
                    },
                }
                with open("counters.new", "w") as file:
                    json.dump(seen, file)
                os.replace("counters.new", "counters")
                time.sleep(0.03)

        threading.Thread(target=run, daemon=True).start()

    when_ready = compose(when_ready, tell)
"""

WSGI = """
    import io, os, time

    def stream(environ):
        for _ in range(4):
            yield b"x" * 1000
            time.sleep(0.05)

    def endless():
        try:
            while True:
                yield b"x" * 100_000
                time.sleep(0.01)
        finally:
            print("closed", flush=True)

    def breaks():
        yield b"begun"
        raise RuntimeError("in the middle")

    def compute():
        ends = time.process_time() + 0.15
        while time.process_time() < ends:
            pass

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/raise":
            raise RuntimeError("at once")
        if path == "/held":
            print("begun", flush=True)
            while not os.path.exists("release"):
                time.sleep(0.01)
        if path == "/compute":
            compute()
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/write":
            write(b"written ")
        if path == "/file":
            return environ["wsgi.file_wrapper"](open("app.py", "rb"))
        if path == "/stream":
            return stream(environ)
        if path == "/endless":
            return endless()
        if path == "/breaks":
            return breaks()
        return [str(os.getpid()).encode()]

    app.spoken = "wsgi"
"""

ASGI = """
    import asyncio, os, time

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                event = (await receive())["type"]
                await send({"type": f"{event}.complete"})
                if event == "lifespan.shutdown":
                    return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        path = scope["path"]
        if path == "/raise":
            raise RuntimeError("at once")
        if path == "/held":
            print("begun", flush=True)
            while not os.path.exists("release"):
                await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = {"type": "http.response.body", "more_body": True}
        if path == "/compute":
            ends = time.process_time() + 0.15
            while time.process_time() < ends:
                pass
        if path in ("/stream", "/file", "/write"):
            for _ in range(4):
                await send({**body, "body": b"x" * 1000})
                await asyncio.sleep(0.05)
        if path == "/endless":
            gone = asyncio.ensure_future(disconnected(receive))
            while not gone.done():
                await send({**body, "body": b"x" * 100_000})
                await asyncio.sleep(0.01)
            return print("closed", flush=True)
        if path == "/breaks":
            await send({**body, "body": b"begun"})
            raise RuntimeError("in the middle")
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

    async def disconnected(receive):
        while (await receive())["type"] != "http.disconnect":
            pass
"""

OURS, STOCK = "gunicorn_autoconf.workers.UvicornWorker", "uvicorn_worker.UvicornWorker"
CLASSES = ("sync", "gthread", "gevent", "asgi", OURS, STOCK)
ASGI_CLASSES = ("asgi", OURS, STOCK)


def class_parameters(names: tuple[str, ...]) -> list[Any]:
    there = {
        "gevent": importlib.util.find_spec("gevent") is not None,
        "asgi": "asgi" in SUPPORTED_WORKERS,
    }
    return [
        pytest.param(
            name,
            id=name.removesuffix(".UvicornWorker").removesuffix(".workers"),
            marks=[] if there.get(name, True) else pytest.mark.skip(f"{name} is not installed"),
        )
        for name in names
    ]


def counters_of(read: dict[str, Any]) -> Counters:
    return Counters(**read | {"durations": tuple(read["durations"])})


@dataclass
class Counting:
    """A server, and what it counts."""

    server: Server

    def __post_init__(self) -> None:
        self.before = Counters()
        self._requests = 0

    def _read(self) -> Any:
        path = self.server.log_path.parent / "counters"
        wait_until(path.exists, "the arbiter has counted")
        return json.loads(path.read_text())

    @property
    def total(self) -> Counters:
        """The sums over all workers there ever were, which must not have fallen."""
        now = counters_of(self._read()["total"])
        assert now.at_least(self.before) == now
        self.before = now
        return now

    @property
    def workers(self) -> dict[int, Counters]:
        read = self._read()["workers"]
        return {int(pid): counters_of(counters) for pid, counters in read.items()}

    def wait_for(self, requests: int, in_flight: int = 0) -> Counters:
        """Return the sums once there are so many more than at the last call."""
        expected = self._requests + requests

        def there() -> bool:
            total = self.total
            return (total.requests, total.in_flight) == (expected, in_flight)

        wait_until(there, lambda: f"{expected} requests, {in_flight} in flight: {self.total}")
        self._requests = expected
        return self.total


def serve(gunicorn: Launcher, worker_class: str, *options: str, workers: int = 1) -> Counting:
    gunicorn.write("gunicorn.conf.py", CONF)
    gunicorn.write("app.py", ASGI if worker_class in ASGI_CLASSES else WSGI)
    threads = ["--threads", "4"] if worker_class == "gthread" else []
    server = gunicorn.start(
        *["-k", worker_class, *threads, *options, "app:app"],
        GUNICORN_WORKERS=str(workers),
        GUNICORN_STALL_WARNING="0",
    )
    server.wait_for_workers(workers)
    return Counting(server)


def connect(server: Server) -> socket.socket:
    assert isinstance(server.address, tuple)
    return socket.create_connection(server.address, stretched())


def ask(server: Server, path: str, headers: dict[str, str] | None = None) -> int:
    """Return how many bytes came; a response may be cut."""
    assert isinstance(server.address, tuple)
    host, port = server.address
    with closing(http.client.HTTPConnection(host, port, timeout=stretched())) as connection:
        connection.request("GET", path, headers={"Connection": "close", **(headers or {})})
        response = connection.getresponse()
        try:
            return len(response.read())
        except http.client.IncompleteRead as cut:
            return len(cut.partial)


@pytest.mark.parametrize("worker_class", class_parameters(CLASSES))
def test_what_a_class_counts(gunicorn: Launcher, worker_class: str) -> None:
    """All of it on one server, whose sums must never fall; the worker is killed at the end."""
    counting = serve(gunicorn, worker_class)
    every_request_counts_once(counting)
    request_that_runs_counts_as_it_runs(counting, at_once=1 if worker_class == "sync" else 3)
    client_that_leaves_is_no_request_for_ever(counting)
    if worker_class in ASGI_CLASSES:
        websocket_is_in_flight_and_takes_no_requests_time(counting)
    counts_outlive_workers(counting)


def every_request_counts_once(counting: Counting) -> None:
    server = counting.server
    for _ in range(10):
        assert server.get().status == 200
    quick = counting.wait_for(10)

    a_minute_ago = int((time.time() - 60) * 1000)  # Rounded down: at least a minute.
    assert ask(server, "/stream", {"X-Request-Start": f"t={a_minute_ago}"}) >= 4000
    streamed = counting.wait_for(1)
    # uvloop's timers count whole milliseconds: each of the two sleeps may end 1 ms early.
    assert 0.198 <= streamed.slot_seconds - quick.slot_seconds < stretched()
    assert streamed.busy_seconds == pytest.approx(streamed.slot_seconds, rel=0.01)

    for path in ("/file", "/write", "/compute"):
        assert ask(server, path, {"X-Request-Start": "yesterday"}) > 0
    for path in ("/raise", "/breaks"):
        ask(server, path)
    ended = counting.wait_for(5)
    assert 0.1 <= ended.cpu_seconds < stretched()
    assert (ended.rejected, ended.queued) == (0, 1)
    assert 60 <= ended.queue_seconds < 60 + stretched()
    (pid,) = server.worker_pids()
    assert counting.workers[pid].requests == 16
    # How long each took is the last that is noted of it. Only one took more than 100 ms for sure.
    wait_until(lambda: sum(counting.total.durations) == 16, "the durations of all are known")
    assert sum(counting.total.durations[5:]) >= 1


def request_that_runs_counts_as_it_runs(counting: Counting, *, at_once: int) -> None:
    with ExitStack() as connections:
        answers = [connections.enter_context(counting.server.ask("/held")) for _ in range(at_once)]
        before = counting.wait_for(0, in_flight=at_once)
        wait_until(
            lambda: counting.total.slot_seconds >= before.slot_seconds + 0.3 * at_once,
            "its time counts",
        )
        held = counting.total
        assert held.busy_seconds >= before.busy_seconds + 0.2
        if at_once > 1:
            slot_seconds = held.slot_seconds - before.slot_seconds
            assert slot_seconds > (held.busy_seconds - before.busy_seconds) * 2
        release = counting.server.log_path.parent / "release"
        release.touch()
        assert {answer().status for answer in answers} == {200}
        release.unlink()
    counting.wait_for(at_once)


def client_that_leaves_is_no_request_for_ever(counting: Counting) -> None:
    with connect(counting.server) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000)
        counting.wait_for(0, in_flight=1)
    counting.wait_for(1)
    counting.server.wait_for("^closed")


def websocket_is_in_flight_and_takes_no_requests_time(counting: Counting) -> None:
    with connect(counting.server) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        assert b" 101 " in client.recv(1000)
        counting.wait_for(0, in_flight=1)
        before = counting.total
        counting.server.get()
        after = counting.wait_for(1, in_flight=1)
        assert after.busy_seconds - before.busy_seconds < 0.1
    counting.wait_for(0)


def counts_outlive_workers(counting: Counting) -> None:
    """Killed in the middle of a request, replaced by a reload, on slots that others had."""
    server = counting.server
    for _ in range(2):
        (pid,) = server.worker_pids()
        with connect(server) as client:
            client.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            counting.wait_for(0, in_flight=1)
            os.kill(pid, signal.SIGKILL)
            server.wait_for_workers(1, replacing={pid})
        counting.wait_for(0)
        server.get()
        counting.wait_for(1)

    before = server.worker_pids()
    server.signal(signal.SIGHUP)
    (new,) = server.wait_for_workers(1, replacing=before)
    wait_until(lambda: set(counting.workers) == {new}, "the old one is gone")
    assert counting.workers[new].requests == 0
    server.get()
    counting.wait_for(1)
    assert counting.workers[new].requests == 1


LIFESPAN = """
    import asyncio, os

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async def loads(receive, send):
        await receive()
        app.model = b"x" * (64 * 1024 * 1024)
        while not os.path.exists("release"):
            await asyncio.sleep(0.01)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def refuses(receive, send):
        raise RuntimeError("no lifespan here")

    async def fails(receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no model"})

    lifespan = %s
"""


def launch(gunicorn: Launcher, worker_class: str, lifespan: str, *options: str) -> Server:
    gunicorn.write("app.py", LIFESPAN % lifespan)
    return gunicorn.launch(
        *MODULE_DOOR,
        *["-k", worker_class, *options, "app:app"],
        GUNICORN_WORKERS="1",
        GUNICORN_MEMORY="1GiB",
        GUNICORN_MEMORY_LOG_INTERVAL="1",
        GUNICORN_STALL_WARNING="0",
    )


@pytest.mark.parametrize("worker_class", class_parameters(ASGI_CLASSES))
def test_worker_boots_until_its_lifespan_has_started(gunicorn: Launcher, worker_class: str) -> None:
    """Its size at boot is that with the model."""
    server = launch(gunicorn, worker_class, "loads")
    server.wait_for(r"memory workers=1 .*\d=booting")
    assert server.lines(r"worker \d+ (booted|ready)") == []

    (gunicorn.folder / "release").touch()
    line = server.wait_for(r"worker \d+ ready in ([\d.]+) s: rss=\S+ pss=\S+ uss=([\d.]+)MiB$")
    assert 0.5 <= float(line[1]) < stretched()
    assert float(line[2]) >= 64
    grown = server.wait_for(r"memory workers=1 .*MiB\(([+-][\d.]+)\)")
    assert abs(float(grown[1])) < 16
    assert len(server.lines(r"worker \d+ (booted|ready)")) == 1
    assert server.get().body == "hello"


@pytest.mark.parametrize("worker_class", class_parameters(("asgi", OURS)))
def test_worker_without_a_lifespan_is_ready(gunicorn: Launcher, worker_class: str) -> None:
    server = launch(gunicorn, worker_class, "refuses")
    server.wait_for(r"worker \d+ ready in ")
    server.wait_for(r"memory workers=1 .*MiB\([+-]")
    assert server.get().body == "hello"
    assert len(server.lines(r"worker \d+ (booted|ready)")) == 1


@pytest.mark.skipif(
    "asgi_lifespan" not in Config().settings, reason="this Gunicorn has no asgi_lifespan"
)
@pytest.mark.parametrize("worker_class", class_parameters(("asgi", OURS)))
def test_worker_that_does_not_ask_for_a_lifespan(gunicorn: Launcher, worker_class: str) -> None:
    server = launch(gunicorn, worker_class, "loads", "--asgi-lifespan", "off")
    server.wait_for(r"worker \d+ booted in ")
    wait_until(lambda: server.get().body == "hello", "it answers")
    assert server.lines(r"worker \d+ ready") == []


@pytest.mark.parametrize("worker_class", class_parameters(("asgi", OURS)))
def test_worker_whose_start_fails_is_never_ready(gunicorn: Launcher, worker_class: str) -> None:
    server = launch(gunicorn, worker_class, "fails")
    assert server.wait() == 3
    assert server.lines("no model")
    assert server.lines(r"worker \d+ (booted|ready)") == []
