"""The text of ``gunicorn-autoconf explain``: machine, declaration, plan and advice."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

import click

from gunicorn_autoconf.cli.layout import WIDTH, divide, hanging, headline, items, sections, setting
from gunicorn_autoconf.machine.facts import Machine, MemoryLimit, Origin
from gunicorn_autoconf.plan.budget import MemoryBudget
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan, Remark, Severity
from gunicorn_autoconf.plan.report import (
    describe,
    input_text,
    interface_text,
    render_verdict,
    value_text,
)
from gunicorn_autoconf.units import MIB, format_bytes, plural


def render_explanation(
    machine: Machine,
    declaration: Declaration,
    plan: Plan,
    remarks: Iterable[Remark],
) -> str:
    """Return the report, in lines of at most 80 columns unless a single word is longer."""
    texts = _by_severity(remarks)
    return headline(render_verdict(machine, declaration, plan)) + sections(
        ("Machine", _machine(machine)),
        ("Declared", _declared(declaration)),
        ("Application", hanging("  ", interface_text(plan))),
        ("Memory", _memory(plan, machine, declaration)),
        ("Plan", _plan(plan)),
        ("Without effect", items(texts[Severity.WITHOUT_EFFECT])),
        ("Problems", items(texts[Severity.PROBLEM])),
        ("Advice", items(texts[Severity.ADVICE])),
    )


def render_short(
    machine: Machine, declaration: Declaration, plan: Plan, remarks: Iterable[Remark]
) -> str:
    """Return the plan in one line, however long, and its problems."""
    texts = _by_severity(remarks)
    lines = [click.style(render_verdict(machine, declaration, plan), bold=True)]
    lines += items([*texts[Severity.WITHOUT_EFFECT], *texts[Severity.PROBLEM]])
    return "\n".join(lines) + "\n"


def _by_severity(remarks: Iterable[Remark]) -> dict[Severity, list[str]]:
    texts: dict[Severity, list[str]] = {severity: [] for severity in Severity}
    for remark in remarks:
        texts[remark.severity].append(remark.text)
    return texts


def _row(label: str, value: str, text: str = "") -> list[str]:
    return hanging(f"  {label:<10} {value:<12} ", text)


def _origin(origin: Origin) -> str:
    text = f": {origin.text}" if origin.text else ""
    return f"{origin.path}{text}{'' if origin.certain else ', uncertain'}"


def _machine(machine: Machine) -> Iterator[str]:
    cpu, memory = machine.cpu, machine.memory
    yield from _row("affinity", plural(cpu.affinity, "core"), _origin(cpu.affinity_origin))
    if cpu.quota:
        yield from _row("CPU quota", plural(cpu.quota.cores, "core"), _origin(cpu.quota.origin))
    else:
        yield from _row("CPU quota", "none")
    for level in memory.limits:
        directory = posixpath.dirname(level.origin.path)
        yield from _level("limit", level, f"by what runs in {directory}")
    if not memory.limits:
        yield from _row("limit", "none")
    if memory.physical:
        yield from _level("physical", memory.physical, "by everything on the machine")
    else:
        yield from _row("physical", "unknown")
    if machine.container:
        yield from _row("container", "yes", _origin(machine.container))
    if machine.platform:
        yield from _row("platform", machine.platform)
    if machine.pids:
        yield from _row("pids.max", str(machine.pids.limit), _origin(machine.pids.origin))
    if machine.worker_tmp_dir:
        yield from _row("tmpfs", machine.worker_tmp_dir)


def _level(label: str, level: MemoryLimit, used_by: str) -> Iterator[str]:
    yield from _row(label, format_bytes(level.limit_bytes), _origin(level.origin))
    if level.in_use_bytes is not None:
        if level.cache_bytes >= MIB:
            used_by += f", beside {format_bytes(level.cache_bytes)} of page cache"
        yield from _row("  in use", format_bytes(level.in_use_bytes), used_by)


def _declared(declaration: Declaration) -> Iterator[str]:
    for name, source in declaration.sources.items():
        yield from hanging(f"  {source} = ", _declared_value(name, getattr(declaration, name)))
    for name, explicits in declaration.settings.items():
        for explicit in explicits:
            shown = f"{value_text(name, explicit.value)} ({explicit.source})"
            yield from hanging(f"  {name} = ", shown)
    if not declaration.sources and not declaration.settings:
        yield "  nothing"


def _declared_value(name: str, value: Any) -> str:
    if value is None:
        return "auto"
    return str(getattr(value, "value", None) or input_text(name, value))


def _memory(plan: Plan, machine: Machine, declaration: Declaration) -> Iterator[str]:
    budget = plan.memory
    if budget is None:
        return
    own = format_bytes(machine.memory.own_bytes)
    others = f"in use, less our own {own}"
    if declaration.memory_bytes is not None:
        others = "what is declared is all ours"
    yield from _row("limit", format_bytes(budget.limit_bytes), budget.source)
    yield from _bar(budget, plan.settings["workers"], others)
    yield from _row("budget", format_bytes(budget.budget_bytes), "limit - reserve - others")
    worker_bytes = format_bytes(budget.worker_memory_bytes)
    yield from _row("a worker", worker_bytes, budget.worker_memory_source)
    yield from _row("fits", plural(budget.fits, "worker"))


def _bar(budget: MemoryBudget, workers: int, others: str) -> Iterator[str]:
    """The limit as a bar, and a row for each of its parts."""
    wanted = workers * budget.worker_memory_bytes
    granted = min(wanted, budget.budget_bytes)
    parts = [
        ("/", "yellow", "reserve", budget.reserve_bytes, "never planned for"),
        ("x", "magenta", "others", budget.others_bytes, others),
        ("=", "blue", "workers", granted, f"for {plural(workers, 'worker')}"),
    ]
    if wanted > granted:
        parts.append(("!", "red", "missing", wanted - granted, "more than there is"))
    else:
        parts.append((".", "green", "free", budget.budget_bytes - granted, ""))
    widths = divide([amount for *_, amount, _ in parts], WIDTH - 4)
    bar = (
        click.style(glyph * width, colour)
        for (glyph, colour, *_), width in zip(parts, widths, strict=True)
    )
    yield f"  |{''.join(bar)}|"
    for glyph, colour, name, amount, text in parts:
        share = f"{100 * amount / budget.limit_bytes:.0f} %"
        head = f"  {glyph} {name:<8} {format_bytes(amount):<12} {share:>5}  "
        first, *rest = hanging(head, text)
        yield first.replace(glyph, click.style(glyph, colour), 1)
        yield from rest


def _plan(plan: Plan) -> Iterator[str]:
    for name, value in plan.settings.items():
        reasons = plan.reasons_for(name)
        texts = [describe(reason) for reason in reasons]
        if len(reasons) > 1:  # Each shows the value that it led to; the last one holds.
            texts = [f"{value_text(name, reason.value)}: {describe(reason)}" for reason in reasons]
        yield from setting(name, value_text(name, value), texts)
