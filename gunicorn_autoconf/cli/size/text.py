"""A size to text, JSON and Kubernetes' YAML. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from gunicorn_autoconf.cli.kubernetes import env_lines, literal, resource_lines
from gunicorn_autoconf.cli.layout import INDENT, hanging, items, sections
from gunicorn_autoconf.cli.size.counts import Step
from gunicorn_autoconf.cli.size.question import LoadExpected
from gunicorn_autoconf.cli.size.sizing import Sizing
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.units import MIB, format_bytes

SCHEMA = 1

# How far the autoscaler may go beyond what was reckoned.
MOST_REPLICAS_FACTOR = 2


def render_sizing(sizing: Sizing) -> str:
    """Return what it takes, what to declare and why, in lines of at most 80 columns."""
    return sections(
        ("Takes", _takes(sizing)),
        ("Declare", (f"  {name}={value}" for name, value in sizing.variables.items())),
        ("Why", (line for step in sizing.steps for line in _step_lines(step))),
        ("Notes", items(sizing.notes)),
    )


def _takes(sizing: Sizing) -> Iterator[str]:
    threads = f", {sizing.threads} threads each" if sizing.threads > 1 else ""
    workload = sizing.workload.value if sizing.workload else "not declared"
    workers = (
        f"{sizing.workers} of {format_bytes(sizing.worker_memory_bytes)}{threads} "
        f"({workload}, {sizing.interface.value.upper()})"
    )
    rows = {
        "replicas": f"{sizing.replicas}{', each with' * (sizing.replicas > 1)}",
        "CPU limit": f"{sizing.cores:.10g} core{'s' * (sizing.cores != 1)}",
        "memory limit": f"{sizing.memory_limit_bytes // MIB} MiB",
        "workers": workers,
        "worker class": sizing.worker_class,
    }
    return (f"  {label:<13} {value}" for label, value in rows.items())


def _step_lines(step: Step) -> Iterator[str]:
    yield f"  {_name(step.name)} = {_number(step.name, step.value)}"
    yield from hanging(INDENT, step.formula)
    yield from hanging(INDENT, f"= {with_numbers(step)}")
    if step.why:
        yield from hanging(INDENT, f"({step.why})")


def with_numbers(step: Step) -> str:
    """
    Return the formula of *step* with its numbers in the place of their names.

    >>> with_numbers(Step(name="in_flight", value=24.0, formula="rate * latency",
    ...                   inputs={"rate": 300.0, "latency_seconds": 0.08}))
    '300 * 0.08 s'
    """
    texts = {_name(name): _number(name, value) for name, value in step.inputs.items()}
    return re.sub("[a-z_]+", lambda word: texts.get(word[0], word[0]), step.formula)


def _name(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_seconds")


def _number(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_bytes"):
        return format_bytes(int(value))
    number = f"{round(value, 3):.10g}"
    return f"{value:.10g} s" if name.endswith("_seconds") else number


def sizing_json(sizing: Sizing) -> dict[str, Any]:
    """Return the size as values that `json.dumps` takes; ``schema`` grows when a name changes."""
    question = sizing.question
    asked = question.asked
    kind = "load" if isinstance(asked, LoadExpected) else "workers"
    return {
        "schema": SCHEMA,
        "asked": {kind: asdict(asked)},
        "others_bytes": question.others_bytes,
        "utilisation": question.utilisation,
        "workload": (sizing.workload or Workload.MIXED).value,
        "interface": sizing.interface.value,
        "replicas": sizing.replicas,
        "cores": sizing.cores,
        "memory_limit_bytes": sizing.memory_limit_bytes,
        "worker_class": sizing.worker_class,
        "workers": sizing.workers,
        "threads": sizing.threads,
        "worker_memory_bytes": sizing.worker_memory_bytes,
        "variables": dict(sizing.variables),
        "steps": [
            {
                "name": step.name,
                "value": step.value,
                "formula": step.formula,
                "inputs": dict(step.inputs),
                "why": step.why,
            }
            for step in sizing.steps
        ],
        "notes": list(sizing.notes),
    }


def render_kubernetes(sizing: Sizing) -> str:
    """
    Return two YAML documents: what goes into the container's entry, and a whole autoscaler.

    Source:
        Kubernetes, "Horizontal Pod Autoscaling": utilisation is a share of what is requested.
    """
    variables = {name: literal(value) for name, value in sizing.variables.items()}
    lines = [
        "# Into the entry of the container, in a Deployment that says nothing of replicas.",
        *resource_lines(sizing.cores, sizing.memory_limit_bytes),
        *env_lines(variables),
        "---",
        "# Beside the Deployment, whose name takes the place of web.",
        *_autoscaler_lines(sizing),
    ]
    return "\n".join(lines) + "\n"


def _autoscaler_lines(sizing: Sizing) -> tuple[str, ...]:
    return (
        "apiVersion: autoscaling/v2",
        "kind: HorizontalPodAutoscaler",
        "metadata:",
        "  name: web",
        "spec:",
        "  scaleTargetRef:",
        "    apiVersion: apps/v1",
        "    kind: Deployment",
        "    name: web",
        f"  minReplicas: {sizing.replicas}",
        f"  maxReplicas: {sizing.replicas * MOST_REPLICAS_FACTOR}",
        "  metrics:",
        "    - type: Resource",
        "      resource:",
        "        name: cpu",
        "        target:",
        "          type: Utilization",
        f"          averageUtilization: {round(sizing.question.utilisation * 100)}",
    )
