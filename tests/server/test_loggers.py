"""Loggers of the operator's own: any that Gunicorn takes, and JSON with fields."""

from __future__ import annotations

import json
import sys

import pytest
from harness import MODULE_DOOR, Launcher, Server

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


# As python-json-logger does: every attribute that is not the record's own.
JSON_CONF = """
    import json, logging
    from gunicorn_autoconf.conf import *

    class Json(logging.Formatter):
        own = set(vars(logging.makeLogRecord({})))

        def format(self, record):
            extra = {k: v for k, v in vars(record).items() if k not in self.own}
            return json.dumps({"message": record.getMessage(), **extra})

    logconfig_dict = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": Json}},
        "handlers": {
            "out": {
                "class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"
            }
        },
        "root": {"level": "INFO", "handlers": ["out"]},
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["out"], "propagate": False}
        },
    }
"""


def records(server: Server, event: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [record for record in found if record.get("event") == event]


def test_json_has_fields(gunicorn: Launcher) -> None:
    gunicorn.write("gunicorn.conf.py", JSON_CONF)
    server = gunicorn.start("gunicorn_autoconf.demo:wsgi_app", **TWO_WORKERS)
    server.wait_for("memory workers=2 ")
    server.close()

    (plan,) = records(server, "plan")
    assert (plan["workload"], plan["interface"]) == ("cpu", "wsgi")
    settings = {record["setting"]: record["setting_value"] for record in records(server, "setting")}
    assert settings["workers"] == 2
    assert settings["worker_class"] == "sync"
    booted = records(server, "worker_booted")
    assert len({record["worker"] for record in booted}) == 2
    assert all(isinstance(record["uss_bytes"], int) for record in booted)
    memory = records(server, "memory")[0]
    assert memory["workers"] == 2
    assert isinstance(memory["headroom_bytes"], int)
    exited = records(server, "worker_exited")
    assert {record["worker"] for record in exited} == {record["worker"] for record in booted}
    assert all(record["retired"] is False for record in exited)
