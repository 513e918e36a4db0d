"""What `explain --as` prints: every setting as its reader understands it, and nothing else."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import ASGI, GIB, MIB, WSGI, declare, limit, machine, memory
from gunicorn.config import KNOWN_SETTINGS, Config
from hypothesis import given
from hypothesis import strategies as st
from machine_roots import machine_of
from schemas import container_of

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.cli.paste import FORMS, Content, Pasted, render
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration, Explicit, read_declaration
from gunicorn_autoconf.plan.steps import plan
from gunicorn_autoconf.server.command_line import read_command_line
from gunicorn_autoconf.server.gunicorn import setting_parsers, spellings

POD = machine(
    8,
    quota=1.5,
    supply=memory(16 * GIB, limit(GIB, 300 * MIB)),
    container=True,
    platform="kubernetes",
    worker_tmp_dir="/dev/shm",
)
SPELLINGS = spellings()

# Settings that need care, by the text of their variable.
AWKWARD = {
    "GUNICORN_BIND": "0.0.0.0:80 unix:/run/app",
    "GUNICORN_ACCESSLOG": "-",
    "GUNICORN_ACCESS_LOG_FORMAT": """%(h)s "%(r)s" '%(U)s' $HOME \\ #1""",
    "GUNICORN_PRELOAD_APP": "yes",
    "GUNICORN_UMASK": "027",
    "GUNICORN_FORWARDED_ALLOW_IPS": "10.0.0.1,10.0.0.2",
    "GUNICORN_STATSD_HOST": "localhost:8125",
    "GUNICORN_PROC_NAME": "-shop-",
    "GUNICORN_LOGLEVEL": "debug",
}
VALUES = {
    "bind": ["0.0.0.0:80", "unix:/run/app"],
    "accesslog": "-",
    "access_log_format": """%(h)s "%(r)s" '%(U)s' $HOME \\ #1""",
    "preload_app": True,
    "umask": 23,
    "forwarded_allow_ips": ["10.0.0.1", "10.0.0.2"],
    "statsd_host": ("localhost", 8125),
    "proc_name": "-shop-",
    "loglevel": "debug",
}
PLANNED = {
    "worker_class": "gunicorn_autoconf.workers.ThreadWorker",
    "workers": 2,
    "threads": 100,
    "timeout": 60,
    "graceful_timeout": 25,
    "keepalive": 65,
    "worker_tmp_dir": "/dev/shm",
}


def paste(
    form: str,
    declared: Mapping[str, str],
    *,
    on: Machine = POD,
    app: Finding = WSGI,
    settings: Mapping[str, str] | None = None,
    argv: Sequence[str] = (),
) -> Pasted:
    """What is pasted where *declared* are variables of ours and *settings* those of Gunicorn's."""
    declaration = declare({**declared, **(settings or {})}, argv)
    planned = plan(on, declaration, application=app)
    return render(form, Content(on, declaration, planned, declared, SPELLINGS))


def from_args(text: str) -> dict[str, Any]:
    command_line = read_command_line(["gunicorn", *shlex.split(text)], {})
    return {name: explicits[0].value for name, explicits in command_line.settings.items()}


def from_env(text: str) -> dict[str, Any]:
    variables = dict(word.split("=", 1) for word in shlex.split(text))
    declaration = read_declaration(variables, setting_parsers=setting_parsers())
    assert declaration.warnings == ()
    return taken({name: explicits[0].value for name, explicits in declaration.settings.items()})


def taken(values: Mapping[str, Any]) -> dict[str, Any]:
    """What Gunicorn holds once a configuration has set *values*."""
    config = Config()
    for name, value in values.items():
        config.set(name, value)
    return {name: config.settings[name].get() for name in values}


def from_dockerfile(text: str) -> dict[str, Any]:
    """As Docker reads it: a backslash takes the meaning of what follows it."""
    assert text.startswith("ENV ")
    words = text.removeprefix("ENV ").removesuffix("\n").split(" \\\n    ")
    variables = {}
    for word in words:
        name, _, quoted = word.partition("=")
        inner = quoted[1:-1]
        assert quoted == f'"{inner}"'
        assert re.search(r'(?<!\\)(?:\\\\)*["$]', inner) is None
        variables[name] = re.sub(r"\\(.)", r"\1", inner)
    return from_env(shlex.join(f"{name}={value}" for name, value in variables.items()))


def from_python(text: str, folder: Path) -> dict[str, Any]:
    """As Gunicorn reads it: through the validator of each setting."""
    path = folder / "gunicorn.conf.py"
    path.write_text(text, encoding="utf-8")
    names = runpy.run_path(str(path))
    return taken({name: value for name, value in names.items() if not name.startswith("__")})


def read_back(form: str, text: str, folder: Path) -> dict[str, Any]:
    """The settings that a reader of *text* finds in it."""
    readers = {"args": from_args, "env": from_env, "dockerfile": from_dockerfile}
    return readers[form](text) if form in readers else from_python(text, folder)


IO = {"GUNICORN_WORKLOAD": "io"}


def test_args() -> None:
    assert paste("args", IO) == Pasted(
        "--worker-class gunicorn_autoconf.workers.ThreadWorker --workers 2 --threads 100 "
        "--timeout 60 --graceful-timeout 25 --keep-alive 65 --worker-tmp-dir /dev/shm\n",
        (),
    )


def test_env() -> None:
    assert paste("env", IO | {"GUNICORN_MAX_WORKERS": "9"}) == Pasted(
        """\
GUNICORN_WORKLOAD=io
GUNICORN_MAX_WORKERS=9
GUNICORN_WORKER_CLASS=gunicorn_autoconf.workers.ThreadWorker
GUNICORN_WORKERS=2
GUNICORN_THREADS=100
GUNICORN_TIMEOUT=60
GUNICORN_GRACEFUL_TIMEOUT=25
GUNICORN_KEEPALIVE=65
GUNICORN_WORKER_TMP_DIR=/dev/shm
""",
        (),
    )


def test_dockerfile() -> None:
    settings = {"GUNICORN_PROC_NAME": 'the "$shop"'}
    shown = paste("dockerfile", {}, on=machine(1), settings=settings)
    assert shown == Pasted(
        """\
ENV GUNICORN_WORKER_CLASS="sync" \\
    GUNICORN_WORKERS="3" \\
    GUNICORN_THREADS="1" \\
    GUNICORN_TIMEOUT="60" \\
    GUNICORN_GRACEFUL_TIMEOUT="30" \\
    GUNICORN_PROC_NAME="the \\"\\$shop\\""
""",
        (),
    )


def test_python() -> None:
    shown = paste("python", IO, app=ASGI, settings={"GUNICORN_BIND": ":80"})
    assert shown == Pasted(
        """\
# Planned by gunicorn-autoconf for 1.5 cores; 'explain' says why.

# io, ASGI: spares for what blocks a loop
worker_class = 'gunicorn_autoconf.workers.UvicornWorker'

# budget // worker_memory, budget = 621.6 MiB, worker_memory = 256 MiB, wanted =
# 4 (/sys/fs/cgroup/kubepods/pod1/app/memory.max; a guess until measured)
workers = 2

# io: synchronous code waits in threads
threads = 100

# seconds for which the event loop may be blocked
timeout = 60

# kubernetes kills after 30 s
graceful_timeout = 25

# longer than the 60 s idle timeout of load balancers
keepalive = 65

# a tmpfs: heartbeats never wait for a disk (/dev/shm)
worker_tmp_dir = '/dev/shm'

# set by GUNICORN_BIND
bind = [':80']
""",
        (),
    )


def test_kubernetes() -> None:
    declared = IO | {"GUNICORN_CPUS": "2", "GUNICORN_MEMORY": "512MiB"}
    shown = paste("kubernetes", declared, settings={"GUNICORN_TIMEOUT": "90"})
    assert shown == Pasted(
        """\
resources:
  requests:
    cpu: "2"
    memory: "512Mi"
  limits:
    cpu: "2"
    memory: "512Mi"
env:
  # The limits, for a runtime that hides its cgroups. Without these the plan reads
  # them from the cgroup, and follows when they are changed in place.
  - name: LIMIT_MILLICORES
    valueFrom:
      resourceFieldRef:
        resource: limits.cpu
        divisor: "1m"
  - name: GUNICORN_CPUS
    value: "$(LIMIT_MILLICORES)m"
  - name: GUNICORN_MEMORY
    valueFrom:
      resourceFieldRef:
        resource: limits.memory
        divisor: "1"
  - name: GUNICORN_WORKLOAD
    value: "io"
  - name: GUNICORN_TIMEOUT
    value: "90"
""",
        (),
    )


@pytest.mark.parametrize("form", ["args", "env", "dockerfile", "python"])
def test_every_setting_is_read_back(form: str, tmp_path: Path) -> None:
    shown = paste(form, IO, settings=AWKWARD)

    assert read_back(form, shown.text, tmp_path) == PLANNED | VALUES
    assert shown.left_out == ()


# A root, the application and what is declared.
ON_ROOTS: list[tuple[str, Finding, dict[str, str]]] = [
    ("kubernetes-guaranteed-v2", ASGI, {"GUNICORN_WORKLOAD": "io"}),
    ("docker-v1", WSGI, {"GUNICORN_WORKLOAD": "io", "GUNICORN_BIND": ":81 unix:/run/a.sock"}),
    ("heroku", WSGI, {"GUNICORN_WORKLOAD": "cpu", "WEB_CONCURRENCY": "3"}),
    (
        "bare-metal",
        ASGI,
        {
            "GUNICORN_WORKLOAD": "async",
            "GUNICORN_ACCESSLOG": "-",
            "GUNICORN_PROC_NAME": "-the $shop's-",
            "GUNICORN_PRELOAD_APP": "1",
            "GUNICORN_UMASK": "027",
            "GUNICORN_STATSD_HOST": "localhost:8125",
            "GUNICORN_FORWARDED_ALLOW_IPS": "10.0.0.1,10.0.0.2",
        },
    ),
    ("fractional-quota", WSGI, {}),
    ("docker-v2", ASGI, {"GUNICORN_WORKLOAD": "mixed"}),
    ("docker-v2", ASGI, {"GUNICORN_WORKLOAD": "cpu"}),
]


@pytest.mark.parametrize("form", ["args", "env", "dockerfile", "python"])
@pytest.mark.parametrize(("root", "app", "declared"), ON_ROOTS)
def test_plan_for_a_root_is_read_back(
    root: str, app: Finding, declared: dict[str, str], form: str, tmp_path: Path
) -> None:
    machine, declaration = machine_of(root), declare(declared)
    planned = plan(machine, declaration, application=app)
    ours = {name: text for name, text in declared.items() if name == "GUNICORN_WORKLOAD"}

    pasted = render(form, Content(machine, declaration, planned, ours, SPELLINGS))

    found = read_back(form, pasted.text, tmp_path)
    assert pasted.left_out == ()
    assert {name: found[name] for name in planned.settings} == taken(planned.settings)


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda text: text == text.strip()
)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_any_text_is_read_back(word: str, words: list[str]) -> None:
    settings = {"GUNICORN_PROC_NAME": word, "GUNICORN_DOGSTATSD_TAGS": shlex.join(words)}
    expected = {"proc_name": word, "dogstatsd_tags": shlex.join(words)}

    for form, read in (("args", from_args), ("env", from_env)):
        found = read(paste(form, IO, settings=settings).text)
        assert {name: found[name] for name in expected} == expected
    shown = paste("dockerfile", IO, settings=settings)
    if not shown.left_out:
        found = from_dockerfile(shown.text)
        assert {name: found[name] for name in expected} == expected
    names: dict[str, Any] = {}
    exec(paste("python", IO, settings=settings).text, names)
    assert {name: names[name] for name in expected} == expected
    entry = yaml.safe_load(paste("kubernetes", IO, settings=settings).text)
    values = {variable["name"]: variable.get("value") for variable in entry["env"]}
    assert values["GUNICORN_PROC_NAME"] == word.replace("$", "$$")


@pytest.mark.parametrize("form", FORMS)
def test_hooks_and_secrets_are_left_out_and_told(form: str) -> None:
    settings = {
        "GUNICORN_RAW_ENV": "TOKEN=hunter2",
        "GUNICORN_ON_EXIT": "shop.hooks.on_exit",
        "GUNICORN_PRINT_CONFIG": "1",
    }
    shown = paste(form, IO, settings=settings)
    assert shown.left_out == ("raw_env", "on_exit")
    assert "hunter2" not in shown.text
    assert re.search(r"(?i)on.exit|print.config", shown.text) is None


def test_what_has_no_option_is_left_out_of_the_arguments() -> None:
    settings = {"GUNICORN_WSGI_APP": "shop:app", "GUNICORN_SUPPRESS_RAGGED_EOFS": "false"}
    assert paste("args", IO, settings=settings).left_out == ("wsgi_app", "suppress_ragged_eofs")
    assert paste("env", IO, settings=settings).left_out == ()


def test_a_switch_that_is_off_anyway_needs_no_option() -> None:
    shown = paste("args", {}, on=machine(1), settings={"GUNICORN_PRELOAD_APP": "off"})
    assert shown.left_out == ()
    assert "preload" not in shown.text


def test_what_the_command_line_says_counts() -> None:
    argv = ["gunicorn", "--workers", "5", "--no-sendfile", "-c", "other.py", "app:app"]
    shown = paste("args", IO, argv=argv)
    assert " --workers 5 " in shown.text
    assert shown.text.endswith(" --no-sendfile\n")
    assert "other.py" not in shown.text


def test_a_line_feed_cannot_stand_in_a_dockerfile() -> None:
    explicit = Explicit(value="two\nlines", source="GUNICORN_PROC_NAME")
    declaration = Declaration(settings={"proc_name": (explicit,)})
    planned = plan(machine(), declaration, application=WSGI)
    content = Content(machine(), declaration, planned, {}, SPELLINGS)

    shown = render("dockerfile", content)
    assert shown.left_out == ("GUNICORN_PROC_NAME",)
    assert "lines" not in shown.text
    assert from_env(render("env", content).text)["proc_name"] == "two\nlines"


def test_a_class_is_written_by_its_dotted_name() -> None:
    explicit = Explicit(value=Machine, source="gunicorn.conf.py", applied=True)
    declaration = Declaration(settings={"worker_class": (explicit,)})
    planned = plan(machine(), declaration)
    shown = render("python", Content(machine(), declaration, planned, {}, SPELLINGS))
    assert "worker_class = 'gunicorn_autoconf.machine.facts.Machine'\n" in shown.text


def test_a_reason_never_ends_its_comment() -> None:
    explicit = Explicit(value=3, source="a\nimport os\r\x0cimport sys")
    declaration = Declaration(settings={"workers": (explicit,)})
    planned = plan(machine(), declaration)
    shown = render("python", Content(machine(), declaration, planned, {}, SPELLINGS))
    assert "# set by a import os  import sys; planned = 9\nworkers = 3\n" in shown.text


class TestKubernetes:
    """The same plan is made in the pod from what the kubelet hands over."""

    @pytest.mark.parametrize(
        "declared",
        [
            {},
            IO,
            {"GUNICORN_CPUS": "0.7", "GUNICORN_MEMORY": "3GiB", "GUNICORN_WORKLOAD": "io"},
            {"GUNICORN_CPUS": "6", "GUNICORN_MEMORY": "1000MB", "GUNICORN_MAX_WORKERS": "2"},
        ],
    )
    def test_plan(self, declared: dict[str, str]) -> None:
        settings = {"WEB_CONCURRENCY": "3", "GUNICORN_PROC_NAME": "$(HOME) 1e3"}
        text = paste("kubernetes", declared, settings=settings).text
        container = container_of(text)

        environ = kubelet(container)
        sizes = {name: environ[name] for name in ("GUNICORN_CPUS", "GUNICORN_MEMORY")}
        expected = plan(POD, declare({**declared, **settings, **sizes}), application=WSGI)
        assert plan(POD, declare(environ), application=WSGI).settings == expected.settings
        assert expected.settings["proc_name"] == "$(HOME) 1e3"

    def test_sizes(self) -> None:
        environ = kubelet(container_of(paste("kubernetes", IO).text))
        assert environ == {
            "LIMIT_MILLICORES": "1500",
            "GUNICORN_CPUS": "1500m",
            "GUNICORN_MEMORY": "1073741824",
            "GUNICORN_WORKLOAD": "io",
        }

    def test_memory_that_is_not_known_is_not_asked_for(self) -> None:
        shown = paste("kubernetes", IO, on=machine(supply=memory(None)))
        assert container_of(shown.text)["resources"]["limits"] == {"cpu": "4"}
        assert "GUNICORN_MEMORY" not in shown.text

    def test_a_whole_machine_is_told(self) -> None:
        notes = paste("kubernetes", IO, on=machine()).notes
        assert [note.partition(" ")[0] for note in notes] == ["no", "no"]
        assert paste("kubernetes", IO).notes == ()
        declared = {"GUNICORN_CPUS": "1", "GUNICORN_MEMORY": "1GiB"}
        assert paste("kubernetes", declared, on=machine()).notes == ()


def kubelet(container: Any) -> dict[str, str]:
    """The environment that the kubelet makes of a container's ``env``."""
    limits = container["resources"]["limits"]
    amounts = {
        ("limits.cpu", "1m"): lambda: millicores(limits["cpu"]),
        ("limits.memory", "1"): lambda: number_of_bytes(limits["memory"]),
    }
    environ: dict[str, str] = {}
    for variable in container["env"]:
        if field := variable.get("valueFrom", {}).get("resourceFieldRef"):
            text = str(amounts[field["resource"], field["divisor"]]())
        else:
            text = re.sub(
                r"\$(?:(\$)|\((\w+)\))",
                lambda found: found[1] or environ[found[2]],
                variable["value"],
            )
        environ[variable["name"]] = text
    return environ


def millicores(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000


def number_of_bytes(text: str) -> int:
    for suffix, unit in (("Ki", 1024), ("Mi", MIB), ("Gi", GIB)):
        if text.endswith(suffix):
            return int(text.removesuffix(suffix)) * unit
    return int(text)


def test_spellings_are_those_of_every_setting_but_hooks() -> None:
    hooks = {setting.name for setting in KNOWN_SETTINGS if "Hooks" in setting.section}
    assert SPELLINGS.keys() == {setting.name for setting in KNOWN_SETTINGS} - hooks
    assert SPELLINGS["keepalive"].flag == "--keep-alive"
    assert SPELLINGS["wsgi_app"].flag is None
    assert SPELLINGS["bind"].action == "append"
    assert json.dumps(SPELLINGS["timeout"].default) == "30"
