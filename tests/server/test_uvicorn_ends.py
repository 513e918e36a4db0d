"""The ASGI worker class on the real server: signals and hooks."""

from __future__ import annotations

import http.client
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from harness import MODULE_DOOR, Launcher, Response, wait_until
from uvicorn_servers import (
    APP,
    ASYNCIO,
    HOOKS,
    OURS,
    ended,
    recycle,
    serve,
)

pytestmark = [pytest.mark.server, pytest.mark.one_python, pytest.mark.each_gunicorn]


def test_sigterm(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, hooks=HOOKS)

    (worker,) = recycle(server)

    ended(server, worker, hooks=["worker_exit"])
    assert server.lines(f"lifespan.shutdown {worker}")
    assert not server.lines(rf"\[{worker}\] \[(ERROR|WARNING)\]|pid:{worker}\) was sent SIG")
    assert not server.lines("Error while closing socket")


@pytest.mark.parametrize(
    ("loop", "number"),
    [("uvloop", signal.SIGQUIT), ("asyncio", signal.SIGINT)],
    indirect=["loop"],
)
def test_quick_end(gunicorn: Launcher, loop: str, number: signal.Signals) -> None:
    server = serve(gunicorn, loop, hooks=HOOKS)
    (worker,) = server.worker_pids()

    os.kill(worker, number)

    ended(server, worker, hooks=["worker_int", "worker_exit"])
    assert not server.lines("Cancel 0 running task")


@pytest.mark.parametrize("loop", ["asyncio"], indirect=True)
def test_sigquit_does_not_wait_for_requests(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, hooks=HOOKS)
    (worker,) = server.worker_pids()

    with server.ask("/sleep?60") as answer:
        server.wait_for("begun")
        os.kill(worker, signal.SIGQUIT)
        assert answer().status == 500
    ended(server, worker, hooks=["worker_int", "worker_exit"])


@pytest.mark.parametrize("loop", ["uvloop"], indirect=True)
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
    slow = "import time\nprint('loading', flush=True)\nwhile True:\n    time.sleep(0.1)\n"
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
            print(f"loading {os.getpid()}", flush=True)
            while not os.path.exists("go"):
                pass

        loaded = Loaded()
        reference = weakref.ref(loaded, forgotten)
        del loaded

        async def app(scope, receive, send):
            print(f"started {os.getpid()}", flush=True)
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


@pytest.mark.parametrize(
    ("loop", "beside"),
    [("uvloop", ""), ("asyncio", "threading.Thread(target=threading.Event().wait).start()")],
    indirect=["loop"],
)
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
    assert server.lines("tasks that still run") == []  # None of the application's own.


ENDLESS_START = """
    import asyncio, os

    async def app(scope, receive, send):
        print(f"starting {os.getpid()}", flush=True)
        try:
            await asyncio.sleep(3600)
        finally:
            print(f"given up {os.getpid()}", flush=True)
"""


@pytest.mark.parametrize(
    ("loop", "number"),
    [("uvloop", signal.SIGTERM), ("asyncio", signal.SIGQUIT)],
    indirect=["loop"],
)
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
    assert not server.lines("failed to boot|was sent SIGKILL|tasks that still run")
