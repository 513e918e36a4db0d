"""How many connections a worker tells the others of, while it accepts them."""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
from typing import Any

import pytest
from patience import Patience

from gunicorn_autoconf.workers.acceptor import Acceptor, Connections


class Others:
    """Stands for the page: one other worker, with 1,000 connections. Keeps each own count."""

    def __init__(self) -> None:
        self.told = [0]

    def open(self, connections: int) -> None:
        self.told.append(connections)

    def connections(self) -> list[int]:
        return [1000]


class Served(asyncio.Protocol):
    """A connection that enters itself in those of its worker, as uvicorn's do."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def connection_made(self, transport: Any) -> None:
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)


async def told_of(count: int) -> list[int]:
    """Return each count on the page while *count* connections are accepted, then closed."""
    others = Others()
    connections = Connections(others)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(count)]
        acceptor = Acceptor(listener, lambda: Served(connections), None, connections)
        await _until(lambda: len(connections) == count)
        for client in clients:
            client.close()
        await _until(lambda: not connections)
        acceptor.close()
    assert connections.count == 0
    return others.told


async def _until(holds: Any) -> None:
    patience = Patience()
    while not holds():
        assert not patience.is_over()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"], indirect=True)
def test_each_connection_is_counted_once(loop: str) -> None:
    """Counted twice as it opened, it had the others take all that was left: 12 and 20 of 32."""
    running = importlib.import_module(loop).new_event_loop()
    told = running.run_until_complete(told_of(8))
    running.close()
    assert max(told) == 8
    assert told[-1] == 0


async def told_of_a_failed_handshake() -> list[int]:
    """Return each count on the page while a client comes that speaks no TLS."""
    others = Others()
    connections = Connections(others)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        acceptor = Acceptor(listener, lambda: Served(connections), tls, connections)
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await _until(lambda: 1 in others.told and not connections.opening)
        acceptor.close()
    return others.told


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"], indirect=True)
def test_a_connection_that_never_opens_is_counted_no_more(loop: str) -> None:
    running = importlib.import_module(loop).new_event_loop()
    told = running.run_until_complete(told_of_a_failed_handshake())
    running.close()
    assert told[-1] == 0


def test_websocket_that_is_closed_is_counted_no_more() -> None:
    """By `remove`, as those of uvicorn leave."""
    others = Others()
    connections = Connections(others)  # type: ignore[arg-type]
    connections.add(others)
    connections.remove(others)
    assert others.told == [0, 1, 0]
