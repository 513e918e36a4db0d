"""What importing the application once, in the arbiter, leaves for the workers."""

from __future__ import annotations

import os
import re
import socket
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from harness import (
    MODULE_DOOR,
    Launcher,
)
from memory_servers import (
    TWO_WORKERS,
    WSGI,
)

from gunicorn_autoconf.server.preload import _sockets

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard reads Linux's /proc"),
]

REMAINS = "importing the application left"


def test_preload_warns_of_a_thread_and_a_socket(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        import socket, threading
        from gunicorn_autoconf.demo import wsgi_app as app

        database = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(database.getsockname())
        pool = threading.Thread(target=threading.Event().wait, name="pool-1", daemon=True)
        pool.start()
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "app:app", "--preload", **TWO_WORKERS)
    server.wait_for_workers(2)
    warnings = server.lines(REMAINS)
    assert any("a running thread (pool-1)" in warning for warning in warnings)
    assert any(re.search(r"an open socket \(127\.0\.0\.1:\d+ to ", line) for line in warnings)
    assert len(warnings) == 3
    assert server.get().status == 200


def test_preload_warns_of_native_threads_and_child_processes(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        import _thread, subprocess, time
        from gunicorn_autoconf.demo import wsgi_app as app

        # Python does not list it among its threads.
        _thread.start_new_thread(time.sleep, (3600,))
        # It ends when the server does.
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "app:app", "--preload", **TWO_WORKERS)
    server.wait_for(" memory workers=2 ")
    threads, child = server.lines(REMAINS)
    assert re.search(r"left 1 native thread \(\S+\) in the arbiter", threads)
    assert re.search(r"left a child process \(cat, pid \d+\) in the arbiter", child)


def test_preload_is_silent_about_an_event_loop_that_does_not_run(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        import asyncio
        from gunicorn_autoconf.demo import wsgi_app as app

        loop = asyncio.new_event_loop()
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "app:app", "--preload", **TWO_WORKERS)
    server.wait_for_workers(2)
    assert not server.lines(REMAINS)
    assert not server.mistakes()


@pytest.mark.parametrize("how", ["plain", "statsd", "stdout is a socket", "unix", "syslog"])
def test_preload_is_silent_where_nothing_is_left(gunicorn: Launcher, how: str) -> None:
    arguments: list[str] = []
    bind = "127.0.0.1:0"
    with (
        socket.socket(socket.AF_UNIX) as journal,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("127.0.0.1", 0))
        host, port = datagrams.getsockname()
        path = str(gunicorn.folder / "journal.sock")
        journal.bind(path)
        journal.listen()
        if how == "statsd":
            arguments = ["--statsd-host", f"{host}:{port}"]
        elif how == "syslog":
            arguments = ["--log-syslog", "--log-syslog-to", f"udp://{host}:{port}"]
        elif how == "unix":
            bind = f"unix:{gunicorn.folder / 'app.sock'}"
        elif how == "stdout is a socket":
            become = (
                "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
                "os.dup2(s.fileno(), 1); os.execv(sys.argv[2], sys.argv[2:])"
            )
            gunicorn = replace(gunicorn, wrapper=(sys.executable, "-c", become, path))
        server = gunicorn.start(
            *MODULE_DOOR, WSGI, "--preload", *arguments, bind=bind, **TWO_WORKERS
        )
        server.wait_for_workers(2)
        assert server.get().status == 200
        assert not server.lines(REMAINS)
        assert not server.mistakes()
        server.close()


def test_a_socket_that_is_looked_at_stays_as_it_is() -> None:
    """Python makes what it opens by its number non-blocking where there is a default timeout."""
    log = SimpleNamespace(error_log=None)
    with socket.create_server(("127.0.0.1", 0)) as left:
        host, port = left.getsockname()
        os.set_blocking(left.fileno(), True)
        socket.setdefaulttimeout(30)
        try:
            found = list(_sockets(cast("Any", SimpleNamespace(log=log))))
        finally:
            socket.setdefaulttimeout(None)
        assert f"an open socket ({host}:{port}, fd {left.fileno()})" in found
        assert os.get_blocking(left.fileno())
