"""Machine, declaration, plan and advice to the text of ``gunicorn-autoconf explain``. Pure."""

from __future__ import annotations

import posixpath
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gunicorn_autoconf.cli.bar import divide
from gunicorn_autoconf.machine.facts import Machine, MemoryLimit, Origin
from gunicorn_autoconf.plan.budget import MemoryBudget
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan, Remark, Severity
from gunicorn_autoconf.plan.report import describe, input_text, interface_text, value_text
from gunicorn_autoconf.units import format_bytes, plural

WIDTH = 80

# A reason or a source stands this far in where it has a line of its own.
_INDENT = 6

# Text and the name of a style to what the terminal shows: "title", "setting", or a part of the bar.
Paint = Callable[[str, str], str]


def render_explanation(
    machine: Machine,
    declaration: Declaration,
    plan: Plan,
    remarks: Iterable[Remark],
    *,
    paint: Paint = lambda text, style: text,
) -> str:
    """
    Return the long form, in lines of at most 80 columns but for a path that is longer.

    *paint* adds colour, no width.
    """
    texts: dict[Severity, list[str]] = {severity: [] for severity in Severity}
    for remark in remarks:
        texts[remark.severity].append(remark.text)
    sections = (
        ("Machine", _machine_lines(machine)),
        ("Declared", _declared_lines(declaration)),
        ("Application", _hanging("  ", interface_text(plan))),
        ("Memory", _memory_lines(plan, machine, declaration, paint)),
        ("Plan", _plan_lines(plan, paint)),
        ("Without effect", _items(texts[Severity.WITHOUT_EFFECT])),
        ("Problems", _items(texts[Severity.PROBLEM])),
        ("Advice", _items(texts[Severity.ADVICE])),
    )
    blocks = []
    for title, lines in sections:
        body = "\n".join(lines)
        if body:
            blocks.append(f"{paint(title, 'title')}\n{body}\n")
    return "\n".join(blocks)


def _hanging(head: str, text: str) -> list[str]:
    """
    Return *head* with *text* beside it, wrapped; a word too long for that goes below.

    A word that fits nowhere, such as the path of a cgroup, makes a line of its own that is longer.
    """
    longest = max(map(len, text.split()), default=0)
    if len(head) + longest <= WIDTH:
        lines = _wrapped(text, " " * len(head))
        return [(head + "".join(lines[:1]).lstrip()).rstrip(), *lines[1:]]
    return [head.rstrip(), *_wrapped(text, " " * _INDENT)]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,  # A path that is cut cannot be copied.
    )


def _items(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _hanging("  - ", text)


def _row(label: str, value: str, text: str = "") -> list[str]:
    return _hanging(f"  {label:<10} {value:<12} ", text)


def _origin(origin: Origin) -> str:
    text = f": {origin.text}" if origin.text else ""
    return f"{origin.path}{text}{'' if origin.certain else ', uncertain'}"


def _machine_lines(machine: Machine) -> Iterator[str]:
    cpu, memory = machine.cpu, machine.memory
    yield from _row("affinity", plural(cpu.affinity, "core"), _origin(cpu.affinity_origin))
    if cpu.quota:
        yield from _row("CPU quota", plural(cpu.quota.cores, "core"), _origin(cpu.quota.origin))
    else:
        yield from _row("CPU quota", "none")
    for level in memory.limits:
        directory = posixpath.dirname(level.origin.path)
        yield from _level_lines("limit", level, f"by what runs in {directory}")
    if not memory.limits:
        yield from _row("limit", "none")
    if memory.physical:
        yield from _level_lines("physical", memory.physical, "by everything on the machine")
    else:
        yield from _row("physical", "unknown")
    if machine.container:
        yield from _row("container", "yes", _origin(machine.container))
    if machine.platform:
        yield from _row("platform", machine.platform)
    if machine.worker_tmp_dir:
        yield from _row("tmpfs", machine.worker_tmp_dir)


def _level_lines(label: str, level: MemoryLimit, by_whom: str) -> Iterator[str]:
    yield from _row(label, format_bytes(level.limit_bytes), _origin(level.origin))
    if level.working_set_bytes is not None:
        yield from _row("  in use", format_bytes(level.working_set_bytes), by_whom)


def _declared_lines(declaration: Declaration) -> Iterator[str]:
    for name, source in declaration.sources.items():
        yield from _hanging(f"  {source} = ", _declared_value(name, getattr(declaration, name)))
    for name, explicits in declaration.settings.items():
        for explicit in explicits:
            shown = f"{value_text(name, explicit.value)} ({explicit.source})"
            yield from _hanging(f"  {name} = ", shown)
    if not declaration.sources and not declaration.settings:
        yield "  nothing"


def _declared_value(name: str, value: Any) -> str:
    if value is None:
        return "auto"
    return str(getattr(value, "value", None) or input_text(name, value))


def _memory_lines(
    plan: Plan, machine: Machine, declaration: Declaration, paint: Paint
) -> Iterator[str]:
    budget = plan.memory
    if budget is None:
        return
    own = format_bytes(machine.memory.own_bytes)
    others = f"in use, less our own {own}"
    if declaration.memory_bytes is not None:
        others = "what is declared is all ours"
    yield from _row("limit", format_bytes(budget.limit_bytes), budget.source)
    yield from _divided(budget, plan.settings["workers"], others, paint)
    yield from _row("budget", format_bytes(budget.budget_bytes), "limit - reserve - others")
    worker_bytes = format_bytes(budget.worker_memory_bytes)
    yield from _row("a worker", worker_bytes, budget.worker_memory_source)
    yield from _row("fits", plural(budget.fits, "worker"))


def _divided(budget: MemoryBudget, workers: int, others: str, paint: Paint) -> Iterator[str]:
    """The bar, and a row for each of its parts."""
    wanted = workers * budget.worker_memory_bytes
    granted = min(wanted, budget.budget_bytes)
    parts = [
        ("/", "reserve", budget.reserve_bytes, "never planned for"),
        ("x", "others", budget.others_bytes, others),
        ("=", "workers", granted, f"for {plural(workers, 'worker')}"),
    ]
    if wanted > granted:
        parts.append(("!", "missing", wanted - granted, "more than there is"))
    else:
        parts.append((".", "free", budget.budget_bytes - granted, ""))
    widths = divide([amount for _, _, amount, _ in parts], WIDTH - 4)
    bar = (
        paint(glyph * width, style)
        for (glyph, style, _, _), width in zip(parts, widths, strict=True)
    )
    yield f"  |{''.join(bar)}|"
    for glyph, name, amount, text in parts:
        share = f"{100 * amount / budget.limit_bytes:.0f} %"
        head = f"{glyph} {name:<8} {format_bytes(amount):<12} {share:>5}  "
        first, *rest = _hanging(f"  {head}", text)
        yield first.replace(glyph, paint(glyph, name), 1)
        yield from rest


def _plan_lines(plan: Plan, paint: Paint) -> Iterator[str]:
    for name, value in plan.settings.items():
        for line in _hanging(f"  {name} = ", value_text(name, value)):
            yield paint(line, "setting")
        reasons = plan.reasons_for(name)
        for reason in reasons:
            # One reason needs no value: it stands above.
            shown = f"{value_text(name, reason.value)}: " if len(reasons) > 1 else ""
            yield from _hanging(" " * _INDENT, f"{shown}{describe(reason)}")
