"""The three doors of the real server: the module, the star import, the call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness import MODULE_DOOR, Launcher, wait_until

pytestmark = [pytest.mark.server, pytest.mark.each_gunicorn]

ASGI = "gunicorn_autoconf.demo:app"
WSGI = "gunicorn_autoconf.demo:wsgi_app"
UVICORN = "gunicorn_autoconf.workers.UvicornWorker"

ONE_WORKER = {"GUNICORN_CPUS": "1", "GUNICORN_WORKLOAD": "cpu"}

# An application that says what it is; also one that is edited while the server runs.
WSGI_APP = """
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"{body}"]
"""
ASGI_APP = """
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"asgi"})
"""

STAR_IMPORT = "from gunicorn_autoconf.conf import *\n"
CALL = """
    from gunicorn_autoconf import autoconf
    globals().update(autoconf().settings)
"""


# The doors.


def test_lines_after_the_star_import_win(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gunicorn_autoconf import compose
        from gunicorn_autoconf.conf import *

        timeout = 10

        def tell(worker):
            worker.log.info("told: %s %s", worker.timeout, worker.cfg.graceful_timeout)

        post_worker_init = compose(post_worker_init, tell)
        """,
    )
    server = gunicorn.start(WSGI, **ONE_WORKER)

    # A worker is given half of the timeout.
    assert server.wait_for(r"told: (.*)").group(1) == "5.0 8"
    (timeout,) = server.lines(r"autoconf:   timeout ")
    assert re.search(r"timeout +10 .*gunicorn\.conf\.py", timeout)
    (graceful_timeout,) = server.lines(r"autoconf:   graceful_timeout ")
    assert re.search(r"graceful_timeout +8 .*gunicorn\.conf\.py", graceful_timeout)
    (final,) = server.lines("running with")
    assert re.search(r"timeout=10 \([^)]*gunicorn\.conf\.py[^)]*\) graceful_timeout=8 ", final)
    assert server.get().status == 200


def test_command_line_beats_the_file(gunicorn: Launcher) -> None:
    gunicorn.write("gunicorn.conf.py", STAR_IMPORT + "timeout = 10\nworkers = 3\n")
    server = gunicorn.start(
        *("--timeout", "20", "--workers", "1"), WSGI, GUNICORN_TIMEOUT="30", GUNICORN_WORKERS="4"
    )

    server.wait_for_workers(1)
    (final,) = server.lines("running with")
    assert re.search(r"workers=1 .*timeout=20 \(--timeout .*graceful_timeout=18 ", final)


def test_count_in_the_file(gunicorn: Launcher) -> None:
    gunicorn.write("gunicorn.conf.py", STAR_IMPORT + "workers = 2\n")
    server = gunicorn.start(WSGI, GUNICORN_CPUS="4", GUNICORN_WORKERS="3")

    server.wait_for_workers(2)
    (planned,) = server.lines(r"autoconf:   workers ")
    assert re.search(r"workers +2 +set by \S*gunicorn\.conf\.py", planned)


def test_application_in_the_file(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", ASGI_APP)
    gunicorn.write("gunicorn.conf.py", STAR_IMPORT + 'wsgi_app = "app:app"\n')
    server = gunicorn.start(**ONE_WORKER)

    assert server.get() == (200, "asgi")
    assert server.lines(f"Using worker: {re.escape(UVICORN)}")


def test_composed_hook_runs_beside_ours(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gunicorn_autoconf import compose
        from gunicorn_autoconf.conf import *

        def greet(worker):
            worker.log.info("hello from %d", worker.pid)

        post_worker_init = compose(post_worker_init, greet)
        """,
    )
    server = gunicorn.start(WSGI, **ONE_WORKER)

    (pid,) = server.wait_for_workers(1)
    server.wait_for(f"hello from {pid}")
    assert not server.lines("ours; combine")


def test_replaced_hook_is_said_once(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gunicorn_autoconf.conf import *

        def post_worker_init(worker):
            worker.log.info("hello from %d", worker.pid)
        """,
    )
    server = gunicorn.start(WSGI, GUNICORN_WORKERS="2")

    wait_until(lambda: len(server.lines("hello from")) == 2, "both workers greet")
    (line,) = server.lines("replaces ours")
    assert "post_worker_init" in line
    assert "compose()" in line
    assert not server.lines(r"worker \d+ booted")
    assert server.get().status == 200


def test_call_door(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gunicorn_autoconf import autoconf
        globals().update(autoconf(workload="io", cpus=2).settings)
        """,
    )
    server = gunicorn.start(WSGI, GUNICORN_WORKLOAD="cpu")

    server.wait_for_workers(3)
    (final,) = server.lines("running with")
    assert "workers.ThreadWorker workers=3 threads=100" in final
    assert "keepalive=65" in final
    assert "workload io (workload)" in server.log
    assert server.get("/io").status == 200


def test_call_door_reads_the_machine_at_a_root(gunicorn: Launcher) -> None:
    root = Path(__file__).parents[1] / "roots" / "fractional-quota"
    gunicorn.write(
        "gunicorn.conf.py",
        f"""
        from gunicorn_autoconf import autoconf
        globals().update(autoconf(root={str(root)!r}, workload="cpu").settings)
        """,
    )
    server = gunicorn.start(WSGI)

    server.wait_for_workers(1)
    assert re.search(r"cores from /sys/fs/cgroup\S*/cpu\.max; ", server.log)


# Bad input.


@pytest.mark.parametrize(
    ("door", "name", "value"),
    [
        ("module", "GUNICORN_WORKLOAD", "fast"),
        ("star import", "GUNICORN_MEMORY", "lots"),
        ("call", "GUNICORN_TIMEOUT", "soon"),
    ],
)
def test_bad_value_stops_the_start_with_one_line(
    gunicorn: Launcher, door: str, name: str, value: str
) -> None:
    if door == "star import":
        gunicorn.write("gunicorn.conf.py", STAR_IMPORT)
    if door == "call":
        gunicorn.write("gunicorn.conf.py", CALL)
    options = MODULE_DOOR if door == "module" else ()

    result = gunicorn.run(*options, "--bind", "127.0.0.1:0", WSGI, **{name: value})

    assert result.returncode == 1
    (line,) = filter(None, result.stderr.splitlines())
    assert name in line
    assert value in line
    assert result.stdout == ""


def test_mistyped_name_is_a_warning(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, WSGI, GUNICORN_WORKERS="1", GUNICORN_WORKLAOD="io")

    (warning,) = server.lines("WARNING")
    assert "GUNICORN_WORKLAOD" in warning
    assert re.search(r"GUNICORN_WORKLOAD\b", warning)
    assert server.get().status == 200


def test_service_variables_of_kubernetes_are_no_mistake(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR,
        WSGI,
        **ONE_WORKER,
        KUBERNETES_SERVICE_HOST="10.96.0.1",
        GUNICORN_SERVICE_HOST="10.96.12.7",
        GUNICORN_SERVICE_PORT="8000",
        GUNICORN_SERVICE_PORT_HTTP="8000",
        GUNICORN_PORT="tcp://10.96.12.7:8000",
        GUNICORN_PORT_8000_TCP="tcp://10.96.12.7:8000",
        GUNICORN_PORT_8000_TCP_ADDR="10.96.12.7",
        GUNICORN_PORT_8000_TCP_PORT="8000",
        GUNICORN_PORT_8000_TCP_PROTO="tcp",
    )

    server.wait_for_workers(1)
    assert not server.lines("WARNING")
    assert server.lines(r"graceful_timeout +25 +kubernetes")
