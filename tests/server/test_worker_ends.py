"""Why a worker of the real server is gone, as the log tells it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import sys
from contextlib import suppress

import pytest
from cgroups import Cgroup
from harness import (
    MODULE_DOOR,
    Launcher,
)
from memory_servers import (
    ASGI,
    IMPATIENT,
    ON_DEMAND,
    TWO_WORKERS,
    WSGI,
    answering,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard reads Linux's /proc"),
]

# Who killed the worker?


@pytest.mark.cgroup
def test_oom_kill_is_told_with_its_numbers(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write("app.py", ON_DEMAND)
    server = confined.start(*MODULE_DOOR, "app:app", **TWO_WORKERS)
    before = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    with server.ask("/hog") as answer, pytest.raises((ConnectionError, http.client.HTTPException)):
        answer()

    told = server.wait_for(r"worker (\d+) was killed by the kernel's OOM killer: (.*)")
    killed = int(told.group(1))
    assert cgroup.oom_kills == 1
    assert killed in before
    assert f"limit 300 MiB at {cgroup.memory}, 2 workers, it used " in told.group(2)
    assert re.search(r"it used [\d.]+ MiB \([\d.]+ MiB at boot\)", told.group(2))
    after = answering(server, 2)
    assert after & before == before - {killed}
    assert len(server.lines("OOM killer")) == 1


@pytest.mark.cgroup
@pytest.mark.slow
def test_kill_of_another_process_is_told_as_that(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write(
        "app.py",
        """
        import subprocess, sys
        from gunicorn_autoconf.demo import wsgi_app as app

        subprocess.Popen([sys.executable, "-c", "b'x' * 2**30"])
        """,
    )
    confined.write("gunicorn.conf.py", IMPATIENT.format(timing="claim_seconds=0.5"))
    server = confined.start("app:app", GUNICORN_WORKERS="1")
    (worker,) = server.wait_for_workers(1)

    # By its name, where it was seen before it died.
    server.wait_for(r"OOM killer killed (1 )?process")
    assert cgroup.oom_kills == 1
    assert server.worker_pids() == {worker}
    assert not server.lines(r"worker \d+ was killed by the kernel")


@pytest.mark.cgroup
@pytest.mark.parametrize(
    "application", ["wsgi:app", pytest.param("asgi:app", marks=pytest.mark.slow)]
)
def test_timeout_is_told_to_be_no_oom_kill(
    cgroup: Cgroup, confined: Launcher, application: str
) -> None:
    confined.write("wsgi.py", ON_DEMAND)
    confined.write(
        "asgi.py",
        """
        import time

        async def app(scope, receive, send):
            if scope["type"] == "http":
                time.sleep(60)
        """,
    )
    server = confined.start(*MODULE_DOOR, application, "--timeout", "2", **TWO_WORKERS)
    before = server.wait_for_workers(2)

    with server.ask("/hang") as answer:
        told = server.wait_for(
            r"worker (\d+) was killed by Gunicorn after timeout, not by the kernel's OOM killer"
        )
        with suppress(OSError):
            assert answer().status == 500

    killed = int(told.group(1))
    assert killed in before
    after = server.wait_for_workers(2, replacing={killed})
    assert after & before == before - {killed}
    assert not server.lines("was killed by the kernel's")


@pytest.mark.parametrize("application", [WSGI, ASGI])
def test_exit_line_tells_the_last_known_memory(gunicorn: Launcher, application: str) -> None:
    server = gunicorn.start(*MODULE_DOOR, application, **TWO_WORKERS)
    first, *_ = workers = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    os.kill(first, signal.SIGTERM)
    server.wait_for(
        rf"worker {first} exited: age=\d+s uss=[\d.]+MiB boot_uss=[\d.]+MiB pss=[\d.]+MiB"
    )
    server.wait_for_workers(2, replacing={first})
    assert len(workers) == 2


def test_exit_line_tells_the_memory_at_the_end(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        kept = []

        def app(environ, start_response):
            kept.append(b"x" * (50 * 2**20))
            start_response("200 OK", [])
            return [b""]
        """,
    )
    # No sample comes between the request and the end.
    server = gunicorn.start(*MODULE_DOOR, "app:app", GUNICORN_WORKERS="1")
    (worker,) = server.wait_for_workers(1)
    server.wait_for(" memory workers=1 ")
    assert server.get().status == 200

    os.kill(worker, signal.SIGTERM)

    told = server.wait_for(rf"worker {worker} exited: age=\d+s uss=([\d.]+)MiB")
    assert 50 < float(told.group(1)) < 100


@pytest.mark.cgroup
@pytest.mark.parametrize("application", [WSGI, ASGI])
def test_worker_that_somebody_kills_is_told_to_be_no_oom_kill(
    cgroup: Cgroup, confined: Launcher, application: str
) -> None:
    server = confined.start(*MODULE_DOOR, application, **TWO_WORKERS)
    first, *_ = server.wait_for_workers(2)

    os.kill(first, signal.SIGKILL)

    server.wait_for(rf"worker {first} ended without its exit hooks, not by the kernel's OOM killer")
    server.wait_for_workers(2, replacing={first})


def test_nothing_is_made_of_exit_hooks_that_are_not_ours(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gunicorn_autoconf.conf import *

        def worker_exit(server, worker):
            pass
        """,
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS)
    first, *_ = server.wait_for_workers(2)

    os.kill(first, signal.SIGTERM)

    server.wait_for(rf"worker {first} exited")


def test_nothing_is_made_of_exit_hooks_that_never_run(gunicorn: Launcher) -> None:
    """Uvicorn's own worker skips them when it is told to end."""
    server = gunicorn.start(
        *MODULE_DOOR, ASGI, "--worker-class=uvicorn_worker.UvicornWorker", **TWO_WORKERS
    )
    first, *_ = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    os.kill(first, signal.SIGTERM)

    server.wait_for(rf"worker {first} exited: age=")
    assert not server.lines("without its exit hooks")
