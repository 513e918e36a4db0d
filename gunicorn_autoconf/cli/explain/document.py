"""The JSON document of ``gunicorn-autoconf explain``. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.advice import Advice
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan, Reason
from gunicorn_autoconf.plan.variables import SECRET_SETTINGS
from gunicorn_autoconf.worker_classes import class_name

# The version of the document; a change that breaks a reader raises it, a new name does not.
SCHEMA = 1


def to_json(  # noqa: PLR0913, PLR0917 - the parts of the document
    machine: Machine,
    declaration: Declaration,
    plan: Plan,
    application: Finding | None,
    warnings: tuple[str, ...],
    advice: tuple[Advice, ...] = (),
) -> dict[str, Any]:
    """Return what was found, declared and planned, as values that `json.dumps` takes."""
    return {
        "schema": SCHEMA,
        "machine": asdict(machine),
        "declaration": _declaration(declaration),
        "application": asdict(application) if application else None,
        "plan": _plan(plan),
        "warnings": list(warnings),
        "advice": [item._asdict() for item in advice],
    }


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
        and asdict(memory) | {"budget_bytes": memory.budget_bytes, "fits": memory.fits},
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
