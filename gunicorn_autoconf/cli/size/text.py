"""A size as text, as JSON and as YAML for Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gunicorn_autoconf.cli.kubernetes import env_entries, resources
from gunicorn_autoconf.cli.layout import INDENT, hanging, items, sections
from gunicorn_autoconf.cli.size.requirements import LoadExpected
from gunicorn_autoconf.cli.size.sizing import Sizing
from gunicorn_autoconf.cli.size.steps import Step
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.units import MIB, format_bytes

# The version of the document that `sizing_json` returns; a change that breaks a reader raises it.
SCHEMA = 1

# How far the autoscaler may go beyond the calculated count.
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
    requirements, counts = sizing.requirements, sizing.counts
    threads = f", {counts.threads} threads each" if counts.threads > 1 else ""
    workload = (counts.workload or Workload.AUTO).value
    rows = {
        "replicas": f"{counts.replicas}{', each with' * (counts.replicas > 1)}",
        "CPU limit": f"{counts.cores:.10g} core{'s' * (counts.cores != 1)}",
        "memory limit": f"{sizing.memory_limit_bytes // MIB} MiB",
        "workers": f"{counts.workers} of {format_bytes(requirements.worker_bytes)}{threads} "
        f"({workload}, {requirements.interface.value.upper()})",
        "worker class": counts.shape.worker_class,
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
    Return the formula of *step* with its numbers in place of their names.

    >>> with_numbers(Step("in_flight", 24.0, "rate * latency",
    ...                   {"rate": 300.0, "latency_seconds": 0.08}))
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
    return f"{value:.10g} s" if name.endswith("_seconds") else f"{round(value, 3):.10g}"


def sizing_json(sizing: Sizing) -> dict[str, Any]:
    """Return *sizing* as values that `json.dumps` takes."""
    requirements, counts = sizing.requirements, sizing.counts
    kind = "load" if isinstance(requirements.wanted, LoadExpected) else "workers"
    return {
        "schema": SCHEMA,
        "asked": {kind: requirements.wanted._asdict()},
        "others_bytes": requirements.others_bytes,
        "utilisation": requirements.utilisation,
        "workload": (counts.workload or Workload.AUTO).value,
        "interface": requirements.interface.value,
        "replicas": counts.replicas,
        "cores": counts.cores,
        "memory_limit_bytes": sizing.memory_limit_bytes,
        "worker_class": counts.shape.worker_class,
        "workers": counts.workers,
        "threads": counts.threads,
        "worker_memory_bytes": requirements.worker_bytes,
        "variables": sizing.variables,
        "steps": [step._asdict() for step in sizing.steps],
        "notes": sizing.notes,
    }


def render_kubernetes(sizing: Sizing) -> str:
    """Return two YAML documents: a part of the container's entry, and a whole autoscaler."""
    counts, variables = sizing.counts, sizing.variables
    return _KUBERNETES.format(
        resources=resources(counts.cores, sizing.memory_limit_bytes),
        env=f"env:\n{env_entries(variables)}" if variables else "",
        least=counts.replicas,
        most=counts.replicas * MOST_REPLICAS_FACTOR,
        utilisation=round(sizing.requirements.utilisation * 100),
    )


# Source: Kubernetes, "Horizontal Pod Autoscaling": utilisation is a share of the request.
_KUBERNETES = """\
# Goes into the container. Remove replicas from the Deployment: the autoscaler sets them.
{resources}{env}---
# Goes beside the Deployment. Replace web with its name.
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: web
  minReplicas: {least}
  maxReplicas: {most}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {utilisation}
"""
