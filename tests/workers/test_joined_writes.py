"""What a client gets when: the head of a response leaves with its body, but never waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from gunicorn_autoconf.workers.joined_writes import JoinedWrites, join_writes

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Transport:
    """Keeps what is written, each time apart."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        if data:  # h11 ends a response with nothing.
            self.written.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str) -> None:
        return None


async def start(send: Any, length: int = 5) -> None:
    headers = [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def body(send: Any, body: Any, *, more_body: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


def responses(
    app: Callable[[Any, Any, Any], Awaitable[None]], http: Any, request: bytes = GET
) -> tuple[list[bytes], bool]:
    """Return what uvicorn writes for *request*, with `|` for a head, and whether it then closes."""

    async def serve() -> Transport:
        config = Config(app, http=http, lifespan="off", log_config=None)
        join_writes(config)
        config.load()
        make: Any = config.http_protocol_class
        protocol = make(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(transport := Transport())
        protocol.data_received(request)
        for _ in range(20):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return transport

    transport = asyncio.run(serve())
    parts = [each.partition(b"\r\n\r\n") for each in transport.written]
    heads = (each.startswith(b"HTTP/1.1 ") for each in transport.written)
    shown = [
        b"|" + part[2] if is_head else whole
        for part, is_head, whole in zip(parts, heads, transport.written, strict=True)
    ]
    return shown, transport.is_closed


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_response_is_one_write(http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"hello")

    assert responses(app, http)[0] == [b"|hello"]
    assert responses(app, http, GET * 2)[0] == [b"|hello", b"|hello"]
    assert responses(app, http, b"HEAD" + GET[3:])[0] == [b"|"]


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_head_does_not_wait_for_what_the_application_waits_for(http: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        if scope["path"] == "/":
            await asyncio.Event().wait()
        for _ in range(3):
            await asyncio.sleep(0)
        await body(send, b"he", more_body=True)
        await body(send, b"llo")

    assert responses(app, http)[0] == [b"|"]
    assert responses(app, http, GET.replace(b"/ ", b"/later "))[0] == [b"|", b"he", b"llo"]


def test_long_body_is_not_copied() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 100_000)
        await body(send, b"x" * 100_000)

    assert responses(app, "httptools")[0] == [b"|", b"x" * 100_000]


def test_response_that_breaks_off_has_its_head_and_is_closed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        raise ValueError

    assert responses(app, "httptools") == ([b"|"], True)


def test_100_continue_is_sent_though_the_application_waits_for_the_body() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await start(send)
        await body(send, b"hello")

    expect = GET[:-2] + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    assert responses(app, "httptools", expect)[0] == [b"|"]


def test_what_is_held_is_lost_with_the_connection_only() -> None:
    async def write() -> tuple[Transport, Transport]:
        kept, closed = Transport(), Transport()
        for transport in (kept, closed):
            JoinedWrites(transport, asyncio.get_running_loop()).write(b"HTTP/1.1 200 OK\r\n\r\n")
        closed.close()
        await asyncio.sleep(0)
        return kept, closed

    kept, closed = asyncio.run(write())
    assert kept.written == [b"HTTP/1.1 200 OK\r\n\r\n"]
    assert closed.written == []


def test_class_of_connections_that_is_not_uvicorns_is_left_alone() -> None:
    class Own(asyncio.Protocol):
        pass

    config = Config(lambda: None, http=Own, log_config=None)
    join_writes(config)
    config.load()
    assert config.http_protocol_class is Own


def test_body_that_is_no_bytes_costs_the_response_nothing_more() -> None:
    """The client sees that it breaks off, as it does under uvicorn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, "hello")

    assert responses(app, "httptools") == ([b"|"], True)


def test_body_may_be_any_buffer_and_begin_as_a_head_does() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 14)
        await body(send, memoryview(b""), more_body=True)
        reused = bytearray(b"HTTP/1.")
        await body(send, memoryview(reused), more_body=True)
        reused[:] = b"changed"
        await body(send, reused)

    assert responses(app, "httptools")[0] == [b"|", b"HTTP/1.changed"]
