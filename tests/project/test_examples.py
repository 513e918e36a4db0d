"""What stands in examples/: the projects are served, the rest is read by those who know it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from harness import MODULE_DOOR, PYTHON_GUNICORN, Launcher, Server
from patience import stretched

from gunicorn_autoconf import autoconf

pytestmark = pytest.mark.one_python

EXAMPLES = Path(__file__).parents[2] / "examples"
THREADS = "gunicorn_autoconf.workers.ThreadWorker"
UVICORN = "gunicorn_autoconf.workers.UvicornWorker"

# One worker is enough to answer, and boots fast.
ONE_WORKER = {"GUNICORN_CPUS": "1", "GUNICORN_WORKLOAD": "async"}
DJANGO = {"DJANGO_SECRET_KEY": "not a secret"}


def text_of(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=stretched(60),
        check=False,
    )


def script(name: str) -> str:
    """The path of a program that came with a package."""
    return os.path.join(sysconfig.get_path("scripts"), name)


def copy(project: str, gunicorn: Launcher) -> None:
    shutil.copytree(EXAMPLES / project, gunicorn.folder, dirs_exist_ok=True)


def answers(server: Server, path: str) -> Any:
    """What *path* answers, once that is 200."""
    status, body = server.get(path)
    assert status == 200, body
    return json.loads(body)


def runs_with(server: Server, setting: str) -> str:
    """The value of *setting* in the line of final values."""
    return server.wait_for(rf"running with .*\b{setting}=(\S+)").group(1)


# The projects


@pytest.mark.server
def test_fastapi_project(gunicorn: Launcher) -> None:
    copy("fastapi-shop", gunicorn)

    server = gunicorn.start(*MODULE_DOOR, "main:app", **ONE_WORKER)

    server.wait_for_workers(1)
    assert answers(server, "/healthz") == {"status": "ok"}
    assert answers(server, "/price/bread") == {"cents": 220}
    assert answers(server, "/total") == {"cents": 730}
    assert server.get("/price/gold").status == 404
    assert runs_with(server, "worker_class") == UVICORN
    assert not server.mistakes()


@pytest.mark.server
def test_flask_project(gunicorn: Launcher) -> None:
    copy("flask-shop", gunicorn)

    server = gunicorn.start(
        *MODULE_DOOR, "shop:create_app()", GUNICORN_WORKLOAD="io", GUNICORN_CPUS="1"
    )

    server.wait_for_workers(2)
    assert answers(server, "/healthz") == {"status": "ok"}
    assert answers(server, "/price/bread") == {"cents": 220}
    assert server.get("/price/gold").status == 404
    assert (runs_with(server, "worker_class"), runs_with(server, "threads")) == (THREADS, "100")
    assert not server.mistakes()


@pytest.mark.server
@pytest.mark.parametrize(
    ("target", "worker_class"),
    [("shop.asgi:application", UVICORN), ("shop.wsgi:application", THREADS)],
)
def test_django_project(gunicorn: Launcher, target: str, worker_class: str) -> None:
    copy("django-shop", gunicorn)

    server = gunicorn.start(
        *MODULE_DOOR, target, GUNICORN_WORKLOAD="io", GUNICORN_CPUS="0.5", **DJANGO
    )

    server.wait_for_workers(int(runs_with(server, "workers")))
    assert answers(server, "/healthz") == {"status": "ok"}
    assert answers(server, "/price/bread") == {"cents": 220}
    assert answers(server, "/rates") == {"EUR": 1, "USD": 1.1}
    assert server.get("/price/gold").status == 404
    assert runs_with(server, "worker_class") == worker_class
    assert not server.mistakes()


def test_django_finds_nothing_wrong_with_its_project(gunicorn: Launcher) -> None:
    copy("django-shop", gunicorn)

    result = gunicorn.run(
        "check", "--fail-level", "WARNING", program=[sys.executable, "manage.py"], **DJANGO
    )

    assert (result.returncode, result.stderr) == (0, "")


# Docker and Compose


def test_dockerfile_passes_the_linter() -> None:
    result = run(script("hadolint"), str(EXAMPLES / "Dockerfile"))

    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.server
def test_command_of_the_image_serves(gunicorn: Launcher) -> None:
    dockerfile = text_of("Dockerfile")
    program, *arguments = json.loads(dockerfile.rpartition("\nCMD ")[2])
    environ = dict(re.findall(r"^ENV (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    copy("fastapi-shop", gunicorn)
    assert program == "gunicorn"
    assert environ.pop("PORT") == "8000"

    server = gunicorn.start(*arguments, **environ, GUNICORN_CPUS="1")

    server.wait_for_workers(1)
    assert answers(server, "/healthz") == {"status": "ok"}
    assert server.wait_for(r"workload (\w+)").group(1) == "async"


def test_everything_that_the_image_copies_is_sent_to_the_builder() -> None:
    copied = re.findall(r"^COPY ([\w-]+)/", text_of("Dockerfile"), re.MULTILINE)

    assert copied == ["fastapi-shop", "fastapi-shop"]
    assert text_of(".dockerignore").splitlines()[:2] == ["*", "!fastapi-shop"]


def test_compose_file_passes_its_schema() -> None:
    validate = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")

    result = run(*validate, str(EXAMPLES / "compose.yaml"))

    assert result.returncode == 0, result.stdout


def test_compose_waits_longer_than_the_workers_take() -> None:
    shop = yaml.safe_load(text_of("compose.yaml"))["services"]["shop"]

    # graceful_timeout is 30 s outside of Kubernetes and Heroku.
    assert shop["stop_grace_period"] == "35s"
    assert shop["ports"] == ["8000:8000"]


# Kubernetes


def manifest(name: str) -> Any:
    return yaml.safe_load(text_of(f"kubernetes/{name}.yaml"))


# What Kubernetes itself knows; the others are in test_monitoring.py.
KUBERNETES = [
    *sorted(EXAMPLES.glob("kubernetes/*.yaml")),
    EXAMPLES / "kubernetes" / "prometheus-adapter" / "hpa.yaml",
]


@pytest.mark.parametrize("version", ["1.33", "1.35"])
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: f"{path.parent.stem}/{path.stem}")
def test_manifest_passes_its_schema(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_manifests_speak_of_the_same_pods() -> None:
    deployment, service = manifest("deployment"), manifest("service")
    autoscaler, budget = manifest("hpa"), manifest("poddisruptionbudget")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}

    assert labels == {"app": "shop"}
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert autoscaler["spec"]["scaleTargetRef"] == target
    assert "replicas" not in deployment["spec"]


def test_manifests_speak_of_the_same_port() -> None:
    container = manifest("deployment")["spec"]["template"]["spec"]["containers"][0]
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]

    assert container["ports"] == [
        {"name": "http", "containerPort": 8000},
        {"name": "metrics", "containerPort": 9100},
    ]
    targets = [port["targetPort"] for port in manifest("service")["spec"]["ports"]]
    assert targets == ["http", "metrics"]
    asked = [(probe["httpGet"]["path"], probe["httpGet"]["port"]) for probe in probes]
    assert asked == [("/readyz", "metrics"), ("/readyz", "metrics"), ("/livez", "metrics")]


def test_pod_has_time_to_drain(gunicorn: Launcher) -> None:
    pod = manifest("deployment")["spec"]["template"]["spec"]
    before_sigterm = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    in_a_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

    config = gunicorn.print_config(*MODULE_DOOR, "gunicorn_autoconf.demo:app", **in_a_pod)

    assert (before_sigterm, config["graceful_timeout"]) == (5, "25")
    assert pod["terminationGracePeriodSeconds"] == 35


def test_limits_change_without_a_restart() -> None:
    container = manifest("deployment")["spec"]["template"]["spec"]["containers"][0]

    assert container["resizePolicy"] == [
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "memory", "restartPolicy": "NotRequired"},
    ]
    # Requests below the limit would be memory that the node may not have.
    assert container["resources"]["requests"]["memory"] == "512Mi"
    assert container["resources"]["limits"]["memory"] == "512Mi"


def test_limits_that_a_pod_hands_over_are_understood() -> None:
    page = (EXAMPLES.parent / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(env:\n.+?)```", page, re.DOTALL)
    assert block
    pod = manifest("deployment")["spec"]["template"]
    container = pod["spec"]["containers"][0] | yaml.safe_load(block[1])
    spec = pod["spec"] | {"containers": [container]}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"}, "spec": spec}

    kubernetes_validate.validate(document, "1.35", strict=True)

    # What the kubelet makes of limits of 1.5 cores and 512 MiB.
    cpus = next(each["value"] for each in container["env"] if each["name"] == "GUNICORN_CPUS")
    environ = {
        "GUNICORN_CPUS": cpus.replace("$(MILLICORES)", "1500"),
        "GUNICORN_MEMORY": "536870912",
    }
    declaration = autoconf(environ=environ, argv=["gunicorn"]).declaration
    assert (declaration.cpus, declaration.memory_bytes) == (1.5, 536870912)


# systemd


def service(key: str) -> list[str]:
    """The values of *key* in the unit of the service."""
    return re.findall(rf"^{key}=(.*)$", text_of("systemd/shop.service"), re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_units_pass_systemds_own_check(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / "systemd", tmp_path / "units")
    unit = folder / "shop.service"
    # What it runs has to exist; here, something else does.
    text = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/sh", unit.read_text(), flags=re.MULTILINE)
    unit.write_text(text)

    result = run("systemd-analyze", "verify", "--man=no", str(unit), str(folder / "shop.socket"))

    # An unknown key is a warning and no failure.
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.server
def test_service_tells_systemd_that_it_is_ready(gunicorn: Launcher) -> None:
    program, *arguments = service("ExecStart")[0].split()
    environ = dict(assignment.split("=", 1) for assignment in service("Environment"))
    copy("fastapi-shop", gunicorn)
    path = gunicorn.folder / "notify"
    assert program == "/opt/shop/.venv/bin/gunicorn"
    assert service("Type") == ["notify"]

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(stretched())
        systemd.bind(str(path))
        server = gunicorn.start(*arguments, **environ, GUNICORN_CPUS="1", NOTIFY_SOCKET=str(path))
        assert systemd.recv(4096).startswith(b"READY=1\n")

    server.wait_for_workers(1)
    assert answers(server, "/healthz") == {"status": "ok"}
    # SIGKILL comes later than the end of the workers' own time.
    assert (runs_with(server, "graceful_timeout"), service("TimeoutStopSec")) == ("30", ["35"])


# Heroku


@pytest.mark.server
def test_procfile_leaves_the_count_to_the_plan(gunicorn: Launcher) -> None:
    name, _, command = text_of("Procfile").partition(": ")
    words = shlex.split(command)
    program = words.index("gunicorn")
    copy("fastapi-shop", gunicorn)
    heroku = {"DYNO": "web.1", "WEB_CONCURRENCY": "7", "GUNICORN_CPUS": "1"}

    server = gunicorn.start(
        *words[program + 1 :], program=[*words[:program], *PYTHON_GUNICORN], **heroku
    )

    server.wait_for_workers(1)
    assert name == "web"
    assert answers(server, "/healthz") == {"status": "ok"}
    # The dyno has 30 s to end, and the router reuses a connection for 90 s.
    assert runs_with(server, "graceful_timeout") == "25"
    assert runs_with(server, "keepalive") == "100"
