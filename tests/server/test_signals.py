"""The real server under the signals by which it is operated: reload, upgrade, more and fewer."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from harness import GUNICORN_SCRIPT, MODULE_DOOR, Launcher, Server, wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_python, pytest.mark.each_gunicorn]

ASGI = "gunicorn_autoconf.demo:app"
WSGI = "gunicorn_autoconf.demo:wsgi_app"

ONE_WORKER = {"GUNICORN_CPUS": "1", "GUNICORN_WORKLOAD": "cpu"}

CALL = """
    from gunicorn_autoconf import autoconf
    globals().update(autoconf({arguments}).settings)
"""

WSGI_APP = """
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"wsgi"]
"""
ASGI_APP = """
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"asgi"})
"""


# SIGHUP.


def test_hangup_plans_again_by_the_call_door(gunicorn: Launcher) -> None:
    gunicorn.write("gunicorn.conf.py", CALL.format(arguments='workload="cpu", cpus=1'))
    server = gunicorn.start(WSGI)
    workers = server.wait_for_workers(1)

    gunicorn.write("gunicorn.conf.py", CALL.format(arguments='workload="io", cpus=2'))
    server.signal(signal.SIGHUP)

    server.wait_for_workers(3, replacing=workers)
    planned_again = server.wait_for(r"planned again: .*").group()
    assert "worker_class sync -> gunicorn_autoconf.workers.ThreadWorker" in planned_again
    assert "workers 1 -> 3" in planned_again
    assert "threads 1 -> 100" in planned_again
    assert server.get("/io").status == 200


def test_hangup_by_the_module_door_changes_nothing(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, ASGI, GUNICORN_CPUS="1", GUNICORN_MEMORY="1GiB")
    workers = server.wait_for_workers(3)

    server.signal(signal.SIGHUP)

    server.wait_for_workers(3, replacing=workers)
    assert server.lines("planned again: nothing changed")
    assert server.get().status == 200


def test_hangup_takes_new_lines_after_the_star_import(gunicorn: Launcher) -> None:
    door = "from gunicorn_autoconf.conf import *\n"
    gunicorn.write("gunicorn.conf.py", door)
    server = gunicorn.start(WSGI, **ONE_WORKER)
    workers = server.wait_for_workers(1)

    gunicorn.write("gunicorn.conf.py", door + "workers = 2\ntimeout = 12\n")
    server.signal(signal.SIGHUP)

    workers = server.wait_for_workers(2, replacing=workers)
    planned_again = server.wait_for(r"planned again: .*").group()
    assert "workers 1 -> 2" in planned_again
    assert "graceful_timeout 30 -> 10" in planned_again

    gunicorn.write("gunicorn.conf.py", door)
    server.signal(signal.SIGHUP)
    server.wait_for_workers(1, replacing=workers)


def test_hangup_with_a_wrong_declaration_keeps_the_server(gunicorn: Launcher) -> None:
    gunicorn.write("gunicorn.conf.py", CALL.format(arguments='workload="cpu", cpus=2'))
    server = gunicorn.start(WSGI)
    workers = server.wait_for_workers(2)

    gunicorn.write("gunicorn.conf.py", CALL.format(arguments='workload="fast", cpus=1'))
    server.signal(signal.SIGHUP)

    workers = server.wait_for_workers(2, replacing=workers)
    (error,) = server.mistakes()
    assert "workload='fast'" in error
    assert server.get().status == 200

    gunicorn.write("gunicorn.conf.py", CALL.format(arguments='workload="cpu", cpus=1'))
    server.signal(signal.SIGHUP)
    server.wait_for_workers(1, replacing=workers)


def test_hangup_twice_at_once(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, WSGI, **ONE_WORKER)
    workers = server.wait_for_workers(1)

    server.signal(signal.SIGHUP)
    server.signal(signal.SIGHUP)

    server.wait_for_workers(1, replacing=workers)
    assert server.get().status == 200


# An application of the other interface is deployed while the server runs.


def test_other_application_at_hangup_is_logged_and_ends_nothing(gunicorn: Launcher) -> None:
    door = "from gunicorn_autoconf.conf import *\n"
    gunicorn.write("gunicorn.conf.py", door)
    gunicorn.write("app.py", WSGI_APP)
    server = gunicorn.start("app:app", **ONE_WORKER, GUNICORN_INTERFACE="wsgi")
    workers = server.wait_for_workers(1)
    assert server.get() == (200, "wsgi")

    # More workers too, so that their numbers are those of a server that starts.
    gunicorn.write("gunicorn.conf.py", door + "workers = 3\n")
    gunicorn.write("app.py", ASGI_APP)
    server.signal(signal.SIGHUP)
    workers |= server.wait_for_workers(3, replacing=workers)
    mistakes = server.lines("CRITICAL")
    assert len(mistakes) == 3
    assert all("GUNICORN_INTERFACE" in mistake for mistake in mistakes)

    gunicorn.write("gunicorn.conf.py", door)
    gunicorn.write("app.py", WSGI_APP)
    server.signal(signal.SIGHUP)
    server.wait_for_workers(1, replacing=workers)
    assert server.get() == (200, "wsgi")


@pytest.mark.parametrize("call", [True, False])
def test_other_application_at_hangup_is_served(gunicorn: Launcher, call: bool) -> None:
    gunicorn.write("app.py", WSGI_APP)
    if call:
        gunicorn.write("gunicorn.conf.py", CALL.format(arguments='workload="cpu", cpus=1'))
    door = [] if call else MODULE_DOOR
    server = gunicorn.start(*door, "app:app", GUNICORN_CPUS="1", GUNICORN_WORKLOAD="cpu")
    workers = server.wait_for_workers(1)

    gunicorn.write("app.py", ASGI_APP)
    server.signal(signal.SIGHUP)

    server.wait_for_workers(1, replacing=workers)
    assert not server.lines("CRITICAL")
    assert server.get() == (200, "asgi")


def test_other_application_in_a_replaced_worker_ends_nothing(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", WSGI_APP)
    server = gunicorn.start(*MODULE_DOOR, "app:app", **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)

    gunicorn.write("app.py", ASGI_APP)
    os.kill(worker, signal.SIGTERM)

    server.wait_for_workers(1, replacing={worker})
    (mistake,) = server.lines("CRITICAL")
    assert "GUNICORN_INTERFACE" in mistake


# SIGUSR2.


def upgrade(server: Server) -> int:
    """Make *server* start its successor; return the pid of that new arbiter once it listens."""
    since = server.mark()
    server.signal(signal.SIGUSR2)
    return int(server.wait_for(r"Listening at: \S+ \((\d+)\)", since=since).group(1))


@pytest.mark.parametrize(("application", "how"), [(ASGI, signal.SIGTERM), (WSGI, signal.SIGQUIT)])
def test_upgrade(gunicorn: Launcher, application: str, how: signal.Signals) -> None:
    pid_file = gunicorn.folder / "gunicorn.pid"
    server = gunicorn.start(
        *("--pid", str(pid_file)),
        *MODULE_DOOR,
        application,
        program=GUNICORN_SCRIPT,
        GUNICORN_CPUS="2",
        GUNICORN_WORKLOAD="cpu",
    )
    workers = server.wait_for_workers(2)

    new_arbiter = upgrade(server)
    server.signal(how)
    assert server.wait() == 0
    server.adopt(new_arbiter)

    server.wait_for_workers(2, replacing=workers)
    old, new = (line.partition("running with ")[2] for line in server.lines("running with"))
    assert old == new
    server.wait_for("Master has been promoted")

    def is_named() -> bool:
        # Gunicorn removes the old file before it makes the new one.
        return pid_file.exists() and pid_file.read_text().strip() == str(new_arbiter)

    wait_until(is_named, "the pid file follows")
    assert server.get().status == 200


def test_upgraded_server_reloads(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, WSGI, program=GUNICORN_SCRIPT, **ONE_WORKER)
    workers = server.wait_for_workers(1)
    new_arbiter = upgrade(server)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.adopt(new_arbiter)
    workers = server.wait_for_workers(1, replacing=workers)

    server.signal(signal.SIGHUP)

    server.wait_for_workers(1, replacing=workers)
    assert server.get().status == 200


def test_upgrade_to_a_wrong_application_leaves_the_old_server(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", WSGI_APP)
    server = gunicorn.start(
        *MODULE_DOOR,
        "app:app",
        program=GUNICORN_SCRIPT,
        **ONE_WORKER,
        GUNICORN_INTERFACE="wsgi",
    )
    workers = server.wait_for_workers(1)

    gunicorn.write("app.py", ASGI_APP)
    upgrade(server)

    server.wait_for("App failed to load")
    wait_until(lambda: server.worker_pids() == workers, "the new arbiter is gone")
    (mistake,) = server.lines("CRITICAL")
    assert "GUNICORN_INTERFACE=asgi" in mistake
    assert server.get() == (200, "wsgi")


# SIGTTIN, SIGTTOU and the rest.


def test_one_more_and_one_fewer(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, ASGI, **ONE_WORKER)
    workers = server.wait_for_workers(1)

    server.signal(signal.SIGTTIN)
    more = server.wait_for_workers(2)
    assert workers < more

    server.signal(signal.SIGTTOU)
    assert server.wait_for_workers(1) == more - workers
    assert server.get().status == 200


def test_killed_worker_is_replaced(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, WSGI, **ONE_WORKER)
    (worker,) = server.wait_for_workers(1)

    os.kill(worker, signal.SIGKILL)

    server.wait_for_workers(1, replacing={worker})
    assert server.get().status == 200


# The first worker stays where only the fork is over: Gunicorn has not installed its handlers yet.
# In short sleeps: Python runs a handler between two steps of the code, so a signal that comes right
# before a sleep does not end it.
FORKED = """
    from gunicorn_autoconf.conf import *

    def post_fork(server, worker):
        import time
        print(f"forked {worker.pid}", flush=True)
        while worker.age == 1:
            time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_reaches_a_worker_that_has_just_been_forked(
    gunicorn: Launcher, number: signal.Signals
) -> None:
    gunicorn.write("gunicorn.conf.py", FORKED)
    server = gunicorn.start(WSGI, **ONE_WORKER, GUNICORN_GRACEFUL_TIMEOUT="60")
    server.wait_for("forked")

    server.signal(number)
    assert server.wait() == 0
    assert not server.processes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_worker_that_has_just_been_forked_ends_when_it_is_told_to(
    gunicorn: Launcher, number: signal.Signals
) -> None:
    gunicorn.write("gunicorn.conf.py", FORKED)
    server = gunicorn.start(WSGI, **ONE_WORKER)
    first = int(server.wait_for(r"forked (\d+)").group(1))

    os.kill(first, number)
    server.wait_for_workers(1, replacing={first})
    # As one that was told to, not as one that was killed.
    server.wait_for(rf"\[INFO\] gunicorn-autoconf: worker {first} exited: age=")
    assert not server.lines(rf"pid:{first}\) was sent")


def test_worker_that_has_just_been_forked_reopens_its_log(gunicorn: Launcher) -> None:
    gunicorn.write("gunicorn.conf.py", FORKED)
    log = gunicorn.folder / "error.log"
    server = gunicorn.launch(ASGI, "--error-logfile", str(log), **ONE_WORKER)
    worker = int(server.wait_for(r"forked (\d+)").group(1))

    def opened() -> set[str]:
        found = set()
        for link in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(FileNotFoundError):  # Closed meanwhile.
                found.add(os.readlink(link))
        return found

    aside = log.with_name("error.log.1")
    log.rename(aside)
    server.signal(signal.SIGUSR1)
    wait_until(
        lambda: str(log) in opened() and str(aside) not in opened(), "the worker has the new file"
    )


@pytest.mark.parametrize("application", [ASGI, WSGI])
def test_request_in_flight_is_finished(gunicorn: Launcher, application: str) -> None:
    gunicorn.write(
        "app.py",
        """
        import pathlib, time
        from gunicorn_autoconf import demo

        def note():
            pathlib.Path("begun").touch()

        async def app(scope, receive, send):
            if scope["type"] == "http":
                note()
            await demo.app(scope, receive, send)

        def wsgi_app(environ, start_response):
            note()
            return demo.wsgi_app(environ, start_response)
        """,
    )
    target = application.replace("gunicorn_autoconf.demo", "app")
    server = gunicorn.start(*MODULE_DOOR, target, **ONE_WORKER)
    server.wait_for_workers(1)

    with server.ask("/block") as answer:
        wait_until((gunicorn.folder / "begun").exists, "the request is in work")
        server.signal(signal.SIGTERM)
        assert answer().status == 200
    assert server.wait() == 0
    assert not server.mistakes()


def test_hangup_with_a_wrong_declaration_keeps_what_the_last_good_one_gave(
    gunicorn: Launcher,
) -> None:
    gunicorn.write("gunicorn.conf.py", CALL.format(arguments='workload="cpu", cpus=2'))
    server = gunicorn.start(WSGI)
    workers = server.wait_for_workers(2)
    for arguments in ('workload="cpu", cpus=1', 'workload="fast"'):
        gunicorn.write("gunicorn.conf.py", CALL.format(arguments=arguments))
        server.signal(signal.SIGHUP)
        workers = server.wait_for_workers(1, replacing=workers)

    assert server.lines("planned again: nothing changed")
