"""Whose word counts on how long a request waited."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from gunicorn_autoconf.fleet.counters import QUEUED
from gunicorn_autoconf.fleet.meter import Meter
from gunicorn_autoconf.server.counting import attach
from gunicorn_autoconf.worker_classes import family_of

NOBODY: list[str] = []


def queued(name: str, allowed: list[str], peer: Any) -> float:
    """How many requests a worker of this class counts as having waited, after one from *peer*."""
    numbers = memoryview(bytearray(128)).cast("d")
    worker = make_worker(name, allowed)
    attach(worker, Meter(numbers), lambda: None)
    began = f"t={time.time() - 2:.3f}"
    if name == "asgi":
        headers = [(b"host", b"a"), (b"x-request-start", began.encode())]
        asyncio.run(worker.asgi({"type": "http", "headers": headers, "client": peer}, None, None))
    else:
        head = [("HOST", "a"), ("X-REQUEST-START", began)]
        request = SimpleNamespace(headers=head, peer_addr=peer)
        if name == "gthread":
            worker.handle_request(request, "a connection")
        else:
            worker.handle_request("a listener", request, "a socket", peer)
    return numbers[QUEUED]


def make_worker(name: str, allowed: list[str]) -> Any:
    family = family_of(name)
    assert family is not None
    # The last part of a class's name shows what it descends from.
    kind = type(family.aliases[0].rpartition(".")[2], (SimpleNamespace,), {})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        return None

    return kind(
        cfg=SimpleNamespace(forwarded_allow_ips=allowed, asgi_lifespan="off"),
        handle_request=lambda *arguments: None,
        asgi=app,
    )


@pytest.mark.parametrize("name", ["sync", "gthread", "asgi"])
@pytest.mark.parametrize(
    ("allowed", "peer", "expected"),
    [
        (["127.0.0.1", "::1"], ("127.0.0.1", 50000), 1),
        (["127.0.0.1", "::1"], ("::1", 50000, 0, 0), 1),
        (["127.0.0.1", "::1"], ("10.0.0.9", 50000), 0),
        (["10.0.0.0/8"], ("10.0.0.9", 50000), 1),
        (["*"], ("192.0.2.1", 50000), 1),
        (NOBODY, ("127.0.0.1", 50000), 0),
        (NOBODY, "", 1),  # Through a Unix socket, which a proxy on this machine writes to.
        (NOBODY, None, 1),
    ],
)
def test_only_trusted_proxies_count(
    name: str, allowed: list[str], peer: Any, expected: int
) -> None:
    assert queued(name, allowed, peer) == expected
