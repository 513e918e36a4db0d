"""The real server where parts of ours fail or nothing can be read: it serves."""

from __future__ import annotations

import importlib.util
import os
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


# Parts of ours in which everything fails that others call, or what the last word matches.
PARTS = {
    "all that hooks call": ("server", "hooks", "."),
    "planning": ("server", "hooks", "^(replan|render_|detect_)"),
    "what is known of the server": ("server.state", "ServerState", "."),
    "what is known of workers": ("fleet.records", "WorkerRecords", "."),
    "what is done at a fork": ("server.paused_thread", "PausedThread", "^pause$"),
    "measurements": ("fleet.sampler", "Sampler", "."),
}
BROKEN = """
    import inspect, re
    from gunicorn_autoconf.{module} import {part} as part

    def broken(*args, **kwargs):
        raise RuntimeError("injected")

    for name, value in list(vars(part).items()):
        if inspect.isfunction(value) and not name.startswith("_") and re.search("{names}", name):
            setattr(part, name, broken)
    from gunicorn_autoconf.conf import *
"""


@pytest.mark.parametrize("what", PARTS)
def test_server_serves_whatever_is_broken(gunicorn: Launcher, what: str) -> None:
    module, part, names = PARTS[what]
    gunicorn.write("gunicorn.conf.py", BROKEN.format(module=module, part=part, names=names))
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    server.wait_for("injected")
    server.close()
    # What the thread stumbles over is said once.
    assert len(server.lines("the memory guard failed and ends")) <= 1


PROCESS_MEMORY = "import gunicorn_autoconf.machine.process_memory as m; m.read_text = refuse"
NOTHING_TOLD = {
    "sizes, and there is no psutil": f"{PROCESS_MEMORY}; sys.modules['psutil'] = None",
    "the machine": "import gunicorn_autoconf.machine.tree as m; m.read_text = refuse",
    # Memory that the arbiter and its workers share.
    "boots": "import gunicorn_autoconf.fleet.shared_page as m; m.create_memory = refuse",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", NOTHING_TOLD)
def test_server_serves_where_nothing_is_told(gunicorn: Launcher, what: str) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        f"""
        import sys

        def refuse(*args, **kwargs):
            raise PermissionError("injected")

        {NOTHING_TOLD[what]}
        from gunicorn_autoconf.conf import *
        """,
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    if what == "boots":
        # The sizes of workers are known all the same.
        sizes = "".join(rf"(?=.* {pid}=[\d.]+MiB)" for pid in server.worker_pids())
        server.wait_for(f" memory workers=3 {sizes}")
    assert not server.lines("Traceback")


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
