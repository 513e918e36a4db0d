"""The real server in a cgroup with few processes and threads: what is planned can be started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from harness import MODULE_DOOR, Launcher, wait_until

pytestmark = [
    pytest.mark.server,
    pytest.mark.cgroup,
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's"),
]

LIMIT = 64
SLOW = """
import time
def app(environ, start_response):
    time.sleep(0.3)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def pids_cgroup() -> Iterator[Path]:
    """A cgroup that may hold 64 processes and threads."""
    legacy = Path("/sys/fs/cgroup/pids")
    directory = (legacy if legacy.is_dir() else legacy.parent) / f"autoconf_{os.getpid()}"
    try:
        directory.mkdir()
        (directory / "pids.max").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"cannot make a cgroup here: {error}")
    try:
        yield directory
    finally:

        def removed() -> bool:
            try:
                directory.rmdir()
            except OSError:
                return False
            return True

        wait_until(removed, f"{directory} is removed")


@pytest.fixture
def few(pids_cgroup: Path, gunicorn: Launcher) -> Launcher:
    """Starts the server in *pids_cgroup*; it is stopped before that is removed."""
    join = f"echo $$ > '{pids_cgroup}/cgroup.procs' && exec \"$@\""
    return replace(gunicorn, wrapper=("/bin/sh", "-c", join, "sh"))


def test_threads_fit(pids_cgroup: Path, few: Launcher) -> None:
    few.write("slow.py", SLOW)
    server = few.start(*MODULE_DOOR, "slow:app", GUNICORN_WORKLOAD="io", GUNICORN_CPUS="2")
    server.wait_for_workers(2)
    assert server.lines(rf"autoconf:   threads +10 +.*pids_max = 64, .*\({pids_cgroup}/pids.max\)")

    with ThreadPoolExecutor(40) as clients:
        statuses = {answer.status for answer in clients.map(lambda _: server.get(), range(80))}

    assert statuses == {200}
    assert 20 < int((pids_cgroup / "pids.current").read_text()) <= LIMIT
    assert not server.lines("start new thread|temporarily unavailable")


def test_what_does_not_fit_is_told(few: Launcher) -> None:
    few.write("slow.py", SLOW)
    server = few.start(
        *MODULE_DOOR,
        "slow:app",
        GUNICORN_WORKLOAD="io",
        GUNICORN_WORKERS="3",
        GUNICORN_THREADS="100",
    )
    server.wait_for_workers(3)
    (line,) = server.lines("pids.max allows")
    assert "3 workers x 100 threads may need 440 processes and threads" in line
