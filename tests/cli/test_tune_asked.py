"""What `tune` asks: requests from options, from files and from access logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gunicorn_autoconf.cli.tune.access_log import MOST_KINDS, read_log
from gunicorn_autoconf.cli.tune.asked import read_requests
from gunicorn_autoconf.cli.tune.request import Request, parse_header, parse_request
from gunicorn_autoconf.errors import AutoconfError, DeclarationError

COMMON = '203.0.113.9 - ada [27/Nov/2026:06:00:00 +0000] "GET /items?page=2 HTTP/1.1" 200 512'
NGINX = f'{COMMON} "https://shop.example/" "Mozilla/5.0 (X11; [en]) \\"x\\""'
GUNICORN = '127.0.0.1 - - [27/Nov/2026:06:00:01 +0000] "GET / HTTP/1.1" 304 0 "-" "curl/8"'
WITH_HOST = f"shop.example:443 {GUNICORN}"
POST = '10.0.0.1 - - [27/Nov/2026:06:00:02 +0000] "POST /orders HTTP/1.1" 201 5 "-" "-"'
MISSING = '10.0.0.1 - - [27/Nov/2026:06:00:02 +0000] "GET /wp-login.php HTTP/1.1" 404 5 "-" "-"'
ABSOLUTE = '10.0.0.1 - - [27/Nov/2026:06:00:02 +0000] "GET http://a.example/b HTTP/1.1" 200 5'
PROBE = '10.0.0.1 - - [27/Nov/2026:06:00:02 +0000] "\\x16\\x03\\x01" 400 150 "-" "-"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", Request(target="/")),
        ("/a?b=1&c=%20", Request(target="/a?b=1&c=%20")),
        ("HEAD /a", Request(method="HEAD", target="/a")),
        ("2.5 /a", Request(target="/a", weight=2.5)),
        ("https://shop.example:8443/a?b", Request(target="/a?b")),
        (
            "3 PUT /a @order.json",
            Request(
                method="PUT",
                target="/a",
                weight=3,
                body=b"order.json",
                headers=(("Content-Type", "application/json"),),
            ),
        ),
        ("/a @body", Request(method="POST", target="/a", body=b"body")),
    ],
)
def test_request(text: str, expected: Request) -> None:
    assert parse_request(text, str.encode) == expected


@pytest.mark.parametrize("text", ["", "items", "GET", "0 /a", "-1 /a", "/a b", "get /a"])
def test_no_request(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        parse_request(text, str.encode)


def test_label_hides_the_query() -> None:
    assert Request(target="/reset?token=hunter2").label == "GET /reset?…"


@pytest.mark.parametrize("text", ["Cookie", "a b: c", "X: a\nY: b", ": x"])
def test_no_header(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        parse_header(text)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (COMMON, "/items?page=2"),
        (NGINX, "/items?page=2"),
        (GUNICORN, "/"),
        (WITH_HOST, "/"),
        (ABSOLUTE, "/b"),
    ],
)
def test_line_of_an_access_log(line: str, target: str) -> None:
    logged = read_log([line])

    assert [request.target for request in logged.requests] == [target]


def test_access_log_counts_what_it_leaves_out() -> None:
    logged = read_log([COMMON, "", COMMON, GUNICORN, POST, POST, POST, MISSING, PROBE, "?"])

    assert [(each.label, each.weight) for each in logged.requests] == [
        ("GET /items?…", 2),
        ("GET /", 1),
    ]
    assert (logged.lines, logged.unsafe, logged.failed, logged.unread) == (9, 3, 1, 2)


def test_unsafe_methods_are_asked_for() -> None:
    logged = read_log([POST, GUNICORN], is_unsafe_wanted=True)

    assert {each.method for each in logged.requests} == {"GET", "POST"}


def test_most_common_kinds() -> None:
    lines = [GUNICORN.replace("GET /", f"GET /{number}") for number in range(MOST_KINDS + 7)]

    logged = read_log([*lines, lines[3]])

    assert len(logged.requests) == MOST_KINDS
    assert logged.requests[0].target == "/3"
    assert logged.rare == 7


def test_sources_together(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text("{}")
    (tmp_path / "urls").write_text(f"# a comment\n\n/from-file\nPOST /o @{tmp_path}/order.json\n")
    (tmp_path / "log").write_text(f"{GUNICORN}\n{POST}\n")

    found = read_requests(
        urls=["2 /first"],
        url_files=[str(tmp_path / "urls")],
        access_logs=[str(tmp_path / "log")],
        headers=["Content-Type: text/plain", "X-Forwarded-Proto: https"],
        host="shop.example",
        warm_up="/health",
    )

    assert [each.label for each in found.kinds] == [
        "GET /first",
        "GET /from-file",
        "POST /o",
        "GET /",
    ]
    more = (
        ("Host", "shop.example"),
        ("Content-Type", "text/plain"),
        ("X-Forwarded-Proto", "https"),
    )
    assert [each.headers for each in found.kinds] == [more] * 4
    assert found.first.label == "GET /health"
    unsafe = "1 with a method that may change something (see --unsafe)"
    assert found.notes == [f"{tmp_path}/log: left out {unsafe}, of 2 lines"]


def test_nothing_named_is_the_root() -> None:
    assert read_requests().kinds == [Request()]


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"{POST}\n")
    (tmp_path / "none").write_text("2026-11-27 INFO started\n")

    with pytest.raises(DeclarationError, match=r"--url='orders': use \[WEIGHT\]"):
        read_requests(urls=["orders"])
    with pytest.raises(AutoconfError, match=r"--url='/missing.json': No such file"):
        read_requests(urls=["POST / @/missing.json"])
    with pytest.raises(AutoconfError, match="is a request to repeat; see --unsafe"):
        read_requests(access_logs=[str(tmp_path / "log")])
    with pytest.raises(AutoconfError, match="is a request in the common or combined format"):
        read_requests(access_logs=[str(tmp_path / "none")])
