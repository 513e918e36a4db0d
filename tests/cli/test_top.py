"""`top`: which processes are arbiters, and samples to what is shown of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import MIB, declare, limit, machine, memory
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from rich.console import Console, RenderableType
from rich.screen import Screen
from schemas import closed

from gunicorn_autoconf import detect_machine
from gunicorn_autoconf.cli.top.arbiters import (
    Listed,
    describe,
    in_columns,
    is_gunicorn,
    select_arbiters,
    select_workers,
)
from gunicorn_autoconf.cli.top.document import SCHEMA, to_json
from gunicorn_autoconf.cli.top.order import Order
from gunicorn_autoconf.cli.top.sample import _sample_memory
from gunicorn_autoconf.cli.top.screen import draw_once, draw_screen
from gunicorn_autoconf.cli.top.table import format_age, sparkline
from gunicorn_autoconf.cli.top.view import (
    MAX_POINTS,
    MemorySample,
    ProcessSample,
    ServerSample,
    View,
    follow,
)
from gunicorn_autoconf.machine.facts import ProcessMemory

PATH = Path(__file__).parents[2] / "docs" / "reference" / "top.schema.json"
PUBLISHED = json.loads(PATH.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(closed(PUBLISHED))

POD = "/sys/fs/cgroup/memory.max"
COMMAND = "python -m gunicorn app:app"


# Which processes.


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/usr/local/bin/python3.11 /usr/local/bin/gunicorn app:app", True),
        ("python -m gunicorn app:app", True),
        ("python3 -X dev -W error -u -m gunicorn.app.wsgiapp app:app", True),
        ("/Library/Python.app/Contents/MacOS/Python /usr/local/bin/gunicorn app:app", True),
        ("/venv/bin/python /venv/lib/python3.11/site-packages/gunicorn/__main__.py app:app", True),
        ("python3.13t gunicorn app:app", True),
        ("pypy3.10 /venv/bin/gunicorn app:app", True),
        ("gunicorn app:app", True),
        ("gunicorn: master [app:app]", True),
        ("gunicorn: worker [app:app]", True),
        ("", False),
        ("python", False),
        ("python -m", False),
        ("python -m uvicorn gunicorn", False),
        ("python -c gunicorn", False),
        ("python manage.py gunicorn", False),
        ("python /venv/bin/gunicornc", False),
        ("vi gunicorn", False),
        ("sh -c gunicorn app:app", False),
        ("tail -f /var/log/gunicorn", False),
    ],
)
def test_gunicorn_is_known_by_its_command(command: str, expected: bool) -> None:
    assert is_gunicorn(command.split()) is expected


def test_a_title_is_known_as_it_stands() -> None:
    # setproctitle writes over the arguments; what is left of their room is empty.
    assert is_gunicorn(("gunicorn: master [app:app]", "", "", ""))


def listed(pid: int, parent: int, command: str, predecessor: int | None = None) -> Listed:
    return Listed(pid, parent, tuple(command.split()), predecessor)


GUNICORN = "python gunicorn app:app"


def test_workers_are_no_arbiters() -> None:
    processes = [
        listed(1, 0, "sh -c gunicorn"),
        listed(10, 1, GUNICORN),
        listed(11, 10, GUNICORN),
        listed(12, 10, GUNICORN),
        listed(13, 11, GUNICORN),  # a worker's own fork
        listed(20, 1, "gunicorn: master [shop]"),
        listed(21, 20, "gunicorn: worker [shop]"),
    ]

    assert [arbiter.pid for arbiter in select_arbiters(processes)] == [10, 20]


def test_upgrade_has_two_arbiters() -> None:
    old, new = listed(10, 1, GUNICORN), listed(15, 10, GUNICORN, predecessor=10)
    # It inherits the new arbiter's environment.
    worker = listed(16, 15, GUNICORN, predecessor=10)
    processes = [old, listed(11, 10, GUNICORN), new, worker]

    assert select_arbiters(processes) == [old, new]
    assert list(describe([old, new])) == [
        "10: python gunicorn app:app",
        "15: python gunicorn app:app (to replace 10)",
    ]
    assert select_workers(old, [listed(11, 10, GUNICORN), new]) == [11]
    assert select_workers(new, [worker]) == [16]


def test_upgrade_under_titles() -> None:
    # They are written over the environment, too.
    old = listed(10, 1, "gunicorn: master [app:app]")
    new = listed(15, 10, "gunicorn: master [app:app.2]")
    worker = listed(11, 10, "gunicorn: worker [app:app]")

    assert select_arbiters([old, worker, new]) == [old, new]
    assert select_workers(old, [worker, new]) == [11]


def test_what_a_hook_has_started_is_no_worker() -> None:
    arbiter = listed(10, 1, "python serve.py")
    children = [listed(11, 10, "python serve.py"), listed(12, 10, "npm run watch")]

    assert select_workers(arbiter, children) == [11]


def test_a_command_does_not_command_the_terminal() -> None:
    assert in_columns("gunicorn \x1b[2J\u4e2d\n") == r"gunicorn \x1b[2J\u4e2d\x0a"


def test_limits_are_those_of_the_other_process(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/admin\n",
        "proc/42/cgroup": "0::/shop\n",
        "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n",
        "sys/fs/cgroup/admin/memory.max": "104857600\n",
        "sys/fs/cgroup/shop/memory.max": "536870912\n",
        "sys/fs/cgroup/shop/cpu.max": "150000 100000\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")

    machine = detect_machine(str(tmp_path), environ={}, pid=42)

    assert [limit.limit_bytes for limit in machine.memory.limits] == [536_870_912]
    assert machine.cpu.quota is not None
    assert machine.cpu.quota.origin.path == "/sys/fs/cgroup/shop/cpu.max"


# Samples to view.


def process(
    pid: int,
    age: float = 60,
    cpu: float = 0,
    *,
    rss: int = 80,
    pss: int | None = 60,
    uss: int | None = 50,
    state: str = "sleeping",
) -> ProcessSample:
    """A process; sizes in MiB."""
    sizes = (None if size is None else size * MIB for size in (pss, uss))
    return ProcessSample(pid, age, state, cpu, ProcessMemory(rss * MIB, *sizes))


LIMIT = MemorySample(
    limit_bytes=400 * MIB,
    source=POD,
    budget_bytes=300 * MIB,
    reserve_bytes=40 * MIB,
    headroom_bytes=100 * MIB,
)


def server(
    at: float, *workers: ProcessSample, memory: MemorySample | None = LIMIT, command: str = COMMAND
) -> ServerSample:
    arbiter = process(100, age=3700 + at, rss=30, pss=20, uss=10)
    return ServerSample(
        at, command, arbiter, workers, 2.0, memory, untold="it runs as another user"
    )


def view_of(*samples: ServerSample) -> View:
    view = None
    for sample in samples:
        view = follow(view, sample)
    assert view is not None
    return view


def test_first_sample_has_no_share_of_cpu() -> None:
    view = view_of(server(0, process(7, cpu=5)))

    assert view.cpu_percent is None
    assert view.workers[0].cpu_percent is None
    assert view.workers[0].growth_bytes is None


def test_shares_growth_and_past() -> None:
    view = view_of(
        server(2, process(7, cpu=5.0), process(8, cpu=1.0)),
        server(12, process(8, cpu=1.5), process(7, cpu=8.0, uss=53)),
        server(14, process(7, cpu=9.0, uss=51), process(8, cpu=1.5)),
    )

    seven, eight = view.workers
    assert (seven.now.pid, seven.cpu_percent, seven.growth_bytes) == (7, 50.0, 1 * MIB)
    assert seven.points == (50 * MIB, 53 * MIB, 51 * MIB)
    assert (eight.now.pid, eight.cpu_percent, eight.growth_bytes) == (8, 0.0, 0)
    assert view.cpu_percent == 50.0
    assert view.now.server_bytes == 140 * MIB
    assert view.now.others_bytes == 160 * MIB


def test_a_pid_that_is_given_again_is_another_worker() -> None:
    view = view_of(server(0, process(7, age=500, cpu=90)), server(2, process(7, age=1, cpu=0.2)))

    assert view.workers[0].cpu_percent is None
    assert view.workers[0].points == (50 * MIB,)


def test_past_is_bounded() -> None:
    view = view_of(*(server(at, process(7, age=at)) for at in range(MAX_POINTS + 5)))

    assert len(view.workers[0].points) == 120


def test_others_are_never_less_than_nothing() -> None:
    # Pages that the kernel would drop first count as a worker's, not as the limit's use.
    view = view_of(server(0, memory=LIMIT._replace(headroom_bytes=395 * MIB)))

    assert view.now.others_bytes == 0


@pytest.mark.parametrize(
    ("keys", "pids"),
    [
        ("", [3, 1, 2]),
        ("m", [3, 1, 2]),
        ("c", [2, 1, 3]),
        ("a", [1, 3, 2]),
        ("p", [1, 2, 3]),
        ("pr", [3, 2, 1]),
        ("prr", [1, 2, 3]),
        ("prm", [3, 1, 2]),
        ("x[A", [3, 1, 2]),
    ],
)
def test_keys_sort(keys: str, pids: list[int]) -> None:
    order = Order()
    for key in keys:
        order = order.press(key)
    view = view_of(
        server(0, process(1, age=90), process(2, age=10), process(3, age=50, uss=70)),
        server(1, process(1, 91, 0.2), process(2, 11, 0.9), process(3, 51, 0.1, uss=70)),
    )

    assert [row.now.pid for row in order.apply(view.workers)] == pids


def test_json() -> None:
    view = view_of(
        server(2, process(7, cpu=5.0)), server(12, process(7, age=70.26, cpu=10.02, pss=None))
    )

    document: Any = json.loads(json.dumps(to_json(view)))

    assert document["schema"] == 2
    assert document["command"] == "python -m gunicorn app:app"
    assert document["cores"] == 2.0
    assert document["cpu_percent"] == 50.2
    assert document["memory"] == {
        "limit_bytes": 419_430_400,
        "source": "/sys/fs/cgroup/memory.max",
        "budget_bytes": 314_572_800,
        "reserve_bytes": 41_943_040,
        "headroom_bytes": 104_857_600,
        "server_bytes": 104_857_600,
        "others_bytes": 209_715_200,
    }
    assert document["arbiter"]["pid"] == 100
    assert document["workers"] == [
        {
            "pid": 7,
            "age_seconds": 70.3,
            "state": "sleeping",
            "cpu_seconds": 10.02,
            "cpu_percent": 50.2,
            "rss_bytes": 83_886_080,
            "pss_bytes": None,
            "uss_bytes": 52_428_800,
            "growth_bytes": 0,
            "phase": None,
            "requests": None,
            "in_flight": None,
            "busy_fraction": None,
            "requests_per_second": None,
            "request_seconds": None,
        }
    ]


def test_schema_is_two_and_holds() -> None:
    Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA == 2
    alone = server(0, memory=None)
    for view in (TWO, view_of(alone), view_of(server(0, process(7)), server(2, process(8)))):
        VALIDATOR.validate(json.loads(json.dumps(to_json(view))))


@pytest.mark.parametrize("name", ["schema", "memory", "workers"])
def test_a_name_that_is_missing_or_new_is_noticed(name: str) -> None:
    shown = to_json(TWO)
    with pytest.raises(ValidationError):
        VALIDATOR.validate({key: value for key, value in shown.items() if key != name})
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**shown, f"{name}_2": 1})


def test_json_without_a_limit() -> None:
    assert to_json(view_of(server(0, memory=None)))["memory"] is None


# View to lines.


def text_of(shown: RenderableType, width: int, height: int | None = None) -> str:
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as captured:
        console.print(shown if height is None else Screen(shown), end="")
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def styles_of(text: str, shown: RenderableType) -> list[str]:
    """The styles in which *text* is shown."""
    pieces = Console(width=80).render(shown)
    return [str(piece.style or "") for piece in pieces if piece.text.strip() == text]


def once(view: View, width: int) -> list[str]:
    return text_of(draw_once(view, width), width).splitlines()


def screen(view: View, order: Order, width: int, height: int) -> list[str]:
    return text_of(draw_screen(view, order, width, height), width, height).splitlines()


TWO = view_of(
    server(0, process(7), process(4194304, age=7200, uss=None, pss=None)),
    server(
        20,
        process(7, 80, 10.0, uss=60, state="running"),
        process(4194304, 7220, 0.1, rss=2000, uss=None, pss=None, state="disk-sleep"),
    ),
)


def test_table() -> None:
    assert text_of(draw_once(TWO, 80), 80) == (
        "arbiter 100, up 1h02, 2 workers, 50.5 % CPU, 2 cores\n"
        "address unknown\n"
        "python -m gunicorn app:app\n"
        "\n"
        "████████████████████████████████████████████████████████████░░░░░░░░░░░░········\n"
        "█ server 2.03 GiB   ▓ others 0 MiB   ░ headroom 100 MiB\n"
        "limit 400 MiB  · reserve 40 MiB  budget 300 MiB  /sys/fs/cgroup/memory.max\n"
        "\n"
        "load unknown: it runs as another user\n"
        "\n"
        "    PID    AGE STATE  CPU % RSS MiB PSS MiB USS MiB▼  GROWTH MEMORY\n"
        "4194304   2h00  disk    0.5  2000.0       -        - +1920.0 ▁█\n"
        "      7     1m   run   50.0    80.0    60.0     60.0   +10.0 ▁█\n"
    )


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        *(("running", "run"), ("sleeping", "sleep"), ("disk-sleep", "disk"), ("stopped", "stop")),
        *(("tracing-stop", "trace"), ("zombie", "zombi"), ("[/bold]", "[/bol")),
    ],
)
def test_states(state: str, shown: str) -> None:
    view = view_of(server(0, process(7, state=state)))

    assert once(view, 80)[-1].split()[2] == shown


def test_table_without_a_limit() -> None:
    lines = once(view_of(server(0, memory=None)), 80)

    assert lines[4] == "server 20 MiB, limit unknown"


def bar(memory: MemorySample, *workers: ProcessSample, width: int = 20) -> str:
    return once(view_of(server(0, *workers, memory=memory)), width)[4]


def test_bar_divides_the_limit() -> None:
    # Of 400 MiB: arbiter and worker 80, others 220, 60 free and 40 of reserve.
    assert bar(LIMIT, process(7)) == "████▓▓▓▓▓▓▓▓▓▓▓░░░··"
    # What is used reaches into the reserve.
    assert bar(LIMIT._replace(headroom_bytes=20 * MIB), process(7)) == "████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓·"
    # A declared limit is exceeded.
    assert bar(LIMIT._replace(headroom_bytes=-50 * MIB), process(7, pss=500)) == "█" * 20


@pytest.mark.parametrize(("left", "style"), [(39, "bold red"), (41, "green")])
def test_little_headroom_stands_out(left: int, style: str) -> None:
    view = view_of(server(0, memory=LIMIT._replace(headroom_bytes=left * MIB)))

    assert styles_of("░", draw_once(view, 80)) == [style]


@pytest.mark.parametrize(("uss", "style"), [(57, ""), (59, ""), (63, "bold yellow")])
def test_growth_stands_out(uss: int, style: str) -> None:
    # A quarter, and no less than 8 MiB, as the guard sees it.
    view = view_of(server(0, process(7)), server(10, process(7, uss=uss)))

    assert styles_of(f"+{uss - 50}.0", draw_once(view, 80)) == [style]


def test_too_many_workers_are_counted() -> None:
    view = view_of(server(0, *(process(pid) for pid in range(1, 31))))

    lines = screen(view, Order("pid"), 80, 24)

    assert len(lines) == 24
    assert [line.split()[0] for line in lines[11:21]] == [str(pid) for pid in range(1, 11)]
    assert lines[21] == "... and 20 more"
    assert lines[23] == "? keys  m memory  c CPU  b busy  r reverse  q quit   by pid"


def test_as_many_as_fit_are_shown() -> None:
    view = view_of(server(0, *(process(pid) for pid in range(1, 12))))

    lines = screen(view, Order("pid", reverse=True), 80, 24)

    assert lines[21].split()[0] == "1"
    assert lines[23].endswith("   by pid, reversed")


@st.composite
def views(draw: st.DrawFn) -> View:
    size = st.one_of(st.none(), st.integers(0, 2**42))

    def some(pid: int) -> ProcessSample:
        memory = ProcessMemory(draw(st.integers(1, 2**42)), draw(size), draw(size))
        age = draw(st.floats(0, 1e9))
        return ProcessSample(pid, age, draw(st.text(max_size=20).map(in_columns)), 0, memory)

    limit = draw(st.integers(1, 2**42))
    left = draw(st.integers(-limit, limit))
    memory = MemorySample(limit, in_columns(draw(st.text())), limit, limit // 10, left)
    workers = tuple(some(pid) for pid in range(draw(st.integers(0, 8))))
    command = in_columns(draw(st.text(max_size=300)))
    return view_of(*(server(at, *workers, memory=memory, command=command) for at in range(3)))


@given(views(), st.integers(1, 250), st.integers(1, 60))
def test_nothing_is_wider_or_higher_than_the_terminal(view: View, width: int, height: int) -> None:
    lines = screen(view, Order(), width, height)

    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_what_does_not_fit_is_cut_off() -> None:
    lines = once(TWO, 15)

    assert lines[0] == "arbiter 100, up"
    assert lines[10:] == ["    PID    AGE", "4194304   2h00", "      7     1m"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h00"),
        (7260, "2h01"),
        (86_399, "23h59"),
        (86_400, "1d00h"),
        (190_000, "2d04h"),
        (864_000, "10d"),
        (864_000_000, "10000d"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


@pytest.mark.parametrize(
    ("points", "columns", "text"),
    [
        ((), 5, ""),
        ((5,), 0, ""),
        ((5,), -3, ""),
        ((0, 0), 5, "▁▁"),
        ((100, 100, 100), 5, "▁▁▁"),
        ((1000, 1010, 1005), 3, "▁▂▁"),  # Less than a tenth is little.
        ((1, 2, 3, 4, 5, 6, 7, 8), 8, "▁▂▃▄▅▆▇█"),
        ((1000, 1, 8), 2, "▁█"),
        ((100, 120, 160, 200), 3, "▁▅█"),
        ((100, 101, 99), 3, "▂▂▁"),
    ],
)
def test_sparkline(points: tuple[int, ...], columns: int, text: str) -> None:
    assert sparkline(points, columns) == text


def test_tightest_of_two_equal_limits_is_named() -> None:
    full, roomy = limit(300 * MIB, 290 * MIB, at="/inner"), limit(300 * MIB, 10 * MIB, at="/outer")
    seen = _sample_memory(machine(supply=memory(None, full, roomy)), declare({}))

    assert seen is not None
    assert (seen.source, seen.headroom_bytes) == ("/inner/memory.max", 10 * MIB)


def test_limit_below_what_was_declared_is_named() -> None:
    supply = memory(None, limit(300 * MIB, 290 * MIB, at="/shop"), own=280 * MIB)
    seen = _sample_memory(machine(supply=supply), declare({"GUNICORN_MEMORY": "512MiB"}))

    assert seen is not None
    assert (seen.source, seen.limit_bytes) == ("/shop/memory.max", 300 * MIB)
    assert seen.budget_bytes == 270 * MIB


def test_declared_memory_is_named() -> None:
    supply = memory(None, limit(1024 * MIB, 290 * MIB), own=280 * MIB)
    seen = _sample_memory(machine(supply=supply), declare({"GUNICORN_MEMORY": "300MiB"}))

    assert seen is not None
    assert (seen.source, seen.limit_bytes) == ("GUNICORN_MEMORY", 300 * MIB)
