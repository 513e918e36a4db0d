"""The `gunicorn-autoconf` command: what it prints, how it ends, what it takes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from patience import stretched

import gunicorn_autoconf
from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.cli.paste import FORMS
from gunicorn_autoconf.machine.detect import find_file_system

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

APP = """\
import sys

from flask import Flask

sys.exit("this must never be run")
app = Flask(__name__)
"""
ASGI_APP = """\
async def app(scope, receive, send):
    raise SystemExit("this must never be run")
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two applications, where no variable of ours is set."""
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")
    (tmp_path / "chat.py").write_text(ASGI_APP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("GUNICORN_") or name == "WEB_CONCURRENCY":
            monkeypatch.delenv(name)
    return tmp_path


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(main, arguments)


def explain(*arguments: str, status: int = 0, **environ: str) -> Any:
    """The JSON that `explain` prints."""
    result = run("explain", "--json", *arguments, **environ)
    assert result.exit_code == status, result.output
    return json.loads(result.output)


def test_text() -> None:
    result = run("explain", "shop:app", "--cpus", "2", "--memory", "1GiB")

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:3] == [
        "3 sync workers: 2 cores, 1 GiB, WSGI, workload auto",
        "",
        "Machine",
    ]
    assert "  --cpus = 2" in lines
    assert "  --memory = 1 GiB" in lines
    assert "  WSGI (Flask() at shop.py:6)" in lines
    assert "  workers = 3" in lines
    assert "      5: floor(2 * c) + 1, c = 2 (--cpus)" in lines
    assert lines[-1].strip()


def test_json() -> None:
    shown = explain("shop:app", "--cpus", "4", "--memory", "600MiB", "--workload", "io")

    assert shown["plan"]["settings"]["worker_class"] == "gunicorn_autoconf.workers.ThreadWorker"
    assert shown["plan"]["settings"]["workers"] == 2
    assert shown["plan"]["settings"]["threads"] == 100
    assert shown["declaration"]["values"] == {
        "workload": {"value": "io", "source": "--workload"},
        "cpus": {"value": 4.0, "source": "--cpus"},
        "memory_bytes": {"value": 629_145_600, "source": "--memory"},
    }
    assert shown["application"]["interface"] == "wsgi"


def test_asgi_application() -> None:
    settings = explain("chat:app", "--cpus", "2", "--workload", "async")["plan"]["settings"]
    assert settings["worker_class"] == "gunicorn_autoconf.workers.UvicornWorker"
    assert settings["workers"] == 2


def test_without_an_application() -> None:
    shown = explain("--cpus", "2")
    assert shown["application"] is None
    assert shown["plan"]["interface_evidence"] == ("no application is named; Gunicorn assumes WSGI")


@pytest.mark.parametrize(
    ("app", "missing", "planned"),
    [
        ("nothing.there:app", "nothing", "wsgi"),
        ("nothing.asgi:app", "nothing", "asgi"),  # The module's own name tells.
        ("shop.asgi", "shop.asgi", "asgi"),
    ],
)
def test_an_application_that_is_not_there(app: str, missing: str, planned: str) -> None:
    shown = explain(app, "--cpus", "2", status=1)
    assert shown["plan"]["interface"] == planned
    assert shown["application"]["missing_module"] == missing
    (warning,) = shown["warnings"]
    assert warning == (
        f"no module named {missing} is found, planned for {planned.upper()}: "
        "is the application's name right?"
    )


def test_an_application_that_is_there_and_does_not_tell(project: Path) -> None:
    (project / "dark.py").write_text("app = globals()['app']\n", encoding="utf-8")
    shown = explain("dark:app", "--cpus", "2")
    assert shown["application"]["missing_module"] is None
    assert shown["warnings"][0].startswith("could not tell ASGI from WSGI, planned for WSGI: ")


def test_an_application_that_is_neither(project: Path) -> None:
    source = "from aiohttp import web\n\nsite = web.Application()\n"
    (project / "wsgi.py").write_text(source, encoding="utf-8")
    shown = explain("wsgi:site", "--cpus", "2")
    assert shown["application"]["is_neither"] is True
    assert shown["application"]["worker_class"] == "aiohttp.GunicornWebWorker"
    assert shown["warnings"][0] == (
        "the application is neither ASGI nor WSGI, planned for WSGI: Application() at wsgi.py:3: "
        "aiohttp speaks neither ASGI nor WSGI, worker class aiohttp.GunicornWebWorker serves it; "
        "set GUNICORN_WORKER_CLASS=aiohttp.GunicornWebWorker"
    )
    served = explain("wsgi:site", GUNICORN_WORKER_CLASS="aiohttp.GunicornWebWorker")
    assert not [row for row in served["warnings"] if "neither" in row]


def test_what_is_declared_needs_no_application() -> None:
    assert explain("nothing.there:app", "--interface", "asgi")["warnings"] == []


def test_the_environment_declares_too() -> None:
    shown = explain(
        "--cpus", "2", GUNICORN_CPUS="64", GUNICORN_WORKLOAD="cpu", GUNICORN_TIMEOUT="90"
    )
    assert shown["plan"]["settings"]["workers"] == 2
    assert shown["plan"]["settings"]["timeout"] == 90
    assert shown["declaration"]["values"] == {
        "workload": {"value": "cpu", "source": "GUNICORN_WORKLOAD"},
        "cpus": {"value": 2.0, "source": "--cpus"},
    }


def test_what_gunicorn_would_be_told_counts() -> None:
    shown = explain("shop:app", GUNICORN_CMD_ARGS="--workers 6", GUNICORN_WORKERS="5")
    assert shown["plan"]["settings"]["workers"] == 6


@pytest.mark.parametrize(
    ("arguments", "setting", "value"),
    [
        (("--interface", "asgi"), "worker_class", "gunicorn_autoconf.workers.UvicornWorker"),
        (("--interface", "auto"), "worker_class", "sync"),
        (("--worker-memory", "400MiB"), "workers", 2),
        (("--workload", "CPU"), "timeout", 120),
        (("--memory-reserve", "50%"), "workers", 2),
        (("--min-workers", "8"), "workers", 8),
        (("--max-workers", "1"), "workers", 1),
        (("--max-concurrency", "2"), "workers", 2),
    ],
)
def test_options(arguments: tuple[str, ...], setting: str, value: object) -> None:
    shown = explain("shop:app", "--cpus", "2", "--memory", "1GiB", *arguments)
    assert shown["plan"]["settings"][setting] == value


def test_options_that_the_plan_does_not_rest_on() -> None:
    options = ("--memory-log-interval", "5", "--memory-guard", "observe", "--stall-warning", "0")
    assert explain(*options)["declaration"]["values"] == {
        "memory_log_interval_seconds": {"value": 5.0, "source": "--memory-log-interval"},
        "memory_guard": {"value": "observe", "source": "--memory-guard"},
        "stall_warning_seconds": {"value": 0.0, "source": "--stall-warning"},
    }


def test_problems() -> None:
    result = run("explain", "--cpus", "2", "--memory", "128MiB", GUNICORN_WORKLAOD="io")
    assert result.exit_code == 0
    problems = result.output.partition("\nProblems\n")[2].partition("\n\n")[0]
    assert problems.splitlines() == [
        "  - GUNICORN_WORKLAOD is unknown and has no effect; did you mean",
        "    GUNICORN_WORKLOAD?",
        "  - 1 worker of 256 MiB (a guess until measured) exceeds the memory budget of",
        "    115.2 MiB (--memory) by 140.8 MiB",
    ]


def test_advice_is_printed_last() -> None:
    result = run("explain", "--cpus", "2", "--memory", "1GiB")
    advice = result.output.partition("\nAdvice\n")[2]
    assert advice.startswith("  - No workload is declared: the running server measures what ")


def test_a_configuration_file_is_named_and_not_run(project: Path) -> None:
    source = "raise SystemExit('this must never be run')\ntimeout = 90\nhelper = workers = 3\n"
    (project / "gunicorn.conf.py").write_text(source, encoding="utf-8")
    advice = {item["topic"]: item["text"] for item in explain("--cpus", "2")["advice"]}
    assert advice["conf-file"] == (
        "./gunicorn.conf.py is not read here, because explain runs none of your code. "
        "It assigns timeout, workers. gunicorn --print-config shows the result."
    )


def test_a_worker_class_that_the_file_has_wrong(project: Path) -> None:
    (project / "gunicorn.conf.py").write_text("worker_class = 'gthreads'\n", encoding="utf-8")
    (warning,) = explain("--cpus", "2")["warnings"]
    assert warning.startswith("./gunicorn.conf.py: worker_class='gthreads': Gunicorn ")
    assert warning.endswith(" has no such worker class; did you mean gthread?")


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="only Linux tells")
@pytest.mark.parametrize(("directory", "is_memory"), [("/dev/shm", True), ("/proc/self", False)])
def test_the_heartbeat_is_looked_for_where_it_will_be(directory: str, is_memory: bool) -> None:
    if is_memory and find_file_system(directory) != "tmpfs":
        pytest.skip(f"{directory} is no tmpfs here")
    shown = explain("--cpus", "2", GUNICORN_WORKER_TMP_DIR=directory)
    assert ("worker-tmp-dir" not in {item["topic"] for item in shown["advice"]}) is is_memory


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (
            ["--cpus", "0"],
            {},
            "Error: --cpus='0': use cores above 0 such as 2, 1.5 or 500m\n",
        ),
        (
            ["--workload", "gpu"],
            {},
            "Error: --workload='gpu': use one of auto, cpu, mixed, io, async\n",
        ),
        (
            ["--worker-memory", "1g"],
            {},
            (
                "Error: --worker-memory='1g': use a quantity such as 512MiB, 1Gi, 0.5G or "
                "536870912 ('g' is ambiguous, write Gi or G)\n"
            ),
        ),
        (
            [],
            {"GUNICORN_MAX_WORKERS": "0"},
            "Error: GUNICORN_MAX_WORKERS='0': use a whole number of at least 1\n",
        ),
        (
            [],
            {"GUNICORN_TIMEOUT": "soon"},
            "Error: GUNICORN_TIMEOUT='soon': use a whole number of at least 0\n",
        ),
    ],
)
def test_a_wrong_value_is_one_line(
    arguments: list[str], environ: dict[str, str], message: str
) -> None:
    result = run("explain", *arguments, **environ)
    assert result.output == message
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nosuch 3", "Gunicorn refuses it: unrecognized arguments: --nosuch"),
        ("-zhunter2", "Gunicorn refuses it: unrecognized arguments: -z"),
        ("--statsd-pw=hunter2", "Gunicorn refuses it: unrecognized arguments: --statsd-pw"),
        ("--st=hunter2", "Gunicorn refuses it: ambiguous option: --st"),
        ("--workers=-1", "Gunicorn refuses it: argument --workers"),
        ("--workers many", "Gunicorn refuses it: argument -w/--workers"),
        ("--workers 'two", "Gunicorn refuses it: No closing quotation"),
        ("--version", "Gunicorn prints its help or version and ends"),
    ],
)
def test_what_gunicorn_would_refuse_is_one_line(words: str, said: str) -> None:
    result = run("explain", "shop:app", GUNICORN_CMD_ARGS=f"--env TOKEN=hunter2 {words}")
    assert result.output.startswith(f"Error: GUNICORN_CMD_ARGS: {said}")
    assert result.output.count("\n") == 1
    assert "hunter2" not in result.output
    assert result.exit_code == 2


def test_help_names_what_each_option_takes() -> None:
    shown = " ".join(run("explain", "--help").output.split())
    for phrase in (
        "cores above 0 such as 2, 1.5 or 500m",
        "one of auto, cpu, mixed, io, async",
        "one of auto, asgi, wsgi",
        "a quantity such as 512MiB, 1Gi, 0.5G or 536870912",
    ):
        assert phrase in shown


def test_page_names_every_command_and_every_form() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\w+)$", text, re.MULTILINE)) == set(main.commands)
    for name in main.commands:
        assert f"_generated/command-{name}.md" in text
    assert set(FORMS) <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert gunicorn_autoconf.__version__ in result.output


def test_as_a_module(project: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(Path(gunicorn_autoconf.__file__).parents[1])}
    command = [sys.executable, "-m", "gunicorn_autoconf", "explain", "chat:app", "--json"]

    done = subprocess.run(
        [*command, "--cpus", "2", "--memory", "1GiB"],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        timeout=stretched(60),
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0
    settings = json.loads(done.stdout)["plan"]["settings"]
    assert settings["worker_class"] == "gunicorn_autoconf.workers.UvicornWorker"
    assert settings["workers"] == 3


def test_ways_to_print_exclude_each_other() -> None:
    result = run("explain", "--json", "--as", "env")
    assert result.exit_code == 2
    assert result.output == ("Error: --short, --json and --as exclude each other: use one\n")


def test_short() -> None:
    options = ("--short", "--cpus", "2", "--memory", "1GiB", "--workload", "io")
    result = run("explain", *options, "chat:app", GUNICORN_WOKRERS="3")
    assert result.exit_code == 0
    verdict, *problems = result.output.splitlines()
    assert verdict == (
        "3 UvicornWorkers x 100 threads: 2 cores, 1 GiB, ASGI, workload io (--workload)"
    )
    assert problems[0].startswith("  - GUNICORN_WOKRERS")


@pytest.mark.parametrize(("strict", "status"), [((), 0), (("--strict",), 1)])
def test_any_problem_where_strict(strict: tuple[str, ...], status: int) -> None:
    assert run("explain", "shop:app", *strict, GUNICORN_WOKRERS="3").exit_code == status


def test_strict_without_a_problem() -> None:
    assert run("explain", "shop:app", "--strict", "--cpus", "2").exit_code == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("explian",), "No such command 'explian'"),
        (("explain", "--wrokload", "io"), "No such option '--wrokload'"),
        (("explain", "--as", "yaml"), "'yaml' is not one of 'args', 'env', "),
        (("explain", "--cpus", "none"), "--cpus='none': use cores above 0"),
        (("size", "--workers", "many"), "--workers='many': use "),
        (("top", "--pid", "x"), "'x' is not a valid integer"),
        (("top", "-1"), "No such option '-1'"),
        (("top", "4194305"), "--pid=4194305: there is no such process"),
        (("top", "17", "--pid", "18"), "two arbiters are named: leave out 17"),
        (("explain", "4194305"), "--pid=4194305: there is no such process"),
        (("explain", "17", "--short"), "shows a server as it runs: leave out --short or --as"),
        (("size", "4194305", "--rate", "3"), "--from=4194305: there is no such process"),
        (("size", "17", "--from", "18"), "two sources are named: leave out 17 or --from"),
    ],
)
def test_every_error_is_one_line(words: tuple[str, ...], line: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    (shown,) = result.output.splitlines()
    assert shown.startswith("Error: ")
    assert line in shown


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_is_not_cut(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 0
    assert "...\n" not in result.output.partition("Commands:")[2]
    assert "  explain  Show the plan for this machine, and the reasons.\n" in result.output


def test_examples_of_a_help_are_lines_to_copy() -> None:
    """With `\\b` in a raw string click runs them into one paragraph."""
    for command, line in [
        ((), '  bash   eval "$(_GUNICORN_AUTOCONF_COMPLETE=bash_source gunicorn-autoconf)"'),
        (("explain",), "  gunicorn-autoconf explain mysite.wsgi"),
        (("size",), "  gunicorn-autoconf size --rate 300 --latency 80ms --compute 20ms"),
        (("top",), "  gunicorn-autoconf top --once --pidfile /run/gunicorn.pid"),
        (("tune",), "  gunicorn-autoconf tune mysite.wsgi --access-log"),
    ]:
        shown = run(*command, "--help").output
        assert f"\n  {line}" in shown
        assert "\\b" not in shown
        assert "\b" not in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("explain --workload ", ["auto", "cpu", "mixed", "io", "async"]),
        ("explain --interface a", ["auto", "asgi"]),
        ("ex", ["explain"]),
    ],
)
def test_a_shell_completes(words: str, expected: list[str]) -> None:
    environ = {
        "_GUNICORN_AUTOCONF_COMPLETE": "bash_complete",
        "COMP_WORDS": f"gunicorn-autoconf {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    result = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "gunicorn-autoconf"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [row.partition(",")[2] for row in result.stdout.split()] == expected


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colour_on_a_terminal(project: Path, environ: dict[str, str], coloured: bool) -> None:
    shown = on_a_terminal(project, environ)
    assert "Machine" in shown
    assert ("\x1b[1mMachine\x1b[0m" in shown) is coloured
    assert ("\x1b[" in shown) is coloured


def test_no_colour_elsewhere() -> None:
    assert "\x1b" not in run("explain", "chat:app").output


def on_a_terminal(folder: Path, variables: dict[str, str]) -> str:
    """What `explain` prints to a terminal."""
    package = str(Path(gunicorn_autoconf.__file__).parents[1])
    environ = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn_autoconf", "explain", "chat:app"],
        cwd=folder,
        env={**environ, "PYTHONPATH": package, **variables},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    output = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while chunk := terminal.read(65536):
                output += chunk
        except OSError:  # Linux: no process has the terminal any more.
            pass
    assert process.wait(timeout=stretched(60)) == 0
    return output.decode()
