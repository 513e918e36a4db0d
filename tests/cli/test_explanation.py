"""The long form: what it says of a machine and a plan, and that it fits 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import pytest
from builders import GIB, MIB, WSGI, declare, limit, machine, memory
from hypothesis import given
from hypothesis import strategies as st
from machine_roots import CASES, machine_of

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.cli.explain.text import render_explanation
from gunicorn_autoconf.machine.facts import Machine, MemoryLimit, MemorySupply, Origin
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.plan import Remark, Severity
from gunicorn_autoconf.plan.remarks import remarks
from gunicorn_autoconf.plan.steps import plan

POD = machine(
    8,
    quota=1.5,
    supply=memory(16 * GIB, limit(GIB, 300 * MIB), in_use=4 * GIB, own=100 * MIB),
    container=True,
    platform="kubernetes",
    worker_tmp_dir="/dev/shm",
)


def explanation(
    on: Machine,
    environ: Mapping[str, str],
    argv: Sequence[str] = (),
    app: Finding | None = WSGI,
    advice: Sequence[Remark] = (),
) -> str:
    declaration = declare(environ, argv)
    planned = plan(on, declaration, application=app)
    said = [each for each in planned.remarks if each.severity is not Severity.ADVICE]
    return plain(on, declaration, planned, [*said, *advice])


def plain(*parts: Any) -> str:
    """The report without its colours."""
    return click.unstyle(render_explanation(*parts))


def section(title: str, text: str) -> list[str]:
    """The lines below *title*."""
    _, _, rest = f"\n{text}".partition(f"\n{title}\n")
    return rest.partition("\n\n")[0].splitlines()


def test_of_a_pod() -> None:
    environ = {
        "GUNICORN_WORKLOAD": "io",
        "GUNICORN_INTERFACE": "auto",
        "GUNICORN_MEMORY": "600MiB",
        "GUNICORN_WORKER_MEMORY": "250MiB",
        "GUNICORN_MEMORY_RESERVE": "64MiB",
        "WEB_CONCURRENCY": "3",
        "GUNICORN_TIMEOUT": "10",
    }
    advice = [Remark("topic", Severity.ADVICE, "Do this.")]
    shown = explanation(POD, environ, ["gunicorn", "--workers", "4", "app:app"], advice=advice)
    assert shown == (
        """\
4 ThreadWorkers x 100 threads: 1.5 cores, 600 MiB, WSGI, workload io
(GUNICORN_WORKLOAD)

Machine
  affinity   8 cores      os.sched_getaffinity: 8
  CPU quota  1.5 cores    /sys/fs/cgroup/kubepods/pod1/app/cpu.max: 150000
                          100000
  limit      1 GiB        /sys/fs/cgroup/kubepods/pod1/app/memory.max:
                          1073741824
    in use   300 MiB      by what runs in /sys/fs/cgroup/kubepods/pod1/app
  physical   16 GiB       /proc/meminfo: MemTotal: 16777216 kB
    in use   4 GiB        by everything on the machine
  container  yes          /.dockerenv
  platform   kubernetes
  tmpfs      /dev/shm

Declared
  GUNICORN_WORKLOAD = io
  GUNICORN_INTERFACE = auto
  GUNICORN_MEMORY = 600 MiB
  GUNICORN_WORKER_MEMORY = 250 MiB
  GUNICORN_MEMORY_RESERVE = 64 MiB
  workers = 4 (--workers)
  workers = 3 (WEB_CONCURRENCY)
  timeout = 10 (GUNICORN_TIMEOUT)

Application
  WSGI (app.wsgi calls get_wsgi_application())

Memory
  limit      600 MiB      GUNICORN_MEMORY
  |=====|
  / reserve  64 MiB        11 %  never planned for
  x others   0 MiB          0 %  what is declared is all ours
  = workers  536 MiB       89 %  for 4 workers
  ! missing  464 MiB       77 %  more than there is
  budget     536 MiB      limit - reserve - others
  a worker   250 MiB      GUNICORN_WORKER_MEMORY
  fits       2 workers

Plan
  worker_class = gunicorn_autoconf.workers.ThreadWorker
      io, WSGI: waiting costs a thread, not a process
  workers = 4
      3: ceil(c) + 1, c = 1.5 (/sys/fs/cgroup/kubepods/pod1/app/cpu.max)
      2: budget // worker_memory, budget = 536 MiB, worker_memory = 250 MiB,
      wanted = 3 (GUNICORN_MEMORY; GUNICORN_WORKER_MEMORY)
      4: set by --workers; planned = 2; WEB_CONCURRENCY = 3
  threads = 100
      io: each made only when a request has to wait for one
  timeout = 10
      set by GUNICORN_TIMEOUT
  graceful_timeout = 8
      25: kubernetes kills after 30 s
      8: timeout - 2: most draining workers send no heartbeat, timeout = 10
      (GUNICORN_TIMEOUT)
  keepalive = 65
      longer than the 60 s idle timeout of load balancers
  worker_tmp_dir = /dev/shm
      a tmpfs: heartbeats never wait for a disk (/dev/shm)

Problems
  - 4 workers of 250 MiB (GUNICORN_WORKER_MEMORY) exceed the memory budget of
    536 MiB (GUNICORN_MEMORY) by 464 MiB

Advice
  - Do this.
""".replace("|=====|", f"|{'/' * 5}{'=' * 38}{'!' * 33}|")
    )


def test_of_a_machine_of_which_little_is_known() -> None:
    shown = explanation(machine(1, supply=memory(None)), {}, app=None)
    assert shown.startswith(
        """\
3 sync workers: 1 core, memory unknown, WSGI, workload auto

Machine
  affinity   1 core       os.sched_getaffinity: 1
  CPU quota  none
  limit      none
  physical   unknown

Declared
  nothing

Application
  WSGI (no application is named; Gunicorn assumes WSGI)

Plan
  worker_class = sync
"""
    )
    assert "Problems" not in shown
    assert "Advice" not in shown


def test_memory_divides_into_reserve_others_workers_and_free() -> None:
    shown = section("Memory", explanation(POD, {"GUNICORN_WORKLOAD": "cpu"}))
    assert shown == [
        "  limit      1 GiB        /sys/fs/cgroup/kubepods/pod1/app/memory.max",
        f"  |{'/' * 8}{'x' * 14}{'=' * 38}{'.' * 16}|",
        "  / reserve  102.4 MiB     10 %  never planned for",
        "  x others   200 MiB       20 %  in use, less our own 100 MiB",
        "  = workers  512 MiB       50 %  for 2 workers",
        "  . free     209.6 MiB     20 %",
        "  budget     721.6 MiB    limit - reserve - others",
        "  a worker   256 MiB      a guess until measured",
        "  fits       2 workers",
    ]


def test_a_directory_that_had_to_be_guessed() -> None:
    origin = Origin(path="/sys/fs/cgroup/memory.max", text="1073741824", certain=False)
    level = MemoryLimit(limit_bytes=GIB, working_set_bytes=None, origin=origin)
    on = machine(supply=MemorySupply(physical=None, limits=(level,)))
    assert section("Machine", explanation(on, {}))[2:4] == [
        "  limit      1 GiB        /sys/fs/cgroup/memory.max: 1073741824, uncertain",
        "  physical   unknown",
    ]


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"GUNICORN_CPUS": "1500m"}, "  GUNICORN_CPUS = 1.5"),
        ({"GUNICORN_MEMORY_RESERVE": "12.5%"}, "  GUNICORN_MEMORY_RESERVE = 12.5%"),
        ({"GUNICORN_MEMORY_RESERVE": "0"}, "  GUNICORN_MEMORY_RESERVE = 0 MiB"),
        ({"GUNICORN_STALL_WARNING": "0"}, "  GUNICORN_STALL_WARNING = 0"),
        ({"GUNICORN_MEMORY_GUARD": "OFF"}, "  GUNICORN_MEMORY_GUARD = off"),
        ({"GUNICORN_INTERFACE": "asgi"}, "  GUNICORN_INTERFACE = asgi"),
        ({"GUNICORN_MAX_WORKERS": "7"}, "  GUNICORN_MAX_WORKERS = 7"),
        ({"GUNICORN_CMD_ARGS": "-t 5"}, "  timeout = 5 (GUNICORN_CMD_ARGS)"),
    ],
)
def test_what_was_declared(environ: dict[str, str], line: str) -> None:
    assert line in section("Declared", explanation(machine(), environ))


def test_what_the_class_ignores_is_no_problem() -> None:
    shown = explanation(machine(), {"GUNICORN_KEEPALIVE": "5"})
    assert section("Without effect", shown) == [
        "  - keepalive, set by GUNICORN_KEEPALIVE, has no effect under sync: sync closes",
        "    every connection after its response",
    ]
    assert section("Problems", shown) == []


def test_a_path_that_leaves_no_room_beside_it_goes_below() -> None:
    path = f"/sys/fs/cgroup/{'a' * 45}/memory.max"
    level = MemoryLimit(
        limit_bytes=GIB, working_set_bytes=None, origin=Origin(path=path, text="1073741824")
    )
    on = machine(supply=memory(16 * GIB, level))
    assert section("Machine", explanation(on, {}))[2:5] == [
        "  limit      1 GiB",
        f"      {path}:",
        "      1073741824",
    ]


DECLARATIONS = [
    {},
    {"GUNICORN_WORKLOAD": "io", "WEB_CONCURRENCY": "64", "GUNICORN_MAX_CONCURRENCY": "9"},
    {"GUNICORN_WORKLOAD": "async", "GUNICORN_ACCESS_LOG_FORMAT": "%(h)s " * 30},
    {"GUNICORN_MEMORY": "64GiB", "GUNICORN_CPUS": "0.5"},
]


@pytest.mark.parametrize("environ", DECLARATIONS, ids=["nothing", "io", "async", "sizes"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_longer_than_80_columns(case: str, environ: dict[str, str]) -> None:
    on = machine_of(case)
    declaration = declare(environ)
    app = Finding(interface=None, evidence=f"{'deep/' * 30}app.py:3 calls get({'x' * 90})")
    planned = plan(on, declaration, application=app)
    problems = [
        Remark("machine", Severity.PROBLEM, f"{problem.path}: {problem.message}")
        for problem in on.problems
    ]
    known = Known(on, declaration, planned, app, has_uvloop=False, conf_file="./gunicorn.conf.py")

    shown = plain(on, declaration, planned, [*problems, *remarks(known)])

    long = [line.strip() for line in shown.splitlines() if len(line) > 80]
    # A path is never cut: who copies it wants all of it.
    assert f"{'deep/' * 30}app.py:3" in long
    assert [line for line in long if " " in line] == []
    assert [line for line in shown.splitlines() if line != line.rstrip()] == []


@given(
    st.integers(1, 2**50),
    st.integers(0, 2**50),
    st.integers(1, 64),
    st.sampled_from(["cpu", "mixed", "io", "async"]),
)
def test_the_bar_is_always_as_wide(limit_bytes: int, used: int, cores: int, workload: str) -> None:
    on = machine(cores, supply=memory(None, limit(limit_bytes, used)))
    shown = explanation(on, {"GUNICORN_WORKLOAD": workload})
    (bar,) = (line for line in shown.splitlines() if line.startswith("  |"))
    assert len(bar) == 80
    assert bar.endswith("|")
