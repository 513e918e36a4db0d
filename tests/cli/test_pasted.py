"""What `explain --as` prints starts a Gunicorn whose settings are those of the plan."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from harness import MODULE_DOOR, Launcher

from gunicorn_autoconf.server.gunicorn import taken_settings

pytestmark = [pytest.mark.server, pytest.mark.one_python, pytest.mark.each_gunicorn]

COMMAND = (sys.executable, "-m", "gunicorn_autoconf", "explain")


def start(gunicorn: Launcher, form: str, text: str, application: str) -> dict[str, str]:
    """What Gunicorn shows when it is started with *text* as its reader would use it."""
    if form == "args":
        return gunicorn.print_config(*shlex.split(text), application)
    if form == "env":
        variables = dict(word.split("=", 1) for word in shlex.split(text))
        return gunicorn.print_config(*MODULE_DOOR, application, **variables)
    gunicorn.write("gunicorn.conf.py", text)
    return gunicorn.print_config(application)


def shown(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings as ``--print-config`` shows them."""
    taken = taken_settings(settings)
    return {name: str(taken[name]) for name in settings}


# What a shell, a file and Gunicorn's own parser each read in their own way.
AWKWARD = {
    "GUNICORN_WORKLOAD": "async",
    "GUNICORN_ACCESSLOG": "-",
    "GUNICORN_PROC_NAME": "-the $shop's-",
    "GUNICORN_PRELOAD_APP": "1",
    "GUNICORN_UMASK": "027",
    "GUNICORN_STATSD_HOST": "localhost:8125",
    "GUNICORN_FORWARDED_ALLOW_IPS": "10.0.0.1,10.0.0.2",
}


@pytest.mark.parametrize("form", ["args", "env", "python"])
def test_gunicorn_starts_with_what_is_pasted(gunicorn: Launcher, form: str) -> None:
    options = ("--cpus", "3", "--memory", "700MiB")
    application = "gunicorn_autoconf.demo:app"
    explained = gunicorn.run(application, "--json", *options, program=COMMAND, **AWKWARD)
    planned = json.loads(explained.stdout)["plan"]["settings"]

    done = gunicorn.run(application, "--as", form, *options, program=COMMAND, **AWKWARD)

    assert (done.returncode, done.stderr) == (0, "")
    found = start(gunicorn, form, done.stdout, application)
    assert (planned["workers"], planned["umask"]) == (2, 23)
    assert {name: found[name] for name in planned} == shown(planned)


def test_what_is_printed_beside_it_does_not_stand_in_it(gunicorn: Launcher) -> None:
    done = gunicorn.run(
        *("--as", "args", "--cpus", "1", "--memory", "100MiB"),
        program=COMMAND,
        GUNICORN_RAW_ENV="TOKEN=hunter2",
    )

    assert done.stdout.startswith("--worker-class sync --workers 1 ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == (
        "Note: 1 worker of 256 MiB (a guess until measured) exceeds the memory budget of 90 MiB "
        "(--memory) by 166 MiB\n"
        "Note: no application was named: this is for WSGI; name it, or set --interface\n"
        "Note: left out: raw_env\n"
    )


def test_a_static_configuration_serves(gunicorn: Launcher, tmp_path: Path) -> None:
    application = "gunicorn_autoconf.demo:app"
    done = gunicorn.run(application, "--as", "python", "--max-workers", "1", program=COMMAND)
    gunicorn.write("gunicorn.conf.py", done.stdout)
    assert "import" not in done.stdout

    server = gunicorn.start(application)

    assert server.get("/").status == 200
    server.wait_for("Application startup complete")
