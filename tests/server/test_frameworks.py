"""The real server with the frameworks' own ways to write an application, and with wrong ones."""

from __future__ import annotations

import re
import sys

import pytest
from harness import MODULE_DOOR, Launcher, Server

pytestmark = [pytest.mark.server, pytest.mark.one_python, pytest.mark.each_gunicorn]

ASGI = "gunicorn_autoconf.demo:app"
WSGI = "gunicorn_autoconf.demo:wsgi_app"
UVICORN = "gunicorn_autoconf.workers.UvicornWorker"

ONE_WORKER = {"GUNICORN_CPUS": "1", "GUNICORN_WORKLOAD": "cpu"}

FASTAPI = """
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/")
    async def root():
        return {"served by": "fastapi"}
"""

FLASK = """
    from flask import Flask

    app = Flask(__name__)

    @app.get("/")
    def root():
        return "served by flask"
"""

FLASK_FACTORY = """
    import flask

    def create_app(greeting="served by flask"):
        app = flask.Flask("made")
        app.add_url_rule("/", view_func=lambda: greeting)
        return app
"""


def speaks(server: Server, worker_class: str) -> None:
    """Check that *server* runs *worker_class* and that nothing was wrong."""
    assert server.lines(rf"Using worker: {re.escape(worker_class)}$")
    assert not server.mistakes()


def test_django(gunicorn: Launcher) -> None:
    pytest.importorskip("django")
    django_admin = (sys.executable, "-m", "django")
    created = gunicorn.run("startproject", "mysite", ".", program=django_admin)
    assert (created.returncode, created.stderr) == (0, "")

    for target, worker_class in (("asgi", UVICORN), ("wsgi", "sync")):
        server = gunicorn.start(*MODULE_DOOR, f"mysite.{target}:application", **ONE_WORKER)

        assert server.get().status == 200
        server.wait_for_workers(1)
        speaks(server, worker_class)


# Other frameworks: tests/interfaces, where the loaded object has to agree with its source.
@pytest.mark.parametrize(
    ("framework", "source", "target", "worker_class"),
    [
        ("fastapi", FASTAPI, "app:app", UVICORN),
        ("flask", FLASK, "app:app", "sync"),
        ("flask", FLASK_FACTORY, "app:create_app(greeting='served by flask')", "sync"),
    ],
)
def test_framework(
    gunicorn: Launcher, framework: str, source: str, target: str, worker_class: str
) -> None:
    pytest.importorskip(framework)
    gunicorn.write("app.py", source)

    server = gunicorn.start(*MODULE_DOOR, target, **ONE_WORKER)

    status, body = server.get()
    assert status == 200
    assert framework in body
    speaks(server, worker_class)


def test_application_below_another_directory(gunicorn: Launcher) -> None:
    (gunicorn.folder / "src" / "shop").mkdir(parents=True)
    gunicorn.write("src/shop/main.py", "from gunicorn_autoconf.demo import app")

    server = gunicorn.start(*MODULE_DOOR, "--chdir", "src", "shop.main:app", **ONE_WORKER)

    assert server.get().status == 200
    speaks(server, UVICORN)


# An application and a worker class that do not fit: one line at the start, no 500s later.


def ends_with_one_line(server: Server, *words: str) -> None:
    """Check that the start of *server* ends as that of a server whose application fails to load."""
    assert server.wait() == 4
    (line,) = server.lines("CRITICAL")
    for word in words:
        assert word in line
    assert "Traceback" not in server.log
    assert not server.processes()


@pytest.mark.parametrize(
    ("options", "declared", "application", "right"),
    [
        ((), "wsgi", ASGI, "asgi"),
        ((), "asgi", WSGI, "wsgi"),
        (("--preload",), "wsgi", ASGI, "asgi"),
    ],
)
def test_wrong_interface_ends_the_start(
    gunicorn: Launcher, options: tuple[str, ...], declared: str, application: str, right: str
) -> None:
    server = gunicorn.launch(
        *options,
        *MODULE_DOOR,
        application,
        GUNICORN_CPUS="1",
        GUNICORN_INTERFACE=declared,
    )

    ends_with_one_line(server, f"GUNICORN_INTERFACE={right}")


def test_wrong_interface_ends_the_start_while_a_worker_boots(gunicorn: Launcher) -> None:
    # The last one is where Gunicorn has not installed its handlers yet when the first gives up.
    gunicorn.write(
        "gunicorn.conf.py",
        """
        import time
        from gunicorn_autoconf.conf import *

        def post_fork(server, worker):
            if worker.age == worker.cfg.workers:
                time.sleep(1)
        """,
    )
    server = gunicorn.launch(ASGI, GUNICORN_CPUS="1", GUNICORN_INTERFACE="wsgi")

    ends_with_one_line(server, "GUNICORN_INTERFACE=asgi")


@pytest.mark.parametrize(("worker_class", "application"), [(UVICORN, WSGI), ("gthread", ASGI)])
def test_wrong_worker_class_ends_the_start(
    gunicorn: Launcher, worker_class: str, application: str
) -> None:
    server = gunicorn.launch(
        "--worker-class", worker_class, *MODULE_DOOR, application, GUNICORN_CPUS="1"
    )

    ends_with_one_line(server, "--worker-class")


@pytest.mark.parametrize(
    ("source", "right"),
    [
        ("from gunicorn_autoconf.demo import app as hidden", "asgi"),
        ("from gunicorn_autoconf.demo import wsgi_app as hidden", None),
    ],
)
def test_source_that_does_not_tell(gunicorn: Launcher, source: str, right: str | None) -> None:
    gunicorn.write("app.py", f'{source}\napp = globals()["hidden"]\n')

    server = gunicorn.launch(*MODULE_DOOR, "app:app", GUNICORN_CPUS="1")

    server.wait_for("could not tell")
    if right:
        ends_with_one_line(server, f"GUNICORN_INTERFACE={right}")
    else:
        server.wait_for_workers(3)
        assert server.get().status == 200
        speaks(server, "sync")


@pytest.mark.parametrize("setting", ["chdir", "pythonpath"])
def test_application_where_the_file_says(gunicorn: Launcher, setting: str) -> None:
    (gunicorn.folder / "src").mkdir()
    gunicorn.write("src/shop.py", "from gunicorn_autoconf.demo import app")
    gunicorn.write("gunicorn.conf.py", f'from gunicorn_autoconf.conf import *\n{setting} = "src"\n')
    server = gunicorn.start("shop:app", GUNICORN_WORKERS="1")

    assert server.get().status == 200
    speaks(server, UVICORN)
