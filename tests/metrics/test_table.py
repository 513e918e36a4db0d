"""What a scrape gets, in the words of Prometheus; its own parser reads it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import prometheus_client.openmetrics.parser
import pytest
from builders import MIB
from prometheus_client.parser import text_string_to_metric_families

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.metrics.endings import Ending
from gunicorn_autoconf.metrics.exposition import Exposition
from gunicorn_autoconf.metrics.metric import Kind
from gunicorn_autoconf.metrics.snapshot import Advice, Snapshot, State, Throttled
from gunicorn_autoconf.metrics.table import METRICS

SAMPLE = Sample(
    at_seconds=100.0,
    limit_bytes=512 * MIB,
    headroom_bytes=200 * MIB,
    target=3,
    workers=(
        WorkerSample(41, 600.0, 61 * MIB, 70 * MIB, 40 * MIB, helper_bytes=MIB, helpers=1),
        WorkerSample(42, 600.0, 38 * MIB, 45 * MIB, 40 * MIB),
        WorkerSample(43, 600.0, 38 * MIB, 45 * MIB, 40 * MIB),
    ),
)

SNAPSHOT = Snapshot(
    workers={State.BOOTING: 1, State.READY: 2, State.DRAINING: 0},
    target=3,
    planned=2,
    slots=200,
    in_flight=17,
    totals=Counters(
        requests=1234,
        in_flight=17,
        busy_seconds=55.5,
        slot_seconds=321.25,
        cpu_seconds=44.5,
        queue_seconds=3.5,
        queued=1200,
        rejected=7,
        loop_seconds=6.5,
        pool_seconds=0.75,
        durations=(600, 300, 200, 100, 20, 8, 4, 1, 0, 0, 0, 1),
    ),
    endings={**dict.fromkeys(Ending, 0), Ending.OOM: 2},
    stalls=5,
    cores=1.5,
    backlogs={"http://0.0.0.0:8000": 4},
    bounds={"nothing": False, "slots": True},
    advice=Advice("waits", "io", 13.5),
    sample=SAMPLE,
    budget_bytes=400 * MIB,
    numbers={41: 0, 42: 1},  # 43 is gone.
    throttled={"/sys/fs/cgroup": Throttled(100, 20, 1.25)},
    labels={
        "version": "1.2",
        "worker_class": "gthread",
        "workload": "io",
        "interface": "wsgi",
    },
)

VALUES = {
    'gunicorn_info{interface="wsgi",version="1.2",worker_class="gthread",workload="io"}': 1,
    'gunicorn_workers{state="booting"}': 1,
    'gunicorn_workers{state="ready"}': 2,
    'gunicorn_workers{state="draining"}': 0,
    "gunicorn_workers_target": 3,
    "gunicorn_workers_planned": 2,
    'gunicorn_worker_exits_total{reason="oom"}': 2,
    'gunicorn_worker_exits_total{reason="timeout"}': 0,
    'gunicorn_worker_exits_total{reason="recycled"}': 0,
    'gunicorn_worker_exits_total{reason="shrunk"}': 0,
    'gunicorn_worker_exits_total{reason="crashed"}': 0,
    'gunicorn_worker_exits_total{reason="exited"}': 0,
    "gunicorn_slots": 200,
    "gunicorn_busy_slots": 17,
    "gunicorn_requests_in_flight": 17,
    "gunicorn_requests_total": 1234,
    "gunicorn_request_seconds_total": 321.25,
    'gunicorn_request_duration_seconds_bucket{le="0.005"}': 600,
    'gunicorn_request_duration_seconds_bucket{le="0.01"}': 900,
    'gunicorn_request_duration_seconds_bucket{le="0.025"}': 1100,
    'gunicorn_request_duration_seconds_bucket{le="0.05"}': 1200,
    'gunicorn_request_duration_seconds_bucket{le="0.1"}': 1220,
    'gunicorn_request_duration_seconds_bucket{le="0.25"}': 1228,
    'gunicorn_request_duration_seconds_bucket{le="0.5"}': 1232,
    'gunicorn_request_duration_seconds_bucket{le="1.0"}': 1233,
    'gunicorn_request_duration_seconds_bucket{le="2.5"}': 1233,
    'gunicorn_request_duration_seconds_bucket{le="5.0"}': 1233,
    'gunicorn_request_duration_seconds_bucket{le="10.0"}': 1233,
    'gunicorn_request_duration_seconds_bucket{le="+Inf"}': 1234,
    "gunicorn_request_duration_seconds_count": 1234,
    "gunicorn_request_duration_seconds_sum": 321.25,
    "gunicorn_busy_seconds_total": 55.5,
    "gunicorn_queue_seconds_total": 3.5,
    "gunicorn_queued_requests_total": 1200,
    "gunicorn_rejected_requests_total": 7,
    'gunicorn_backlog_connections{listener="http://0.0.0.0:8000"}': 4,
    "gunicorn_loop_seconds_total": 6.5,
    "gunicorn_pool_seconds_total": 0.75,
    'gunicorn_bound{by="nothing"}': 0,
    'gunicorn_bound{by="slots"}': 1,
    'gunicorn_possible_gain_ratio{cause="waits",workload="io"}': 13.5,
    "gunicorn_stalls_total": 5,
    "gunicorn_cpu_seconds_total": 44.5,
    "gunicorn_cores": 1.5,
    'gunicorn_cpu_quota_periods_total{cgroup="/sys/fs/cgroup"}': 100,
    'gunicorn_cpu_throttled_periods_total{cgroup="/sys/fs/cgroup"}': 20,
    'gunicorn_cpu_throttled_seconds_total{cgroup="/sys/fs/cgroup"}': 1.25,
    'gunicorn_worker_memory_bytes{kind="uss",worker="0"}': 63_963_136,
    'gunicorn_worker_memory_bytes{kind="pss",worker="0"}': 73_400_320,
    'gunicorn_worker_memory_bytes{kind="helpers",worker="0"}': 1_048_576,
    'gunicorn_worker_memory_bytes{kind="uss",worker="1"}': 39_845_888,
    'gunicorn_worker_memory_bytes{kind="pss",worker="1"}': 47_185_920,
    'gunicorn_worker_memory_bytes{kind="helpers",worker="1"}': 0,
    "gunicorn_memory_limit_bytes": 536_870_912,
    "gunicorn_memory_headroom_bytes": 209_715_200,
    "gunicorn_memory_budget_bytes": 419_430_400,
}


def values_of(families: Any) -> dict[str, float]:
    """Each sample with its labels in alphabetical order, as the text has them."""

    def key(sample: Any) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
        return str(sample.name) + (f"{{{labels}}}" if labels else "")

    return {key(sample): sample.value for family in families for sample in family.samples}


def scraped(snapshot: Snapshot) -> dict[str, float]:
    parse: Any = text_string_to_metric_families
    return values_of(parse(Exposition(lambda: snapshot).render().body.decode()))


def test_scrape() -> None:
    assert scraped(SNAPSHOT) == VALUES


def test_each_row_has_a_value() -> None:
    """So that the literals above are the whole table."""
    names = {name.partition("{")[0] for name in VALUES}

    assert names == {name for metric in METRICS for name in metric.series}


def test_scraper_that_asks_for_openmetrics_gets_it() -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    content_type, body = Exposition(lambda: SNAPSHOT).render(accept)

    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    parse: Any = prometheus_client.openmetrics.parser.text_string_to_metric_families
    assert values_of(parse(body.decode())) == VALUES


def test_what_is_not_known_is_absent() -> None:
    """Zero would be a number to draw and to alarm."""
    unknown = replace(
        SNAPSHOT,
        slots=None,
        backlogs={},
        bounds={},
        advice=None,
        sample=None,
        budget_bytes=None,
        throttled={},
    )

    gone = VALUES.keys() - scraped(unknown).keys()
    assert {name.partition("{")[0] for name in gone} == {
        "gunicorn_slots",
        "gunicorn_busy_slots",
        "gunicorn_backlog_connections",
        "gunicorn_bound",
        "gunicorn_possible_gain_ratio",
        "gunicorn_cpu_quota_periods_total",
        "gunicorn_cpu_throttled_periods_total",
        "gunicorn_cpu_throttled_seconds_total",
        "gunicorn_worker_memory_bytes",
        "gunicorn_memory_limit_bytes",
        "gunicorn_memory_headroom_bytes",
        "gunicorn_memory_budget_bytes",
    }


def test_no_more_slots_are_busy_than_there_are() -> None:
    assert scraped(replace(SNAPSHOT, slots=16))["gunicorn_busy_slots"] == 16


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_and_units_are_as_prometheus_asks(metric: Any) -> None:
    """As "Metric and label naming" has it, and what ``promtool check metrics`` looks for."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert not re.search(r"_(ms|milliseconds|kib|mib|percent|count|sum|bucket)\b", metric.name)
    assert all(re.fullmatch("[a-z_]+", label) for label in metric.labels)
    assert metric.meaning.endswith(".")


def test_workers_do_not_inherit_the_library() -> None:
    """An application sets PROMETHEUS_MULTIPROC_DIR before it imports prometheus_client."""
    program = (
        "import sys;"
        "from gunicorn_autoconf.metrics.exposition import Exposition;"
        "assert 'prometheus_client' not in sys.modules;"
        "exposition = Exposition(lambda: None); assert 'prometheus_client' in sys.modules;"
        "exposition.leave(); left = [n for n in sys.modules if n.startswith('prometheus_client')];"
        "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/tmp';"
        "import prometheus_client.values as values; print(left, values.ValueClass.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("[] MmapedValue\n", "")


def test_library_of_the_application_stays() -> None:
    """Whoever imported it before, in a configuration file for example, keeps it in the workers."""
    program = (
        "import sys, prometheus_client as theirs;"
        "from gunicorn_autoconf.metrics.exposition import Exposition;"
        "Exposition(lambda: None).leave(); print(sys.modules['prometheus_client'] is theirs)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("True\n", "")
