"""What is remarked on guards, limits and listeners that cannot do what is asked."""

from __future__ import annotations

import pytest
from builders import ASGI, WSGI, plan_for

from gunicorn_autoconf.plan.plan import Severity


def texts(topic: str, environ: dict[str, str], *argv: str) -> list[str]:
    application = ASGI if environ.get("GUNICORN_WORKER_CLASS") == "asgi" else WSGI
    planned = plan_for(environ, application, argv=["gunicorn", *argv, "app:app"])
    return [remark.text for remark in planned.remarks if remark.topic == topic]


@pytest.mark.parametrize(
    ("worker_class", "is_loss"),
    [
        ("sync", True),
        ("gthread", True),
        ("uvicorn_worker.UvicornWorker", True),
        ("gunicorn_autoconf.workers.ThreadWorker", False),
        ("gunicorn_autoconf.workers.UvicornWorker", False),
    ],
)
def test_reuse_port_is_a_problem_where_a_worker_loses_its_queue(
    worker_class: str, is_loss: bool
) -> None:
    environ = {"GUNICORN_WORKER_CLASS": worker_class}
    found = texts("reuse-port", environ, "--reuse-port")
    assert bool(found) is is_loss
    if found:
        (text,) = found
        assert text.startswith(f"reuse_port (--reuse-port): a {worker_class} worker that ends")
    assert texts("reuse-port", environ) == []


@pytest.mark.parametrize(
    ("worker_class", "variable", "remarks"),
    [
        ("sync", "MAX_QUEUE", []),
        ("gevent", "MAX_QUEUE", []),
        ("tornado", "MAX_QUEUE", ["has no effect under tornado: its requests are not seen"]),
        ("sync", "REQUEST_TIMEOUT", []),
        ("gthread", "REQUEST_TIMEOUT", []),
        ("asgi", "REQUEST_TIMEOUT", []),
        (
            "gevent",
            "REQUEST_TIMEOUT",
            ["has no effect under gevent: its requests cannot be ended one by one"],
        ),
    ],
)
def test_limits_that_a_class_does_not_keep(
    worker_class: str, variable: str, remarks: list[str]
) -> None:
    name = f"GUNICORN_{variable}"
    environ = {"GUNICORN_WORKER_CLASS": worker_class, name: "5"}
    assert texts("limits", environ) == [f"{name} {remark}" for remark in remarks]
    assert texts("limits", {"GUNICORN_WORKER_CLASS": worker_class}) == []


def test_both_are_no_advice() -> None:
    planned = plan_for({"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_REQUEST_TIMEOUT": "5"})
    (remark,) = (each for each in planned.remarks if each.topic == "limits")
    assert remark.severity is Severity.WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("environ", "argv", "remarks"),
    [
        ({"GUNICORN_LOAD_GUARD": "act"}, (), []),
        ({"GUNICORN_LOAD_GUARD": "act", "GUNICORN_WORKLOAD": "auto"}, (), []),
        (
            {"GUNICORN_LOAD_GUARD": "act", "GUNICORN_WORKLOAD": "io"},
            (),
            ["GUNICORN_LOAD_GUARD=act has no effect: it works for the workload auto, not for io"],
        ),
        (
            {"GUNICORN_LOAD_GUARD": "observe"},
            ("-w", "3"),
            ["GUNICORN_LOAD_GUARD=observe has no effect: --workers sets the number of workers"],
        ),
        ({"GUNICORN_LOAD_GUARD": "off", "GUNICORN_WORKLOAD": "io"}, (), []),
    ],
)
def test_a_load_guard_that_cannot_choose(
    environ: dict[str, str], argv: tuple[str, ...], remarks: list[str]
) -> None:
    assert texts("load-guard", environ, *argv) == remarks
