"""The environment contract: what each variable takes, what is refused, what is left alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from builders import declare

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.address import Tcp, TextFile, UnixSocket
from gunicorn_autoconf.plan.declaration import Declaration, Explicit, read_declaration
from gunicorn_autoconf.plan.variables import VARIABLES
from gunicorn_autoconf.plan.workload import LoadGuard, MemoryGuard, Workload
from gunicorn_autoconf.units import Reserve
from gunicorn_autoconf.worker_classes import Interface

QUANTITY = "use a quantity such as 512MiB, 1Gi, 0.5G or 536870912"
COUNT = "use a whole number of at least 1"
HEALTH = "use HOST:PORT, or a port alone for this machine only"
METRICS = "use HOST:PORT, a port alone for this machine only, unix:/PATH or file:/PATH"
ABSOLUTE = "the path has to be absolute and name a file"
SOCKET = "the path of a socket has at most 103 bytes"

ACCEPTED: list[tuple[str, str, str, Any]] = [
    ("GUNICORN_WORKLOAD", "cpu", "workload", Workload.CPU),
    ("GUNICORN_WORKLOAD", "mixed", "workload", Workload.MIXED),
    ("GUNICORN_WORKLOAD", "io", "workload", Workload.IO),
    ("GUNICORN_WORKLOAD", "Async", "workload", Workload.ASYNC),
    ("GUNICORN_INTERFACE", "auto", "interface", None),
    ("GUNICORN_INTERFACE", "asgi", "interface", Interface.ASGI),
    ("GUNICORN_INTERFACE", "WSGI", "interface", Interface.WSGI),
    ("GUNICORN_CPUS", "500m", "cpus", 0.5),
    ("GUNICORN_MEMORY", "512Mi", "memory_bytes", 536_870_912),
    ("GUNICORN_WORKER_MEMORY", "300 MB", "worker_memory_bytes", 300_000_000),
    ("GUNICORN_MEMORY_RESERVE", "25%", "memory_reserve", Reserve(fraction=0.25)),
    ("GUNICORN_MEMORY_RESERVE", "64MiB", "memory_reserve", Reserve(fixed_bytes=67_108_864)),
    ("GUNICORN_MIN_WORKERS", "2", "min_workers", 2),
    ("GUNICORN_MAX_WORKERS", "8", "max_workers", 8),
    ("GUNICORN_MAX_CONCURRENCY", "20", "max_concurrency", 20),
    ("GUNICORN_MEMORY_LOG_INTERVAL", "0", "memory_log_interval_seconds", 0.0),
    ("GUNICORN_MEMORY_GUARD", "observe", "memory_guard", MemoryGuard.OBSERVE),
    ("GUNICORN_MEMORY_GUARD", "OFF", "memory_guard", MemoryGuard.OFF),
    ("GUNICORN_MEMORY_GUARD", "act", "memory_guard", MemoryGuard.ACT),
    ("GUNICORN_LOAD_GUARD", "observe", "load_guard", LoadGuard.OBSERVE),
    ("GUNICORN_LOAD_GUARD", "OFF", "load_guard", LoadGuard.OFF),
    ("GUNICORN_LOAD_GUARD", "act", "load_guard", LoadGuard.ACT),
    ("GUNICORN_WORKLOAD", "auto", "workload", None),
    ("GUNICORN_STALL_WARNING", "0.5", "stall_warning_seconds", 0.5),
    ("GUNICORN_MAX_QUEUE", "0.4", "max_queue_seconds", 0.4),
    ("GUNICORN_REQUEST_TIMEOUT", "30", "request_timeout_seconds", 30.0),
    ("GUNICORN_HEALTH_PATHS", "/up, /ready", "health_paths", ("/up", "/ready")),
    ("GUNICORN_METRICS", "0.0.0.0:9100", "metrics", Tcp("0.0.0.0", 9100)),
    ("GUNICORN_METRICS", "9100", "metrics", Tcp("127.0.0.1", 9100)),
    ("GUNICORN_METRICS", "[::1]:9100", "metrics", Tcp("::1", 9100)),
    ("GUNICORN_METRICS", "unix:/run/shop.sock", "metrics", UnixSocket("/run/shop.sock")),
    ("GUNICORN_METRICS", "file:/var/lib/shop.prom", "metrics", TextFile("/var/lib/shop.prom")),
    ("GUNICORN_HEALTH", "localhost:8081", "health", Tcp("127.0.0.1", 8081)),
]

REFUSED: list[tuple[str, str, str]] = [
    ("GUNICORN_WORKLOAD", "gpu", "use one of auto, cpu, mixed, io, async"),
    ("GUNICORN_INTERFACE", "rsgi", "use one of auto, asgi, wsgi"),
    ("GUNICORN_CPUS", "0", "use cores above 0 such as 2, 1.5 or 500m"),
    ("GUNICORN_CPUS", "1e3", "use cores above 0 such as 2, 1.5 or 500m"),
    ("GUNICORN_MEMORY", "512m", f"{QUANTITY} ('m' is ambiguous, write Mi or M)"),
    ("GUNICORN_MEMORY", "512", f"{QUANTITY} (less than 1 MiB, the unit may be missing)"),
    ("GUNICORN_WORKER_MEMORY", "1g", f"{QUANTITY} ('g' is ambiguous, write Gi or G)"),
    ("GUNICORN_WORKER_MEMORY", "two", f"{QUANTITY} (not a number with a unit)"),
    (
        "GUNICORN_MEMORY_RESERVE",
        "100%",
        "use a share such as 10%, or a quantity such as 64MiB (not a share from 0% to below 100%)",
    ),
    ("GUNICORN_MIN_WORKERS", "0", COUNT),
    ("GUNICORN_MAX_WORKERS", "1.5", COUNT),
    ("GUNICORN_MAX_CONCURRENCY", "-1", COUNT),
    ("GUNICORN_MEMORY_LOG_INTERVAL", "1m", "use seconds such as 60, or 0 for off"),
    ("GUNICORN_MEMORY_GUARD", "on", "use one of off, observe, act"),
    ("GUNICORN_LOAD_GUARD", "yes", "use one of off, observe, act"),
    ("GUNICORN_STALL_WARNING", "-0.25", "use seconds such as 0.25, or 0 for off"),
    ("GUNICORN_MAX_QUEUE", "400ms", "use seconds such as 0.5, or 0 for off"),
    ("GUNICORN_REQUEST_TIMEOUT", "none", "use seconds such as 30, or 0 for off"),
    ("GUNICORN_HEALTH_PATHS", "healthz", "use paths such as /healthz, with commas between"),
    ("GUNICORN_METRICS", ":9100", f"{METRICS} (write 0.0.0.0:9100 for all interfaces)"),
    ("GUNICORN_METRICS", "shop", METRICS),
    ("GUNICORN_METRICS", "shop:9100", f"{METRICS} (a host is an IP address, or localhost)"),
    ("GUNICORN_METRICS", "1.2.3:9100", f"{METRICS} (a host is an IP address, or localhost)"),
    ("GUNICORN_METRICS", "::1:9100", METRICS),
    ("GUNICORN_METRICS", "127.0.0.1:99999", f"{METRICS} (a port is at most 65535)"),
    ("GUNICORN_METRICS", "file:shop.prom", f"{METRICS} ({ABSOLUTE})"),
    ("GUNICORN_METRICS", f"unix:/{'s' * 103}", f"{METRICS} ({SOCKET})"),
    ("GUNICORN_HEALTH", "unix:/run/shop.sock", HEALTH),
    ("WEB_CONCURRENCY", "0", COUNT),
    ("WEB_CONCURRENCY", "auto", COUNT),
    ("GUNICORN_WORKERS", "many", "use a whole number of at least 1, or unset it for the plan"),
    ("GUNICORN_TIMEOUT", "-1", "use a whole number of at least 0"),
    ("GUNICORN_PRELOAD_APP", "perhaps", "use true or false"),
]

IDS = [f"{row[0]}={row[1]}" for row in REFUSED]


def test_every_variable_is_tested_with_a_good_and_a_bad_value() -> None:
    names = {variable.name for variable in VARIABLES}
    assert names - {row[0] for row in ACCEPTED} == set()
    assert names - {row[0] for row in REFUSED} == set()


@pytest.mark.parametrize(("name", "text", "field", "value"), ACCEPTED)
def test_accepted(name: str, text: str, field: str, value: Any) -> None:
    declaration = declare({name: text})

    assert getattr(declaration, field) == value
    assert declaration.sources == {field: name}
    assert declaration.warnings == ()


@pytest.mark.parametrize(("name", "text", "remedy"), REFUSED, ids=IDS)
def test_refused(name: str, text: str, remedy: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare({name: text})

    error = caught.value
    assert (error.name, error.value, error.remedy) == (name, text, remedy)
    assert str(error) == f"{name}='{text}': {remedy}"


@pytest.mark.parametrize("name", sorted({row[0] for row in REFUSED}))
def test_a_refusal_is_one_line(name: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare({name: "1\n2\r3"})

    assert str(caught.value).startswith(rf"{name}='1\n2\r3': use ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GUNICORN_CPUS", "9" * 308),
        ("GUNICORN_MEMORY", "9" * 400),
        ("GUNICORN_MEMORY", "9" * 400 + ".5Gi"),
        ("GUNICORN_WORKER_MEMORY", "9" * 400),
        ("GUNICORN_MEMORY_RESERVE", "9" * 400 + ".0"),
    ],
    ids=["cpus", "memory", "memory-fraction", "worker-memory", "reserve"],
)
def test_more_than_any_machine_has_is_refused(name: str, text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare({name: text})
    assert caught.value.name == name


def test_nothing_declared() -> None:
    declaration = declare({"PATH": "/usr/bin", "WORKLOAD": "io"})

    assert declaration == Declaration()
    assert declaration.min_workers == 1
    assert declaration.memory_reserve == Reserve(fraction=0.1)
    assert declaration.memory_log_interval_seconds == 60
    assert declaration.stall_warning_seconds == 0.25


NAMES = (*sorted({row[0] for row in REFUSED}), "GUNICORN_CMD_ARGS", "GUNICORN_CONFIG")


@pytest.mark.parametrize("name", [*NAMES, "GUNICORN_NO_SUCH_THING", "GUNICORN_BIND"])
@pytest.mark.parametrize("text", ["", " ", "\t\n"], ids=["empty", "space", "tab"])
def test_empty_is_unset(name: str, text: str) -> None:
    assert declare({name: text}) == Declaration()


def test_white_space_around_a_value_is_ignored() -> None:
    declaration = declare(
        {
            "GUNICORN_WORKLOAD": " io ",
            "GUNICORN_CPUS": "2\n",
            "GUNICORN_TIMEOUT": "\t90 ",
            "WEB_CONCURRENCY": " 3",
        }
    )

    assert declaration.workload is Workload.IO
    assert declaration.cpus == 2
    assert declaration.settings == {
        "timeout": (Explicit(value=90, source="GUNICORN_TIMEOUT"),),
        "workers": (Explicit(value=3, source="WEB_CONCURRENCY"),),
    }


class TestBounds:
    def test_minimum_above_maximum(self) -> None:
        with pytest.raises(DeclarationError) as caught:
            declare({"GUNICORN_MIN_WORKERS": "4", "GUNICORN_MAX_WORKERS": "3"})
        assert str(caught.value) == "GUNICORN_MIN_WORKERS='4': use at most GUNICORN_MAX_WORKERS=3"

    def test_minimum_equal_to_maximum(self) -> None:
        declaration = declare({"GUNICORN_MIN_WORKERS": "3", "GUNICORN_MAX_WORKERS": "3"})
        assert (declaration.min_workers, declaration.max_workers) == (3, 3)


class TestArguments:
    """Arguments of `autoconf` and options of the command line, under either name."""

    @pytest.mark.parametrize("name", ["worker_memory", "--worker-memory"])
    def test_stronger_than_the_environment(self, name: str) -> None:
        declaration = read_declaration(
            {"GUNICORN_WORKER_MEMORY": "1GiB", "GUNICORN_CPUS": "2"}, arguments={name: "2GiB"}
        )
        assert declaration.worker_memory_bytes == 2_147_483_648
        assert declaration.sources == {"cpus": "GUNICORN_CPUS", "worker_memory_bytes": name}

    def test_none_is_unset(self) -> None:
        declaration = read_declaration({"GUNICORN_CPUS": "2"}, arguments={"cpus": None})
        assert declaration.cpus == 2
        assert declaration.sources == {"cpus": "GUNICORN_CPUS"}

    def test_auto_takes_back_what_the_environment_says(self) -> None:
        declaration = read_declaration(
            {"GUNICORN_INTERFACE": "asgi"}, arguments={"--interface": "auto"}
        )
        assert declaration.interface is None

    @pytest.mark.parametrize(
        ("name", "value", "field", "parsed"),
        [
            ("workload", Workload.IO, "workload", Workload.IO),
            ("interface", Interface.ASGI, "interface", Interface.ASGI),
            ("memory_guard", MemoryGuard.OFF, "memory_guard", MemoryGuard.OFF),
            ("cpus", 1.5, "cpus", 1.5),
            ("cpus", 2, "cpus", 2.0),
            ("memory", 536_870_912, "memory_bytes", 536_870_912),
            ("memory_reserve", 0, "memory_reserve", Reserve()),
            ("stall_warning", 0.0, "stall_warning_seconds", 0.0),
            ("max_workers", 4, "max_workers", 4),
        ],
    )
    def test_values_of_python(self, name: str, value: object, field: str, parsed: object) -> None:
        assert getattr(read_declaration({}, arguments={name: value}), field) == parsed

    @pytest.mark.parametrize("value", [0, -1, 1.5, True, "", "four"])
    def test_refused(self, value: object) -> None:
        with pytest.raises(DeclarationError) as caught:
            read_declaration({}, arguments={"max_workers": value})
        assert str(caught.value) == f"max_workers='{value}': use a whole number of at least 1"


class TestSettings:
    def test_of_the_environment(self) -> None:
        declaration = declare({"GUNICORN_TIMEOUT": "90", "GUNICORN_BIND": ":80 unix:/run/app"})
        assert declaration.settings == {
            "timeout": (Explicit(value=90, source="GUNICORN_TIMEOUT"),),
            "bind": (Explicit(value=[":80", "unix:/run/app"], source="GUNICORN_BIND"),),
        }
        assert declaration.warnings == ()

    def test_the_strongest_comes_first(self) -> None:
        declaration = declare(
            {
                "WEB_CONCURRENCY": "3",
                "GUNICORN_WORKERS": "5",
                "GUNICORN_CMD_ARGS": "--workers 6",
            },
            argv=["gunicorn", "-w", "7", "app:app"],
        )
        assert declaration.settings == {
            "workers": (
                Explicit(value=7, source="--workers", applied=True),
                Explicit(value=6, source="GUNICORN_CMD_ARGS", applied=True),
                Explicit(value=5, source="GUNICORN_WORKERS"),
                Explicit(value=3, source="WEB_CONCURRENCY"),
            )
        }
        assert declaration.explicit("workers") == Explicit(
            value=7, source="--workers", applied=True
        )
        assert declaration.explicit("timeout") is None

    def test_a_secret_is_not_shown_by_a_refusal(self) -> None:
        with pytest.raises(DeclarationError) as caught:
            declare({"GUNICORN_RAW_ENV": "TOKEN='hunter2"})  # The quote is never closed.
        assert caught.value.name == "GUNICORN_RAW_ENV"
        assert "hunter2" not in str(caught.value)


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("name", "suggested"),
        [
            ("GUNICORN_WORKLAOD", "GUNICORN_WORKLOAD"),
            ("GUNICORN_CPU", "GUNICORN_CPUS"),
            ("GUNICORN_WORKER", "GUNICORN_WORKERS"),
            ("GUNICORN_TIMEOUTS", "GUNICORN_TIMEOUT"),
            ("GUNICORN_WORKER_MEM", "GUNICORN_WORKER_MEMORY"),
            ("GUNICORN_MAX_WORKER", "GUNICORN_MAX_WORKERS"),
            ("GUNICORN_KEEP_ALIVE", "GUNICORN_KEEPALIVE"),
        ],
    )
    def test_near_a_known_one(self, name: str, suggested: str) -> None:
        assert declare({name: "sesame"}).warnings == (
            f"{name} is unknown and has no effect; did you mean {suggested}?",
        )

    def test_near_none(self) -> None:
        assert declare({"GUNICORN_XYZZY": "sesame"}).warnings == (
            "GUNICORN_XYZZY is unknown and has no effect",
        )

    def test_config(self) -> None:
        assert declare({"GUNICORN_CONFIG": "/etc/gunicorn.conf.py"}).warnings == (
            "GUNICORN_CONFIG has no effect: Gunicorn takes its configuration by -c only",
        )

    def test_each_is_named_once_in_order(self) -> None:
        environ = {"GUNICORN_B_B_B": "1", "GUNICORN_CPUS": "2", "GUNICORN_A_A_A": "1"}
        named = [re.split(r"\s", warning)[0] for warning in declare(environ).warnings]
        assert named == ["GUNICORN_A_A_A", "GUNICORN_B_B_B"]

    @pytest.mark.parametrize(
        "name",
        ["GUNICORN_XYZZY", "GUNICORN_WORKLAOD", "GUNICORN_CONFIG", "GUNICORN_PORT", "GUNICORN_"],
    )
    def test_no_value_is_shown(self, name: str) -> None:
        warnings = declare({name: "hunter2"}).warnings
        assert len(warnings) == 1
        assert "hunter2" not in warnings[0]

    @pytest.mark.parametrize(
        "name", ["XGUNICORN_CPUS", "gunicorn_cpus", "GUNICORN", "GUNICORNS_OWN", "UVICORN_WORKERS"]
    )
    def test_another_prefix_is_not_ours(self, name: str) -> None:
        assert declare({name: "4"}) == Declaration()

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("GUNICORN_CMD_ARGS", "--reload-engine auto"),
            ("GUNICORN_PID", "17"),
            ("GUNICORN_FD", "5,6"),
            ("GUNICORN_DIRTY_SOCKET", "/tmp/dirty.sock"),
        ],
    )
    def test_what_gunicorn_keeps_there_is_no_mistake(self, name: str, text: str) -> None:
        assert declare({name: text}).warnings == ()


class TestKubernetesServices:
    """Services called gunicorn, gunicorn-web and so on put these into every pod."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("GUNICORN_SERVICE_HOST", "10.96.0.12"),
            ("GUNICORN_SERVICE_PORT", "80"),
            ("GUNICORN_SERVICE_PORT_HTTP", "80"),
            ("GUNICORN_SERVICE_PORT_HTTP_METRICS", "9102"),
            ("GUNICORN_PORT", "tcp://10.96.0.12:8000"),
            ("GUNICORN_PORT_8000_TCP", "tcp://10.96.0.12:8000"),
            ("GUNICORN_PORT_8000_TCP_ADDR", "10.96.0.12"),
            ("GUNICORN_PORT_8000_TCP_PORT", "8000"),
            ("GUNICORN_PORT_8000_TCP_PROTO", "tcp"),
            ("GUNICORN_PORT_53_UDP", "udp://10.96.0.12:53"),
            ("GUNICORN_PORT_7_SCTP_ADDR", "10.96.0.12"),
            ("GUNICORN_WEB_SERVICE_HOST", "10.96.0.13"),
            ("GUNICORN_WEB_SERVICE_PORT", "80"),
            ("GUNICORN_WEB_PORT", "tcp://10.96.0.13:80"),
            ("GUNICORN_WEB_PORT_80_TCP", "tcp://10.96.0.13:80"),
            ("GUNICORN_MY_APP_PORT_80_TCP_ADDR", "10.96.0.13"),
        ],
    )
    def test_skipped_without_a_word(self, name: str, text: str) -> None:
        assert declare({name: text}) == Declaration()

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("GUNICORN_PORT", "8000"),
            ("GUNICORN_WEB_PORT", "8000"),
            ("GUNICORN_PORT_HTTP", "8000"),
            ("GUNICORN_SERVICE_HOSTS", "a,b"),
            ("GUNICORN_PORT_8000_TCP_ADDRESS", "10.96.0.12"),
            ("GUNICORN_PORT_X_TCP", "tcp://10.96.0.12:8000"),
        ],
    )
    def test_what_only_looks_like_one_is_warned_of(self, name: str, text: str) -> None:
        (warning,) = declare({name: text}).warnings
        assert warning.startswith(f"{name} is unknown and has no effect")
