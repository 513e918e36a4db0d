"""What a worker leaves behind: its children end with it, but for those that were set apart."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest
from harness import MODULE_DOOR, Launcher, Server, wait_until

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="children are found in Linux's /proc"),
]

ONE_WORKER = {"GUNICORN_WORKERS": "1", "GUNICORN_WORKLOAD": "cpu"}

# Answers with the pids of what it starts: children of a pool that are at work, and programs.
WSGI = """
    import os, subprocess, time
    from concurrent.futures import ProcessPoolExecutor

    kept = []

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/pool":
            pool = ProcessPoolExecutor(2)
            kept.append([pool.submit(time.sleep, 3600) for _ in range(2)])
            pids = list(pool._processes)
        elif path == "/program":
            kept.append(subprocess.Popen(["sleep", "3600"]))
            pids = [kept[-1].pid]
        elif path == "/detached":
            pids = [subprocess.Popen(["sleep", "3600"], start_new_session=True).pid]
        elif path == "/own-group":
            code = "import os; os.setpgid(0, 0); os.execvp('sleep', ['sleep', '3600'])"
            pids = [subprocess.Popen([os.sys.executable, "-c", code]).pid]
        start_response("200 OK", [])
        return [" ".join(map(str, pids)).encode()]
"""

ASGI = """
    import asyncio, os, time
    from concurrent.futures import ProcessPoolExecutor

    kept = []

    async def report():
        await asyncio.sleep(3600)

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        body = b""
        if scope["path"] == "/pool":
            pool = ProcessPoolExecutor(2)
            kept.append([pool.submit(time.sleep, 3600) for _ in range(2)])
            body = " ".join(map(str, pool._processes)).encode()
        else:
            kept.append(asyncio.create_task(report(), name="nightly"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""


def started(server: Server, path: str) -> list[int]:
    response = server.get(path)
    assert response.status == 200
    return [int(pid) for pid in response.body.split()]


@pytest.mark.parametrize(
    ("source", "worker_class", "path"),
    [
        (WSGI, "sync", "/pool"),
        (WSGI, "gthread", "/pool"),
        (WSGI, "sync", "/program"),
        (ASGI, "gunicorn_autoconf.workers.UvicornWorker", "/pool"),
    ],
)
def test_children_end_with_the_worker(
    gunicorn: Launcher, source: str, worker_class: str, path: str
) -> None:
    gunicorn.write("app.py", source)
    server = gunicorn.start(*MODULE_DOOR, "app:app", "-k", worker_class, **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)
    pids = started(server, path)
    assert all(map(psutil.pid_exists, pids))

    os.kill(worker, signal.SIGTERM)
    server.wait_for(rf"worker {worker} exited")
    (line,) = server.lines(rf"Worker \(pid:{worker}\) ends its child processes: ")
    assert all(str(pid) in line for pid in pids)
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), "no child is left")
    server.wait_for_workers(1, replacing={worker})


@pytest.mark.parametrize("path", ["/detached", "/own-group"])
def test_process_that_was_set_apart_goes_on(gunicorn: Launcher, path: str) -> None:
    gunicorn.write("app.py", WSGI)
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)
    (pid,) = started(server, path)
    child = psutil.Process(pid)
    try:
        wait_until(lambda: child.name() == "sleep", "it is set apart")
        os.kill(worker, signal.SIGTERM)
        server.wait_for(rf"worker {worker} exited")
        assert child.is_running()
        assert not server.lines("ends its child processes")
    finally:
        child.kill()
        wait_until(lambda: not child.is_running(), "it is gone")


def test_idle_pool_is_no_news(gunicorn: Launcher) -> None:
    """Python ends it at the exit."""
    gunicorn.write(
        "app.py",
        """
        from concurrent.futures import ProcessPoolExecutor

        pools = []

        def app(environ, start_response):
            pools.append(ProcessPoolExecutor(1))
            assert pools[-1].submit(abs, -1).result() == 1
            start_response("200 OK", [])
            return [b""]
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)
    assert server.get().status == 200
    os.kill(worker, signal.SIGTERM)
    server.wait_for(rf"worker {worker} exited")
    assert not server.lines("ends its child processes")


def test_tasks_that_are_cancelled_are_named(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", ASGI)
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)
    assert server.get("/task").status == 200
    os.kill(worker, signal.SIGTERM)
    server.wait_for(rf"worker {worker} exited")
    (line,) = server.lines("cancels tasks that still run")
    assert f"Worker (pid:{worker}) cancels tasks that still run: ['nightly (report)']" in line


STUCK = """
    import threading, time
    from gunicorn_autoconf.demo import wsgi_app

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/stuck":
            open("begun", "w").close()
            time.sleep(3600)
        return wsgi_app(environ, start_response)
"""


def test_worker_with_a_stuck_thread_does_not_keep_the_port_of_a_killed_arbiter(
    gunicorn: Launcher,
) -> None:
    gunicorn.write("app.py", STUCK)
    server = gunicorn.start(
        *(*MODULE_DOOR, "app:app"),
        GUNICORN_WORKERS="1",
        GUNICORN_WORKLOAD="io",
        GUNICORN_GRACEFUL_TIMEOUT="1",
    )
    (pid,) = server.wait_for_workers(1)
    with server.ask("/stuck"):
        wait_until((gunicorn.folder / "begun").exists, "the request has begun")
        server.signal(signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(pid), "the worker is gone")
    assert server.lines(
        rf"\(pid:{pid}\) ends: its arbiter is gone, .* at {gunicorn.folder}/app.py:8"
    )
