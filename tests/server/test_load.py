"""What the real server logs of its load."""

from __future__ import annotations

import re
import sys
import threading

import pytest
from harness import MODULE_DOOR, Launcher, wait_until

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="Linux tells how many connections wait"),
]

WAITS = """
    import time

    def app(environ, start_response):
        time.sleep(0.2)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""

LINE = re.compile(
    r"load (?P<rate>[\d.]+)/s, (?P<request>\d+) ms each \((?P<computing>[\d.]+) ms computing\), "
    r"(?P<busy>[\d.]+) of 2 slots busy, cores (?P<cores>\d+) %, (?P<waiting>\d+) waiting: bound by "
)


def test_line_of_two_workers_that_wait(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", WAITS)
    server = gunicorn.start(
        *MODULE_DOOR, "app:app", GUNICORN_WORKERS="2", GUNICORN_MEMORY_LOG_INTERVAL="1"
    )
    server.wait_for_workers(2)
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            server.get()

    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: len(full_lines(server.log)) >= 2, "a second that was full")
    finally:
        is_over.set()
        for client in clients:
            client.join()
    line = full_lines(server.log)[1]

    # Each of the two answers five a second at most, and four of the six clients wait.
    assert 2 <= float(line["rate"]) <= 13
    assert 140 <= int(line["request"]) <= 900  # A second begins and ends within requests.
    assert float(line["computing"]) < 100
    assert float(line["busy"]) <= 2.2
    assert 1 <= int(line["waiting"]) <= 4
    wait_until(lambda: "load 0/s, 0 of 2 slots busy" in server.log, "a line without requests")
    assert server.mistakes() == []


def full_lines(log: str) -> list[re.Match[str]]:
    return [line for line in LINE.finditer(log) if float(line["busy"]) >= 1.7]


@pytest.mark.slow
def test_auto_follows_the_load_and_loses_no_request(gunicorn: Launcher) -> None:
    """One core: three workers are planned, and each waits for most of the time."""
    gunicorn.write("app.py", WAITS)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_CPUS="1",
        GUNICORN_MEMORY="8GiB",
        GUNICORN_MEMORY_LOG_INTERVAL="1",
    )
    server.wait_for_workers(3)
    is_over = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not is_over.is_set():
            statuses.append(server.get().status)

    clients = [threading.Thread(target=ask) for _ in range(12)]
    for client in clients:
        client.start()
    try:
        grown = server.wait_for(r"load guard: grow from 3 to (\d+) workers: all are busy, cores ")
        count = int(grown[1])
        assert 4 <= count <= 13
        server.wait_for_workers(count)
        wait_until(lambda: f" of {count} slots busy" in server.log, "a line of the new count")
    finally:
        is_over.set()
        for client in clients:
            client.join()

    assert set(statuses) == {200}
    assert server.mistakes() == []
