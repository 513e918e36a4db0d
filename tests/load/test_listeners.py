"""The backlog of real listening sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness import wait_until

from gunicorn_autoconf.load.listeners import parse_waiting, read_backlogs


class Listener(SimpleNamespace):
    """As Gunicorn keeps one."""

    sock: socket.socket

    def __str__(self) -> str:
        return f"http://127.0.0.1:{self.sock.getsockname()[1]}"


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="Linux has it")
def test_connections_that_nobody_accepts_wait() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        listener = Listener(sock=server)
        (before,) = read_backlogs([listener])
        clients = [socket.create_connection(server.getsockname()) for _ in range(7)]
        try:
            wait_until(lambda: read_backlogs([listener])[0].waiting == 7, "seven that wait")
        finally:
            for client in clients:
                client.close()

        assert before == (str(listener), 0)


def test_unix_socket_does_not_tell(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()

        class Unix(Listener):
            def __str__(self) -> str:
                return "unix:socket"

        assert read_backlogs([Unix(sock=server)]) == (("unix:socket", None),)


def test_closed_listener_is_left_out() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    server.close()

    assert read_backlogs([Listener(sock=server), Listener(sock=None)]) == ()


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (bytes([10]) + bytes(23) + bytes([18, 0, 0, 0]) + bytes(76), 18),
        (bytes([1]) + bytes(23) + bytes([18, 0, 0, 0]) + bytes(76), None),  # A connection.
        (bytes([10]), None),
        (b"", None),
    ],
)
def test_structure_of_the_kernel(info: bytes, expected: int | None) -> None:
    assert parse_waiting(info) == expected
