"""Plan and machine to text for log and command line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gunicorn_autoconf._choices import Plan, Reason
from gunicorn_autoconf._declaration import Declaration
from gunicorn_autoconf._environment import SECRET_SETTINGS
from gunicorn_autoconf._machine import Machine, MemoryLimit, Origin
from gunicorn_autoconf._plan import PLANNED_SETTINGS
from gunicorn_autoconf._quantity import format_bytes
from gunicorn_autoconf._workload import class_name

NAME = "gunicorn-autoconf"


def render_table(
    machine: Machine, declaration: Declaration, plan: Plan, loop_and_parser: str | None = None
) -> list[str]:
    """
    Return the start-up log: one line on what was found, one for each planned setting.

    Under uvicorn *loop_and_parser* has a line of its own.
    """
    found = (
        _cores(machine, declaration),
        _memory(plan),
        f"workload {_workload(declaration, plan)}",
        _interface(plan),
    )
    lines = [f"{NAME}: {'; '.join(found)}", *_setting_lines(plan)]
    if loop_and_parser:
        lines.append(f"  event loop and HTTP parser of uvicorn: {loop_and_parser}")
    return lines


def render_final(plan: Plan, values: Mapping[str, Any]) -> str:
    """Return one line with the *values* that hold and who overrode the plan."""
    parts = []
    for name in PLANNED_SETTINGS:
        value = _value(name, values[name])
        parts.append(f"{name}={value}{_override(plan, name, values[name])}")
    return f"{NAME}: running with {' '.join(parts)}"


def _override(plan: Plan, name: str, value: Any) -> str:
    if name in plan.settings and value != plan.settings[name]:
        return f" (changed after planning {_value(name, plan.settings[name])})"
    reasons = plan.reasons_for(name)
    if not reasons or reasons[-1].rule != "set":
        return ""
    others = [f"{who}={_value(name, what)}" for who, what in reasons[-1].inputs.items()]
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
    """A value of the plan; what it does not hold stays as Gunicorn has it."""
    return "unplanned" if value is None else _value(name, value)


def render_explanation(
    machine: Machine, declaration: Declaration, plan: Plan, warnings: tuple[str, ...]
) -> str:
    """Return the long form: the machine, the declaration, the plan and its reasons."""
    sections = (
        ("Machine", _machine_lines(machine)),
        ("Declared", _declared_lines(declaration)),
        ("Application", iter([f"  {_interface(plan)}"])),
        ("Memory budget", _budget_lines(plan)),
        ("Plan", _plan_lines(plan)),
        ("Warnings", (f"  {warning}" for warning in warnings)),
    )
    blocks = []
    for title, lines in sections:
        body = "\n".join(lines)
        if body:
            blocks.append(f"{title}\n{body}\n")
    return "\n".join(blocks)


def _cores(machine: Machine, declaration: Declaration) -> str:
    cores = declaration.cpus or machine.cpu.cores
    source = declaration.sources.get("cpus", machine.cpu.origin.path)
    return f"{_plural(cores, 'core')} ({source})"


def _memory(plan: Plan) -> str:
    if plan.memory is None:
        return "memory unknown"
    return f"{format_bytes(plan.memory.limit_bytes)} ({plan.memory.source})"


def _workload(declaration: Declaration, plan: Plan) -> str:
    return f"{plan.workload.value} ({declaration.sources.get('workload', 'not declared')})"


def _interface(plan: Plan) -> str:
    return f"{plan.interface.value.upper()} ({plan.interface_evidence})"


def _setting_lines(plan: Plan) -> Iterator[str]:
    shown = [name for name in plan.settings if name in PLANNED_SETTINGS]
    width = max(len(_value(name, plan.settings[name])) for name in shown)
    for name in shown:
        value = _value(name, plan.settings[name])
        yield f"  {name:<16} {value:<{width}}  {describe(plan.reasons_for(name)[-1])}"
    others = [name for name in plan.settings if name not in PLANNED_SETTINGS]
    if others:
        yield f"  set by the environment as well: {', '.join(others)}"


def describe(reason: Reason) -> str:
    """
    Return *reason* as one phrase: the rule, its inputs, where they come from.

    >>> describe(Reason(setting="workers", value=9, rule="floor(2 * c) + 1", inputs={"c": 4.0},
    ...                 source="GUNICORN_CPUS"))
    'floor(2 * c) + 1, c = 4 (GUNICORN_CPUS)'
    """
    if reason.rule == "set":
        others = [f"{who} = {_value(reason.setting, what)}" for who, what in reason.inputs.items()]
        return "; ".join([f"set by {reason.source}", *others])
    inputs = [
        f"{name.removesuffix('_bytes')} = {_input(name, value)}"
        for name, value in reason.inputs.items()
    ]
    source = f" ({reason.source})" if reason.source else ""
    return ", ".join([reason.rule, *inputs]) + source


def _input(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return format_bytes(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(name: str, value: Any) -> str:
    if name in SECRET_SETTINGS:
        return "(not shown)"
    if name == "worker_class":
        return class_name(value)
    return str(value)


def _plural(count: float, noun: str) -> str:
    return f"{count:g} {noun}{'' if count == 1 else 's'}"


def _origin(origin: Origin) -> str:
    text = f": {origin.text}" if origin.text else ""
    return f"{origin.path}{text}{'' if origin.certain else ', uncertain'}"


def _row(label: str, value: str, origin: str) -> str:
    return f"  {label:<10} {value:<12} {origin}".rstrip()


def _machine_lines(machine: Machine) -> Iterator[str]:
    cpu, memory = machine.cpu, machine.memory
    yield _row("affinity", _plural(cpu.affinity, "core"), _origin(cpu.affinity_origin))
    if cpu.quota:
        yield _row("CPU quota", _plural(cpu.quota.cores, "core"), _origin(cpu.quota.origin))
    else:
        yield _row("CPU quota", "none", "")
    for level in memory.limits:
        yield from _level_lines("limit", level)
    if not memory.limits:
        yield _row("limit", "none", "")
    if memory.physical:
        yield from _level_lines("physical", memory.physical)
    else:
        yield _row("physical", "unknown", "")
    if machine.container:
        yield _row("container", "yes", _origin(machine.container))
    if machine.platform:
        yield _row("platform", machine.platform, "")


def _level_lines(label: str, level: MemoryLimit) -> Iterator[str]:
    yield _row(label, format_bytes(level.limit_bytes), _origin(level.origin))
    if level.working_set_bytes is not None:
        yield _row("  in use", format_bytes(level.working_set_bytes), "")


def _declared_lines(declaration: Declaration) -> Iterator[str]:
    for name, source in declaration.sources.items():
        value = getattr(declaration, name)
        yield f"  {source} = {_declared_value(name, value)}"
    for name, explicits in declaration.settings.items():
        for explicit in explicits:
            yield f"  {name} = {_value(name, explicit.value)} ({explicit.source})"
    if not declaration.sources and not declaration.settings:
        yield "  nothing; GUNICORN_WORKLOAD says what requests spend their time on"


def _declared_value(name: str, value: Any) -> str:
    if value is None:
        return "auto"
    return str(getattr(value, "value", None) or _input(name, value))


def _budget_lines(plan: Plan) -> Iterator[str]:
    budget = plan.memory
    if budget is None:
        return
    yield _row("limit", format_bytes(budget.limit_bytes), budget.source)
    yield _row("- reserve", format_bytes(budget.reserve_bytes), "never planned for")
    yield _row("- others", format_bytes(budget.others_bytes), "used by others under this limit")
    yield _row("= budget", format_bytes(budget.budget_bytes), "")
    yield _row("a worker", format_bytes(budget.worker_memory_bytes), budget.worker_memory_source)
    yield _row("fits", _plural(budget.fits, "worker"), "")


def _plan_lines(plan: Plan) -> Iterator[str]:
    for name, value in plan.settings.items():
        yield f"  {name} = {_value(name, value)}"
        for reason in plan.reasons_for(name):
            shown = _value(name, reason.value)
            yield f"      {shown}: {describe(reason)}"
