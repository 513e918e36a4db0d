"""The real server: what it plans, what it logs at the start, and the ways to run it."""

from __future__ import annotations

import re
import signal
import socket
import sys

import gunicorn.workers
import psutil
import pytest
from harness import MODULE_DOOR, PYTHON_GUNICORN, Launcher, get, wait_until
from patience import stretched

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


# What is planned: --print-config shows the settings that Gunicorn would run with.


@pytest.mark.parametrize(
    ("application", "worker_class", "workers"),
    [(WSGI, "gunicorn_autoconf.workers.ThreadWorker", "5"), (ASGI, UVICORN, "9")],
)
def test_plan_becomes_settings(
    gunicorn: Launcher, application: str, worker_class: str, workers: str
) -> None:
    """What is planned for which workload and machine: tests/plan/test_plan.py."""
    shown = gunicorn.print_config(
        *MODULE_DOOR,
        application,
        GUNICORN_CPUS="4",
        GUNICORN_MEMORY="16GiB",
        GUNICORN_WORKLOAD="io",
    )

    found = (shown["worker_class"], shown["workers"], shown["threads"])
    assert found == (worker_class, workers, "100")


def test_gunicorns_own_variable_wins(gunicorn: Launcher) -> None:
    shown = gunicorn.print_config(
        *MODULE_DOOR,
        WSGI,
        GUNICORN_CPUS="4",
        GUNICORN_CMD_ARGS="--workers 6",
        GUNICORN_WORKERS="5",
        WEB_CONCURRENCY="3",
    )

    assert shown["workers"] == "6"


def test_log_names_who_overrode_the_count(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR,
        *("--workers", "2"),
        WSGI,
        GUNICORN_CPUS="4",
        GUNICORN_WORKERS="5",
        WEB_CONCURRENCY="3",
    )

    server.wait_for_workers(2)
    (planned,) = server.lines(r"autoconf:   workers ")
    assert re.search(r"workers +2 +set by --workers\b.*GUNICORN_WORKERS = 5", planned)
    (final,) = server.lines("running with")
    assert re.search(r"workers=2 \(--workers over [^)]*GUNICORN_WORKERS=5", final)


# What is logged while a server starts.


def test_start_up_log(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, ASGI, GUNICORN_CPUS="1", GUNICORN_MEMORY="2GiB")
    server.wait_for_workers(3)

    log = server.log
    plan = "plan: 3 UvicornWorkers: 1 core, 2 GiB, ASGI, workload auto"
    assert log.index(plan) < log.index("Listening at")
    assert re.search(
        r"cores from GUNICORN_CPUS; memory from GUNICORN_MEMORY; ASGI from .*demo\.py", log
    )
    server.wait_for("all 3 workers are ready: .* each at most, .* together")
    assert re.search(r"workers +3 +floor\(2 \* c\) \+ 1, c = 1 \(GUNICORN_CPUS\)", log)
    for setting in ("worker_class", "threads", "timeout", "graceful_timeout", "keepalive"):
        assert len(server.lines(rf"autoconf:   {setting} ")) == 1, setting
    (final,) = server.lines("running with")
    assert f"worker_class={UVICORN} workers=3 threads=1 timeout=60" in final
    assert log.index("Listening at") < log.index("running with") < log.index("Booting worker")
    assert "WARNING" not in log
    assert "Traceback" not in log


def test_each_worker_logs_boot_time_and_memory(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        import time
        from gunicorn_autoconf.demo import wsgi_app as app
        ballast = b"x" * (40 * 1024 * 1024)
        work_ends = time.monotonic() + 0.4
        while time.monotonic() < work_ends:
            pass
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "app:app", GUNICORN_WORKERS="2")

    for pid in server.wait_for_workers(2):
        (line,) = server.lines(f"worker {pid} booted")
        found = re.search(
            r"booted in ([\d.]+) s: rss=([\d.]+)MiB pss=[\d.]+MiB uss=([\d.]+)MiB$", line
        )
        assert found, line
        seconds, rss_mib, uss_mib = map(float, found.groups())
        assert 0.4 <= seconds < stretched()
        memory = psutil.Process(pid).memory_full_info()
        assert rss_mib * 2**20 == pytest.approx(memory.rss, rel=0.25)
        assert uss_mib * 2**20 == pytest.approx(memory.uss, rel=0.25)
        assert 40 < uss_mib <= rss_mib < 200


def test_shutdown_is_graceful(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, ASGI, **ONE_WORKER)
    assert server.get().status == 200

    server.stop()

    assert server.lines("Handling signal: term")
    assert server.lines("Shutting down: Master")
    assert not server.mistakes()


# The ways to run a server.


def test_check_config_of_a_good_application(gunicorn: Launcher) -> None:
    result = gunicorn.run("--check-config", *MODULE_DOOR, ASGI)

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("source", ['raise RuntimeError("broken on purpose")', "def broken("])
def test_check_config_of_a_broken_application(gunicorn: Launcher, source: str) -> None:
    gunicorn.write("app.py", source)

    result = gunicorn.run("--check-config", *MODULE_DOOR, "app:app")

    assert result.returncode == 1
    assert "Error while loading the application" in result.stderr


def test_unix_socket(gunicorn: Launcher) -> None:
    path = gunicorn.folder / "gunicorn.sock"
    server = gunicorn.start(*MODULE_DOOR, ASGI, bind=f"unix:{path}", **ONE_WORKER)

    assert server.address == str(path)
    assert server.get().status == 200


def test_daemon(gunicorn: Launcher) -> None:
    pid_file = gunicorn.folder / "gunicorn.pid"
    log = gunicorn.folder / "server-0.log"
    server = gunicorn.launch(
        *MODULE_DOOR,
        *("--daemon", "--pid", str(pid_file), "--error-logfile", str(log)),
        WSGI,
        **ONE_WORKER,
    )
    assert server.wait() == 0
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", "the pid file is written")
    server.adopt(int(pid_file.read_text()))

    server.wait_for_workers(1)
    assert server.get().status == 200
    server.stop()
    assert not pid_file.exists()


@pytest.mark.parametrize(
    ("application", "worker_class", "interface"),
    [(ASGI, UVICORN, "ASGI"), (WSGI, "sync", "WSGI")],
)
def test_preload(gunicorn: Launcher, application: str, worker_class: str, interface: str) -> None:
    server = gunicorn.start("--preload", *MODULE_DOOR, application, **ONE_WORKER)

    assert server.get().status == 200
    assert server.lines(f"Using worker: {re.escape(worker_class)}")
    assert server.lines(rf"{interface} from the loaded application shows it")


def test_preload_sees_what_the_source_hides(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py", 'import importlib\napp = vars(importlib.import_module("hidden"))["app"]\n'
    )
    gunicorn.write("hidden.py", ASGI_APP)
    server = gunicorn.start("--preload", *MODULE_DOOR, "app:app", **ONE_WORKER)

    assert server.get() == (200, "asgi")


def test_reload(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", WSGI_APP.format(body="one"))
    server = gunicorn.start("--reload", *MODULE_DOOR, "app:app", **ONE_WORKER)
    workers = server.wait_for_workers(1)
    assert server.get() == (200, "one")

    gunicorn.edit("app.py", WSGI_APP.format(body="two"), server)

    server.wait_for_workers(1, replacing=workers)
    assert server.get() == (200, "two")


def test_reload_of_a_broken_application(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", "def broken(")
    server = gunicorn.start(
        "--reload", *MODULE_DOOR, "app:app", **ONE_WORKER, GUNICORN_INTERFACE="asgi"
    )

    server.wait_for("SyntaxError")
    server.wait_for_workers(1)
    # What Gunicorn serves in the place of the application is no mistake of its author's.
    assert not server.lines("CRITICAL")


def test_reuse_port(gunicorn: Launcher) -> None:
    # Bound but not listening, this socket keeps the port for the server and gets no connection.
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        host, port = holder.getsockname()
        server = gunicorn.start(
            "--reuse-port", *MODULE_DOOR, ASGI, bind=f"{host}:{port}", GUNICORN_WORKERS="2"
        )
        server.wait_for_workers(2)
        assert get((host, port)).status == 200


ACTIVATE = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_socket_activation(gunicorn: Launcher) -> None:
    activated = (sys.executable, "-c", ACTIVATE, *PYTHON_GUNICORN)
    server = gunicorn.start(*MODULE_DOOR, ASGI, program=activated, bind=None, **ONE_WORKER)

    assert server.lines(r"Listening at: http://127\.0\.0\.1:(?!8000 )")
    assert server.get().status == 200


@pytest.mark.newer_gunicorn
@pytest.mark.skipif(
    "asgi" not in gunicorn.workers.SUPPORTED_WORKERS, reason="this Gunicorn has no asgi worker"
)
def test_native_asgi_worker(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, ASGI, **ONE_WORKER, GUNICORN_WORKER_CLASS="asgi")

    server.wait_for_workers(1)
    assert server.lines("Using worker: asgi")
    assert server.get().status == 200


def test_several_servers_side_by_side(gunicorn: Launcher) -> None:
    first = gunicorn.start(*MODULE_DOOR, WSGI, **ONE_WORKER)
    second = gunicorn.start(*MODULE_DOOR, WSGI, **ONE_WORKER)

    assert first.address != second.address
    assert first.get().status == second.get().status == 200
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    assert second.get().status == 200
