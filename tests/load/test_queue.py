"""How long a request waited, by what a proxy says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gunicorn_autoconf.load.queue import TrustedProxies, parse_request_start, queue_seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1700000000.0),
        ("t=1700000000", 1700000000.0),
        ("t=1700000000.123", 1700000000.123),  # nginx: t=${msec}
        ("1700000000123", 1700000000.123),  # Heroku
        ("t=1700000000123", 1700000000.123),
        ("t=1700000000123456", 1700000000.123456),  # Apache: t=%t
        ("1700000000123456789", 1700000000.1234567),
        ("T=1700000000", 1700000000.0),
        (" t=1700000000 ", 1700000000.0),
        ("t=1700000000.5, t=1700000009", 1700000000.5),
        ("1700000000123.75", 1700000000.12375),
        ("", None),
        ("t=", None),
        ("now", None),
        ("12", None),
        ("-1700000000", None),
        ("1700000000x", None),
        ("1e9", None),
        ("nan", None),
        ("1_700_000_000", None),
        ("\u0661700000000", None),
        ("170000000000000000000000", None),
    ],
)
def test_time_in_the_header(text: str, expected: float | None) -> None:
    assert parse_request_start(text) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t=1700000000", 100.0),
        ("1700000099750", 0.25),
        ("1700000100000", 0.0),
        ("1700000100900", 0.0),  # The proxy's clock is a little ahead.
        ("1700000102000", None),  # It is wrong.
        ("1699999000", None),  # Nobody waits for 18 minutes.
        ("soon", None),
    ],
)
def test_time_waited(text: str, expected: float | None) -> None:
    assert queue_seconds(text, 1700000100.0) == pytest.approx(expected, abs=1e-6)


@given(st.text(max_size=40), st.floats(1.6e9, 2e9))
@example("9" * 20, 1.7e9)
def test_any_text_gives_a_time_or_none(text: str, now: float) -> None:
    waited = queue_seconds(text, now)
    assert waited is None or 0 <= waited <= 600


@pytest.mark.parametrize(
    ("allowed", "host", "expected"),
    [
        (["127.0.0.1", "::1"], "127.0.0.1", True),
        (["127.0.0.1", "::1"], "::1", True),
        (["127.0.0.1", "::1"], "10.0.0.7", False),
        (["127.0.0.1", "::1"], None, True),  # A Unix socket.
        (["*"], "10.0.0.7", True),
        ("10.0.0.0/8, 192.168.1.1", "10.1.2.3", True),
        ("10.0.0.0/8, 192.168.1.1", "192.168.1.1", True),
        ("10.0.0.0/8, 192.168.1.1", "192.168.1.2", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "10.1.2.3", False),
        ("10.0.0.0/8", "proxy", False),
        ("proxy", "proxy", True),
        ([], "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_trusted_proxies(allowed: str | list[str], host: str | None, expected: bool) -> None:
    assert TrustedProxies(allowed).trusts(host) is expected
