"""The real server says what an application keeps in one process, where it runs several."""

from __future__ import annotations

import pytest
from harness import MODULE_DOOR, Launcher

pytestmark = [pytest.mark.server, pytest.mark.one_python]

SOURCE = """
from multiprocessing import Manager

def make():
    return Manager().dict()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_told_once_and_not_for_one_worker(gunicorn: Launcher) -> None:
    gunicorn.write("shared.py", SOURCE)
    server = gunicorn.start(*MODULE_DOOR, "shared:app", GUNICORN_CPUS="1")
    server.wait_for_workers(3)
    (line,) = server.lines("keeps its state in one process")
    assert "Manager() at shared.py:5" in line
    assert "[WARNING]" in line
    assert server.get().status == 200
    server.stop()

    server = gunicorn.start(*MODULE_DOOR, "shared:app", GUNICORN_WORKERS="1")
    server.wait_for_workers(1)
    assert server.lines("keeps its state in one process") == []
