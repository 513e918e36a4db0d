"""What the real server logs and sends of its memory."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

import pytest
from harness import (
    MODULE_DOOR,
    Launcher,
    wait_until,
)
from memory_servers import (
    EVERY_SAMPLE,
    TWO_WORKERS,
    WSGI,
    answering,
    last_line,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard reads Linux's /proc"),
]


def test_memory_of_all_workers_is_logged_every_interval(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, WSGI, **TWO_WORKERS, GUNICORN_MEMORY_LOG_INTERVAL="1")
    pids = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    # Every second, with room for a loaded machine.
    wait_until(lambda: len(server.lines(" memory workers=2 ")) >= 4, "a line each second", 6)
    line = last_line(server)
    for name in ("pss", "budget", "headroom", "limit"):
        assert re.search(rf" {name}=[\d.]+MiB", line), line
    for pid in pids:
        (uss,) = re.findall(rf" {pid}=([\d.]+)MiB\([+-][\d.]+\)", line)
        assert 3 < float(uss) < 100


@pytest.mark.slow
def test_memory_is_seen_while_workers_come_and_go(gunicorn: Launcher) -> None:
    """The thread rests for each fork; that must not put off its next look for ever."""
    server = gunicorn.start(*MODULE_DOOR, WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")
    due = time.monotonic()

    def told() -> bool:
        nonlocal due
        if time.monotonic() >= due:
            os.kill(min(server.worker_pids()), signal.SIGKILL)
            due = time.monotonic() + 0.3
        return len(server.lines(" memory workers=")) >= 3

    wait_until(told, "two more lines about the memory")
    answering(server, 2)
