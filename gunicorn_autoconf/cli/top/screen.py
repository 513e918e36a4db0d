"""A view of a server as something that rich can print. Needs rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gunicorn_autoconf.cli.layout import divide
from gunicorn_autoconf.cli.top.view import MAX_POINTS, MemorySample, Order, Row, ServerSample, View
from gunicorn_autoconf.fleet.sample import GROWN_BYTES, GROWN_FRACTION
from gunicorn_autoconf.memory.timing import LOW_FRACTION
from gunicorn_autoconf.units import MIB, format_bytes, plural

BLOCKS = "▁▂▃▄▅▆▇█"
# A range below this share of a worker's memory is drawn as if it were that wide: noise stays flat.
FLAT_FRACTION = 0.1

KEYS = "m memory  c CPU  a age  p pid  r reverse  q quit"

# The columns of the table, and their width in characters. The last one gets what is left.
_TITLES = ("PID", "AGE", "STATE", "CPU %", "RSS MiB", "PSS MiB", "USS MiB", "GROWTH")
_WIDTHS = (7, 5, 6, 6, 7, 7, 7, 7)
_PAST = "MEMORY"
_GAP = 2
_TABLE_WIDTH = sum(_WIDTHS) + _GAP * len(_WIDTHS)

# The kernel's words as ps and top abbreviate them, in at most six letters.
_STATES = {
    "running": "run",
    "sleeping": "sleep",
    "disk-sleep": "disk",
    "stopped": "stop",
    "tracing-stop": "trace",
}

SERVER, OTHERS = "cyan", "magenta"
FREE, LOW, GROWN = "green", "bold red", "bold yellow"


def draw_once(view: View, width: int) -> RenderableType:
    """Return the summary of *view* and all its workers, for a page *width* columns wide."""
    return Group(*_head(view, width), _table(Order().apply(view.workers), width))


def draw_screen(view: View, order: Order, width: int, height: int) -> RenderableType:
    """
    Return *view* for a terminal of *width* columns and *height* lines.

    When not all workers fit, the last line of the table says how many are missing.
    """
    head = list(_head(view, width))
    rows = order.apply(view.workers)
    # Three more lines are needed: the titles of the table, an empty line and the keys.
    room = max(height - len(head) - 3, 1)
    hidden = len(rows) - room + 1 if len(rows) > room else 0
    return Group(
        *head,
        _table(rows[: len(rows) - hidden], width),
        *([_line((f"... and {hidden} more", "dim"))] if hidden else []),
        _line(),
        _line((KEYS, "bold"), (f"   by {order.column}{', reversed' * order.reverse}", "dim")),
    )


def _line(*parts: str | tuple[str, str]) -> Text:
    """Return one line of *parts*, each a text or a text and its style; it is cut, not wrapped."""
    line = Text.assemble(*parts)
    line.no_wrap, line.overflow = True, "crop"
    return line


def _head(view: View, width: int) -> Iterator[Text]:
    now = view.now
    yield _line(
        (f"arbiter {now.arbiter.pid}", "bold"),
        f", up {format_age(now.arbiter.age_seconds)}, ",
        (plural(len(now.workers), "worker"), "bold"),
        f", {_percent(view.cpu_percent)} % CPU, {plural(now.cores, 'core')}",
    )
    yield _line((now.command, "dim"))
    yield _line()
    if now.memory is None:
        yield _line(f"server {format_bytes(now.server_bytes)}, limit unknown")
    else:
        yield from _memory(now, now.memory, width)
    yield _line()


def _memory(now: ServerSample, memory: MemorySample, width: int) -> Iterator[Text]:
    """The bar, the meaning of its parts, and the limit."""
    limit_bytes, headroom_bytes = memory.limit_bytes, memory.headroom_bytes
    free = LOW if headroom_bytes < limit_bytes * LOW_FRACTION else FREE
    left_bytes = min(max(headroom_bytes, 0), limit_bytes)
    server_bytes = min(now.server_bytes, limit_bytes - left_bytes)
    reserve_bytes = min(memory.reserve_bytes, left_bytes)
    others_bytes = limit_bytes - left_bytes - server_bytes
    amounts = (server_bytes, others_bytes, left_bytes - reserve_bytes, reserve_bytes)
    parts = zip("█▓░·", divide(amounts, width), (SERVER, OTHERS, free, free), strict=True)
    yield _line(*((glyph * columns, style) for glyph, columns, style in parts))
    yield _line(
        ("█", SERVER),
        f" server {format_bytes(now.server_bytes)}   ",
        ("▓", OTHERS),
        f" others {format_bytes(now.others_bytes)}   ",
        ("░", free),
        f" headroom {format_bytes(headroom_bytes)}",
    )
    yield _line(
        (f"limit {format_bytes(limit_bytes)}", "bold"),
        "  ",
        ("·", free),
        f" reserve {format_bytes(memory.reserve_bytes)}",
        f"  budget {format_bytes(memory.budget_bytes)}",
        (f"  {memory.source}", "dim"),
    )


def _table(rows: Sequence[Row], width: int) -> Table:
    columns = width - _TABLE_WIDTH
    # With a width of its own, the table is cut off at the right where it does not fit. Without one,
    # rich would make the columns narrower.
    table = Table(
        box=None,
        padding=(0, _GAP, 0, 0),
        pad_edge=False,
        header_style="reverse",
        width=max(width, _TABLE_WIDTH + len(_PAST)),
    )
    for title, column_width in zip(_TITLES, _WIDTHS, strict=True):
        table.add_column(title, width=column_width, justify="right", no_wrap=True, overflow="crop")
    table.add_column(_PAST, ratio=1, no_wrap=True, overflow="crop", style=SERVER)
    for row in rows:
        now, memory = row.now, row.now.memory
        grown = row.growth_bytes >= max(row.first_bytes * GROWN_FRACTION, GROWN_BYTES)
        table.add_row(
            str(now.pid),
            format_age(now.age_seconds),
            Text(_STATES.get(now.state, now.state[:6])),
            _percent(row.cpu_percent),
            *map(_mib, memory),
            Text(_mib(row.growth_bytes, sign="+"), GROWN if grown else ""),
            sparkline(row.points, min(columns, MAX_POINTS)),
        )
    return table


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


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f}"
