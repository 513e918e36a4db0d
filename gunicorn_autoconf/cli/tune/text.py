"""The end of a run as text: a table, the verdict, in lines of at most 80 columns."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from gunicorn_autoconf.cli.layout import hanging, items, sections
from gunicorn_autoconf.cli.tune.report import Report, Row
from gunicorn_autoconf.units import format_bytes

_HEAD = ("", "within", "of best", "at most", "p50", "p99", "cores", "memory")


def render_report(report: Report) -> str:
    """Return the report."""
    return sections(
        ("Asked", items(report.asked)),
        ("Measured", _table(report.rows)),
        ("Left out", _failures(report.rows)),
        ("Verdict", hanging("  ", report.verdict.text)),
        ("Notes", items(report.notes)),
    )


def _table(rows: Iterable[Row]) -> Iterator[str]:
    lines = [_HEAD, *(_cells(row) for row in rows if row.rate is not None)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    for line in lines:
        first, *rest = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  " + "  ".join([first, *rest])


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "best" if row.is_best else "?" if row.ratio is None else f"{row.ratio:.2f}"
    return (
        row.label,
        f"{row.rate:,.0f}/s" if row.rate is not None else "",
        ratio,
        f"{row.capacity:,.0f}/s",
        _ms(row.p50_seconds),
        _ms(row.p99_seconds),
        f"{row.cpu_cores:.2f}",
        format_bytes(row.memory_bytes),
    )


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _failures(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        if row.failure:
            yield from hanging(f"  {row.label}: ", row.failure)


__all__ = ["render_report", "statistics"]
