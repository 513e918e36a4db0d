"""Which line of a stack is the user's, and how stacks and requests look in a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.watchdog.causes import Evidence, find_suspect, render_stall
from gunicorn_autoconf.watchdog.stacks import (
    MAX_FRAMES,
    MAX_REQUEST_LENGTH,
    Frame,
    Origins,
    ThreadStack,
    find_culprit,
    render_request,
    render_stack,
    render_threads,
    trim,
)

ORIGINS = Origins(libraries=("/usr/lib/python3.11",), own=("/venv/site-packages/shop",))

SLEEP = Frame("/usr/lib/python3.11/socket.py", 706, "SocketIO.readinto")
CLIENT = Frame("/venv/site-packages/requests/api.py", 73, "get")
PRICES = Frame("/srv/prices.py", 8, "query")
VIEW = Frame("/venv/site-packages/shop/views.py", 12, "price")
TURN = Frame("/usr/lib/python3.11/asyncio/runners.py", 118, "Runner.run")
WORKER = Frame("/venv/site-packages/uvicorn_worker/_workers.py", 126, "UvicornWorker.run")
BASE = Frame("/venv/site-packages/gunicorn/workers/base.py", 143, "Worker.init_process")
SCRIPT = Frame("/venv/bin/gunicorn", 10, "<module>")
START = (TURN, WORKER, BASE, SCRIPT)


@pytest.mark.parametrize(
    ("stack", "culprit"),
    [
        ((SLEEP, CLIENT, PRICES, VIEW), PRICES),
        ((SLEEP, CLIENT, VIEW), VIEW),  # an installed package that is the application's own
        ((SLEEP, CLIENT), CLIENT),
        ((SLEEP,), SLEEP),
        ((Frame("<string>", 1, "f"), VIEW), VIEW),
        ((), None),
    ],
)
def test_culprit(stack: tuple[Frame, ...], culprit: Frame | None) -> None:
    assert find_culprit(stack, ORIGINS) == culprit


def test_start_of_the_server_is_left_out() -> None:
    assert trim((SLEEP, PRICES, *START)) == (SLEEP, PRICES)
    assert trim(START) == ()


@pytest.mark.parametrize(
    "path", ["watchdog/requests.py", "overload/limits.py", "fleet/meter.py", "server/counting.py"]
)
def test_our_own_code_around_the_applications_is_left_out(path: str) -> None:
    ours = Frame(f"/venv/site-packages/gunicorn_autoconf/{path}", 1, "handle_request")

    assert trim((PRICES, ours, *START)) == (PRICES,)


def test_of_what_called_the_users_code_one_line_is_shown() -> None:
    lines = render_stack((SLEEP, VIEW, CLIENT, *[CLIENT] * 20), ORIGINS)

    assert [line.strip() for line in lines] == [
        "/usr/lib/python3.11/socket.py:706 in SocketIO.readinto()",
        "> /venv/site-packages/shop/views.py:12 in price()",
        "/venv/site-packages/requests/api.py:73 in get()",
        "... called through 20 more lines, none of them yours",
    ]


def test_a_stack_without_the_users_code_is_shown_whole() -> None:
    assert len(render_stack((SLEEP, *[CLIENT] * 20), ORIGINS)) == 21


def test_no_line_stands_for_one_line() -> None:
    assert len(render_stack((VIEW, CLIENT, CLIENT), ORIGINS)) == 3


def test_suspect_has_half_of_the_samples() -> None:
    samples = [(), (PRICES, VIEW), (VIEW,), (PRICES._replace(line=9), VIEW)]

    assert find_suspect(samples, ORIGINS).number == 1
    assert find_suspect(samples, ORIGINS).place == "/srv/prices.py:8 in query()"


def test_suspect_is_none_among_many() -> None:
    samples = [(Frame("/srv/app.py", n, f"view_{n}"),) for n in range(5)]

    assert find_suspect(samples, ORIGINS).frame is None
    assert find_suspect([(), ()], ORIGINS).frame is None
    text = render_stall(Evidence(0.3), find_suspect([], ORIGINS), (), None, ORIGINS)
    assert "no single line is to blame: the loop is overloaded" in text


def test_long_stack_is_cut_in_the_middle() -> None:
    lines = render_stack((PRICES, *[SLEEP] * 5000, VIEW), ORIGINS)

    assert len(lines) == MAX_FRAMES + 1
    assert "query" in lines[0]
    assert "price" in lines[-1]


def test_threads_at_the_same_place_share_a_stack() -> None:
    threads = [ThreadStack(f"pool-{n}", (SLEEP,)) for n in range(3)]

    lines = render_threads([ThreadStack("main", (PRICES,), "GET /a"), *threads], ORIGINS)

    assert lines[0] == "  thread main, serving GET /a, at /srv/prices.py:8 in query()"
    assert lines[2] == "  thread pool-0, pool-1, pool-2"
    assert len(lines) == 4


@given(st.text(), st.text())
def test_request_fits_a_line(method: str, path: str) -> None:
    text = render_request(method, path)

    assert text.isprintable()
    assert len(text) <= MAX_REQUEST_LENGTH + 3
