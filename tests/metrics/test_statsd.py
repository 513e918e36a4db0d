"""The metrics for statsd, by name: dashboards and alarms are built on them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from builders import MIB

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.metrics.endings import Ending
from gunicorn_autoconf.metrics.snapshot import Snapshot, State
from gunicorn_autoconf.metrics.statsd import METRICS, PREFIX, messages

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "statsd.md"

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

SNAPSHOT = Snapshot(
    workers={State.BOOTING: 1, State.READY: 2, State.DRAINING: 0},
    target=3,
    planned=3,
    slots=16,
    in_flight=3,
    totals=Counters(requests=100, slot_seconds=12.5, cpu_seconds=2.25),
    endings={Ending.OOM: 1},
    stalls=0,
    cores=2.0,
    sample=SAMPLE,
    budget_bytes=416_074_956,
)
GAUGES = {
    "gunicorn.autoconf.workers": 3,
    "gunicorn.autoconf.workers.ready": 2,
    "gunicorn.autoconf.slots": 16,
    "gunicorn.autoconf.slots.busy": 3,
    "gunicorn.autoconf.in_flight": 3,
    "gunicorn.autoconf.headroom": 209_715_200,
    "gunicorn.autoconf.pss": 141_610_189,
    "gunicorn.autoconf.worker.uss": 63_963_136,
    "gunicorn.autoconf.budget": 416_074_956,
}


def sent(now: Snapshot, before: Snapshot | None, mtype: str) -> dict[str, float]:
    return {each.metric: each.value for each in messages(now, before) if each.mtype == mtype}


def test_gauges() -> None:
    assert sent(SNAPSHOT, None, "gauge") == GAUGES


def test_counters_say_what_is_new() -> None:
    counters = {
        "gunicorn.autoconf.requests": 100,
        "gunicorn.autoconf.request.seconds": 12.5,
        "gunicorn.autoconf.cpu.seconds": 2.25,
        "gunicorn.autoconf.exits.oom": 1,
    }
    assert sent(SNAPSHOT, None, "counter") == counters
    assert sent(SNAPSHOT, SNAPSHOT, "counter") == {}

    later = replace(
        SNAPSHOT, totals=Counters(requests=103, slot_seconds=12.75, cpu_seconds=2.25), stalls=2
    )
    assert sent(later, SNAPSHOT, "counter") == {
        "gunicorn.autoconf.requests": 3,
        "gunicorn.autoconf.request.seconds": 0.25,
        "gunicorn.autoconf.stalls": 2,
    }


def test_what_is_not_known_is_not_sent() -> None:
    unknown = replace(SNAPSHOT, slots=None, sample=None, budget_bytes=None)

    assert sent(unknown, None, "gauge") == {
        "gunicorn.autoconf.workers": 3,
        "gunicorn.autoconf.workers.ready": 2,
        "gunicorn.autoconf.in_flight": 3,
    }


def test_the_page_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| `(.+?)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)

    ours = [name for name in rows if name.startswith(PREFIX)]
    assert sorted(ours) == sorted(PREFIX + row.name for row in METRICS)
