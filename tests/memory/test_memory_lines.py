"""The lines of the log, word for word: people search for them."""

from __future__ import annotations

import pytest
from builders import GIB, MIB, declare, limit, memory

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.beside import Beside
from gunicorn_autoconf.memory.boot_line import render_boot
from gunicorn_autoconf.memory.lines import (
    Exit,
    memory_fields,
    render_action,
    render_exit,
    render_memory,
)
from gunicorn_autoconf.memory.why import Needs
from gunicorn_autoconf.plan.budget import MemoryBudget, memory_budget

WHY = Needs(40 * MIB, 2)
WHY_TEXT = "workers need 40 MiB, the plan is 2"

SAMPLE = Sample(
    at_seconds=100.0,
    limit_bytes=512 * MIB,
    headroom_bytes=200 * MIB,
    target=3,
    workers=(
        WorkerSample(41, 600.0, 61 * MIB, 70 * MIB, 40 * MIB),
        WorkerSample(42, 600.0, 38 * MIB, 45 * MIB + 52_429, 40 * MIB),
        WorkerSample(43, 1.0, 12 * MIB, 20 * MIB),
    ),
)


def budget() -> MemoryBudget:
    """Half a GiB, less 10 %, less 64 MiB of others."""
    found = memory_budget(memory(16 * GIB, limit(512 * MIB, 64 * MIB)), declare({}))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("what", "seconds", "used", "line"),
    [
        (
            "booted",
            1.234,
            ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB + 500_000),
            "gunicorn-autoconf: worker 41 booted in 1.23 s: rss=80.0MiB pss=60.0MiB uss=50.5MiB",
        ),
        (
            "ready",
            6.2,
            ProcessMemory(80 * MIB),
            "gunicorn-autoconf: worker 41 ready in 6.20 s: rss=80.0MiB",
        ),
        (
            "booted",
            None,
            ProcessMemory(80 * MIB, None, 50 * MIB),
            "gunicorn-autoconf: worker 41 booted: rss=80.0MiB uss=50.0MiB",
        ),
    ],
)
def test_boot(what: str, seconds: float | None, used: ProcessMemory, line: str) -> None:
    assert render_boot(41, what, seconds, used) == line


def test_all_workers() -> None:
    assert render_memory(SAMPLE, budget()) == (
        "gunicorn-autoconf: memory workers=3 pss=135.1MiB budget=396.8MiB headroom=200.0MiB "
        "limit=512.0MiB 41=61.0MiB(+21.0) 42=38.0MiB(-2.0) 43=booting(12.0MiB)"
    )


def test_what_is_used_beside_the_workers_where_it_matters() -> None:
    line = render_memory(SAMPLE, budget(), Beside(50 * MIB, 280 * MIB, 220 * MIB))
    assert " limit=512.0MiB shared=280.0MiB cache=220.0MiB 41=" in line


def test_the_same_as_fields() -> None:
    assert memory_fields(SAMPLE, budget(), Beside(50 * MIB, 280 * MIB, 0)) == {
        "workers": 3,
        "pss_bytes": 141_610_189,
        "budget_bytes": 416_074_956,
        "headroom_bytes": 209_715_200,
        "limit_bytes": 536_870_912,
        "others_bytes": 52_428_800,
        "shared_memory_bytes": 293_601_280,
        "cache_bytes": 0,
        "uss_bytes": {"41": 63_963_136, "42": 39_845_888, "43": 12_582_912},
        "helper_bytes": 0,
    }


def test_all_workers_without_a_budget() -> None:
    assert render_memory(SAMPLE._replace(workers=()), None) == (
        "gunicorn-autoconf: memory workers=0 pss=0.0MiB headroom=200.0MiB limit=512.0MiB"
    )


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (Action(Kind.GROW, WHY, add=2), f"grow by 2: {WHY_TEXT}"),
        (Action(Kind.SHRINK, WHY), f"shrink by 1: {WHY_TEXT}"),
        (
            Action(Kind.RECYCLE, WHY, pid=42, replacement_first=True),
            f"recycle worker 42 after its replacement has booted: {WHY_TEXT}",
        ),
        (
            Action(Kind.RECYCLE, WHY, pid=42),
            f"recycle worker 42 at once: {WHY_TEXT}",
        ),
        (Action(Kind.KEEP, WHY, pid=42), f"keep worker 42: {WHY_TEXT}"),
    ],
)
def test_action(action: Action, line: str) -> None:
    assert render_action(action) == f"gunicorn-autoconf: guard: {line}"
    assert render_action(action, would=True) == f"gunicorn-autoconf: guard would {line}"


@pytest.mark.parametrize(
    ("last", "line"),
    [
        (None, "gunicorn-autoconf: worker 41 exited"),
        (
            SAMPLE.workers[0],
            (
                "gunicorn-autoconf: worker 41 exited: "
                "age=600s uss=61.0MiB boot_uss=40.0MiB pss=70.0MiB"
            ),
        ),
        (SAMPLE.workers[2], "gunicorn-autoconf: worker 41 exited: age=1s uss=12.0MiB pss=20.0MiB"),
    ],
)
def test_exit(last: WorkerSample | None, line: str) -> None:
    assert render_exit(41, last, Exit.EXITED) == line
