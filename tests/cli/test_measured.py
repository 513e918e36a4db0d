"""`size --from`: what a running server, a scrape or a file says of requests."""

from __future__ import annotations

import contextlib
import http.server
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.cli.size import source as size_source
from gunicorn_autoconf.cli.size.counts import SPARE
from gunicorn_autoconf.cli.size.measured import (
    _NEEDED,
    Measured,
    NotMeasuredError,
    measured_between,
    measured_by,
    measured_until,
    parse_document,
)
from gunicorn_autoconf.metrics.metric import Kind
from gunicorn_autoconf.metrics.table import METRICS

LOAD: dict[str, Any] = {
    "seconds": 60.0,
    "requests": 2760,
    "requests_per_second": 46.0,
    "request_seconds": 0.156,
    "computing_seconds": 0.003,
}
STATUS: dict[str, Any] = {
    "interface": "wsgi",
    "load": LOAD,
    "request": {"request_seconds": 0.104, "computing_seconds": 0.0031},
    "memory": {"workers": 5, "pss_bytes": 500_000_000},
}

REMEDY = "use the pid of an arbiter, a URL such as http://127.0.0.1:9100/metrics, or a file"


def metrics(requests: int, slot_seconds: float, cpu_seconds: float) -> str:
    return (
        "# HELP gunicorn_requests_total Completed HTTP requests, failed ones included.\n"
        "# TYPE gunicorn_requests_total counter\n"
        f"gunicorn_requests_total {float(requests)}\n"
        f"gunicorn_request_seconds_total {slot_seconds}\n"
        f"gunicorn_cpu_seconds_total {cpu_seconds} 1700000000000\n"
        'gunicorn_workers{state="ready"} 5.0\n'
        "python_info 1.0\n"
    )


def test_the_names_are_those_of_our_metrics() -> None:
    counters = {metric.full_name for metric in METRICS if metric.kind is Kind.COUNTER}

    assert set(_NEEDED) <= counters


class TestStatus:
    """What a server tells of itself."""

    def test_a_request_that_meets_no_other_counts(self) -> None:
        assert measured_by(STATUS) == Measured(0.104, 0.0031, 46.0, "wsgi", 100_663_296)

    def test_the_last_minute_does_where_little_is_known(self) -> None:
        status = STATUS | {"request": None, "memory": None}

        assert measured_by(status) == Measured(0.156, 0.003, 46.0, "wsgi", None)

    @pytest.mark.parametrize(
        "load", [None, LOAD | {"requests": 0}, LOAD | {"requests": 5, "computing_seconds": 0.0}]
    )
    def test_without_requests_there_is_nothing(self, load: Any) -> None:
        with pytest.raises(NotMeasuredError, match="ask under load"):
            measured_by(STATUS | {"load": load, "request": None})

    def test_what_top_and_explain_print(self) -> None:
        explained, seen = json.dumps(STATUS), json.dumps({"schema": 2, "status": STATUS})

        assert parse_document(explained) == parse_document(seen) == measured_by(STATUS)

    def test_of_a_server_that_does_not_tell(self) -> None:
        with pytest.raises(NotMeasuredError, match="told nothing of its requests"):
            parse_document(json.dumps({"schema": 2, "status": None}))


class TestMetrics:
    """What a server exports."""

    def test_between_two_scrapes(self) -> None:
        measured = measured_between(metrics(1000, 104.0, 20.0), metrics(1460, 151.84, 21.38), 10.0)

        assert measured.rate == 46.0
        assert measured.latency_seconds == pytest.approx(0.104)
        assert measured.compute_seconds == pytest.approx(0.003)

    def test_one_text_tells_no_rate(self) -> None:
        assert measured_until(metrics(1000, 104.0, 3.0)) == Measured(0.104, 0.003)

    def test_one_that_does_not_count_is_told(self) -> None:
        with pytest.raises(NotMeasuredError, match="holds no gunicorn_requests_total"):
            measured_until("up 1\n")
        with pytest.raises(NotMeasuredError, match="no request was answered yet"):
            measured_until(metrics(0, 0.0, 1.0))
        with pytest.raises(NotMeasuredError, match="no request was answered in 10 s"):
            measured_between(metrics(5, 1.0, 1.0), metrics(5, 1.0, 1.0), 10.0)


@given(st.one_of(st.text(), st.text().map(lambda text: "{" + text), st.text("gunicorn_{}:0 \n")))
def test_any_text_is_a_measurement_or_none(text: str) -> None:
    with contextlib.suppress(NotMeasuredError):
        assert parse_document(text).latency_seconds > 0


def size(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["size", *arguments])
    assert result.exit_code == status, result.output
    return result.output


@contextmanager
def serving(texts: list[str]) -> Iterator[str]:
    """The URL of a server that answers with each of *texts* in turn."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = texts.pop(0).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_url_is_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_source, "BETWEEN_SECONDS", 0.2)
    with serving([metrics(1000, 104.0, 20.0), metrics(1460, 151.84, 21.38)]) as url:
        load = json.loads(size("--json", "--from", url))["asked"]["load"]

    # 460 in 0.2 s, or in a little more.
    assert 20 < load["rate"] <= 2300
    assert load["latency_seconds"] == pytest.approx(0.104)
    assert load["compute_seconds"] == pytest.approx(0.003)


def test_a_file_of_metrics_needs_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    path.write_text(metrics(1000, 104.0, 3.0))

    assert size("--from", str(path), status=2) == (
        f"Error: --from={str(path)!r}: a single sample has no rate; add --rate\n"
    )
    answer = json.loads(size("--json", "--from", str(path), "--rate", "300", "--compute", "5ms"))
    # An option of one's own goes before what was measured.
    assert answer["asked"]["load"] == {
        "rate": 300.0,
        "latency_seconds": 0.104,
        "compute_seconds": 0.005,
        "cores_per_replica": None,
    }
    assert answer["notes"][0] == (
        f"measured in {path}; a busier hour takes more: set --rate to the requests that you expect"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--from", "nix"),
            (f"--from='nix': No such file or directory; {REMEDY}"),
        ),
        (
            ("--from", "http://"),
            (f"--from='http://': no host given; {REMEDY}"),
        ),
        (("--from", "/dev/null"), "--from='/dev/null': it holds no gunicorn_requests_total"),
        (
            ("--from", "1", "--workers", "3"),
            "--from asks for what a load takes: leave out --workers",
        ),
    ],
)
def test_a_wrong_source_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert size(*arguments, status=2) == f"Error: {message}\n"


def erlang_c(slots: int, in_flight: float) -> float:
    """The share of requests that find no slot free, where so many are there on average."""
    blocked = 1.0
    for each in range(1, slots + 1):
        blocked = in_flight * blocked / (each + in_flight * blocked)
    return blocked / (1 - in_flight / slots * (1 - blocked))


@pytest.mark.parametrize("in_flight", [0.7, 1, 2, 4.8, 10, 33, 100, 400, 1600])
def test_few_requests_wait_with_the_slots_to_spare(in_flight: float) -> None:
    slots = math.ceil(in_flight + SPARE * math.sqrt(in_flight))

    assert 0.03 < erlang_c(slots, in_flight) < 0.19
