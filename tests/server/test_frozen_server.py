"""The whole server stands still, as in a frozen container: nothing is charged with that time."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import pytest
from harness import MODULE_DOOR, Launcher

pytestmark = [pytest.mark.server, pytest.mark.one_python]

APP = """
    import os
    import sys
    import time

    def wait():
        print("serves", file=sys.stderr, flush=True)
        while not os.path.exists("release"):
            time.sleep(0.02)

    def wsgi(environ, start_response):
        wait()
        start_response("200 OK", [("Content-Length", "0")])
        return []

    async def asgi(scope, receive, send):
        if scope["type"] == "http":
            wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
"""
CLASSES = {
    "sync": "app:wsgi",
    "gunicorn_autoconf.workers.ThreadWorker": "app:wsgi",
    "gunicorn_autoconf.workers.UvicornWorker": "app:asgi",
}
TIMEOUT_SECONDS = 10.0
FROZEN_SECONDS = 11.0


def test_nothing_is_blamed_or_killed_for_a_standstill_longer_than_timeout(
    gunicorn: Launcher,
) -> None:
    """Each worker has a request in flight, which blocks a sync worker and an event loop."""
    gunicorn.write("app.py", APP)
    servers = [
        gunicorn.start(
            *MODULE_DOOR,
            app,
            GUNICORN_WORKER_CLASS=worker_class,
            GUNICORN_WORKERS="1",
            GUNICORN_THREADS="2" if "Thread" in worker_class else "1",
            GUNICORN_TIMEOUT=f"{TIMEOUT_SECONDS:g}",
            GUNICORN_STALL_WARNING=f"{TIMEOUT_SECONDS:g}",
            GUNICORN_MEMORY_LOG_INTERVAL="1",
        )
        for worker_class, app in CLASSES.items()
    ]
    before = [server.wait_for_workers(1) for server in servers]
    pids = [pid for server in servers for pid in (server.pid, *server.worker_pids())]
    with ExitStack() as stack:
        answers = [stack.enter_context(server.ask("/")) for server in servers]
        for server in servers:
            server.wait_for("serves")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)  # As long as the machine is frozen.
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        # Once a second, as Gunicorn's main loop and all that looks at workers does.
        for _ in range(2):
            for server in servers:
                server.wait_for("memory workers=", since=server.mark())
        gunicorn.write("release", "")
        assert [answer().status for answer in answers] == [200, 200, 200]

    # What is late would be reported within a second or two.
    for _ in range(2):
        for server in servers:
            server.wait_for("memory workers=", since=server.mark())
    assert [server.worker_pids() for server in servers] == before
    for server in servers:
        assert not server.lines(
            "WORKER TIMEOUT|no heartbeat from|blocked|late by|has run|still|not exited"
        )
        assert server.mistakes() == []
