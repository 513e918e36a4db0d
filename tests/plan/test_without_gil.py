"""The plan for an application whose threads compute at the same time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import ASGI, WSGI, plan_for

from gunicorn_autoconf.app.finding import Finding

UVICORN = "gunicorn_autoconf.workers.UvicornWorker"
THREADS = "gunicorn_autoconf.workers.ThreadWorker"


@pytest.mark.parametrize(
    ("cpus", "workload", "app", "worker_class", "workers", "threads"),
    [
        # Two processes, so that one serves while the other is replaced; threads fill the cores.
        ("4", "cpu", WSGI, THREADS, 2, 2),
        ("8", "cpu", WSGI, THREADS, 2, 4),
        ("5", "cpu", WSGI, THREADS, 2, 3),
        ("2.5", "cpu", WSGI, THREADS, 2, 2),
        # Here two processes fill the cores.
        ("2", "cpu", WSGI, "sync", 2, 1),
        ("500m", "cpu", WSGI, "sync", 1, 1),
        # An event loop computes in one thread; nothing says that undeclared code is thread-safe.
        ("4", "cpu", ASGI, UVICORN, 4, 1),
        ("4", "", WSGI, "sync", 9, 1),
        ("4", "io", WSGI, THREADS, 5, 100),
    ],
)
def test_threads_take_the_place_of_processes(
    cpus: str, workload: str, app: Finding, worker_class: str, workers: int, threads: int
) -> None:
    environ = {"GUNICORN_CPUS": cpus, "GUNICORN_WORKLOAD": workload, "GUNICORN_MEMORY": "16GiB"}
    settings = plan_for(environ, replace(app, runs_without_gil=True)).settings
    assert settings["worker_class"] == worker_class
    assert (settings["workers"], settings["threads"]) == (workers, threads)


def test_operators_class_and_threads_hold() -> None:
    app = replace(WSGI, runs_without_gil=True)
    environ = {"GUNICORN_CPUS": "8", "GUNICORN_WORKLOAD": "cpu", "GUNICORN_MEMORY": "16GiB"}
    planned = plan_for({**environ, "GUNICORN_WORKER_CLASS": "sync"}, app)
    assert planned.settings["workers"] == 8
    planned = plan_for({**environ, "GUNICORN_THREADS": "1"}, app)
    assert (planned.settings["worker_class"], planned.settings["workers"]) == ("sync", 8)


def test_where_memory_has_room_for_one_its_threads_make_up_for_the_other() -> None:
    environ = {
        "GUNICORN_CPUS": "8",
        "GUNICORN_WORKLOAD": "cpu",
        "GUNICORN_MEMORY": "512MiB",
        "GUNICORN_WORKER_MEMORY": "300MiB",
    }
    settings = plan_for(environ, replace(WSGI, runs_without_gil=True)).settings
    assert (settings["workers"], settings["threads"]) == (1, 8)
