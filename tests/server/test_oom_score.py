"""Whom the kernel's OOM killer kills: a worker, never the arbiter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cgroups import Cgroup, limited
from harness import GUNICORN_SCRIPT, MODULE_DOOR, Launcher, children, wait_until

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="the score is Linux's"),
]

MIB = 2**20

# With preload_app the arbiter holds it, and each worker shares it.
LARGE = """
    from gunicorn_autoconf.demo import wsgi_app as app
    ballast = bytearray(b"x" * (60 * 2**20))
"""

# Takes memory until the counter of kills rises, and gives it back. What it writes is no process's.
EATER = """
import os, re, sys

def kills():
    with open(sys.argv[1]) as file:
        return int(re.search(r"oom_kill (\\d+)", file.read())[1])

before, file = kills(), os.memfd_create("eaten")
while kills() == before:
    os.write(file, bytes(2**18))
"""


def eat(cgroup: Cgroup) -> None:
    """Have the OOM killer strike in *cgroup* once."""
    name = "memory.oom_control" if cgroup.version == 1 else "memory.events"
    eater = (*cgroup.wrapper, sys.executable, "-c", EATER, str(cgroup.memory / name))
    subprocess.run(eater, check=True, timeout=60)


@pytest.mark.cgroup
def test_arbiter_outlives_what_its_workers_do_not(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", LARGE)
    with limited("memory", memory_bytes=400 * MIB) as cgroup:
        confined = Launcher(gunicorn.folder, gunicorn.servers, cgroup.wrapper)
        server = confined.start(
            *(*MODULE_DOOR, "--preload", "app:app"),
            program=GUNICORN_SCRIPT,
            GUNICORN_WORKERS="2",
        )
        try:
            for _ in range(3):
                workers = server.wait_for_workers(2)
                eat(cgroup)
                wait_until(
                    lambda before=workers: before - set(children(server.pid)),  # type: ignore[misc]
                    "a worker is gone",
                )
            server.wait_for_workers(2)
            assert server.get().status == 200
            assert server.lines(r"was OOM-killed|OOM killer")
        finally:
            server.close()


def test_score_rises_by_the_share_of_the_limit_that_the_arbiter_has(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", LARGE)
    before = score(os.getpid())

    server = gunicorn.start(
        *(*MODULE_DOOR, "--preload", "app:app"),
        program=GUNICORN_SCRIPT,
        GUNICORN_WORKERS="2",
    )
    assert score(server.pid) == before
    # 60 MiB and Python itself, of all the memory there is: a few thousandths.
    workers = server.wait_for_workers(2)
    assert all(before < score(pid) < before + 100 for pid in workers)

    # It counts from the arbiter's own score each time, and an upgrade begins with none of it.
    server.signal(signal.SIGHUP)
    replaced = server.wait_for_workers(2, replacing=workers)
    assert all(before < score(pid) < before + 100 for pid in replaced)
    since = server.mark()
    server.signal(signal.SIGUSR2)
    new = int(server.wait_for(r"Listening at: \S+ \((\d+)\)", since=since).group(1))
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.adopt(new)
    server.wait_for("Master has been promoted", since=since)
    assert score(new) == before
    assert all(before < score(pid) < before + 100 for pid in server.wait_for_workers(2))


def test_guard_that_is_off_leaves_the_score_alone(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR,
        "gunicorn_autoconf.demo:wsgi_app",
        GUNICORN_WORKERS="1",
        GUNICORN_MEMORY_GUARD="off",
    )
    before = score(os.getpid())
    assert {score(pid) for pid in server.wait_for_workers(1)} == {before}


def score(pid: int) -> int:
    """Return what was added to the points of *pid*."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
