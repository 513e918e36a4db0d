"""`top` beside a server that tells of itself: rates, phases, growth, columns, head."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from builders import MIB
from click.testing import CliRunner
from rich.console import Console

from gunicorn_autoconf.cli.inside import Inside, WorkerInside
from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.cli.top import arbiters
from gunicorn_autoconf.cli.top import command as top_command
from gunicorn_autoconf.cli.top.listening import parse_tcp, parse_unix, read_listeners
from gunicorn_autoconf.cli.top.order import Order
from gunicorn_autoconf.cli.top.screen import draw_once, draw_screen
from gunicorn_autoconf.cli.top.view import (
    MemorySample,
    ProcessSample,
    ServerSample,
    View,
    follow,
)
from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.load.capacity import Backlog
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.metrics.snapshot import State

LIMIT = MemorySample(400 * MIB, "/sys/fs/cgroup/memory.max", 300 * MIB, 40 * MIB, 100 * MIB)
STATUS: dict[str, Any] = {
    "worker_class": "gthread",
    "threads": 4,
    "slots_per_worker": 4,
    "interface": "wsgi",
    "workload": "mixed",
    "load": {
        "text": "load 46/s, 104 ms each, 7 of 8 slots busy: bound by slots",
        "bound_by": "slots",
    },
    "verdict": {
        "text": "requests compute 3.0 ms of their 104 ms: 2 workers, 8 requests at once, can "
        "answer 77/s, 2 cores could 660/s; set GUNICORN_WORKLOAD=io if your code is thread-safe"
    },
}


def process(pid: int, age: float = 60.0, uss: int | None = 50, cpu: float = 0.0) -> ProcessSample:
    memory = ProcessMemory(80 * MIB, None if uss is None else 60 * MIB, uss and uss * MIB)
    return ProcessSample(pid, age, "sleeping", cpu, memory)


def told(phase: State = State.READY, uss: int | None = 50, **counters: float) -> WorkerInside:
    counted = Counters(**counters) if counters else None  # type: ignore[arg-type]
    if phase is State.BOOTING:
        return WorkerInside(phase)
    return WorkerInside(phase, counted, 75 * MIB, None if uss is None else uss * MIB)


def server(
    at: float,
    *workers: tuple[ProcessSample, WorkerInside],
    slots: int | None = 4,
    listeners: tuple[Backlog, ...] = (Backlog("0.0.0.0:8000", 18),),
) -> ServerSample:
    inside = Inside(
        at, STATUS | {"slots_per_worker": slots}, {each.pid: tells for each, tells in workers}
    )
    processes = tuple(each for each, _ in workers)
    arbiter = ProcessSample(100, 3700 + at, "sleeping", 0, ProcessMemory(30 * MIB, 20 * MIB))
    command = "python -m gunicorn app:app"
    return ServerSample(at, command, arbiter, processes, 2.0, LIMIT, listeners, inside)


def view_of(*samples: ServerSample) -> View:
    view = None
    for sample in samples:
        view = follow(view, sample)
    assert view is not None
    return view


TWO = view_of(
    server(
        0,
        (process(7), told(requests=100, slot_seconds=10.0)),
        (process(8), told(State.DRAINING, requests=5, slot_seconds=1.0)),
        (process(9, age=1), told(State.BOOTING)),
    ),
    server(
        2,
        (process(7, 62, uss=65, cpu=1.0), told(requests=140, slot_seconds=17.0)),
        (process(8, 62), told(State.DRAINING, requests=5, slot_seconds=3.0)),
        (process(9, age=3), told(State.BOOTING)),
    ),
)


class TestWork:
    """What a worker did between two looks."""

    def test_by_slots(self) -> None:
        seven, eight, nine = TWO.workers

        assert seven.work is not None
        # 7 s of requests in 2 s, of 4 threads; 40 of them.
        assert seven.work == (0.875, 20.0, 0.175)
        assert eight.work == (0.25, 0.0, None)
        assert nine.work is None

    def test_of_an_event_loop(self) -> None:
        """A thousand requests that wait do not make it busy; to be blocked or to compute does."""
        view = view_of(
            server(0, (process(7), told(slot_seconds=1.0)), (process(8), told()), slots=None),
            server(
                2,
                (process(7, 62, cpu=0.2), told(slot_seconds=2001.0, loop_seconds=1.5)),
                (process(8, 62, cpu=1.0), told(slot_seconds=9.0)),
                slots=None,
            ),
        )

        assert [row.work and row.work.busy_fraction for row in view.workers] == [0.75, 0.5]

    def test_of_one_that_began_meanwhile(self) -> None:
        view = view_of(
            server(0, (process(7, age=1), told(State.BOOTING))),
            server(2, (process(7, age=3), told(requests=6, slot_seconds=0.3))),
        )

        work = view.workers[0].work
        assert work is not None
        assert (work.busy_fraction, work.rate) == (0.0375, 3.0)
        assert work.request_seconds == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("now", "tells", "growth"),
    [
        # From what it used when it could serve, however long ago: known at the first look.
        (process(7, uss=57), told(uss=50), 7 * MIB),
        # Its own memory is not told: resident memory against resident memory.
        (process(7, uss=None), told(uss=50), 5 * MIB),
        # One that boots has not begun.
        (process(7), told(State.BOOTING), None),
        # What it had on its own is not known, and is not made up from something else.
        (process(7, uss=57), told(uss=None), None),
    ],
)
def test_growth_counts_from_ready(
    now: ProcessSample, tells: WorkerInside, growth: int | None
) -> None:
    assert view_of(server(0, (now, tells))).workers[0].growth_bytes == growth


def lines(view: View, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(draw_once(view, width), end="")
    return [line.rstrip() for line in captured.get().splitlines()]


def test_eighty_columns() -> None:
    shown = lines(TWO, 80)

    assert shown[:4] == [
        "arbiter 100, up 1h01, 3 workers (1 booting, 1 draining), 50.0 % CPU, 2 cores",
        "0.0.0.0:8000 (18 waiting)  gthread x 4 threads  WSGI, mixed",
        "python -m gunicorn app:app",
        "",
    ]
    assert shown[6:] == [
        "limit 400 MiB  · reserve 40 MiB  budget 300 MiB  /sys/fs/cgroup/memory.max",
        "",
        "load 46/s, 104 ms each, 7 of 8 slots busy: bound by slots",
        "requests compute 3.0 ms of their 104 ms: 2 workers, 8 requests at once, can",
        "answer 77/s, 2 cores could 660/s; set GUNICORN_WORKLOAD=io if your code is",
        "thread-safe",
        "",
        "    PID    AGE STATE  CPU %  BUSY %  REQ/S     MS USS MiB▼  GROWTH MEMORY",
        "      7     1m sleep   50.0      88     20    175     65.0   +15.0 ▁█",
        "      8     1m drain    0.0      25    0.0      -     50.0    +0.0 ▁▁",
        "      9     3s  boot    0.0       -      -      -     50.0       - ▁▁",
    ]


def test_a_hundred_and_twenty_columns() -> None:
    titles, first = lines(TWO, 120)[-4:-2]

    assert titles == (
        "    PID    AGE STATE  CPU %  BUSY %  REQ/S     MS RSS MiB PSS MiB USS MiB▼  GROWTH MEMORY"
    )
    assert first == (
        "      7     1m sleep   50.0      88     20    175    80.0    60.0     65.0   +15.0 ▁█"
    )


@pytest.mark.parametrize(
    ("keys", "title", "pids"),
    [
        ("", "USS MiB▼", [7, 8, 9]),
        ("b", "BUSY %▼", [7, 8, 9]),
        ("br", "BUSY %▲", [9, 8, 7]),
        ("s", "REQ/S▼", [7, 8, 9]),
        ("l", "MS▼", [7, 8, 9]),
        ("g", "GROWTH▼", [7, 8, 9]),
        ("p", "PID▲", [7, 8, 9]),
        ("pr", "PID▼", [9, 8, 7]),
    ],
)
def test_the_column_that_sorts_is_marked(keys: str, title: str, pids: list[int]) -> None:
    order = Order()
    for key in keys:
        order = order.press(key)
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(draw_screen(TWO, order, 80, 24))
    shown = captured.get().splitlines()

    (titles,) = [line for line in shown if "STATE" in line]
    assert f" {title} " in titles
    assert titles.count("▼") + titles.count("▲") == 1
    at = shown.index(titles)
    assert [int(line.split()[0]) for line in shown[at + 1 : at + 4]] == pids


# Where it listens.

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000012 00:00000000 00000000     0        0 41 1 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 42 1 0
   2: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 43 1 0
   3: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44 1 0
"""
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 51 /run/shop and more.sock
0000000000000000: 00000003 00000000 00000000 0001 03 52 /run/shop and more.sock
0000000000000000: 00000002 00000000 00010000 0001 01 53 /root/.gunicorn/gunicorn.ctl
0000000000000000: 00000002 00000000 00010000 0001 01 54
"""


def test_listening_sockets() -> None:
    # What follows the first socket that does not listen is not read: thousands of connections.
    assert list(parse_tcp(TCP.splitlines(), {"41", "43", "44"})) == [Backlog("0.0.0.0:8000", 18)]
    assert list(parse_unix(UNIX.splitlines(), {"51", "52", "53", "54"})) == [
        Backlog("unix:/run/shop and more.sock", None)
    ]


@pytest.mark.skipif(not os.path.exists("/proc/self/net/tcp"), reason="reads Linux's /proc")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_waits_is_counted(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening, socket.socket(family) as first, socket.socket(family) as second:
        port = listening.getsockname()[1]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        first.connect((host, port))
        second.connect((host, port))
        assert Backlog(shown, 2) in read_listeners([os.getpid()])
        listening.accept()[0].close()
        assert Backlog(shown, 1) in read_listeners([os.getpid()])


# Which one.


def test_one_of_several_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        arbiters.Listed(10, 1, ("gunicorn", "a:app")),
        arbiters.Listed(2**22 + 5, 1, ("gunicorn", "b:app")),
    ]
    monkeypatch.setattr(arbiters, "list_processes", lambda user_id: listed)
    monkeypatch.setattr(top_command, "_has_terminal", lambda: True)

    result = CliRunner().invoke(main, ["top", "--once"], input="7\n2\n")

    assert result.output.startswith(
        "  1  10: gunicorn a:app\n  2  4194309: gunicorn b:app\nWhich one [1]: 7\n"
    )
    # There is no process of such a number, which shows that it was the one to be opened.
    assert result.output.endswith("Error: arbiter 4194309: there is no such process\n")
    assert result.exit_code == 2
