"""Named values side by side, as a table that is also Markdown. Pure."""

from __future__ import annotations

from collections.abc import Sequence

Column = Sequence[tuple[str, str]]


def render_columns(columns: Sequence[Column]) -> str:
    """
    Return *columns* of names and values; their first value is what stands above them.

    >>> print(render_columns([[("", "sync"), ("lost", "0")], [("", "gthread"), ("lost", "12")]]))
    |      | sync | gthread |
    |------|-----:|--------:|
    | lost |    0 |      12 |
    """
    names = [name for name, _ in columns[0]]
    rows = [[name, *(dict(column)[name] for column in columns)] for name in names]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for name, *values in rows:
        cells = [f"{name:<{widths[0]}}"]
        cells += [f"{value:>{width}}" for value, width in zip(values, widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    lines.insert(1, f"|{'|'.join(rule)}|")
    return "\n".join(lines)
