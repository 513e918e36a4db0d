"""The little HTTP of metrics and health answers."""

from __future__ import annotations

import pytest

from gunicorn_autoconf.metrics.snapshot import State
from gunicorn_autoconf.server.answers import (
    Answer,
    accept_of,
    livez,
    readyz,
    render_answer,
    route_for,
)

ROUTES = {"/metrics": lambda accept: Answer(200, f"for {accept}".encode(), "text/x")}


def answer(head: bytes) -> Answer:
    return route_for(head, ROUTES)(accept_of(head))


@pytest.mark.parametrize(
    ("head", "status", "body"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"for "),
        (b"GET /metrics?name[]=up HTTP/1.0\r\n\r\n", 200, b"for "),
        (b"GET /metrics HTTP/1.1\r\nAccept: text/plain\r\nHost: x\r\n\r\n", 200, b"for text/plain"),
        (b"GET /metrics HTTP/1.1\r\nACCEPT:a/b\r\n\r\n", 200, b"for a/b"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404, b"see /metrics\n"),
        (b"GET / HTTP/1.1\r\n\r\n", 404, b"see /metrics\n"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405, b"GET only\n"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 405, b"GET only\n"),
        (b"GET http://x/metrics HTTP/1.1\r\n\r\n", 400, b"this is no HTTP/1.1 request\n"),
        (b"GET /metrics HTTP/2\r\n\r\n", 400, b"this is no HTTP/1.1 request\n"),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400, b"this is no HTTP/1.1 request\n"),
        (b"GET /\xe4 HTTP/1.1\r\n\r\n", 400, b"this is no HTTP/1.1 request\n"),
        (b"\x16\x03\x01\x02\r\n\r\n", 400, b"this is no HTTP/1.1 request\n"),
        (b"\r\n\r\n", 400, b"this is no HTTP/1.1 request\n"),
    ],
)
def test_answer(head: bytes, status: int, body: bytes) -> None:
    assert answer(head)[:2] == (status, body)


def test_rendered() -> None:
    assert render_answer(Answer(200, b"ok\n")) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 3\r\n"
        b"Cache-Control: no-store\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"ok\n"
    )
    assert b"\r\nAllow: GET\r\n" in render_answer(answer(b"PUT / HTTP/1.1\r\n\r\n"))


@pytest.mark.parametrize(
    ("silent_seconds", "is_stopping", "status", "body"),
    [
        (0.0, False, 200, b"ok\n"),
        (299.9, False, 200, b"ok\n"),
        (300.0, False, 503, b"the arbiter's main loop has not run for 300 s\n"),
        (400.0, True, 200, b"stopping\n"),
    ],
)
def test_livez(silent_seconds: float, is_stopping: bool, status: int, body: bytes) -> None:
    found = livez(silent_seconds, is_stopping=is_stopping)

    assert found[:2] == (status, body)


@pytest.mark.parametrize(
    ("workers", "is_stopping", "status", "body"),
    [
        ({State.READY: 1, State.BOOTING: 3}, False, 200, b"ok\n"),
        ({State.READY: 1}, True, 503, b"stopping\n"),
        ({State.BOOTING: 3}, False, 503, b"no worker is ready: 3 booting, 0 draining\n"),
        ({State.DRAINING: 2}, False, 503, b"no worker is ready: 0 booting, 2 draining\n"),
        ({}, False, 503, b"no worker is ready: 0 booting, 0 draining\n"),
    ],
)
def test_readyz(workers: dict[State, int], is_stopping: bool, status: int, body: bytes) -> None:
    assert readyz(workers, is_stopping=is_stopping)[:2] == (status, body)
