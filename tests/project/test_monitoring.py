"""examples/monitoring and the autoscaling manifests: each asks for metrics that there are."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gunicorn_autoconf.metrics.endings import Ending
from gunicorn_autoconf.metrics.snapshot import State
from gunicorn_autoconf.metrics.table import METRICS

pytestmark = pytest.mark.one_python

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCS = EXAMPLES.parent / "docs"
LABELS = {name: set(labels) for metric in METRICS for name, labels in metric.series.items()}
# What Prometheus puts on each series: of the target, in Kubernetes of its pod.
TARGET = {"job", "instance", "namespace", "pod", "service"}
VALUES = {
    "state": {state.value for state in State},
    "reason": {reason.value for reason in Ending},
    "kind": {"uss", "pss", "helpers"},
}


def load(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))  # JSON is YAML.


def panels() -> list[Any]:
    return list(load("monitoring/dashboard.json")["panels"])


def rules() -> list[Any]:
    return [rule for group in load("monitoring/alerts.yaml")["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Each query of an example or of a page, and where it stands."""
    for panel in panels():
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
    variables = load("monitoring/dashboard.json")["templating"]["list"]
    yield from ((row["name"], row["query"]["query"]) for row in variables if row["type"] == "query")
    yield from ((rule.get("alert") or rule["record"], rule["expr"]) for rule in rules())
    (rule,) = load("kubernetes/prometheus-adapter/values.yaml")["rules"]["custom"]
    yield from (("adapter", rule["seriesQuery"]), ("adapter", rule["metricsQuery"]))
    yield (
        "keda",
        load("kubernetes/keda/scaledobject.yaml")["spec"]["triggers"][0]["metadata"]["query"],
    )
    for page in ("metrics.md", "kubernetes.md"):
        text = (DOCS / "how-to" / page).read_text(encoding="utf-8")
        blocks = re.findall(r"^```promql\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
        yield from ((page, block) for block in blocks)


EXPRESSIONS = sorted(set(expressions()))


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS)
def test_query_names_metrics_and_labels_that_there_are(place: str, expression: str) -> None:
    """Each series with its matchers; functions and recorded names aside."""
    found = re.findall(r"\b(gunicorn_[a-z_]+)\b(?:\{([^}]*)\})?", expression)
    recorded = re.findall(r"gunicorn:[a-z:]+", expression)

    assert found or recorded
    assert {name for name, _ in found} - LABELS.keys() == set()
    assert set(recorded) <= {rule.get("record") for rule in rules()}
    for name, matchers in found:
        for label, value in re.findall(r'([a-z_]+)\s*[=!]~?\s*"([^"]*)"', matchers):
            assert label in LABELS[name] | TARGET, (name, label)
            if label in VALUES:
                assert set(value.split("|")) <= VALUES[label]


def test_dashboard_is_one_that_grafana_takes() -> None:
    board = load("monitoring/dashboard.json")
    json.loads((EXAMPLES / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in panels()]
    taken = [
        {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        for at in (panel["gridPos"] for panel in panels())
    ]

    assert (board["title"], board["schemaVersion"]) == ("Gunicorn", 39)
    assert len(set(ids)) == len(ids)
    assert all(not one & other for one, other in itertools.combinations(taken, 2))
    assert max(x for cells in taken for x, _ in cells) == 23
    assert {panel["type"] for panel in panels()} == {"row", "timeseries"}
    for panel in panels():
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_every_metric_is_drawn_or_told_why_not() -> None:
    """What nobody looks at is not worth exporting."""
    drawn = set(re.findall(r"gunicorn_[a-z_]+", " ".join(text for _, text in EXPRESSIONS)))

    # Their sums tell as much: busy_slots at this moment, busy seconds without the slots.
    # A histogram's count and sum are those of requests_total and request_seconds_total.
    assert LABELS.keys() - drawn == {
        "gunicorn_busy_slots",
        "gunicorn_busy_seconds_total",
        "gunicorn_request_duration_seconds_count",
        "gunicorn_request_duration_seconds_sum",
    }


def test_alerts_say_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    names = [rule["alert"] for rule in alerts]

    assert len(set(names)) == len(names)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]


def test_tests_of_the_alerts_name_rules_that_there_are() -> None:
    """They are run by promtool, in ``python -m benchmarks.metrics``."""
    tests = load("monitoring/alerts-test.yaml")["tests"]
    tested = {each["alertname"] for test in tests for each in test["alert_rule_test"]}

    assert tested <= {rule.get("alert") for rule in rules()}
    assert {"GunicornLeak", "GunicornStalls", "GunicornSaturated"} <= tested


# Kubernetes


def test_monitor_finds_the_service() -> None:
    monitor = load("kubernetes/prometheus-operator/servicemonitor.yaml")
    service = load("kubernetes/service.yaml")
    container = load("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
    (endpoint,) = monitor["spec"]["endpoints"]
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    served = {port["name"]: port["containerPort"] for port in container["ports"]}
    variables = {each["name"]: each["value"] for each in container["env"]}

    assert (monitor["apiVersion"], monitor["kind"]) == (
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
    )
    assert (
        service["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
    )
    assert (endpoint["path"], ports[endpoint["port"]]) == ("/metrics", "metrics")
    assert variables["GUNICORN_METRICS"] == f"0.0.0.0:{served['metrics']}" == "0.0.0.0:9100"
    assert variables["GUNICORN_HEALTH"] == "0.0.0.0:9100"


def test_autoscalers_aim_at_the_same() -> None:
    """The share of busy slots and of the CPU that is requested, 70 % each, between 2 and 10."""
    cpu = load("kubernetes/hpa.yaml")["spec"]
    slots = load("kubernetes/prometheus-adapter/hpa.yaml")["spec"]
    keda = load("kubernetes/keda/scaledobject.yaml")["spec"]
    (rule,) = load("kubernetes/prometheus-adapter/values.yaml")["rules"]["custom"]
    pods, resource = slots["metrics"]
    *by_prometheus, by_cpu = keda["triggers"]

    assert pods["pods"]["metric"]["name"] == rule["name"]["as"]
    assert pods["pods"]["target"] == {"type": "AverageValue", "averageValue": "700m"}
    assert resource == cpu["metrics"][0]
    aims = [(row["metricType"], row["metadata"]["threshold"]) for row in by_prometheus]
    assert aims == [("Value", "0.7")] * 2
    assert by_cpu == {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}}
    bounds = (cpu["minReplicas"], cpu["maxReplicas"])
    assert (slots["minReplicas"], slots["maxReplicas"]) == bounds == (2, 10)
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == bounds
    assert slots["scaleTargetRef"] == cpu["scaleTargetRef"]
    assert keda["scaleTargetRef"] == {"name": cpu["scaleTargetRef"]["name"]}
