"""Loggers of the operator's own: any that Gunicorn takes, and JSON with fields."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from harness import MODULE_DOOR, Launcher, Server
from pages import BLOCKS

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard reads Linux's /proc"),
]

TWO_WORKERS = {"GUNICORN_WORKERS": "2", "GUNICORN_WORKLOAD": "cpu"}

# What Gunicorn's documentation of `logger_class` lists, and no more.
OWN = """
    import sys

    class Plain:
        def __init__(self, cfg):
            pass

        def say(self, message, *arguments{takes}):
            print(message % arguments if arguments else message, flush=True)

        critical = error = warning = info = debug = exception = say

        def log(self, level, message, *arguments, **_):
            self.say(message, *arguments)

        def access(self, *arguments):
            pass

        def reopen_files(self):
            pass

        def close_on_exec(self):
            pass

    class NoReopen(Plain):
        reopen_files = property()
"""


@pytest.mark.parametrize("application", ["app", "wsgi_app"])
@pytest.mark.parametrize("name", ["Plain", "NoReopen"])
def test_logger_without_handlers(gunicorn: Launcher, name: str, application: str) -> None:
    gunicorn.write("own.py", OWN.format(takes=", **_"))
    server = gunicorn.start(
        *MODULE_DOOR,
        f"gunicorn_autoconf.demo:{application}",
        "--preload",
        "--logger-class",
        f"own.{name}",
        **TWO_WORKERS,
    )
    server.wait_for_workers(2)
    assert server.get().status == 200
    # The supervisor runs.
    server.wait_for("gunicorn-autoconf: memory workers=2 ")
    assert not server.lines("failed|Traceback|Unhandled")


def records(server: Server, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [record for record in found if record.get("event_name") == event]


def configuration(name: str) -> str:
    """The configuration that the page on logging shows for *name*."""
    (found,) = (
        block.text
        for block in BLOCKS
        if block.place.startswith("docs/how-to/logging.md") and name in block.text
    )
    return found


@pytest.mark.parametrize(
    ("name", "text_key"), [("pythonjsonlogger", "message"), ("structlog", "event")]
)
def test_json_has_fields(gunicorn: Launcher, name: str, text_key: str) -> None:
    gunicorn.write("gunicorn.conf.py", configuration(name))
    server = gunicorn.start("gunicorn_autoconf.demo:wsgi_app", **TWO_WORKERS)
    server.wait_for("memory workers=2 ")
    server.close()

    (plan,) = records(server, "plan")
    assert str(plan[text_key]).startswith("gunicorn-autoconf: ")
    assert (plan["workload"], plan["interface"]) == ("cpu", "wsgi")
    (overridden,) = records(server, "overridden")
    assert overridden["settings"]["workers"] == "2"
    assert overridden["settings"]["worker_class"] == "sync"
    (ready,) = records(server, "all_ready")
    assert ready["workers"] == 2
    memory = records(server, "memory")[0]
    assert memory["workers"] == 2
    assert isinstance(memory["headroom_bytes"], int)
    exited = records(server, "worker_exited")
    assert len({record["worker"] for record in exited}) == 2
    assert all(record["retired"] is False for record in exited)


def test_loguru_has_fields(gunicorn: Launcher) -> None:
    to_json = "logger.remove()\nlogger.add(sys.stdout, serialize=True)\n"
    source = configuration("loguru") + f"\n\nimport sys\n\n{to_json}"
    gunicorn.write("gunicorn.conf.py", source)
    server = gunicorn.start("gunicorn_autoconf.demo:wsgi_app", **TWO_WORKERS)
    server.wait_for("memory workers=2 ")
    server.close()

    found = [json.loads(line)["record"] for line in server.log.splitlines() if line.startswith("{")]
    memory = [each for each in found if each["extra"].get("event_name") == "memory"]
    assert memory[0]["message"].startswith("gunicorn-autoconf: memory workers=2 ")
    assert isinstance(memory[0]["extra"]["headroom_bytes"], int)
