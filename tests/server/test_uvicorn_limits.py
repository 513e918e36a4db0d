"""The ASGI worker class on the real server: limits, thread pools, and what uvicorn is told."""

from __future__ import annotations

import re
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
import uvicorn
from gunicorn.config import Config
from harness import MODULE_DOOR, Launcher, wait_until
from patience import stretched
from uvicorn_servers import (
    APP,
    OURS,
    open_websocket,
    say,
    serve,
)

from gunicorn_autoconf.workers import UvicornWorker
from gunicorn_autoconf.workers.uvicorn import uvicorn_options

pytestmark = [pytest.mark.server, pytest.mark.one_python, pytest.mark.each_gunicorn]

newer = pytest.mark.newer_gunicorn

# Limits.


@pytest.mark.parametrize("loop", ["uvloop"], indirect=True)
def test_worker_connections_is_a_limit_where_it_is_given(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--worker-connections", "2")

    with server.ask("/held") as first, server.ask("/held") as second:
        wait_until(lambda: len(server.lines("begun")) == 2, "two requests are in work")
        assert server.get("/").status == 503
        gunicorn.write("release", "")
        assert (first().status, second().status) == (200, 200)
    assert server.get("/").status == 200


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


@pytest.mark.parametrize("loop", ["uvloop"], indirect=True)
def test_idle_websockets_have_no_limit_of_their_own(gunicorn: Launcher, loop: str) -> None:
    """Gunicorn's default of 1,000 connections was not meant for them."""
    with open_files(1600), ExitStack() as all_of_them:
        server = serve(gunicorn, loop)
        connections = [
            all_of_them.enter_context(closing(open_websocket(server.address))) for _ in range(1100)
        ]
        assert say(connections[0], "first") == "FIRST"
        assert say(connections[-1], "last") == "LAST"
        assert server.get("/").status == 200
    assert not server.mistakes()


@pytest.mark.parametrize(
    ("loop", "kind"), [("uvloop", "anyio"), ("asyncio", "thread")], indirect=["loop"]
)
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
            await asyncio.to_thread(met.wait)
        else:
            await anyio.to_thread.run_sync(met.wait)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""


def test_io_runs_more_synchronous_requests_at_once_than_the_pools_have_by_themselves(
    gunicorn: Launcher,
) -> None:
    """Each waits for the sixtieth: anyio's own pool holds 40, asyncio's is as the machine is."""
    pytest.importorskip("anyio")
    gunicorn.write("app.py", TOGETHER)
    server = gunicorn.start(
        *MODULE_DOOR, "app:app", GUNICORN_WORKLOAD="io", GUNICORN_MAX_WORKERS="1"
    )
    server.wait_for_workers(1)
    assert server.lines(rf"worker_class={re.escape(OURS)} workers=1 threads=100 ")

    for kind in ("thread", "anyio"):
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
        pytest.param({"root_path": "/api"}, "root_path", "/api", marks=newer),
        pytest.param({"asgi_loop": "asyncio"}, "loop", "asyncio", marks=newer),
        pytest.param({"asgi_lifespan": "off"}, "lifespan", "off", marks=newer),
        pytest.param({"websocket_max_message_size": 4096}, "ws_max_size", 4096, marks=newer),
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

    with closing(socket.create_connection(address, timeout=stretched())) as connection:
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
    server = gunicorn.start("-k", OURS, "--timeout", "4", "app:app")
    server.wait_for("lifespan.startup")

    assert server.get("/sleep?6").status == 200
    assert not server.mistakes()
