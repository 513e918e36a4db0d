"""Which requests are refused, by what is known of their age."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from gunicorn_autoconf.overload.age import seconds_since_data
from gunicorn_autoconf.overload.refusal import Refusal


def old(seconds: float) -> str:
    """What a proxy says of a request that it got so long ago."""
    return f"t={time.time() - seconds:.3f}"


def refusal(refused: Callable[[], None] = lambda: None) -> Refusal:
    return Refusal(2.5, ("/healthz",), ["127.0.0.1"], refused)


@pytest.mark.parametrize(
    ("path", "peer", "said", "status"),
    [
        ("/", "127.0.0.1", 10.0, "503 Service Unavailable"),
        ("/", "127.0.0.1", 1.0, "200 OK"),
        ("/", "127.0.0.1", "soon", "200 OK"),
        ("/", "127.0.0.1", None, "200 OK"),
        ("/", "203.0.113.1", 10.0, "200 OK"),  # A client may say what it likes.
        ("/", "", 10.0, "503 Service Unavailable"),  # At a Unix socket.
        ("/healthz", "127.0.0.1", 10.0, "200 OK"),
        ("/healthz/", "127.0.0.1", 10.0, "200 OK"),
        ("/healthzz", "127.0.0.1", 10.0, "503 Service Unavailable"),
    ],
)
def test_wsgi(path: str, peer: str, said: float | str | None, status: str) -> None:
    count = 0

    def refused() -> None:
        nonlocal count
        count += 1

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    began: list[tuple[str, dict[str, str]]] = []
    header = old(said) if isinstance(said, float) else said
    environ = {"PATH_INFO": path, "REMOTE_ADDR": peer}
    environ |= {"HTTP_X_REQUEST_START": header} if header else {}
    refusal(refused).wsgi(app)(
        environ, lambda status, headers: began.append((status, dict(headers)))
    )
    assert began[0][0] == status
    assert count == (status != "200 OK")
    assert began[0][1].get("Retry-After") == ("3" if count else None)


def test_the_worker_itself_may_know_more() -> None:
    said: list[str] = []
    app = refusal().wsgi(lambda *_: [], lambda: 3.0)
    app({"PATH_INFO": "/", "REMOTE_ADDR": ""}, lambda status, _: said.append(status))
    assert said == ["503 Service Unavailable"]


@pytest.mark.parametrize(
    ("kind", "peer", "statuses"),
    [("http", "127.0.0.1", [503]), ("http", "203.0.113.1", []), ("websocket", "127.0.0.1", [])],
)
def test_asgi(kind: str, peer: str, statuses: list[int]) -> None:
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"x-request-start", old(10).encode())]
    scope = {"type": kind, "path": "/", "headers": headers, "client": (peer, 1)}
    asyncio.run(refusal().asgi(app)(scope, None, send))
    assert [message["status"] for message in sent if "status" in message] == statuses


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel does not tell")
def test_the_wait_for_accept_counts() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        time.sleep(0.2)
        with listener.accept()[0] as accepted:
            assert seconds_since_data(accepted) >= 0.15
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert accepted.recv(100)
            assert seconds_since_data(accepted) < 10
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert seconds_since_data(ours) == 0.0
    assert seconds_since_data(None) == 0.0
