"""The metrics for statsd, by name: dashboards and alarms are built on them."""

from __future__ import annotations

import re
from pathlib import Path

from builders import GIB, MIB, declare, limit, memory

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.metrics import PREFIX, metrics
from gunicorn_autoconf.plan.budget import memory_budget

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

# Half a GiB, less 10 %, less 64 MiB of others.
BUDGET = memory_budget(memory(16 * GIB, limit(512 * MIB, 64 * MIB)), declare({}))


def test_of_a_fleet() -> None:
    assert dict(metrics(SAMPLE, BUDGET)) == {
        "gunicorn.autoconf.workers": 3,
        "gunicorn.autoconf.headroom": 209_715_200,
        "gunicorn.autoconf.pss": 141_610_189,
        "gunicorn.autoconf.worker.uss": 63_963_136,
        "gunicorn.autoconf.budget": 416_074_956,
    }


def test_of_nobody() -> None:
    assert dict(metrics(SAMPLE._replace(workers=()), None)) == {
        "gunicorn.autoconf.workers": 0,
        "gunicorn.autoconf.headroom": 209_715_200,
        "gunicorn.autoconf.pss": 0,
        "gunicorn.autoconf.worker.uss": 0,
    }


def test_the_page_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| `(.+?)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)

    ours = [name for name in rows if name.startswith(PREFIX)]
    assert sorted(ours) == sorted(name for name, _ in metrics(SAMPLE, BUDGET))
