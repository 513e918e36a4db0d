"""The watchdog in the real server: what it says of code that blocks, and of code that does not."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest
from cgroups import Cgroup, limited
from gunicorn.util import load_class
from harness import MODULE_DOOR, Launcher, Server, wait_until
from memory_servers import IMPATIENT

pytestmark = [pytest.mark.server, pytest.mark.one_python]

ASGI = "gunicorn_autoconf.demo:app"
ONE_WORKER = {"GUNICORN_WORKERS": "1"}

BLOCKED = r"\[WARNING\] gunicorn-autoconf: the event loop has been blocked for (\d+\.\d\d) s by "
RUNS_AGAIN = (
    r"\[INFO\] gunicorn-autoconf: the event loop runs again; it was blocked for (\d+\.\d\d) s at "
)
NOT_THE_CODE = r"the event loop was late by (\d+\.\d\d) s, not because of your code: "
SILENT = r"\[ERROR\] gunicorn-autoconf: no heartbeat from this worker for (\d+\.\d) s: "


def native_asgi() -> bool:
    try:
        load_class("asgi")
    except RuntimeError:  # before Gunicorn 24
        return False
    return True


needs_native_asgi: pytest.MarkDecorator = pytest.mark.skipif(
    not native_asgi(), reason="this Gunicorn has no asgi worker"
)

ASYNCIO = "uvicorn_worker.UvicornH11Worker"  # on asyncio's own loop; the plan's is on uvloop
LOOPS = [
    pytest.param((), id="uvloop"),
    pytest.param(("-k", ASYNCIO), id="asyncio"),
    pytest.param(
        ("-k", "asgi"),
        id="native",
        marks=needs_native_asgi,
    ),
]


def load(server: Server, path: str, *, clients: int = 6, requests: int = 2) -> None:
    """Ask for *path* from some clients at once, each some times in a row."""

    def ask(_: int) -> None:
        for _ in range(requests):
            assert server.get(path).status == 200

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))


def send(server: Server, path: str) -> None:
    """Ask for *path*; the worker may be killed over it."""
    with suppress(OSError, AssertionError):
        server.get(path)


@pytest.mark.parametrize("worker_class", LOOPS)
def test_blocked_loop_is_reported_and_waiting_is_not(
    gunicorn: Launcher, worker_class: tuple[str, ...]
) -> None:
    server = gunicorn.start(*MODULE_DOOR, *worker_class, ASGI, **ONE_WORKER)
    server.wait_for_workers(1)
    load(server, "/io")
    assert not server.lines("blocked for ")

    def found() -> bool:
        load(server, "/block")
        return bool(server.lines(BLOCKED))

    wait_until(found, "it is reported")

    line = server.wait_for(BLOCKED + r"\S+/demo\.py:\d+ in block\(\): time\.sleep\(WAIT_SECONDS\)")
    assert float(line[1]) >= 0.25
    server.wait_for(r"^  request: GET /block$")
    server.wait_for(r"Cure: `await asyncio\.to_thread\(\.\.\.\)` \(Django: `sync_to_async`\), or ")
    server.wait_for(r"^  > \S+/demo\.py:\d+ in app\(\): block\(\)$")
    assert float(server.wait_for(RUNS_AGAIN + r"\S+/demo\.py:\d+ in block\(\)$")[1]) >= 0.25
    # Once for each place in a minute, however often it blocks; all of them are counted.
    assert len(server.lines(BLOCKED + r"\S+/demo\.py:\d+ in block\(\)")) == 1
    server.stop()
    server.wait_for(r"in the life of this worker its event loop was blocked (once|\d+ times)")
    server.wait_for(r"^  \d+ at \S+/demo\.py:\d+ in block\(\): \d\.\d\d s(, the longest \S+ s)?$")


LATE = """
    import asyncio
    import os
    import time

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        print("begun", flush=True)
        while not os.path.exists("release"):
            await asyncio.sleep(0.02)
        time.sleep(0.6)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""


def test_stall_while_the_worker_drains_is_counted(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", LATE)
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)

    with server.ask("/") as answer:
        server.wait_for("^begun$")
        os.kill(worker, signal.SIGTERM)
        server.wait_for("Shutting down")
        gunicorn.write("release", "")
        assert answer().status == 200
    server.wait_for_workers(1, replacing={worker})

    server.wait_for(rf"\[{worker}\] .*in the life of this worker its event loop was blocked once$")
    server.wait_for(r"^  1 at \S+/app\.py:12 in app\(\): 0\.\d\d s$")


START = """
    import time

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            time.sleep(2)
            await send({"type": "lifespan.startup.complete"})
            await receive()
"""


def test_start_up_that_blocks_is_reported(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", START)
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER)

    server.wait_for(BLOCKED + r"\S+/app\.py:7 in app\(\): time\.sleep\(2\)")
    server.wait_for("Application startup complete")


def test_five_at_once_are_seen(gunicorn: Launcher) -> None:
    """The example of the page "Synchronous code in ASGI": 0.1 s each, with the default."""
    server = gunicorn.start(*MODULE_DOOR, ASGI, **ONE_WORKER)
    server.wait_for_workers(1)

    def seen() -> bool:
        # On a busy machine five may come one after the other, each shorter than the threshold.
        began = time.monotonic()
        load(server, "/block", clients=5, requests=1)
        assert time.monotonic() - began >= 0.5
        return bool(server.lines(BLOCKED + r"\S+/demo\.py:\d+ in block\(\)"))

    wait_until(seen, "five at once are reported")


def test_warning_can_be_turned_off(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, ASGI, **ONE_WORKER, GUNICORN_STALL_WARNING="0")
    server.wait_for_workers(1)

    load(server, "/block")

    server.stop()
    assert not server.lines("blocked for ")


DJANGO = """
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse
    from django.urls import path

    from shop import prices

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="a test",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    )

    async def price(request):
        return HttpResponse(prices.look_up())

    urlpatterns = [path("price", price)]
    app = get_asgi_application()
"""

PRICES = """
    import time

    def look_up():
        return query()

    def query():
        time.sleep(0.6)  # As a database driver does.
        return "3.50"
"""


def test_the_projects_own_line_is_named(gunicorn: Launcher) -> None:
    (gunicorn.folder / "shop").mkdir()
    gunicorn.write("shop/__init__.py", "")
    gunicorn.write("shop/prices.py", PRICES)
    gunicorn.write("shop/asgi.py", DJANGO)
    server = gunicorn.start(*MODULE_DOOR, "shop.asgi:app", **ONE_WORKER)
    server.wait_for_workers(1)

    assert server.get("/price?customer=42").body == "3.50"

    server.wait_for(BLOCKED + r"\S+/shop/prices\.py:8 in query\(\): time\.sleep\(0\.6\)")
    server.wait_for(r"^  request: GET /price$")
    server.wait_for(r"^  > \S+/shop/asgi\.py:18 in price\(\): return ")
    server.wait_for(r"^    \S+/django/core/handlers/\S+ in ")
    server.wait_for(RUNS_AGAIN + r"\S+/shop/prices\.py:8 in query\(\)$")


STUCK = """
    import os
    import time

    def app(environ, start_response):
        stuck(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    def stuck(path):
        if path == "/stuck":
            time.sleep(60)
        while path == "/held" and not os.path.exists("release"):
            time.sleep(0.02)

    async def asgi_app(scope, receive, send):
        if scope["type"] == "http":
            stuck(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
"""

KILLED = [
    pytest.param(("-k", "sync", "app:app"), id="sync"),
    pytest.param(("app:asgi_app",), id="uvloop"),
    pytest.param(("-k", "asgi", "app:asgi_app"), id="native", marks=needs_native_asgi),
]


@pytest.mark.parametrize("arguments", KILLED)
def test_stacks_come_before_the_kill(gunicorn: Launcher, arguments: tuple[str, ...]) -> None:
    gunicorn.write("app.py", STUCK)
    server = gunicorn.start(*MODULE_DOOR, *arguments, **ONE_WORKER, GUNICORN_TIMEOUT="3")
    (pid,) = server.wait_for_workers(1)
    server.wait_for("running with")

    send(server, "/stuck?secret=1")

    server.wait_for(rf"WORKER TIMEOUT \(pid:{pid}\)")
    before, _, _ = server.log.partition("WORKER TIMEOUT")
    assert re.search(SILENT + r"Gunicorn will kill it in [01]\.\d s \(timeout 3\)", before)
    assert re.search(
        r"^  thread MainThread, serving GET /stuck, at \S+/app\.py:12 in stuck\(\)$",
        before,
        re.MULTILINE,
    )
    assert re.search(r"^  > \S+/app\.py:12 in stuck\(\): time\.sleep\(60\)$", before, re.MULTILINE)
    assert len(re.findall(SILENT, server.log)) == 1
    assert "secret" not in before
    server.wait_for_workers(1, replacing={pid})
    assert not server.lines("heartbeat resumed")  # By the SIGABRT that ends it.


def test_request_of_flask_is_no_obstacle(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        import time
        from flask import Flask, request

        app = Flask(__name__)

        def work(request):
            time.sleep(60)

        @app.get("/slow")
        def slow():
            work(request)
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER, GUNICORN_TIMEOUT="3")
    workers = server.wait_for_workers(1)

    with server.ask("/slow"):
        server.wait_for(r"no heartbeat .*(\n.*)*app\.py:\d+ in work\(\)")
    server.wait_for_workers(1, replacing=workers)
    assert not server.lines("crashed")


def test_long_request_in_a_thread_is_reported(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", STUCK)
    server = gunicorn.start(
        *MODULE_DOOR, "-k", "gthread", "--threads", "3", "app:app", **ONE_WORKER,
        GUNICORN_TIMEOUT="3",
    )  # fmt: skip
    server.wait_for_workers(1)

    with server.ask("/held?secret=1") as answer:
        for _ in range(20):  # Short requests in the other threads are none of its business.
            assert server.get().status == 200
        line = server.wait_for(
            r"\[WARNING\] gunicorn-autoconf: a request has run for (\d+\.\d) s, longer than time"
        )
        gunicorn.write("release", "")
        assert answer().status == 200

    assert float(line[1]) >= 3.0
    server.wait_for(
        r"^  thread ThreadPoolExecutor-\S+, serving GET /held, at \S+/app\.py:1[34] in stuck\(\)"
    )
    assert len(server.lines("a request has run")) == 1
    assert not server.lines(SILENT)
    assert "secret" not in server.log


# Each of these makes the loop late in another way.
HARD = """
    import gc
    import os
    import threading
    import time

    def compute(seconds):
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            sum(range(1000))

    LONG = 100_000_000

    def native():
        sum(range(LONG))

    if "KEEP" in os.environ:
        gc.disable()
        kept = [[] for _ in range(1_500_000)]  # A collection looks at each.
        gc.enable()

    def fork():
        child = os.fork()
        if child == 0:
            os._exit(threading.active_count())
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body = ""
        if scope["path"] == "/compute":
            compute(0.6)
        elif scope["path"] == "/little":
            compute(0.1)
        elif scope["path"] == "/native":
            native()
        elif scope["path"] == "/collect":
            gc.collect()
        elif scope["path"] == "/fork":
            body = f"{fork()} {threading.active_count()}"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})
"""


@pytest.fixture
def hard(gunicorn: Launcher) -> Launcher:
    gunicorn.write("app.py", HARD)
    return gunicorn


def test_computing_is_told_from_waiting(hard: Launcher) -> None:
    server = hard.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    server.wait_for_workers(1)

    server.get("/compute")

    server.wait_for(BLOCKED + r"\S+/app\.py:(?:9|10) in compute\(\)")
    server.wait_for(r"^  the thread computes; .*a process pool")
    server.wait_for(r"^  request: GET /compute$")


@pytest.mark.skipif(sys.platform != "linux", reason="told by counters that Linux has")
@pytest.mark.parametrize("worker_class", LOOPS)
def test_native_code_that_holds_the_gil(hard: Launcher, worker_class: tuple[str, ...]) -> None:
    """Its line is there while it computes, and the request once it is over."""
    server = hard.start(*MODULE_DOOR, *worker_class, "app:app", **ONE_WORKER)
    server.wait_for_workers(1)

    assert server.get("/native").status == 200

    server.wait_for(BLOCKED + r"\S+/app\.py:\d+ in native\(\): sum\(range\(LONG\)\)")
    server.wait_for(r"^  the thread computes; .*one call into native code that holds the GIL")
    again = server.wait_for(RUNS_AGAIN + r"\S+/app\.py:\d+ in native\(\), serving GET /native$")
    assert float(again[1]) >= 0.5


def test_garbage_collection_is_not_blamed_on_the_code(hard: Launcher) -> None:
    server = hard.start(
        *MODULE_DOOR, "app:app", **ONE_WORKER, KEEP="1", GUNICORN_STALL_WARNING="0.02"
    )  # fmt: skip
    server.wait_for_workers(1)

    def found() -> bool:
        assert server.get("/collect").status == 200
        return bool(server.lines(NOT_THE_CODE + r"the garbage collector took "))

    wait_until(found, "a collection is reported")
    server.stop()
    # At so low a threshold whatever else runs may be too long on a busy machine.
    assert not server.lines(BLOCKED + r".*gc\.collect")


@pytest.mark.skipif(sys.platform != "linux", reason="told by counters that Linux has")
@pytest.mark.parametrize("worker_class", [LOOPS[0], LOOPS[2]])
def test_stopped_process_is_not_blamed_on_the_code(
    gunicorn: Launcher, worker_class: tuple[str, ...]
) -> None:
    server = gunicorn.start(*MODULE_DOOR, *worker_class, ASGI, **ONE_WORKER)
    (pid,) = server.wait_for_workers(1)
    assert server.get("/io").status == 200

    worker = psutil.Process(pid)
    worker.suspend()
    try:
        with server.ask("/io") as answer:
            stopped = time.monotonic()
            wait_until(lambda: time.monotonic() - stopped > 1.0, "the worker was stopped for 1 s")
            worker.resume()
            assert answer().status == 200
    finally:
        worker.resume()

    line = server.wait_for(NOT_THE_CODE + r"SIGSTOP or a debugger had stopped the process for ")
    assert float(line[1]) >= 0.5
    server.stop()
    assert not server.lines(r"blocked for|no heartbeat")


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup without a quota, until a test sets one."""
    with limited("cpu") as made:
        yield made


@pytest.fixture
def unhurried(cgroup: Cgroup, confined: Launcher) -> Iterator[Launcher]:
    """Starts the server in *cgroup*; it need not end within the quota."""
    yield confined
    cgroup.set_quota(None)


@pytest.mark.cgroup
@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
def test_quota_is_not_blamed_on_the_code(cgroup: Cgroup, unhurried: Launcher) -> None:
    """0.1 s of computing in a twentieth of a core take two seconds."""
    unhurried.write("app.py", HARD)
    server = unhurried.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    server.wait_for_workers(1)
    cgroup.set_quota(5_000)
    assert server.get("/little").status == 200

    server.wait_for(
        NOT_THE_CODE
        + r"its thread got no CPU for \d\.\d\d s, \d\.\d\d s of it throttled by the CPU "
        + rf"quota \({cgroup.cpu}/cpu\.stat\)"
    )
    assert not server.lines("blocked for")


@pytest.mark.cgroup
@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
def test_quota_that_throttles_all_the_time_is_a_warning(
    cgroup: Cgroup, unhurried: Launcher
) -> None:
    """Over a minute, and here over three seconds; no stall needs to be long enough for a line."""
    unhurried.write("app.py", HARD)
    unhurried.write("gunicorn.conf.py", IMPATIENT.format(timing="quota_seconds=3.0"))
    server = unhurried.start("app:app", **ONE_WORKER, GUNICORN_STALL_WARNING="30")
    server.wait_for_workers(1)
    cgroup.set_quota(20_000)

    def found() -> bool:
        assert server.get("/little").status == 200
        return bool(server.lines("the CPU quota throttled"))

    wait_until(found, "the quota is named")
    line = server.wait_for(
        r"\[WARNING\] gunicorn-autoconf: the CPU quota throttled (\d+) of (\d+) periods in the "
        rf"last minute, (\d+\.\d) s over all cores \({cgroup.cpu}/cpu\.stat\)\. Raise the limit "
    )
    throttled, periods, seconds = int(line[1]), int(line[2]), float(line[3])
    assert periods / 10 <= throttled <= periods <= 60
    assert seconds >= 1.0


def test_worker_has_no_thread_and_forks_without_a_warning(hard: Launcher) -> None:
    """Python 3.12 warns of a fork beside threads; here the warning would be an error."""
    server = hard.start(
        *MODULE_DOOR, "-k", ASYNCIO, "app:app", **ONE_WORKER,
        PYTHONWARNINGS="error:This process:DeprecationWarning",
        GUNICORN_STALL_WARNING="0.1",
    )  # fmt: skip
    server.wait_for_workers(1)

    for _ in range(3):
        assert server.get("/fork").body == "1 1"

    server.get("/compute")
    server.wait_for(BLOCKED + r"\S+/app\.py:(?:9|10) in compute\(\)")
    server.stop()
    assert not server.mistakes()
    assert not server.lines("Warning:")


GREEN = """
    import time

    import gevent

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/stuck":
            while True:
                len(str(environ))
        return [b""]
"""


def test_green_threads_are_watched_too(gunicorn: Launcher) -> None:
    pytest.importorskip("gevent")
    gunicorn.write("app.py", GREEN)
    server = gunicorn.start(
        *MODULE_DOOR, "-k", "gevent", "app:app", **ONE_WORKER, GUNICORN_TIMEOUT="4"
    )
    (pid,) = server.wait_for_workers(1)
    assert server.get().status == 200

    send(server, "/stuck")

    server.wait_for(rf"\[{pid}\] " + SILENT)
    server.wait_for(r"^  > \S+/app\.py:\d+ in app\(\): ")
    server.wait_for_workers(1, replacing={pid})


# uvicorn-worker's own class does not end when a file changes.
@pytest.mark.parametrize("worker_class", [LOOPS[0], LOOPS[2]])
def test_worker_that_reload_has_replaced_is_watched(
    gunicorn: Launcher, worker_class: tuple[str, ...]
) -> None:
    gunicorn.write("app.py", STUCK)
    server = gunicorn.start(*MODULE_DOOR, *worker_class, "--reload", "app:asgi_app", **ONE_WORKER)
    workers = server.wait_for_workers(1)
    gunicorn.edit("app.py", STUCK.replace("time.sleep(60)", "time.sleep(0.7)"), server)
    server.wait_for_workers(1, replacing=workers)

    assert server.get("/stuck").status == 200

    server.wait_for(BLOCKED + r"\S+/app\.py:12 in stuck\(\): time\.sleep\(0\.7\)")
