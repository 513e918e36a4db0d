"""Starts, thread pools and ends that are stuck: what the real server's log says of them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest
from harness import MODULE_DOOR, Launcher, wait_until
from test_watchdog import LOOPS, ONE_WORKER

pytestmark = pytest.mark.server

WARNING = r"\[WARNING\] gunicorn-autoconf: "
# A worker that is stuck on purpose is not waited for.
SOON = {"GUNICORN_GRACEFUL_TIMEOUT": "2"}

IMPORT = """
    import threading

    def connect():
        threading.Event().wait()

    connect()

    async def app(scope, receive, send): ...
"""


def test_import_that_hangs(gunicorn: Launcher) -> None:
    """Gunicorn itself says nothing of it, for ever, whatever `timeout` and the class are."""
    gunicorn.write("app.py", IMPORT)
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER, GUNICORN_TIMEOUT="2")

    server.wait_for(WARNING + r"still booting after \d+ s; importing the application waits$")
    server.wait_for(r"^  > \S+/app\.py:5 in connect\(\): threading\.Event\(\)\.wait\(\)$")
    assert len(server.lines("still booting")) == 1
    assert not server.lines("WORKER TIMEOUT")


LIFESPAN = """
    import asyncio
    from contextlib import asynccontextmanager

    from starlette.applications import Starlette

    async def connect():
        await asyncio.Event().wait()

    @asynccontextmanager
    async def starting(app):
        await connect()
        yield

    @asynccontextmanager
    async def ending(app):
        yield
        await connect()

    app = Starlette(lifespan=starting)
    ends = Starlette(lifespan=ending)
"""


@pytest.mark.parametrize("worker_class", [LOOPS[0], LOOPS[2]])
def test_lifespan_start_up_that_awaits_for_ever(
    gunicorn: Launcher, worker_class: tuple[str, ...]
) -> None:
    gunicorn.write("app.py", LIFESPAN)
    server = gunicorn.start(
        *MODULE_DOOR, *worker_class, "--timeout", "60", "app:app", **ONE_WORKER, **SOON
    )  # fmt: skip

    server.wait_for(WARNING + r"the lifespan start-up is not complete after \d+ s; it awaits, inn")
    server.wait_for(r"^  > \S+/app\.py:8 in connect\(\): await asyncio\.Event\(\)\.wait\(\)$")
    server.wait_for(r"^  > \S+/app\.py:12 in starting\(\): await connect\(\)$")


@pytest.mark.parametrize("of_server", [False, True], ids=["worker", "server"])
def test_lifespan_shutdown_that_awaits_for_ever(gunicorn: Launcher, *, of_server: bool) -> None:
    gunicorn.write("app.py", LIFESPAN)
    server = gunicorn.start(
        *MODULE_DOOR, "--graceful-timeout", "4", "app:ends", **ONE_WORKER, GUNICORN_TIMEOUT="10"
    )
    (worker,) = server.wait_for_workers(1)
    server.wait_for("Application startup complete")

    os.kill(server.pid if of_server else worker, signal.SIGTERM)

    server.wait_for(rf"\[{worker}\] " + WARNING + r"this worker has not exited after \d\.\d s; it ")
    server.wait_for(r"^  > \S+/app\.py:18 in ending\(\): await connect\(\)$")
    if of_server:
        server.wait()


POOLS = """
    import asyncio
    import os
    import threading
    import time

    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    def held(request=None):
        while not os.path.exists("release"):
            time.sleep(0.05)
        return PlainTextResponse("ok")

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/held":
            held()
        start_response("200 OK", [("Content-Length", "0")])
        return []

    async def to_thread(request):
        return await asyncio.to_thread(held)

    asgi_app = Starlette(routes=[Route("/held", held), Route("/to_thread", to_thread)])
"""


FULL = {
    "anyio": (
        ("app:asgi_app",), "/held", 45,
        r"40 of 40 threads of anyio busy for \d+ s, [1-5] calls? waits?\. Cure: ",
    ),
    "uvloop": (
        ("--threads", "3", "app:asgi_app"), "/to_thread", 6,
        r"3 of 3 threads of the event loop's executor busy for \d+ s, [1-3] calls? waits?\. ",
    ),
    "gthread": (
        ("-k", "gthread", "--threads", "2", "app:app"), "/held", 5,
        r"2 of 2 threads of pool ThreadPoolExecutor-\d+ busy for \d+ s, [1-3] calls? waits?\. ",
    ),
}  # fmt: skip


def test_pool_without_a_free_thread(gunicorn: Launcher) -> None:
    """Each is reported after five seconds, so one server for each kind of pool waits at once."""
    gunicorn.write("app.py", POOLS)
    servers = {
        name: gunicorn.start(*MODULE_DOOR, *arguments, **ONE_WORKER, **SOON)
        for name, (arguments, _, _, _) in FULL.items()
    }
    for server in servers.values():
        server.wait_for_workers(1)

    with ThreadPoolExecutor(sum(calls for _, _, calls, _ in FULL.values())) as clients:
        answers = [
            clients.submit(servers[name].get, path)
            for name, (_, path, calls, _) in FULL.items()
            for _ in range(calls)
        ]
        try:
            for name, (_, _, _, line) in FULL.items():
                servers[name].wait_for(WARNING + line)
                servers[name].wait_for(r"^  \d+ at \S+/app\.py:1[34] in held\(\): ")
        finally:
            gunicorn.write("release", "")
        assert {answer.result().status for answer in answers} == {200}


ENDS = """
    import asyncio
    import threading
    import time
    from concurrent.futures import ProcessPoolExecutor

    pool = None
    kept = []

    def job():
        time.sleep(600)

    def app(environ, start_response):
        threading.Thread(target=job).start()
        start_response("200 OK", [("Content-Length", "0")])
        return []

    async def report():
        await asyncio.sleep(600)

    async def asgi_app(scope, receive, send):
        global pool
        if scope["type"] != "http":
            return
        if scope["path"] == "/pool":
            pool = ProcessPoolExecutor(2)
            pool.submit(job)
        if scope["path"] == "/task":
            kept.append(asyncio.create_task(report(), name="monthly"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""


@pytest.mark.parametrize(
    ("worker_class", "of_server"), [("sync", False), ("gthread", True)], ids=["worker", "server"]
)
def test_thread_that_holds_up_the_end(
    gunicorn: Launcher, worker_class: str, *, of_server: bool
) -> None:
    gunicorn.write("app.py", ENDS)
    server = gunicorn.start(
        *MODULE_DOOR, "--graceful-timeout", "4", "-k", worker_class, "app:app", **ONE_WORKER,
        GUNICORN_TIMEOUT="6",
    )  # fmt: skip
    (worker,) = server.wait_for_workers(1)
    assert server.get().status == 200

    os.kill(server.pid if of_server else worker, signal.SIGTERM)

    server.wait_for(rf"\[{worker}\] " + WARNING + r"this worker has not exited after \d\.\d s$")
    server.wait_for(r"^  > \S+/app\.py:11 in job\(\): time\.sleep\(600\)$")
    if of_server:
        server.wait()
        # Gunicorn kills it, and mostly goes before it can hear of its end.
        killed = rf"worker {worker} (had not ended when the server did|was killed while exiting)"
        assert server.lines(WARNING + killed)
        assert server.lines(f"worker {worker} exited") == []
    else:
        server.wait_for_workers(1, replacing={worker})


def test_children_and_tasks_that_end_with_the_worker(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", ENDS)
    server = gunicorn.start(*MODULE_DOOR, "app:asgi_app", **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)
    assert server.get("/pool").status == 200
    assert server.get("/task").status == 200
    children = psutil.Process(worker).children()
    assert children

    os.kill(worker, signal.SIGTERM)

    server.wait_for(rf"Worker \(pid:{worker}\) cancels tasks that still run: \['monthly \(report\)")
    server.wait_for(rf"Worker \(pid:{worker}\) ends its child processes: \[\d+")
    wait_until(lambda: not any(map(lives, children)), "the children are gone")


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


SIGURG = """
    import signal
    import time

    def handler(number, frame):
        print("the application's own", flush=True)

    signal.signal(signal.SIGURG, handler)

    async def app(scope, receive, send):
        if scope["type"] == "http":
            if scope["path"] == "/block":
                time.sleep(1)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
"""


def test_applications_own_sigurg_is_left_alone(gunicorn: Launcher) -> None:
    """Its handler is not called by us, and the line is named all the same."""
    gunicorn.write("app.py", SIGURG)
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)
    server.wait_for("Application startup complete")

    def found() -> bool:
        assert server.get("/block").status == 200
        return bool(server.lines(r"has been blocked for .* by \S+/app\.py:\d+ in app\(\)"))

    wait_until(found, "the line is named")
    assert not server.lines("the application's own")
    os.kill(worker, signal.SIGURG)
    server.wait_for("^the application's own$")
