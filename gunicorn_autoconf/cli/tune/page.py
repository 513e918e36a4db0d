"""The end of a run as one HTML file that needs nothing else: table, bars, curves. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from gunicorn_autoconf.cli.tune.model import describe_bound
from gunicorn_autoconf.cli.tune.report import Report, Row
from gunicorn_autoconf.units import format_bytes

# Told apart by readers who see colours differently.
# Source: M. Okabe and K. Ito, "Color Universal Design", 2008.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#666666")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _MARGIN = 760, 380, 64, 44, 16


def render_page(report: Report) -> str:
    """Return *report* as HTML."""
    rows = [row for row in report.rows if row.rate is not None]
    drawn = rows[: len(_COLOURS)]
    failed = [row for row in report.rows if row.failure]
    return _PAGE.format(
        verdict=escape(report.verdict.text),
        asked=_list(report.asked),
        table="".join(_table(rows)),
        curves=_curves(drawn, report.slo_seconds) if drawn else "",
        legend="".join(_legend(drawn)),
        failed=_list(f"{row.label}: {row.failure}" for row in failed),
        model=_list(report.model),
        notes=_list(report.notes),
    )


def _list(texts: Iterable[str]) -> str:
    return "".join(f"<li>{escape(text)}</li>" for text in texts) or "<li>nothing</li>"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    most = max((row.rate or 0.0 for row in rows), default=1.0)
    for row in rows:
        bar = f'<i style="width:{(row.rate or 0.0) / most * 100:.1f}%"></i>'
        cells = [
            f"{row.rate:,.1f}{bar}",
            "best" if row.is_best else _ratio(row),
            f"{row.outcome.capacity:,.1f}",
            _ms(row.outcome.steps[0].p50_seconds),
            _ms(row.outcome.steps[0].p99_seconds),
            f"{row.outcome.cpu_cores:.2f}",
            format_bytes(row.outcome.memory_bytes),
            str(row.blocks),
            describe_bound(row.candidate, row.bound),
        ]
        head = f"<th>{escape(row.label)}</th>"
        yield f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "?"
    low, middle, high = row.ratio
    interval = "" if math.isinf(high) else f" ({low:.2f} to {high:.2f})"
    return f"{middle:.2f}{interval}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.1f} ms"


def _legend(rows: Sequence[Row]) -> Iterator[str]:
    for row, colour in zip(rows, _COLOURS, strict=False):
        yield f'<span><b style="background:{colour}"></b>{escape(row.label)}</span>'


def _curves(rows: Sequence[Row], slo_seconds: float | None) -> str:
    """Return the 99th percentile over the rate, with logarithms on both axes."""
    series = [
        [(point.rate, point.p99_seconds) for point in row.outcome.steps if point.p99_seconds]
        for row in rows
    ]
    rates = [rate for points in series for rate, _ in points]
    seconds = [value for points in series for _, value in points] + [slo_seconds or 1.0]
    if not rates:
        return ""
    across = _Axis(min(rates), max(rates), _LEFT, _WIDTH - _MARGIN)
    up = _Axis(min(seconds), max(seconds), _HEIGHT - _BOTTOM, _MARGIN)
    parts = [*_grid(across, up)]
    for points, colour in zip(series, _COLOURS, strict=False):
        places = [(across.place(rate), up.place(value)) for rate, value in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places]
    if slo_seconds:
        y = up.place(slo_seconds)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _MARGIN}" y2="{y:.1f}" class="slo"/>'
            f'<text x="{_WIDTH - _MARGIN}" y="{y - 5:.1f}" class="end">limit</text>'
        )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


class _Axis:
    """A logarithmic axis from *low* to *high* between two places."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high = low / 1.3, high * 1.3
        self._begin, self._end = begin, end

    def place(self, value: float) -> float:
        """Return where *value* is drawn."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self._begin + part * (self._end - self._begin)

    def ticks(self) -> Iterator[float]:
        """Yield 1, 2 and 5 of each power of ten."""
        for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1):
            for digit in (1, 2, 5):
                if self.low <= (value := digit * 10.0**power) <= self.high:
                    yield value


def _grid(across: _Axis, up: _Axis) -> Iterator[str]:
    floor = _HEIGHT - _BOTTOM
    for value in across.ticks():
        x = across.place(value)
        yield f'<line x1="{x:.1f}" y1="{_MARGIN}" x2="{x:.1f}" y2="{floor}" class="grid"/>'
        yield f'<text x="{x:.1f}" y="{floor + 16}" class="middle">{value:,.10g}</text>'
    for value in up.ticks():
        y = up.place(value)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _MARGIN}" y2="{y:.1f}" class="grid"/>'
        label = f"{value * 1000:.10g} ms" if value < 1 else f"{value:.10g} s"
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="end">{label}</text>'
    middle = (_LEFT + _WIDTH) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 6}" class="middle">requests per second</text>'


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>gunicorn-autoconf tune</title>
<style>
body {{ font: 16px/1.5 system-ui; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
table {{ border-collapse: collapse; font-size: 14px; width: 100% }}
th, td {{ border-bottom: 1px solid #8884; padding: .3rem .5rem; text-align: right }}
th:first-child {{ text-align: left }}
td i {{ background: #0072b2; display: block; height: 4px; margin-left: auto }}
svg {{ max-width: 100% }}
svg text {{ fill: currentColor; font-size: 12px }}
.grid {{ stroke: #8883 }} .slo {{ stroke: #c00; stroke-dasharray: 6 4 }}
.middle {{ text-anchor: middle }} .end {{ text-anchor: end }}
span {{ margin-right: 1rem; white-space: nowrap }}
span b {{ display: inline-block; height: .7em; margin-right: .3em; width: 1.4em }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd }} }}
</style>
</head>
<body>
<h1>gunicorn-autoconf tune</h1>
<p><strong>{verdict}</strong></p>
<h2>Measured</h2>
<table>
<tr><th>candidate</th><th>rate within the limit</th><th>of best</th><th>at most</th>
<th>p50</th><th>p99</th><th>cores</th><th>memory</th><th>blocks</th><th>bound by</th></tr>
{table}
</table>
<h2>99th percentile</h2>
{curves}
<p>{legend}</p>
<h2>Why</h2><ul>{model}</ul>
<h2>Asked</h2><ul>{asked}</ul>
<h2>Left out</h2><ul>{failed}</ul>
<h2>Notes</h2><ul>{notes}</ul>
</body>
</html>
"""
