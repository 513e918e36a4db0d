"""The end of a run as text of at most 80 columns: table, chart, model, verdict. Uses click."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from gunicorn_autoconf.cli.layout import WIDTH, hanging, items, sections
from gunicorn_autoconf.cli.tune.candidate import CURRENT, PLAN
from gunicorn_autoconf.cli.tune.ratio import Interval
from gunicorn_autoconf.cli.tune.report import Report, Row
from gunicorn_autoconf.units import format_bytes, format_latency

_HEAD = ("", "rate", "of best", "most", "p99", "cores", "memory")
# Filled eighths of a column, from none to seven.
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def render_report(report: Report, *, has_blocks: bool = True) -> str:
    """Return *report*; without *has_blocks* in ASCII."""
    rows = [row for row in report.rows if row.rate is not None]
    verdict = report.verdict
    return sections(
        ("Asked", items(report.asked)),
        ("Measured", [*_table(rows), *_legend(report)] if rows else []),
        ("Requests per second", _chart(rows, has_blocks=has_blocks)),
        ("Left out", _failures(report.rows)),
        ("Why", items(report.model)),
        ("Notes", items(report.notes)),
        ("Verdict", [click.style(line, "cyan") for line in hanging("  ", verdict.text)]),
    )


def _table(rows: Sequence[Row]) -> Iterator[str]:
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    for line in lines:
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  " + "  ".join(cells).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.label,
        _rate(row.rate),
        "best" if row.is_best else _percent(row.ratio),
        _rate(row.outcome.capacity),
        _ms(row.outcome.steps[0].p99_seconds),
        f"{row.outcome.cpu_cores:.2f}",
        format_bytes(row.outcome.memory_bytes),
    )


def _legend(report: Report) -> Iterator[str]:
    limit = "as --slo says"
    if not report.is_slo_declared:
        limit = "4 times the median, or twice the 99th percentile, under a light load"
    yield ""
    origins = {PLAN: "the plan", CURRENT: "what runs now"}
    named = [
        f"{each.label} is {origins[each.candidate.origin]}"
        for each in report.rows
        if each.candidate.origin in origins
    ]
    if named:
        yield f"  {'; '.join(named)}"
    yield from hanging(
        "  rate: ",
        f"requests a second with a 99th percentile within {_ms(report.slo_seconds)}, {limit}; "
        "of best: with the interval of 95 %, (?) after too few rounds; most: where clients ask as "
        "fast as they can; p99: at 60 % of that",
    )


def _chart(rows: Sequence[Row], *, has_blocks: bool) -> Iterator[str]:
    if not rows:
        return
    most = max(row.rate or 0.0 for row in rows)
    label_width = max(len(row.label) for row in rows)
    room = WIDTH - label_width - len("  ") - len("  1,000,000")
    for row in rows:
        bar = _bar((row.rate or 0.0) / most * room, has_blocks=has_blocks)
        mark = click.style(bar, "green" if row.is_best else "blue")
        yield f"  {row.label.ljust(label_width)} {mark} {_rate(row.rate)}"


def _bar(columns: float, *, has_blocks: bool) -> str:
    if not has_blocks:
        return "#" * max(round(columns), 1)
    whole, rest = divmod(round(columns * 8), 8)
    return "█" * whole + _EIGHTHS[rest] or "▏"


def _failures(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        if row.failure:
            yield from hanging(f"  {row.label}: ", str(row.failure))


def _rate(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _percent(ratio: Interval | None) -> str:
    if ratio is None:
        return "?"
    if ratio.is_vague:
        return f"{ratio.middle * 100:.0f} % (?)"
    return f"{ratio.middle * 100:.0f} % ({ratio.low * 100:.0f}-{ratio.high * 100:.0f})"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else format_latency(seconds)
