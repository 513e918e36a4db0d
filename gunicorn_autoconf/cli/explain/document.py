"""The JSON document of ``gunicorn-autoconf explain``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan, Reason, Remark, Severity, warnings_of
from gunicorn_autoconf.plan.variables import SECRET_SETTINGS
from gunicorn_autoconf.worker_classes import class_name

# The version of the document; a change that breaks a reader raises it, a new name does not.
SCHEMA = 1


def to_json(
    machine: Machine,
    declaration: Declaration,
    plan: Plan,
    application: Finding | None,
    remarks: Sequence[Remark],
) -> dict[str, Any]:
    """Return what was found, declared and planned, as values that `json.dumps` takes."""
    return {
        "schema": SCHEMA,
        "machine": as_values(machine),
        "declaration": _declaration(declaration),
        "application": as_values(application),
        "plan": _plan(plan),
        "warnings": list(warnings_of(remarks)),
        "advice": [
            {"topic": remark.topic, "text": remark.text}
            for remark in remarks
            if remark.severity is Severity.ADVICE
        ],
    }


def as_values(value: Any) -> Any:
    """Return a value with fields as a dictionary by their names, and its parts as well."""
    if is_dataclass(value):
        return {row.name: as_values(getattr(value, row.name)) for row in fields(value)}
    if hasattr(value, "_asdict"):
        return {name: as_values(part) for name, part in value._asdict().items()}
    return [*map(as_values, value)] if isinstance(value, tuple) else value


def _declaration(declaration: Declaration) -> dict[str, Any]:
    return {
        "values": {
            name: {"value": _plain(getattr(declaration, name)), "source": source}
            for name, source in declaration.sources.items()
        },
        "settings": {
            name: [{"value": _setting(name, each.value), "source": each.source} for each in values]
            for name, values in declaration.settings.items()
        },
    }


def _plan(plan: Plan) -> dict[str, Any]:
    memory = plan.memory
    return {
        "workload": plan.workload.value,
        "interface": plan.interface.value,
        "interface_evidence": plan.interface_evidence,
        "settings": {name: _setting(name, value) for name, value in plan.settings.items()},
        "reasons": [_reason(reason) for reason in plan.reasons],
        "memory": memory
        and memory._asdict() | {"budget_bytes": memory.budget_bytes, "fits": memory.fits},
    }


def _reason(reason: Reason) -> dict[str, Any]:
    hidden = reason.setting in SECRET_SETTINGS
    return {
        "setting": reason.setting,
        "value": _setting(reason.setting, reason.value),
        "rule": reason.rule,
        "inputs": {name: None if hidden else _plain(v) for name, v in reason.inputs.items()},
        "source": reason.source,
    }


def _setting(name: str, value: Any) -> Any:
    if name in SECRET_SETTINGS:
        return None
    return class_name(value) if name == "worker_class" else _plain(value)


def _plain(value: Any) -> Any:
    """Return numbers, text and lists as they are, and everything else as text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return [_plain(item) for item in value] if type(value) in (list, tuple) else str(value)
