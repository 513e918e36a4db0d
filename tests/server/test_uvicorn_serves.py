"""The ASGI worker class on the real server: what must go on working."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import closing
from typing import Any

import pytest
from harness import Launcher, Server, get, wait_until
from patience import stretched
from uvicorn_servers import (
    APP,
    HOOKS,
    ended,
    open_websocket,
    recycle,
    reload,
    say,
    serve,
)

pytestmark = [pytest.mark.server, pytest.mark.one_python, pytest.mark.each_gunicorn]


def test_websocket(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop)

    with closing(open_websocket(server.address)) as connection:
        assert say(connection, "hello") == "HELLO"
        old = recycle(server)
        # Closed by the server, "service restart".
        head = connection.recv(4)
        assert (head[0], int.from_bytes(head[2:4], "big")) == (0x88, 1012)
    server.wait_for_workers(1, replacing=old)


def test_keep_alive(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--keep-alive", "2")
    address = server.address
    assert not isinstance(address, str)

    with closing(http.client.HTTPConnection(*address, timeout=stretched())) as connection:
        connection.connect()
        kept = connection.sock
        for _ in range(3):
            began = time.monotonic()
            connection.request("GET", "/")
            assert connection.getresponse().read()
            assert connection.sock is kept
        assert kept.recv(1) == b""  # Closed by the server.
        assert time.monotonic() - began >= 1.5


@pytest.mark.parametrize("loop", ["asyncio"], indirect=True)
def test_max_requests_with_jitter(gunicorn: Launcher, loop: str) -> None:
    options = ["--max-requests", "5", "--max-requests-jitter", "5"]
    server = serve(gunicorn, loop, *options, hooks=HOOKS)

    worker, served = "", 0
    while True:
        answered_by = server.get("/").body
        if worker and answered_by != worker:
            break
        worker, served = answered_by, served + 1
    # uvicorn counts every tenth of a second.
    assert served >= 5
    ended(server, int(worker), hooks=["worker_exit"])
    assert server.lines(r"Maximum request limit of ([5-9]|10) exceeded")
    assert not server.mistakes()


@pytest.mark.parametrize(
    ("loop", "replace"), [("uvloop", recycle), ("asyncio", reload)], indirect=["loop"]
)
def test_unix_socket(gunicorn: Launcher, loop: str, replace: Any) -> None:
    server = serve(gunicorn, loop, bind=f"unix:{gunicorn.folder}/sock")
    assert server.get("/").status == 200

    old = replace(server)

    server.wait_for_workers(1, replacing=old)
    assert server.get("/").status == 200


def both_are_replaced(server: Server, address: tuple[str, int] | str) -> None:
    """Reload a server with two workers; it must answer before and after."""
    assert get(address).status == 200

    old = reload(server)

    server.wait_for_workers(2, replacing=old)
    wait_until(lambda: len(server.lines("lifespan.startup")) == 4, "the new ones have started")
    assert get(address).status == 200
    assert not server.mistakes()


@pytest.mark.parametrize("loop", ["asyncio"], indirect=True)
def test_preload(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--preload", workers=2)

    both_are_replaced(server, server.address)


@pytest.mark.parametrize("loop", ["uvloop"], indirect=True)
def test_reuse_port(gunicorn: Launcher, loop: str) -> None:
    """Each worker listens for itself, and the arbiter could not say where: we choose the port."""
    with closing(socket.socket()) as held:  # It does not listen, so that nothing comes to it.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        address = held.getsockname()
        server = serve(gunicorn, loop, "--reuse-port", bind=f"127.0.0.1:{address[1]}", workers=2)

        both_are_replaced(server, address)


@pytest.mark.parametrize("loop", ["uvloop"], indirect=True)
def test_reload_of_edited_code(gunicorn: Launcher, loop: str) -> None:
    server = serve(gunicorn, loop, "--reload", "--reload-engine", "poll", hooks=HOOKS)
    (worker,) = server.worker_pids()

    gunicorn.edit("app.py", APP.replace('"/most": str(most)', '"/most": "edited"'), server)

    ended(server, worker, hooks=["worker_int", "worker_exit"])
    assert server.get("/most").body == "edited"


def serve_tls(gunicorn: Launcher, loop: str) -> tuple[Server, tuple[str, int], ssl.SSLContext]:
    """Serve with a certificate; return the address and the context of a client as well."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = gunicorn.folder / "cert.pem", gunicorn.folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = serve(gunicorn, loop, "--certfile", str(certificate), "--keyfile", str(key))
    address = server.address
    assert not isinstance(address, str)
    return server, address, ssl.create_default_context(cafile=str(certificate))


def test_tls(gunicorn: Launcher, loop: str) -> None:
    server, (_, port), context = serve_tls(gunicorn, loop)

    connection = http.client.HTTPSConnection(
        "localhost", port, context=context, timeout=stretched()
    )
    with closing(connection):
        connection.request("GET", "/scheme")
        assert connection.getresponse().read() == b"https"
        old = recycle(server)
        assert connection.sock.recv(1) == b""
    server.wait_for_workers(1, replacing=old)


def test_drain_waits_for_tls_handshakes(gunicorn: Launcher, loop: str) -> None:
    server, address, context = serve_tls(gunicorn, loop)
    with socket.create_connection(address, timeout=stretched()) as connection:
        with socket.create_connection(address) as later:
            # Answered, so that the first connection is accepted too.
            context.wrap_socket(later, server_hostname="localhost").close()
        old = recycle(server)
        time.sleep(0.5)  # The client's network is slow.
        with context.wrap_socket(connection, server_hostname="localhost") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secure.recv(4096).startswith(b"HTTP/1.1 200")
    server.wait_for_workers(1, replacing=old)


def test_error_log_that_is_no_file(gunicorn: Launcher) -> None:
    gunicorn.write(
        "mine.py",
        """
        import logging, sys
        from gunicorn.glogging import Logger

        class Stream:
            def write(self, text):
                sys.stderr.write(text)

            def flush(self):
                sys.stderr.flush()

        class Mine(Logger):
            def setup(self, cfg):
                super().setup(cfg)
                self.error_log.handlers = [logging.StreamHandler(Stream())]
        """,
    )
    server = serve(gunicorn, "uvloop", "--logger-class", "mine.Mine", GUNICORN_TIMEOUT="2")
    old = server.worker_pids()

    with server.ask("/block?60"):
        server.wait_for("Current thread")
    server.wait_for_workers(1, replacing=old)
