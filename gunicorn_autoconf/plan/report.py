"""The start-up log of a plan, and the phrases that other texts share with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan, Reason
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS
from gunicorn_autoconf.plan.variables import SECRET_SETTINGS
from gunicorn_autoconf.units import format_bytes, plural
from gunicorn_autoconf.worker_classes import class_name

NAME = "gunicorn-autoconf"


class Line(NamedTuple):
    """A line of the log, and the same as fields of its record."""

    text: str
    event: str
    fields: dict[str, object]


def render_verdict(machine: Machine, declaration: Declaration, plan: Plan) -> str:
    """Return the plan in one phrase: what serves, and the facts that decide it."""
    settings, sources, memory = plan.settings, declaration.sources, plan.memory
    class_text = value_text("worker_class", settings["worker_class"]).rpartition(".")[2]
    threads = settings["threads"]
    declared = f" ({sources['workload']})" if "workload" in sources else ""
    facts = (
        plural(declaration.cpus or machine.cpu.cores, "core"),
        format_bytes(memory.limit_bytes) if memory else "memory unknown",
        plan.interface.value.upper(),
        f"workload {plan.workload.value}{declared}",
    )
    # A class may carry "Worker" in its name: "3 ThreadWorkers", but "3 sync workers".
    noun = class_text if class_text.endswith("Worker") else f"{class_text} worker"
    workers = plural(settings["workers"], noun)
    return f"{workers}{f' x {threads} threads' if threads > 1 else ''}: {', '.join(facts)}"


def verdict_line(machine: Machine, declaration: Declaration, plan: Plan) -> Line:
    """Return the first line of the log."""
    fields: dict[str, object] = {
        "cores": declaration.cpus or machine.cpu.cores,
        "memory_limit_bytes": plan.memory.limit_bytes if plan.memory else None,
        "workload": plan.workload.value,
        "interface": plan.interface.value,
    }
    return Line(f"{NAME}: plan: {render_verdict(machine, declaration, plan)}", "plan", fields)


def render_table(
    machine: Machine, declaration: Declaration, plan: Plan, loop_and_parser: str | None = None
) -> list[Line]:
    """
    Return a line on where the facts come from, and one for each setting with its reason.

    *loop_and_parser* are those of uvicorn, if it serves the requests.
    """
    memory, cpus = plan.memory, declaration.sources.get("cpus", machine.cpu.origin.path)
    sources = {"cores": cpus, "memory": memory.source if memory else "unknown"}
    found = "; ".join(
        f"{what} from {where}"
        for what, where in (
            *sources.items(),
            (plan.interface.value.upper(), plan.interface_evidence),
        )
    )
    lines = [Line(f"{NAME}:   {found}", "sources", dict(sources)), *_setting_lines(plan)]
    if loop_and_parser:
        text = f"{NAME}:   event loop and HTTP parser of uvicorn: {loop_and_parser}"
        lines.append(Line(text, "uvicorn", {"loop_and_parser": loop_and_parser}))
    return lines


def render_final(plan: Plan, values: Mapping[str, Any]) -> str:
    """Return one line with the *values* in force and what overrode the plan."""
    parts = [text + override for text, override in _in_force(plan, values)]
    return f"{NAME}: running with {' '.join(parts)}"


def render_overridden(plan: Plan, values: Mapping[str, Any]) -> str | None:
    """Return one line on those *values* in force that are not the plan's; None where all are."""
    parts = [text + override for text, override in _in_force(plan, values) if override]
    return f"{NAME}: set by you: {', '.join(parts)}" if parts else None


def _in_force(plan: Plan, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each setting with its value, and what overrode the plan; "" where nothing did."""
    for name in PLANNED_SETTINGS:
        yield f"{name}={value_text(name, values[name])}", _override(plan, name, values[name])


def _override(plan: Plan, name: str, value: Any) -> str:
    if name in plan.settings and value != plan.settings[name]:
        return f" (changed after planning {value_text(name, plan.settings[name])})"
    reasons = plan.reasons_for(name)
    if not reasons or not reasons[-1].is_set:
        return ""
    others = [f"{who}={value_text(name, what)}" for who, what in reasons[-1].inputs.items()]
    return f" ({reasons[-1].source}{' over ' if others else ''}{', '.join(others)})"


def render_change(before: Plan, after: Plan) -> str:
    """Return one line on what a new plan changed."""
    changes = [
        f"{name} {_planned(name, old)} -> {_planned(name, new)}"
        for name in PLANNED_SETTINGS
        if (old := before.settings.get(name)) != (new := after.settings.get(name))
    ]
    return f"{NAME}: planned again: {', '.join(changes) or 'nothing changed'}"


def _planned(name: str, value: Any) -> str:
    """A planned value; what is not planned stays as Gunicorn has it."""
    return "unplanned" if value is None else value_text(name, value)


def interface_text(plan: Plan) -> str:
    """What the application speaks, and what shows it."""
    return f"{plan.interface.value.upper()} ({plan.interface_evidence})"


def _setting_lines(plan: Plan) -> Iterator[Line]:
    shown = [name for name in plan.settings if name in PLANNED_SETTINGS]
    width = max(len(value_text(name, plan.settings[name])) for name in shown)
    for name in shown:
        value = value_text(name, plan.settings[name])
        reason = describe(plan.reasons_for(name)[-1])
        text = f"{NAME}:   {name:<16} {value:<{width}}  {reason}"
        yield Line(text, "setting", _setting_fields(name, plan.settings[name], reason))
    others = [name for name in plan.settings if name not in PLANNED_SETTINGS]
    if others:
        text = f"{NAME}:   set by the environment as well: {', '.join(others)}"
        yield Line(text, "settings_of_environment", {"settings": others})


def _setting_fields(name: str, value: Any, reason: str) -> dict[str, object]:
    is_plain = isinstance(value, (int, float, str)) and name not in SECRET_SETTINGS
    shown = value if is_plain else value_text(name, value)
    return {"setting": name, "setting_value": shown, "reason": reason}


def describe(reason: Reason) -> str:
    """
    Return *reason* as one phrase: the rule, its inputs and their source.

    >>> describe(Reason(setting="workers", value=9, rule="floor(2 * c) + 1", inputs={"c": 4.0},
    ...                 source="GUNICORN_CPUS"))
    'floor(2 * c) + 1, c = 4 (GUNICORN_CPUS)'
    """
    if reason.is_set:
        others = [
            f"{who} = {value_text(reason.setting, what)}" for who, what in reason.inputs.items()
        ]
        return "; ".join([f"set by {reason.source}", *others])
    inputs = [
        f"{name.removesuffix('_bytes')} = {input_text(name, value)}"
        for name, value in reason.inputs.items()
    ]
    source = f" ({reason.source})" if reason.source else ""
    return ", ".join([reason.rule, *inputs]) + source


def input_text(name: str, value: Any) -> str:
    """An input of a rule, in the unit that its name ends with."""
    if name.endswith("_bytes"):
        return format_bytes(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def value_text(name: str, value: Any) -> str:
    """The value of a setting, unless it may hold secrets."""
    if name in SECRET_SETTINGS:
        return "(not shown)"
    if name == "worker_class":
        return class_name(value)
    return str(value)
