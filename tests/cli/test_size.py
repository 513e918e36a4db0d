"""The command `size`: what it prints, how it ends, and that `explain` agrees with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator, ValidationError
from schemas import closed

from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.cli.size.text import SCHEMA

PATH = Path(__file__).parents[2] / "docs" / "reference" / "size.schema.json"
PUBLISHED = json.loads(PATH.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(closed(PUBLISHED))

FOUR = ("--workers", "4", "--worker-memory", "180MiB", "--workload", "io", "--interface", "wsgi")
LOAD = ("--rate", "300", "--latency", "80ms", "--compute", "20ms")
HEAVY = ("--rate", "150", "--latency", "2s", "--compute", "1ms")


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(main, arguments)


def size(*arguments: str, **environ: str) -> Any:
    """The JSON that `size` prints."""
    result = run("size", "--json", *arguments, **environ)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def kubernetes(*arguments: str) -> tuple[Any, Any]:
    """The container, in a pod that is valid, and the autoscaler, which is."""
    result = run("size", "--as", "kubernetes", *arguments)
    assert result.exit_code == 0, result.output
    part, autoscaler = yaml.safe_load_all(result.stdout)
    container = {"name": "web", "image": "web", **part}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [container]},
    }
    for document in (pod, autoscaler):
        kubernetes_validate.validate(document, "1.31", strict=True)
    return container, autoscaler


def test_text() -> None:
    result = run("size", *FOUR)

    assert result.exit_code == 0
    assert result.output == (
        "Takes\n"
        "  replicas      1\n"
        "  CPU limit     3 cores\n"
        "  memory limit  848 MiB\n"
        "  workers       4 of 180 MiB, 100 threads each (io, WSGI)\n"
        "  worker class  gunicorn_autoconf.workers.ThreadWorker\n"
        "\n"
        "Declare\n"
        "  GUNICORN_WORKLOAD=io\n"
        "  GUNICORN_INTERFACE=wsgi\n"
        "  GUNICORN_WORKER_MEMORY=180Mi\n"
        "\n"
        "Why\n"
        "  cores = 3\n"
        "      max(workers - 1, 1)\n"
        "      = max(4 - 1, 1)\n"
        "      (the plan has ceil(c) + 1 workers for c cores)\n"
        "  memory_limit = 848 MiB\n"
        "      (workers * worker_memory + others) / (1 - reserve)\n"
        "      = (4 * 180 MiB + 32 MiB) / (1 - 0.1)\n"
        "      (up to a multiple of 16 MiB)\n"
        "\n"
        "Notes\n"
        "  - each thread may hold a connection to a database: up to 400;\n"
        "    GUNICORN_MAX_CONCURRENCY bounds them in each replica\n"
    )


def test_text_of_a_load() -> None:
    lines = run("size", *LOAD).output.splitlines()

    assert lines[1:6] == [
        "  replicas      5, each with",
        "  CPU limit     2 cores",
        "  memory limit  896 MiB",
        "  workers       3 of 256 MiB, 100 threads each (io, WSGI)",
        "  worker class  gunicorn_autoconf.workers.ThreadWorker",
    ]
    why = lines.index("  in_flight = 24")
    assert lines[why + 1 : why + 4] == [
        "      rate * latency",
        "      = 300 * 0.08 s",
        "      (Little's law: requests that are there at once, on average)",
    ]
    assert lines[lines.index("Notes") + 1 :] == [
        "  - assumes 256 MiB per worker until one is measured; set --worker-memory if you",
        "    know it",
        "  - assumes a WSGI application; set --interface asgi for ASGI",
        "  - each thread may hold a connection to a database: up to 1,500;",
        "    GUNICORN_MAX_CONCURRENCY bounds them in each replica",
    ]


def test_json() -> None:
    shown = size(*LOAD, "--cpus-per-replica", "1500m", "--worker-memory", "180MiB")

    steps = shown.pop("steps")
    assert shown == {
        "schema": 1,
        "asked": {
            "load": {
                "rate": 300.0,
                "latency_seconds": 0.08,
                "compute_seconds": 0.02,
                "cores_per_replica": 1.5,
            }
        },
        "others_bytes": 33_554_432,
        "utilisation": 0.7,
        "workload": "io",
        "interface": "wsgi",
        "replicas": 6,
        "cores": 1.5,
        "memory_limit_bytes": 671_088_640,
        "worker_class": "gunicorn_autoconf.workers.ThreadWorker",
        "workers": 3,
        "threads": 100,
        "worker_memory_bytes": 188_743_680,
        "variables": {"GUNICORN_WORKLOAD": "io", "GUNICORN_WORKER_MEMORY": "180Mi"},
        "notes": [
            "assumes a WSGI application; set --interface asgi for ASGI",
            (
                "each thread may hold a connection to a database: up to 1,800; "
                "GUNICORN_MAX_CONCURRENCY bounds them in each replica"
            ),
        ],
    }
    assert steps[0] == {
        "name": "in_flight",
        "value": 24.0,
        "formula": "rate * latency",
        "inputs": {"rate": 300.0, "latency_seconds": 0.08},
        "why": "Little's law: requests that are there at once, on average",
    }


@pytest.mark.parametrize("arguments", [FOUR, LOAD, HEAVY], ids=["four", "load", "heavy"])
def test_schema_names_all_that_is_printed(arguments: tuple[str, ...]) -> None:
    shown = size(*arguments)

    VALIDATOR.validate(shown)
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**shown, "new": 1})
    for name in shown:
        with pytest.raises(ValidationError):
            VALIDATOR.validate({key: value for key, value in shown.items() if key != name})


def test_schema_is_one() -> None:
    Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA == 1


@pytest.mark.parametrize(
    "arguments",
    [
        FOUR,
        LOAD,
        HEAVY,
        (*LOAD, "--interface", "asgi"),
        ("--workers", "6"),
        ("--workers", "1", "--workload", "mixed"),
        ("--workers", "1", "--workload", "io"),
    ],
    ids=["four", "load", "heavy", "asgi", "undeclared", "one-mixed", "one-io"],
)
def test_explain_agrees(arguments: tuple[str, ...]) -> None:
    answer = size(*arguments, "--others", "0")
    limits = ("--cpus", str(answer["cores"]), "--memory", str(answer["memory_limit_bytes"]))

    result = run("explain", "--json", *limits, **answer["variables"])

    settings = json.loads(result.output)["plan"]["settings"]
    assert {name: settings[name] for name in ("workers", "threads", "worker_class")} == {
        name: answer[name] for name in ("workers", "threads", "worker_class")
    }


def test_kubernetes() -> None:
    container, autoscaler = kubernetes(*LOAD, "--target-utilisation", "60%", "--interface", "asgi")

    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "1472Mi"},
        "limits": {"cpu": "2", "memory": "1472Mi"},
    }
    assert container["env"] == [
        {"name": "GUNICORN_WORKLOAD", "value": "io"},
        {"name": "GUNICORN_INTERFACE", "value": "asgi"},
    ]
    assert autoscaler["kind"] == "HorizontalPodAutoscaler"
    assert autoscaler["spec"]["minReplicas"] == 5
    assert autoscaler["spec"]["maxReplicas"] == 10
    assert autoscaler["spec"]["metrics"][0]["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 60},
    }


def test_kubernetes_with_half_a_core_and_variables() -> None:
    container, _ = kubernetes(*HEAVY)

    assert container["resources"]["limits"] == {"cpu": "250m", "memory": "896Mi"}
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {
        "GUNICORN_WORKLOAD": "io",
        "GUNICORN_MIN_WORKERS": "3",
        "GUNICORN_THREADS": "143",
    }


def test_what_is_to_be_pasted_stands_alone() -> None:
    result = run("size", "--as", "kubernetes", *LOAD)

    assert "Note: assumes a WSGI application" in result.stderr
    assert "Note" not in result.stdout


def test_neither_machine_nor_environment_is_looked_at() -> None:
    assert size(*FOUR, GUNICORN_CPUS="64", GUNICORN_WORKER_MEMORY="1GiB", WEB_CONCURRENCY="9") == (
        size(*FOUR)
    )


QUANTITY = "use a quantity such as 512MiB, 1Gi, 0.5G or 536870912"
TIME = "use a time above 0 with its unit such as 80ms or 0.08s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (),
            "nothing to size for: use --workers 4, or --rate 300 --latency 80ms --compute 20ms",
        ),
        (("--workers", "0"), "--workers='0': use a whole number of at least 1"),
        (("--workers", "-1"), "--workers='-1': use a whole number of at least 1"),
        (
            ("--workers", "4", "--rate", "300"),
            "--workers and --rate are two questions: ask one at a time",
        ),
        (("--rate", "300"), "--rate needs --latency and --compute beside it"),
        (("--compute", "20ms"), "--compute needs --rate and --latency beside it"),
        (
            (*LOAD, "--threads", "4"),
            "--threads goes with --workers: a load itself says how many it takes",
        ),
        (
            ("--workers", "4", "--cpus-per-replica", "2"),
            "--cpus-per-replica goes with --rate: workers themselves say what they take",
        ),
        (
            ("--rate", "fast", *LOAD[2:]),
            "--rate='fast': use requests per second above 0 such as 300 or 0.5",
        ),
        (
            ("--rate", "0", *LOAD[2:]),
            "--rate='0': use requests per second above 0 such as 300 or 0.5",
        ),
        ((*LOAD, "--latency", "80"), f"--latency='80': {TIME}"),
        ((*LOAD, "--compute", "0ms"), f"--compute='0ms': {TIME}"),
        (
            (*LOAD, "--compute", "0.1s"),
            "--compute='0.1s': use at most --latency=80ms, of which it is a part",
        ),
        (
            (*LOAD, "--target-utilisation", "1"),
            "--target-utilisation='1': use a share from 0.1 to 0.9 such as 0.7 or 70%",
        ),
        (
            (*LOAD, "--cpus-per-replica", "0"),
            "--cpus-per-replica='0': use cores above 0 such as 2, 1.5 or 500m",
        ),
        (
            (*FOUR, "--worker-memory", "180"),
            f"--worker-memory='180': {QUANTITY} (less than 1 MiB, the unit may be missing)",
        ),
        ((*FOUR, "--workload", "gpu"), "--workload='gpu': use one of auto, cpu, mixed, io, async"),
        (
            (*FOUR, "--others", "5"),
            (
                "--others='5': use 0 or a quantity such as 512MiB, 1Gi, 0.5G or 536870912 "
                "(less than 1 MiB, the unit may be missing)"
            ),
        ),
        (
            (*FOUR, "--json", "--as", "kubernetes"),
            "--json and --as exclude each other: use one",
        ),
    ],
)
def test_a_wrong_question_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = run("size", *arguments)

    assert result.output == f"Error: {message}\n"
    assert result.exit_code == 2


def test_help_says_what_each_option_takes() -> None:
    shown = " ".join(run("size", "--help").output.split())

    for phrase in ("a time above 0 with its unit such as 80ms or 0.08s", "[32MiB]", "wsgi [wsgi]"):
        assert phrase in shown
