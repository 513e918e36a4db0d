"""Draws a PNG for each workload: requests per second of each way, with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .figures import Row, Table

MISSING = "No charts: matplotlib is not installed (pip install 'gunicorn-autoconf[bench]')"
COLOURS = {"ours": "#1f6f8b", "peer": "#9a9a9a", "sweep": "#c98b2b"}


def draw(found: Sequence[Table], folder: Path) -> list[Path]:
    """
    Write the charts into *folder* and return their paths.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    by_name: dict[str, list[Table]] = {}
    for table in found:
        limit = f"-{table.limit_mib}mib" if table.limit_mib else ""
        by_name.setdefault(f"{table.workload}{limit}", []).append(table)
    return [_draw(name, group, folder / f"{name}.png") for name, group in by_name.items()]


def _draw(name: str, group: list[Table], path: Path) -> Path:
    """Draw one axis for each pattern of connections, side by side."""
    from matplotlib.figure import Figure

    height = 1.2 + 0.3 * max(len(table.rows) for table in group)
    figure = Figure(figsize=(4.5 * len(group), height), layout="constrained")
    figure.suptitle(name)
    for axes, table in zip(figure.subplots(1, len(group), squeeze=False)[0], group, strict=True):
        rows = [row for row in table.rows if row.role != "sweep" or row.is_oracle]
        rows.sort(key=lambda row: row.rate.median)
        medians = [row.rate.median for row in rows]
        below = [row.rate.median - row.rate.low for row in rows]
        above = [row.rate.high - row.rate.median for row in rows]
        colours = [COLOURS[row.role] for row in rows]
        labels = [_label(row) for row in rows]
        axes.barh(labels, medians, xerr=(below, above), color=colours, ecolor="#333333")
        axes.set_title(f"connections: {table.pattern}")
        axes.set_xlabel("requests per second")
    figure.savefig(path, dpi=120)
    return path


def _label(row: Row) -> str:
    return f"oracle: {row.way.removeprefix('sweep ')}" if row.is_oracle else row.way
