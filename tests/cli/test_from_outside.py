"""A running server as `top`, `explain --pid` and `size --from` see it from outside."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from harness import MODULE_DOOR, Launcher, Server, wait_until
from jsonschema import Draft202012Validator
from schemas import closed

from gunicorn_autoconf.cli.main import main

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="memory has a name on Linux only"),
]

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
RUNNING = json.loads((REFERENCE / "running.schema.json").read_text(encoding="utf-8"))
TOP = json.loads((REFERENCE / "top.schema.json").read_text(encoding="utf-8"))

APP = """
    import os, time

    while os.path.exists("hold"):
        time.sleep(0.02)

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/child":
            os.system("ls -l /proc/self/fd > child")
        while environ["PATH_INFO"] == "/long" and not os.path.exists("go"):
            time.sleep(0.02)
        time.sleep(0.05)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == status, result.output
    return result.output


def document(*arguments: str) -> Any:
    return json.loads(run(*arguments))


def test_a_server_from_outside(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", APP)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_WORKERS="2",
        GUNICORN_WORKLOAD="cpu",
        GUNICORN_MEMORY="8GiB",
        GUNICORN_MEMORY_LOG_INTERVAL="1",
    )
    server.wait_for_workers(2)
    pid = ("--pid", str(server.pid))

    # What it tells.
    # Until it has written anything, the error says so.
    explain = ("explain", *pid, "--json")
    wait_until(lambda: CliRunner().invoke(main, explain).exit_code == 0, "it has told anything")
    answered: list[int] = []

    def is_told() -> bool:
        answered.extend(server.get().status for _ in range(5))
        load = document(*explain)["load"] or {}
        # The kernel counts CPU time in ticks of 10 ms: the first requests may use none.
        return bool(load.get("requests", 0) >= 10 and load["computing_seconds"] > 0)

    wait_until(is_told, "the load is told")
    assert set(answered) == {200}
    told = document(*explain)
    Draft202012Validator.check_schema(RUNNING)
    Draft202012Validator(closed(RUNNING)).validate(told)
    assert told["arbiter_pid"] == server.pid
    assert (told["worker_class"], told["interface"], told["workload"]) == ("sync", "wsgi", "cpu")
    assert (told["target_workers"], told["slots_per_worker"], told["threads"]) == (2, 1, 1)
    assert told["guards"] == {"memory": "act", "load": "off"}
    assert told["load"]["slots"] == 2
    assert 0.05 <= told["load"]["request_seconds"] < 2
    assert told["memory"]["limit_bytes"] == 8_589_934_592
    assert {int(each) for each in told["memory"]["uss_bytes"]} == server.worker_pids()

    text = run("explain", *pid)
    assert "\nLoad\n  load " in text
    assert re.search(r"guards +memory act, load off\n", text)
    assert re.search(r"  workers = 2\n(      .*\n)*      set by GUNICORN_WORKERS; ", text)
    assert max(map(len, text.splitlines())) <= 80

    # What it takes.
    sized = document("size", "--json", "--from", str(server.pid), "--rate", "300")
    load = sized["asked"]["load"]
    assert load["rate"] == 300.0
    assert load["latency_seconds"] == pytest.approx(told["load"]["request_seconds"], rel=0.5)
    assert (sized["interface"], sized["workload"]) == ("wsgi", "io")
    assert re.fullmatch(
        rf"measured in the last \d+ s by arbiter {server.pid}; .*", sized["notes"][0]
    )

    # Nothing that a worker starts has the memory.
    server.get("/child")
    child = (gunicorn.folder / "child").read_text()
    assert "/dev/null" in child
    assert "memfd" not in child

    # Each worker.
    seen = document("top", "--json", *pid)
    Draft202012Validator(closed(TOP)).validate(seen)
    Draft202012Validator(closed(RUNNING)).validate(seen["status"])
    assert seen["listeners"] == [{"address": "{}:{}".format(*server.address), "waiting": 0}]
    assert [worker["phase"] for worker in seen["workers"]] == ["ready", "ready"]
    assert sum(worker["requests"] for worker in seen["workers"]) == len(answered) + 1
    assert all(worker["growth_bytes"] is not None for worker in seen["workers"])
    assert seen["untold"] is None

    one_boots_and_one_drains(gunicorn, server, pid)
    assert server.mistakes() == []


def one_boots_and_one_drains(gunicorn: Launcher, server: Server, pid: Sequence[str]) -> None:
    """One starts where the application waits; the oldest is told to exit in its request."""
    (gunicorn.folder / "hold").touch()
    with server.ask("/long") as first, server.ask("/long") as second:
        wait_until(lambda: in_flight(pid) == [1, 1], "both are busy")
        server.signal(signal.SIGTTIN)
        wait_until(lambda: len(server.worker_pids()) == 3, "a third worker")
        server.signal(signal.SIGTTOU)
        wait_until(
            lambda: phases(pid) == ["booting", "draining", "ready"],
            lambda: f"one boots and one drains, not {phases(pid)}",
        )
        (gunicorn.folder / "hold").unlink()
        (gunicorn.folder / "go").touch()
        assert (first().status, second().status) == (200, 200)
    wait_until(lambda: phases(pid) == ["ready", "ready"], "the two that are left are ready")


def in_flight(pid: Sequence[str]) -> list[int]:
    return [each["in_flight"] for each in document("top", "--json", *pid)["workers"]]


def phases(pid: Sequence[str]) -> list[str]:
    return sorted(each["phase"] for each in document("top", "--json", *pid)["workers"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pid", "1", "app:app"), "--pid shows a server as it runs: leave out APP"),
        (("--pid", "1", "--cpus", "2"), "--pid shows a server as it runs: leave out --cpus"),
        (("--pid", "1", "--short"), "--pid shows a server as it runs: leave out --short or --as"),
        (("--pid", "-1"), "--pid=-1: there is no such process"),
    ],
)
def test_a_wrong_question_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert run("explain", *arguments, status=2) == f"Error: {message}\n"
