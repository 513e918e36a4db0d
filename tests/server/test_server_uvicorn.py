"""
The ASGI worker class on the real server: heartbeat, drain, limits, signals and hooks.

Everything is asked of both event loops: uvloop with the parser httptools, asyncio with h11.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psutil
import pytest
import uvicorn
from gunicorn.config import Config
from harness import MODULE_DOOR, Launcher, Response, Server, get, wait_until

from gunicorn_autoconf.workers import LINGER_SECONDS, UvicornWorker, uvicorn_options

pytestmark = pytest.mark.server

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
                print(event, os.getpid(), flush=True)
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
            print("begun", kind, flush=True)
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


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop that the worker runs."""
    name: str = request.param
    if name == "uvloop":
        pytest.importorskip("uvloop")
    return name


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


# Heartbeat and drain.


def test_request_longer_than_timeout_is_served(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, GUNICORN_TIMEOUT="5", GUNICORN_GRACEFUL_TIMEOUT="1")

    assert server.get("/sleep?8").status == 200
    assert not server.mistakes()


@pytest.mark.parametrize("replace", [recycle, reload])
def test_drain_longer_than_timeout_is_finished(gunicorn: Launcher, loop: str, replace: Any) -> None:
    server = serve(gunicorn, loop, GUNICORN_TIMEOUT="5", GUNICORN_GRACEFUL_TIMEOUT="20")

    with server.ask("/sleep?8") as answer:
        server.wait_for("begun")
        old = replace(server)
        server.wait_for_workers(1, replacing=old)
        assert answer() == (200, str(*old))
    assert not server.mistakes()


@pytest.mark.parametrize("kind", ["sleep", "thread", "anyio"])
@pytest.mark.parametrize("replace", [recycle, reload])
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
        assert 1.7 < time.monotonic() - began < 20
        server.wait_for_workers(1, replacing={old})
    wait_until(lambda: not psutil.pid_exists(old), "the old worker is gone")
    assert server.lines(r"\[ERROR\] Cancel 1 running task\(s\), timeout graceful shutdown exceeded")
    assert len(server.lines(f"worker_exit ran in {old}")) == 1
    assert bool(server.lines(f"pid:{old}. does not wait for its threads")) is (kind != "sleep")


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

    wait_until(ends_in_time, "the worker ends between the cut and SIGKILL", deadline=40)


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

    with ThreadPoolExecutor(8) as clients:
        loads = [clients.submit(ask) for _ in range(8)]
        try:
            for _ in range(3):
                old = reload(server)
                server.wait_for_workers(2, replacing=old)
        finally:
            done.set()
        statuses = [status for load in loads for status in load.result()]
    assert len(statuses) > 100
    assert set(statuses) == {200}


@pytest.mark.parametrize("replace", [recycle, reload])
def test_request_whose_head_arrives_slowly_is_answered(
    gunicorn: Launcher, loop: str, replace: Any
) -> None:
    """A client on a bad line, or one that tries to hold up the end: half of the drain is for it."""
    server = serve(gunicorn, loop, GUNICORN_GRACEFUL_TIMEOUT="20")
    assert not isinstance(server.address, str)
    with (
        socket.create_connection(server.address, timeout=30) as slow,
        socket.create_connection(server.address, timeout=30) as slower,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHo")
        slower.sendall(b"G")
        (old,) = replace(server)
        began = time.monotonic()
        time.sleep(LINGER_SECONDS + 2)
        slow.sendall(b"st: a\r\nConnection: close\r\n\r\n")
        with slow.makefile("rb") as response:
            assert response.read().endswith(f"\r\n\r\n{old}".encode())
        assert slower.recv(1) == b""
        assert 8 < time.monotonic() - began < 15
    server.wait_for_workers(1, replacing={old})
    assert not server.mistakes()


# Limits.


def test_worker_connections_is_a_limit_where_it_is_given(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--worker-connections", "2")

    with server.ask("/held") as first, server.ask("/held") as second:
        wait_until(lambda: len(server.lines("begun")) == 2, "two requests are in work")
        assert server.get("/").status == 503
        gunicorn.write("release", "")
        assert (first().status, second().status) == (200, 200)
    assert server.get("/").status == 200


UPGRADE = (
    "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)


def open_websocket(address: tuple[str, int] | str) -> socket.socket:
    """Return a connection on which the server has accepted a WebSocket."""
    assert not isinstance(address, str)
    connection = socket.create_connection(address, timeout=20)
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


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Allow *count* open files to this process and its children, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_websockets_have_no_limit_of_their_own(gunicorn: Launcher, loop: str) -> None:
    """Gunicorn's default of 1,000 connections was not meant for them."""
    with open_files(2500), ExitStack() as all_of_them:
        server = serve(gunicorn, loop)
        connections = [
            all_of_them.enter_context(closing(open_websocket(server.address))) for _ in range(2000)
        ]
        assert say(connections[0], "first") == "FIRST"
        assert say(connections[-1], "last") == "LAST"
        assert server.get("/").status == 200
    assert not server.mistakes()


@pytest.mark.parametrize("kind", ["thread", "anyio"])
def test_threads_is_the_size_of_the_thread_pools(gunicorn: Launcher, loop: str, kind: str) -> None:
    if kind == "anyio":
        pytest.importorskip("anyio")
    app = f"    import anyio\n{APP}" if kind == "anyio" else APP
    server = serve(gunicorn, loop, "--threads", "3", app=app)

    with ExitStack() as all_of_them:
        answers = [all_of_them.enter_context(server.ask(f"/{kind}?0.5")) for _ in range(7)]
        assert [answer().status for answer in answers] == [200] * 7
    assert server.get("/most").body == "3"


TOGETHER = """
    import asyncio, threading
    import anyio.to_thread

    met = threading.Barrier(60)

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        if scope["path"] == "/thread":
            await asyncio.to_thread(met.wait, 30)
        else:
            await anyio.to_thread.run_sync(met.wait, 30)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""


@pytest.mark.parametrize("kind", ["thread", "anyio"])
def test_io_runs_more_synchronous_requests_at_once_than_the_pools_have_by_themselves(
    gunicorn: Launcher, kind: str
) -> None:
    """Each waits for the sixtieth: anyio's own pool holds 40, asyncio's is as the machine is."""
    pytest.importorskip("anyio")
    gunicorn.write("app.py", TOGETHER)
    server = gunicorn.start(
        *MODULE_DOOR, "app:app", GUNICORN_WORKLOAD="io", GUNICORN_MAX_WORKERS="1"
    )
    server.wait_for_workers(1)
    assert server.lines(rf"worker_class={re.escape(OURS)} workers=1 threads=100 ")

    with ExitStack() as all_of_them:
        answers = [all_of_them.enter_context(server.ask(f"/{kind}")) for _ in range(60)]
        assert [answer().status for answer in answers] == [200] * 60


def test_max_concurrency_bounds_the_thread_pools(gunicorn: Launcher) -> None:
    """Three workers by the cores, and two threads for each."""
    gunicorn.write("app.py", APP)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_CPUS="1",
        GUNICORN_MEMORY="4GiB",
        GUNICORN_WORKLOAD="io",
        GUNICORN_MAX_CONCURRENCY="6",
    )
    workers = server.wait_for_workers(3)
    assert server.lines(rf"worker_class={re.escape(OURS)} workers=3 threads=2 ")
    assert len(workers) == 3

    with ExitStack() as all_of_them:
        answers = [all_of_them.enter_context(server.ask("/thread?0.5")) for _ in range(12)]
        assert [answer().status for answer in answers] == [200] * 12
    assert {server.get("/most").body for _ in range(6)} <= {"0", "1", "2"}


# What else uvicorn is told.


def config(**settings: Any) -> Config:
    """Gunicorn's configuration with *settings*; skips where it does not know them."""
    cfg = Config()
    for name, value in settings.items():
        if name not in cfg.settings:
            pytest.skip(f"this Gunicorn has no {name}")
        cfg.set(name, value)
    return cfg


def test_options_of_a_configuration_in_which_nothing_is_set() -> None:
    options = {"timeout_graceful_shutdown": 29, "callback_notify": None}
    assert uvicorn_options(config()) == options


@pytest.mark.parametrize(
    ("settings", "option", "value"),
    [
        ({"graceful_timeout": 2}, "timeout_graceful_shutdown", 1.8),
        ({"graceful_timeout": 90}, "timeout_graceful_shutdown", 89),
        ({"graceful_timeout": 0}, "timeout_graceful_shutdown", 0),
        ({"worker_connections": 200}, "limit_concurrency", 201),
        ({"limit_request_line": 8190}, "h11_max_incomplete_event_size", 8190 + 100 * 8190),
        ({"limit_request_fields": 10}, "h11_max_incomplete_event_size", 4094 + 10 * 8190),
        ({"limit_request_field_size": 20}, "h11_max_incomplete_event_size", 4094 + 100 * 20),
        ({"root_path": "/api"}, "root_path", "/api"),
        ({"asgi_loop": "asyncio"}, "loop", "asyncio"),
        ({"asgi_lifespan": "off"}, "lifespan", "off"),
        ({"websocket_max_message_size": 4096}, "ws_max_size", 4096),
    ],
)
def test_option_of_a_setting(settings: dict[str, Any], option: str, value: object) -> None:
    options = uvicorn_options(config(**settings))

    assert options[option] == value
    uvicorn.Config(app="app:app", **options)  # It knows them.


@pytest.mark.parametrize("name", ["limit_request_line", "limit_request_field_size"])
def test_limit_of_the_head_that_is_taken_away(name: str) -> None:
    assert uvicorn_options(config(**{name: 0}))["h11_max_incomplete_event_size"] > 2**40


def test_limit_of_the_head_is_the_one_of_the_parser_h11(gunicorn: Launcher) -> None:
    server = serve(gunicorn, "asyncio")
    address = server.address
    assert not isinstance(address, str)

    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.sendall(b"GET /?" + b"0" * 66_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_limit_of_the_head_can_be_taken_away(gunicorn: Launcher) -> None:
    server = serve(gunicorn, "asyncio", "--limit-request-line", "0")

    assert server.get("/?" + "0" * 400_000).status == 200


def test_own_options_have_the_last_word(gunicorn: Launcher) -> None:
    gunicorn.write(
        "mine.py",
        """
        from gunicorn_autoconf.workers import UvicornWorker

        class Mine(UvicornWorker):
            CONFIG_KWARGS = {"limit_concurrency": 1, "server_header": False}
        """,
    )
    gunicorn.write("app.py", APP)
    options = ["--worker-connections", "50", "-k", "mine.Mine"]
    server = gunicorn.start(*MODULE_DOOR, *options, "app:app", GUNICORN_WORKERS="1")
    server.wait_for_workers(1)

    assert server.get("/").status == 503
    assert UvicornWorker.CONFIG_KWARGS == {}


def test_start_up_log_names_loop_and_parser(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop)

    parser = {"uvloop": "httptools", "asyncio": "h11"}[loop]
    assert server.lines(f"event loop and HTTP parser of uvicorn: {loop}, {parser}$")
    assert server.get("/loop").body.partition(".")[0] == loop


def test_stands_alone(gunicorn: Launcher) -> None:
    """Without our configuration: Gunicorn's own loads the class."""
    gunicorn.write("app.py", APP)
    server = gunicorn.start("-k", OURS, "--timeout", "5", "app:app")
    server.wait_for("lifespan.startup")

    assert server.get("/sleep?8").status == 200
    assert not server.mistakes()


# Signals and hooks.


def ended(server: Server, pid: int, *, hooks: list[str]) -> None:
    """Wait until *pid* is replaced; it must have run *hooks* in this order, each once."""
    server.wait_for_workers(1, replacing={pid})
    ran = re.findall(rf"(worker_\w+) ran in {pid}$", server.log, re.MULTILINE)
    assert ran == hooks


def test_sigterm(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, hooks=HOOKS)

    (worker,) = recycle(server)

    ended(server, worker, hooks=["worker_exit"])
    assert server.lines(f"lifespan.shutdown {worker}")
    assert not server.lines(rf"\[{worker}\] \[(ERROR|WARNING)\]|pid:{worker}\) was sent SIG")
    assert not server.lines("Error while closing socket")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_quick_end(gunicorn: Launcher, loop: str, number: signal.Signals) -> None:
    server = serve(gunicorn, loop, hooks=HOOKS)
    (worker,) = server.worker_pids()

    os.kill(worker, number)

    ended(server, worker, hooks=["worker_int", "worker_exit"])
    assert not server.lines("Cancel 0 running task")


def test_sigquit_does_not_wait_for_requests(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, hooks=HOOKS)
    (worker,) = server.worker_pids()

    with server.ask("/sleep?60") as answer:
        server.wait_for("begun")
        os.kill(worker, signal.SIGQUIT)
        assert answer().status == 500
    ended(server, worker, hooks=["worker_int", "worker_exit"])


def test_timeout_prints_the_stack(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, hooks=HOOKS, GUNICORN_TIMEOUT="2")
    line = APP.splitlines().index("            time.sleep(seconds)") + 1

    def ends_in_time() -> bool:
        (worker,) = server.worker_pids()
        since = server.mark()
        with server.ask("/block?60"):
            server.wait_for(rf"WORKER TIMEOUT \(pid:{worker}\)")
            server.wait_for_workers(1, replacing={worker})
        stack = rf'Current thread 0x\w+ .*:\n  File ".*/app\.py", line {line} in app'
        server.wait_for(stack, since=since)
        if server.lines(rf"pid:{worker}\) was sent SIGKILL"):
            return False  # A second after SIGABRT.
        ended(server, worker, hooks=["worker_abort", "worker_exit"])
        assert server.lines(rf"Worker \(pid:{worker}\) exited with code 1")
        return True

    wait_until(ends_in_time, "the worker ends between SIGABRT and SIGKILL")


def test_timeout_leaves_to_others_what_was_not_accepted(gunicorn: Launcher, loop: str) -> None:
    """The loop runs for a moment when it is free at last: it must not take what it cannot serve."""
    server = serve(gunicorn, loop, GUNICORN_TIMEOUT="3")
    (blocked,) = server.worker_pids()
    with server.ask("/block?60"), ThreadPoolExecutor(8) as clients:
        server.wait_for("begun")
        answers = [clients.submit(server.get) for _ in range(8)]
        (new,) = server.wait_for_workers(1, replacing={blocked})
        assert {answer.result() for answer in answers} == {Response(200, str(new))}


def test_stack_goes_to_the_error_log(gunicorn: Launcher) -> None:
    error_log = gunicorn.folder / "error.log"
    gunicorn.write("app.py", APP)
    options = ["--error-logfile", str(error_log), "--timeout", "2"]
    server = gunicorn.launch(*MODULE_DOOR, *options, "app:app", GUNICORN_WORKERS="1")

    def logged(text: str) -> bool:
        return error_log.exists() and text in error_log.read_text()

    wait_until(lambda: logged(" ready in "), "the worker has booted")
    rotated = error_log.rename(gunicorn.folder / "error.log.1")
    server.signal(signal.SIGUSR1)
    wait_until(error_log.exists, "the log is opened again")
    address = re.search(r"Listening at: http://(.+):(\d+) ", rotated.read_text())
    assert address
    with closing(http.client.HTTPConnection(address[1], int(address[2]))) as connection:
        connection.request("GET", "/block?60")
        wait_until(lambda: logged("WORKER TIMEOUT"), "the worker is given up")
        wait_until(lambda: logged("Current thread"), "the stack is printed")
    wait_until(lambda: logged(" ready in "), "another worker has booted")


def test_sigterm_while_the_application_loads(gunicorn: Launcher) -> None:
    slow = "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    gunicorn.write("app.py", slow)
    gunicorn.write("gunicorn.conf.py", HOOKS)
    server = gunicorn.start(
        *("-c", "gunicorn.conf.py", "-k", OURS, "app:app"), GUNICORN_WORKERS="1"
    )
    server.wait_for("loading")
    (worker,) = server.worker_pids()

    os.kill(worker, signal.SIGTERM)

    wait_until(lambda: len(server.lines("^loading")) == 2, "another worker loads")
    assert len(server.lines(f"worker_exit ran in {worker}")) == 1


def test_sigterm_that_an_import_swallows(gunicorn: Launcher) -> None:
    """What a callback raises, Python prints and forgets; Gunicorn's SystemExit too."""
    gunicorn.write(
        "app.py",
        """
        import os, weakref

        class Loaded:
            pass

        def forgotten(_):
            print("loading", os.getpid(), flush=True)
            while not os.path.exists("go"):
                pass

        loaded = Loaded()
        reference = weakref.ref(loaded, forgotten)
        del loaded

        async def app(scope, receive, send):
            print("started", os.getpid(), flush=True)
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "-k", OURS, "app:app", GUNICORN_WORKERS="1")
    worker = int(server.wait_for(r"^loading (\d+)").group(1))

    os.kill(worker, signal.SIGTERM)

    server.wait_for(rf"Worker exiting \(pid: {worker}\)")
    server.wait_for(rf"^loading (?!{worker}$)\d+")
    gunicorn.write("go", "")
    server.wait_for(r"^started \d+")
    assert not server.lines(f"^started {worker}")
    server.wait_for_workers(1)


@pytest.mark.parametrize("beside", ["", "threading.Thread(target=threading.Event().wait).start()"])
def test_application_that_does_not_start_ends_the_server(
    gunicorn: Launcher, loop: str, beside: str
) -> None:
    gunicorn.write("mine.py", ASYNCIO)
    gunicorn.write(
        "app.py",
        f"""
        import threading

        {beside}

        async def app(scope, receive, send):
            await receive()
            await send({{"type": "lifespan.startup.failed", "message": "no database"}})
        """,
    )
    worker_class = {"uvloop": OURS, "asyncio": "mine.Asyncio"}[loop]
    server = gunicorn.launch(*MODULE_DOOR, "-k", worker_class, "app:app", GUNICORN_WORKERS="1")

    assert server.wait() == 3
    assert server.lines("no database")
    assert server.lines("Worker failed to boot")


ENDLESS_START = """
    import asyncio, os

    async def app(scope, receive, send):
        print("starting", os.getpid(), flush=True)
        try:
            await asyncio.sleep(3600)
        finally:
            print("given up", os.getpid(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_start_that_does_not_end_can_be_ended(
    gunicorn: Launcher, loop: str, number: signal.Signals
) -> None:
    gunicorn.write("app.py", ENDLESS_START)
    gunicorn.write("mine.py", ASYNCIO)
    worker_class = {"uvloop": OURS, "asyncio": "mine.Asyncio"}[loop]
    server = gunicorn.start(*MODULE_DOOR, "-k", worker_class, "app:app", GUNICORN_WORKERS="1")
    worker = int(server.wait_for(r"^starting (\d+)").group(1))

    os.kill(worker, number)

    server.wait_for(f"^given up {worker}")
    server.wait_for(rf"^starting (?!{worker}$)\d+")
    assert not server.lines("failed to boot|was sent SIGKILL")


# What must go on working.


def test_websocket(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop)

    with closing(open_websocket(server.address)) as connection:
        assert say(connection, "hello") == "HELLO"
        old = recycle(server)
        # Closed by the server, "service restart".
        head = connection.recv(4)
        assert (head[0], int.from_bytes(head[2:4], "big")) == (0x88, 1012)
    server.wait_for_workers(1, replacing=old)


def test_keep_alive(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--keep-alive", "3")
    address = server.address
    assert not isinstance(address, str)

    with closing(http.client.HTTPConnection(*address, timeout=20)) as connection:
        connection.connect()
        kept = connection.sock
        for _ in range(3):
            began = time.monotonic()
            connection.request("GET", "/")
            assert connection.getresponse().read()
            assert connection.sock is kept
        assert kept.recv(1) == b""  # Closed by the server.
        assert time.monotonic() - began >= 2.5


def test_max_requests_with_jitter(gunicorn: Launcher, loop: str) -> None:
    options = ["--max-requests", "5", "--max-requests-jitter", "5"]
    server = serve(gunicorn, loop, *options, hooks=HOOKS)

    worker, served = "", 0
    while True:
        answered_by = server.get("/").body
        if worker and answered_by != worker:
            break
        worker, served = answered_by, served + 1
    # uvicorn counts every tenth of a second.
    assert served >= 5
    ended(server, int(worker), hooks=["worker_exit"])
    assert server.lines(r"Maximum request limit of ([5-9]|10) exceeded")
    assert not server.mistakes()


@pytest.mark.parametrize("replace", [recycle, reload])
def test_unix_socket(gunicorn: Launcher, loop: str, replace: Any) -> None:
    server = serve(gunicorn, loop, bind=f"unix:{gunicorn.folder}/sock")
    assert server.get("/").status == 200

    old = replace(server)

    server.wait_for_workers(1, replacing=old)
    assert server.get("/").status == 200


def both_are_replaced(server: Server, address: tuple[str, int] | str) -> None:
    """Reload a server with two workers; it must answer before and after."""
    assert get(address).status == 200

    old = reload(server)

    server.wait_for_workers(2, replacing=old)
    wait_until(lambda: len(server.lines("lifespan.startup")) == 4, "the new ones have started")
    assert get(address).status == 200
    assert not server.mistakes()


def test_preload(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--preload", workers=2)

    both_are_replaced(server, server.address)


def test_reuse_port(gunicorn: Launcher, loop: str) -> None:
    """Each worker listens for itself, and the arbiter could not say where: we choose the port."""
    with closing(socket.socket()) as held:  # It does not listen, so that nothing comes to it.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        address = held.getsockname()
        server = serve(gunicorn, loop, "--reuse-port", bind=f"127.0.0.1:{address[1]}", workers=2)

        both_are_replaced(server, address)


def test_reload_of_edited_code(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--reload", "--reload-engine", "poll", hooks=HOOKS)
    (worker,) = server.worker_pids()

    gunicorn.edit("app.py", APP.replace('"/most": str(most)', '"/most": "edited"'), server)

    ended(server, worker, hooks=["worker_int", "worker_exit"])
    assert server.get("/most").body == "edited"


def serve_tls(gunicorn: Launcher, loop: str) -> tuple[Server, tuple[str, int], ssl.SSLContext]:
    """Serve with a certificate; return the address and the context of a client as well."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = gunicorn.folder / "cert.pem", gunicorn.folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = serve(gunicorn, loop, "--certfile", str(certificate), "--keyfile", str(key))
    address = server.address
    assert not isinstance(address, str)
    return server, address, ssl.create_default_context(cafile=str(certificate))


def test_tls(gunicorn: Launcher, loop: str) -> None:
    server, (_, port), context = serve_tls(gunicorn, loop)

    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
    with closing(connection):
        connection.request("GET", "/scheme")
        assert connection.getresponse().read() == b"https"
        old = recycle(server)
        assert connection.sock.recv(1) == b""
    server.wait_for_workers(1, replacing=old)


def test_drain_waits_for_tls_handshakes(gunicorn: Launcher, loop: str) -> None:
    server, address, context = serve_tls(gunicorn, loop)
    with socket.create_connection(address, timeout=20) as connection:
        with socket.create_connection(address) as later:
            # Answered, so that the first connection is accepted too.
            context.wrap_socket(later, server_hostname="localhost").close()
        old = recycle(server)
        time.sleep(0.5)  # The client's network is slow.
        with context.wrap_socket(connection, server_hostname="localhost") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secure.recv(4096).startswith(b"HTTP/1.1 200")
    server.wait_for_workers(1, replacing=old)


def test_answer_is_a_response(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop)

    assert server.get("/") == Response(200, str(*server.worker_pids()))


def test_error_log_that_is_no_file(gunicorn: Launcher) -> None:
    gunicorn.write(
        "mine.py",
        """
        import logging, sys
        from gunicorn.glogging import Logger

        class Stream:
            def write(self, text):
                sys.stderr.write(text)

            def flush(self):
                sys.stderr.flush()

        class Mine(Logger):
            def setup(self, cfg):
                super().setup(cfg)
                self.error_log.handlers = [logging.StreamHandler(Stream())]
        """,
    )
    server = serve(gunicorn, "uvloop", "--logger-class", "mine.Mine", GUNICORN_TIMEOUT="2")
    old = server.worker_pids()

    with server.ask("/block?60"):
        server.wait_for("Current thread")
    server.wait_for_workers(1, replacing=old)
