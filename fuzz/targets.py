"""
What is fuzzed: for each target a function that takes bytes, and where its seeds are.

A target raises nothing, whatever the bytes are: the errors that are documented it catches, and what
comes back it holds to what is promised of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from gunicorn_autoconf import units
from gunicorn_autoconf.app.detect import detect_interface
from gunicorn_autoconf.cli.tune import access_log as access_logs
from gunicorn_autoconf.cli.tune.request import SAFE_METHODS
from gunicorn_autoconf.errors import DeclarationError, MalformedFileError
from gunicorn_autoconf.machine import cgroup_tree, kernel_files
from gunicorn_autoconf.plan.address import parse_destination
from gunicorn_autoconf.plan.declaration import read_declaration
from gunicorn_autoconf.plan.variables import VARIABLES
from gunicorn_autoconf.server.answers import Answer, accept_of, render_answer, route_for
from gunicorn_autoconf.server.gunicorn import setting_parsers

TESTS = Path(__file__).parents[1] / "tests"


class Target(NamedTuple):
    """
    Something to fuzz.

    Attributes:
        run: Takes any bytes and raises nothing, unless there is a mistake.
        seeds: Inputs to begin with.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def hierarchy(data: bytes) -> None:
    """``/proc/self/cgroup``, a NUL, ``/proc/self/mountinfo``: no directory out of a mount."""
    first, _, second = _text(data).partition("\0")
    try:
        memberships = cgroup_tree.parse_proc_cgroup(first)
        mounts = cgroup_tree.parse_mountinfo(second)
    except MalformedFileError:
        return
    points = {mount.point.rstrip("/") for mount in mounts}
    for controller in ("cpu", "memory"):
        for place in cgroup_tree.list_hierarchies(controller, memberships, mounts):
            for directory in place.directories:
                assert not place.certain or any(map(directory.startswith, points))
                assert not place.certain or ".." not in directory.split("/") or ".." in second


def kernel_file(data: bytes) -> None:
    """The other files of the kernel: a value or the one error."""
    text = _text(data)
    for parse in (
        kernel_files.parse_cpu_max,
        kernel_files.parse_cfs_quota,
        kernel_files.parse_cfs_period,
        kernel_files.parse_max,
        kernel_files.parse_memory_limit,
        kernel_files.parse_memory_usage,
        kernel_files.parse_memory_stat,
        kernel_files.parse_cpu_stat,
        kernel_files.parse_hierarchical_limit,
        kernel_files.parse_meminfo,
    ):
        with contextlib.suppress(MalformedFileError):
            parse(text)
    with contextlib.suppress(MalformedFileError):
        size_bytes = kernel_files.parse_kb_field(text, "Pss")
        assert size_bytes is None or size_bytes >= 0


def quantities(data: bytes) -> None:
    """What people write: a value within its bounds, or ValueError."""
    text = _text(data)
    bounds: dict[Callable[[str], float], tuple[float, float]] = {
        units.parse_cores: (0, units.MAX_CORES),
        units.parse_bytes: (0, units.MAX_BYTES),
        units.parse_memory: (units.MIB, units.MAX_BYTES),
        units.parse_count: (1, 999_999_999),
        units.parse_seconds: (0, 1.8e308),
        units.parse_duration: (0, units.MAX_DURATION_SECONDS),
        units.parse_rate: (0, units.MAX_RATE),
        units.parse_utilisation: (0.1, 0.9),
    }
    for parse, (low, high) in bounds.items():
        with contextlib.suppress(ValueError):
            assert low <= parse(text) <= high, parse
    with contextlib.suppress(ValueError):
        reserve = units.parse_reserve(text)
        assert 0 <= reserve.fraction < 1


_PARSERS = setting_parsers()


def environment(data: bytes) -> None:
    """Lines of ``NAME=value``, ``GUNICORN_`` in front of each: a declaration or the one error."""
    rows = (line.partition("=") for line in _text(data).split("\n"))
    environ = {f"GUNICORN_{name}": value for name, _, value in rows}
    # Gunicorn's validators of these look for users, modules and files of this machine.
    parsers = {name: parse for name, parse in _PARSERS.items() if name in _PLAIN_SETTINGS}
    try:
        declaration = read_declaration(environ, setting_parsers=parsers)
    except DeclarationError:
        return
    assert len(declaration.warnings) <= 2 * len(environ)


_PLAIN_SETTINGS = ("bind", "workers", "timeout", "keepalive", "preload_app", "umask", "raw_env")


def source(data: bytes) -> None:
    """
    The source of an application, of which nothing runs: a finding with its evidence.

    Writes ``app.py`` in the current directory.
    """
    Path("app.py").write_bytes(data)
    for target in ("app:app", "app:create_app()"):
        found = detect_interface(target, [""])
        assert found.evidence
        assert "unexpectedly" not in found.evidence, found.evidence


def application_target(data: bytes) -> None:
    """What stands on Gunicorn's command line for the application."""
    found = detect_interface(_text(data), [str(TESTS / "interfaces" / "flask_factory")])
    assert "unexpectedly" not in found.evidence, found.evidence


def request(data: bytes) -> None:
    """What a client says to the arbiter's own listener: an answer, never an error."""
    routes = {"/metrics": lambda accept: Answer(200, accept.encode())}
    answer = route_for(data, routes)(accept_of(data))
    assert answer.status in {200, 400, 404, 405}
    head, _, body = render_answer(answer).partition(b"\r\n\r\n")
    assert body == answer.body
    assert head.count(b"\r\n") <= 6


def addresses(data: bytes) -> None:
    """Where metrics are served: an address that reads as it is written, or ValueError."""
    with contextlib.suppress(ValueError):
        found = parse_destination(_text(data))
        assert parse_destination(str(found)) == found


def access_log(data: bytes) -> None:
    """Lines of an access log: requests with a path, none of a method that changes something."""
    logged = access_logs.read_log(_text(data).splitlines())
    assert sum(each.weight for each in logged.requests) <= logged.lines
    for each in logged.requests:
        assert each.method in SAFE_METHODS
        assert each.target.startswith("/")


def _roots(*patterns: str) -> Iterator[bytes]:
    for pattern in patterns:
        for path in sorted(TESTS.glob(f"roots/*/{pattern}")):
            if path.is_file():
                yield path.read_bytes()


def _pairs() -> Iterator[bytes]:
    for root in sorted(TESTS.glob("roots/*/proc/self")):
        files = [root / "cgroup", root / "mountinfo"]
        if all(path.is_file() for path in files):
            yield b"\0".join(path.read_bytes() for path in files)


def _sources() -> Iterator[bytes]:
    files = filter(Path.is_file, sorted(TESTS.glob("interfaces/**/*.py")))
    return map(Path.read_bytes, files)


def _words(*words: str) -> Callable[[], Iterator[bytes]]:
    return lambda: (word.encode() for word in words)


def _assignments() -> Iterator[bytes]:
    values = ("2", "500m", "512MiB", "10%", "io", "asgi", "observe", "0.25")
    rows = starmap(
        "{}={}".format, ((v.keyword.upper(), text) for v in VARIABLES for text in values)
    )
    yield from map(str.encode, rows)
    yield b"BIND=:80\nWORKERS=3\nPRELOAD_APP=yes\nUMASK=022\nSERVICE_HOST=10.0.0.1\nWORKRES=1"


TARGETS = {
    "access_log": Target(
        access_log,
        _words(
            '::1 - - [27/Nov/2026:06:00:00 +0000] "GET /a?b=1 HTTP/1.1" 200 5 "-" "curl"',
            'a:443 - - - [x] "POST http://a/b HTTP/2.0" 201 5',
        ),
    ),
    "hierarchy": Target(hierarchy, _pairs),
    "kernel_files": Target(kernel_file, lambda: _roots("sys/fs/cgroup/**/*.*", "proc/meminfo")),
    "quantities": Target(quantities, _words("2", "1.5", "500m", "512MiB", "10%", "80ms", ".5 Gi")),
    "environment": Target(environment, _assignments),
    "source": Target(source, _sources),
    "request": Target(
        request,
        _words(
            "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;version=0.0.4\r\n\r\n",
            "POST / HTTP/1.0\r\n\r\n",
        ),
    ),
    "addresses": Target(
        addresses, _words("9100", "[::1]:9100", "a.b:1", "unix:/a", "file:/a.prom")
    ),
    "application_target": Target(application_target, _words("app:app", "app:f(1, b='c')", "a.b")),
}
