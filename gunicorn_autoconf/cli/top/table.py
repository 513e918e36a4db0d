"""The table of workers, with as many columns as the terminal is wide. Needs rich."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from gunicorn_autoconf.cli.top.order import Order
from gunicorn_autoconf.cli.top.view import MAX_POINTS, Row, View
from gunicorn_autoconf.fleet.sample import GROWN_BYTES, GROWN_FRACTION
from gunicorn_autoconf.metrics.snapshot import State
from gunicorn_autoconf.units import MIB

BLOCKS = "▁▂▃▄▅▆▇█"
# A range below this share of a worker's memory is drawn as if it were that wide: noise stays flat.
FLAT_FRACTION = 0.1
# Below so many columns the past of a worker says less than another column.
PAST_COLUMNS = 16
PAST = "MEMORY"
_GAP = 1

# The kernel's words as ps and top abbreviate them, in at most five letters.
_STATES = {
    "running": "run",
    "sleeping": "sleep",
    "disk-sleep": "disk",
    "stopped": "stop",
    "tracing-stop": "trace",
}
# What matters more than what the kernel has a worker do at the moment.
_PHASES = {State.BOOTING: "boot", State.DRAINING: "drain"}
_STYLES = {State.BOOTING: "bold cyan", State.DRAINING: "bold magenta"}
_GROWN = "bold yellow"


class _Column(NamedTuple):
    """
    One column of the table.

    Attributes:
        sorts: The name of the order that goes by it.
        is_inside: Whether only a server that tells of itself has values for it.
        is_spare: Whether it is left out where the terminal is narrow.
    """

    title: str
    width: int
    show: Callable[[Row], str | Text]
    sorts: str = ""
    is_inside: bool = False
    is_spare: bool = False


def draw_table(view: View, rows: Sequence[Row], order: Order, width: int) -> Table:
    """Return the table of *rows*, which are in *order*."""
    columns = _columns(width, tells=view.now.inside is not None)
    used = _width(columns)
    # With a width of its own, the table is cut off at the right where it does not fit. Without one,
    # rich would make the columns narrower.
    table = Table(
        box=None,
        padding=(0, _GAP, 0, 0),
        pad_edge=False,
        header_style="reverse",
        width=max(width, used + len(PAST)),
    )
    for column in columns:
        arrow = order.arrow if column.sorts == order.column else ""
        table.add_column(
            f"{column.title}{arrow}",
            width=column.width,
            justify="right",
            no_wrap=True,
            overflow="crop",
        )
    table.add_column(PAST, ratio=1, no_wrap=True, overflow="crop", style="cyan")
    for row in rows:
        past = sparkline(row.points, min(width - used, MAX_POINTS))
        # As `Text`: rich would look for markup in a `str`.
        cells = (Text.assemble(column.show(row)) for column in columns)
        table.add_row(*cells, past)
    return table


def _columns(width: int, *, tells: bool) -> list[_Column]:
    """Return the columns for a terminal of *width* columns, the spare ones where there is room."""
    shown = [column for column in _COLUMNS if tells or not column.is_inside]
    if _width(shown) + PAST_COLUMNS <= width:
        return shown
    return [column for column in shown if not column.is_spare]


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width + _GAP for column in columns)


def _state(row: Row) -> Text:
    phase = row.inside.phase if row.inside else None
    if phase in _PHASES:
        return Text(_PHASES[phase], _STYLES[phase])
    return Text(_STATES.get(row.now.state, row.now.state[:5]))


def _growth(row: Row) -> Text:
    growth = row.growth_bytes
    has_grown = growth is not None and growth >= max(row.first_bytes * GROWN_FRACTION, GROWN_BYTES)
    return Text(_mib(growth, sign="+"), _GROWN if has_grown else "")


def _latency(row: Row) -> str:
    seconds = row.work.request_seconds if row.work else None
    return "-" if seconds is None else _short(seconds * 1e3)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def _busy(row: Row) -> str:
    return f"{row.work.busy_fraction * 100:.0f}" if row.work else "-"


def sparkline(points: Sequence[int], columns: int) -> str:
    """Return the last *columns* of *points* as blocks, from the lowest of them to the highest."""
    shown = points[-columns:] if columns > 0 else ()
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = max(high - low, high * FLAT_FRACTION, 1)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((point - low) / span * top)] for point in shown)


def format_age(seconds: float) -> str:
    """Return *seconds* in at most five characters, up to 27 years."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h" if days < 10 else f"{days}d"
    if hours:
        return f"{hours}h{minutes:02}"
    return f"{minutes}m" if minutes else f"{rest}s"


def _mib(value: int | None, sign: str = "") -> str:
    if value is None:
        return "-"
    mib = value / MIB
    return f"{mib:{sign}.1f}" if abs(mib) < 9999 else f"{mib:{sign}.0f}"


def percent(share: float | None) -> str:
    """Return a share of a core as it is shown."""
    return "-" if share is None else f"{share:.1f}"


_COLUMNS = (
    _Column("PID", 7, lambda row: str(row.now.pid), "pid"),
    _Column("AGE", 6, lambda row: format_age(row.now.age_seconds), "age"),
    _Column("STATE", 5, _state),
    _Column("CPU %", 6, lambda row: percent(row.cpu_percent), "cpu"),
    _Column("BUSY %", 7, _busy, "busy", is_inside=True),
    _Column(
        "REQ/S",
        6,
        lambda row: _short(row.work.rate) if row.work else "-",
        "served",
        is_inside=True,
    ),
    _Column("MS", 6, _latency, "latency", is_inside=True),
    _Column("RSS MiB", 7, lambda row: _mib(row.now.memory.rss_bytes), is_spare=True),
    _Column("PSS MiB", 7, lambda row: _mib(row.now.memory.pss_bytes), is_spare=True),
    _Column("USS MiB", 8, lambda row: _mib(row.now.memory.uss_bytes), "memory"),
    _Column("GROWTH", 7, _growth, "growth"),
)
