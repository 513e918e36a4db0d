"""The real server where parts of ours fail or nothing can be read: it serves."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys

import pytest
from harness import (
    MODULE_DOOR,
    PYTHON_GUNICORN,
    Launcher,
    Server,
)
from memory_servers import (
    EVERY_SAMPLE,
    TWO_WORKERS,
    WSGI,
    answering,
    wait_for_memory_lines,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard reads Linux's /proc"),
]

BROKEN = """
    import {module} as module

    def broken(*args, **kwargs):
        raise RuntimeError("injected")

    module.{name} = broken
    from gunicorn_autoconf.conf import *
"""


def serves_on(server: Server) -> None:
    """See it serve: at start, after a reload, one more, one fewer, and a worker's sudden end."""
    workers = answering(server, 2)
    server.signal(signal.SIGHUP)
    workers = answering(server, 2, replacing=workers)
    server.signal(signal.SIGTTIN)
    workers = answering(server, 3)
    killed = workers.pop()
    os.kill(killed, signal.SIGKILL)
    answering(server, 3, replacing={killed})


@pytest.mark.parametrize(
    "broken",
    [
        "server.hooks.create_state",
        pytest.param("server.hooks.replan", marks=pytest.mark.slow),
        pytest.param("server.hooks.render_final", marks=pytest.mark.slow),
        pytest.param("server.hooks.detect_machine", marks=pytest.mark.slow),
        pytest.param("server.hooks.read_process_memory", marks=pytest.mark.slow),
        pytest.param("server.hooks.interface_of", marks=pytest.mark.slow),
        pytest.param("server.state.find_oom_files", marks=pytest.mark.slow),
        pytest.param("server.state.read_oom_kills", marks=pytest.mark.slow),
        pytest.param("server.state.Supervisor", marks=pytest.mark.slow),
        pytest.param("server.state.ServerState.replanned", marks=pytest.mark.slow),
        pytest.param("server.state.ServerState.count_changed", marks=pytest.mark.slow),
        "server.state.ServerState.ended",
        pytest.param("server.state.ServerState.stop", marks=pytest.mark.slow),
        pytest.param("fleet.records.WorkerRecords.forking", marks=pytest.mark.slow),
        pytest.param("fleet.records.WorkerRecords.booted", marks=pytest.mark.slow),
        "server.supervisor.detect_machine",
        pytest.param("server.supervisor.Supervisor._interval", marks=pytest.mark.slow),
        "server.supervisor.Supervisor.pause",
        pytest.param("server.supervisor.Supervisor._resume", marks=pytest.mark.slow),
        pytest.param("fleet.sampler.Sampler.sample", marks=pytest.mark.slow),
        pytest.param("server.supervisor.decide", marks=pytest.mark.slow),
        pytest.param("server.supervisor.render_memory", marks=pytest.mark.slow),
    ],
)
def test_server_serves_whatever_is_broken(gunicorn: Launcher, broken: str) -> None:
    module, name = re.fullmatch(r"((?:\w+\.)+?\w+)\.([A-Za-z]\w+(?:\.\w+)?)", broken).groups()  # type: ignore[union-attr]
    gunicorn.write(
        "gunicorn.conf.py", BROKEN.format(module=f"gunicorn_autoconf.{module}", name=name)
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    if broken != "server.state.ServerState.stop":
        server.wait_for("injected")
    server.close()
    # It is not silent either; and what a thread stumbles over is said once.
    assert "injected" in server.log
    assert len(server.lines("the memory guard failed and ends")) <= 1


PROCESS_MEMORY = "import gunicorn_autoconf.machine.process_memory as m; m.open = refuse"


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        # A kernel without smaps_rollup, or a process of another user: psutil has to tell.
        PROCESS_MEMORY,
        # psutil cannot tell either.
        f"import psutil; {PROCESS_MEMORY}; psutil.Process = refuse",
        # There is no psutil.
        f"{PROCESS_MEMORY}; sys.modules['psutil'] = None",
        # No shared page.
        "import gunicorn_autoconf.fleet.shared_page as m; m.mmap.mmap = refuse",
        # Nothing of the kernel's can be read.
        "import gunicorn_autoconf.machine.host as m; m.open = refuse",
    ],
    ids=["smaps", "psutil", "no-psutil", "page", "host"],
)
def test_server_serves_where_nothing_is_told(gunicorn: Launcher, lines: str) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        f"""
        import sys

        def refuse(*args, **kwargs):
            raise PermissionError("injected")

        {lines}
        from gunicorn_autoconf.conf import *
        """,
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    assert not server.lines("Traceback")


def test_memory_is_logged_without_a_status_page(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        import types
        import gunicorn_autoconf.fleet.shared_page as status

        def refuse(*args):
            raise OSError("injected")

        status.mmap = types.SimpleNamespace(mmap=refuse)
        from gunicorn_autoconf.conf import *
        """,
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    pids = answering(server, 2)
    line = server.wait_for(" memory workers=2 .*").group()
    assert all(re.search(rf" {pid}=[\d.]+MiB", line) for pid in pids)
    assert not server.mistakes()


has_gevent = pytest.mark.skipif(
    not importlib.util.find_spec("gevent"), reason="gevent is not installed"
)


@has_gevent
def test_gevent_workers_are_watched(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR, WSGI, "--worker-class", "gevent", **TWO_WORKERS, **EVERY_SAMPLE
    )
    answering(server, 2)
    server.wait_for(" memory workers=2 ")
    assert not server.mistakes()


@has_gevent
@pytest.mark.slow
def test_gevent_in_the_arbiter_is_not_held_up(gunicorn: Launcher) -> None:
    """Some patch the arbiter, too: the guard's thread is a greenlet then."""
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gevent import monkey
        monkey.patch_all()
        from gunicorn_autoconf.conf import *
        """,
    )
    server = gunicorn.start(WSGI, "--worker-class", "gevent", **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    server.wait_for(" memory workers=3 ")


def test_reload_option_works_beside_the_guard(gunicorn: Launcher) -> None:
    text = """
        import os

        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"{answer} by worker %d" % os.getpid()]
    """
    gunicorn.write("app.py", text.format(answer="old"))
    server = gunicorn.start(
        *MODULE_DOOR,
        *("app:app", "--reload", "--reload-engine", "poll"),
        GUNICORN_WORKERS="1",
        **EVERY_SAMPLE,
    )
    before = answering(server, 1)
    gunicorn.edit("app.py", text.format(answer="brand new"), server)
    answering(server, 1, replacing=before)
    assert server.get().body.startswith("brand new")
    wait_for_memory_lines(server, 1, 1)
    assert not server.mistakes()


# Python warns of a fork while there are threads from 3.12 on.
def test_no_warning_is_raised(gunicorn: Launcher) -> None:
    python, *rest = PYTHON_GUNICORN
    server = gunicorn.start(
        *MODULE_DOOR, WSGI, program=(python, "-W", "error", *rest), **TWO_WORKERS, **EVERY_SAMPLE
    )
    serves_on(server)
    server.wait_for(" memory workers=3 ")
    assert not server.lines("Warning|Traceback")
