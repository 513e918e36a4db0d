"""The watchdog goes on across replacements, reloads and upgrades, and leaves nothing open."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from harness import GUNICORN_SCRIPT, MODULE_DOOR, Launcher, Server, wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_python]

# It waits, so that a busy machine does not excuse it. What uvicorn imports late is imported in the
# arbiter: another user may not be allowed to read Python's own files.
APP = """
    import time

    import uvicorn
    import uvloop

    def wait():
        time.sleep(0.6)

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/wait":
            wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    uvicorn.Config(app, loop="uvloop", log_config=None).load()
"""
ONE_WORKER = {"GUNICORN_WORKERS": "1"}


def open_files(pid: int) -> dict[str, list[str]]:
    """What process *pid* has open, by kind; a file or a pipe by its name."""
    found: dict[str, list[str]] = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        name = os.readlink(link)
        found.setdefault(re.sub(r":\[.*|/.*", "", name), []).append(name)
    return found


def names_the_stall(server: Server, worker: int) -> bool:
    """Ask for the view that waits; whether the log names its line, as *worker*'s."""
    assert server.get("/wait").status == 200
    return bool(server.lines(rf"\[{worker}\] .*has been blocked for .* by \S+/app\.py:8 in wait"))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_stall_is_named_after_each_change_and_nothing_stays_open(gunicorn: Launcher) -> None:
    """With ``preload_app``, and as another user where the test runs as root."""
    gunicorn.write("app.py", APP)
    options: tuple[str, ...] = ("--preload",)
    if os.geteuid() == 0:
        options = (*options, "--user", "65534", "--group", "65534")
    server = gunicorn.start(
        *MODULE_DOOR, *options, "app:app", program=GUNICORN_SCRIPT, **ONE_WORKER
    )
    (worker,) = server.wait_for_workers(1)
    wait_until(lambda: names_the_stall(server, worker), "a stall of the first worker")
    before = open_files(server.pid)
    streams = {os.readlink(f"/proc/{server.pid}/fd/{number}") for number in range(3)}

    for _ in range(20):
        os.kill(worker, signal.SIGTERM)
        (worker,) = server.wait_for_workers(1, replacing={worker})
    wait_until(lambda: names_the_stall(server, worker), "a stall after 20 replacements")
    server.signal(signal.SIGHUP)
    (worker,) = server.wait_for_workers(1, replacing={worker})
    wait_until(lambda: names_the_stall(server, worker), "a stall after a reload")
    wait_until(
        lambda: (
            {kind: len(names) for kind, names in open_files(server.pid).items()}
            == {kind: len(names) for kind, names in before.items()}
        ),
        lambda: f"as many files are open as before: {before}, {open_files(server.pid)}",
    )

    since = server.mark()
    server.signal(signal.SIGUSR2)
    upgraded = int(server.wait_for(r"Listening at: \S+ \((\d+)\)", since=since).group(1))
    server.wait_for(r"worker \d+ (?:booted|ready)", since=since)
    wait_until(lambda: "pipe" in open_files(upgraded), "the new arbiter watches its worker")
    # What the old one watches its worker by ends with its exec.
    inherited = set(open_files(server.pid)["pipe"]) & set(open_files(upgraded)["pipe"])
    assert not [name for name in inherited if name not in streams]
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.adopt(upgraded)
    (worker,) = server.wait_for_workers(1, replacing={worker})
    wait_until(lambda: names_the_stall(server, worker), "a stall after an upgrade")
    assert not server.lines("the watchdog (crashed|is off)|Traceback")
