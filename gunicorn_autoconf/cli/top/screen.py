"""A view to lines of text, none of them wider than the terminal. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from gunicorn_autoconf.cli.top.view import Order, Row, View
from gunicorn_autoconf.fleet.sample import GROWN_BYTES, GROWN_FRACTION
from gunicorn_autoconf.memory.timing import LOW_FRACTION
from gunicorn_autoconf.units import MIB, format_bytes

Style = Literal["", "title", "dim", "head", "server", "others", "free", "low", "grown"]

BLOCKS = "▁▂▃▄▅▆▇█"
# Wider ones would leave the eye nothing to compare.
MAX_SPARK_COLUMNS = 120
# A range of less than this share of a worker's memory is drawn as that: noise stays flat.
FLAT_FRACTION = 0.1

KEYS = "m memory  c CPU  a age  p pid  r reverse  q quit"

# As ps and top abbreviate the kernel's words, with room for six letters.
_STATES = {
    "running": "run",
    "sleeping": "sleep",
    "disk-sleep": "disk",
    "stopped": "stop",
    "tracing-stop": "trace",
}


class Span(NamedTuple):
    """A piece of a line; each of its characters takes one column."""

    text: str
    style: Style = ""


Line = tuple[Span, ...]


class _Field(NamedTuple):
    """A column of the table."""

    title: str
    width: int
    text: Callable[[Row], str]


_FIELDS = (
    _Field("PID", 7, lambda row: str(row.now.pid)),
    _Field("AGE", 5, lambda row: format_age(row.now.age_seconds)),
    _Field("STATE", 6, lambda row: _STATES.get(row.now.state, row.now.state[:6])),
    _Field("CPU %", 6, lambda row: _percent(row.cpu_percent)),
    _Field("RSS MiB", 7, lambda row: _mib(row.now.memory.rss_bytes)),
    _Field("PSS MiB", 7, lambda row: _mib(row.now.memory.pss_bytes)),
    _Field("USS MiB", 7, lambda row: _mib(row.now.memory.uss_bytes)),
    _Field("GROWTH", 7, lambda row: _mib(row.growth_bytes, sign="+")),
)
_GAP = "  "
_TABLE_WIDTH = sum(field.width + len(_GAP) for field in _FIELDS)


def draw_once(view: View, width: int) -> list[Line]:
    """Return the whole view, in lines of at most *width* columns."""
    head = [*_summary(view), *_memory(view, width), (), _titles(width)]
    return [crop(line, width) for line in (*head, *_rows(view, Order(), width))]


def draw_screen(view: View, order: Order, width: int, height: int) -> list[Line]:
    """
    Return at most *height* lines of at most *width* columns.

    Where the workers are too many, the last of them make place for a line that counts them.
    """
    head = [*_summary(view), *_memory(view, width), (), _titles(width)]
    rows = list(_rows(view, order, width))
    room = max(height - len(head) - 2, 1)
    if len(rows) > room:
        rows = [*rows[: room - 1], (Span(f"... and {len(rows) - room + 1} more", "dim"),)]
    foot = (
        Span(KEYS, "title"),
        Span(f"   by {order.column}{', reversed' if order.reverse else ''}", "dim"),
    )
    return [crop(line, width) for line in (*head, *rows, (), foot)][:height]


def crop(line: Line, width: int) -> Line:
    """Return *line* without what does not fit into *width* columns."""
    spans = []
    for span in line:
        if width <= 0:
            break
        spans.append(span._replace(text=span.text[:width]))
        width -= len(span.text)
    return tuple(spans)


def text_of(lines: Sequence[Line]) -> str:
    """Return *lines* without their styles."""
    return "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines)


def sparkline(points: Sequence[int], columns: int) -> str:
    """
    Return the last *columns* of *points* as blocks, from the lowest of them to the highest.

    >>> sparkline([100, 120, 160, 200], 3)
    '▁▅█'
    >>> sparkline([100, 101, 99], 3)
    '▂▂▁'
    """
    shown = points[-columns:] if columns > 0 else ()
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = max(high - low, high * FLAT_FRACTION, 1)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((point - low) / span * top)] for point in shown)


def format_age(seconds: float) -> str:
    """
    Return *seconds* in at most five characters.

    >>> format_age(59.9), format_age(3599), format_age(7260), format_age(190_000)
    ('59s', '59m', '2h01', '2d04h')
    """
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


def _summary(view: View) -> Iterator[Line]:
    arbiter, count = view.arbiter.now, len(view.workers)
    cores = f"{view.cores:g} core{'' if view.cores == 1 else 's'}"
    yield (
        Span(f"arbiter {arbiter.pid}", "title"),
        Span(f", up {format_age(arbiter.age_seconds)}, "),
        Span(f"{count} worker{'' if count == 1 else 's'}", "title"),
        Span(f", {_percent(view.cpu_percent)} % CPU, {cores}"),
    )
    yield (Span(view.command, "dim"),)
    yield ()


def _memory(view: View, width: int) -> Iterator[Line]:
    """The bar, what its parts mean, and the limit."""
    memory = view.memory
    if memory is None:
        yield (Span(f"server {format_bytes(view.server_bytes)}, limit unknown"),)
        return
    low = memory.headroom_bytes < memory.limit_bytes * LOW_FRACTION
    free: Style = "low" if low else "free"
    yield _bar(view, max(width, 0), free)
    yield (
        Span("█", "server"),
        Span(f" server {format_bytes(view.server_bytes)}   "),
        Span("▓", "others"),
        Span(f" others {format_bytes(view.others_bytes)}   "),
        Span("░", free),
        Span(f" headroom {format_bytes(memory.headroom_bytes)}"),
    )
    yield (
        Span(f"limit {format_bytes(memory.limit_bytes)}", "title"),
        Span("  "),
        Span("·", free),
        Span(f" reserve {format_bytes(memory.reserve_bytes)}"),
        Span(f"  budget {format_bytes(memory.budget_bytes)}"),
        Span(f"  {memory.source}", "dim"),
    )


def _bar(view: View, width: int, free: Style) -> Line:
    memory = view.memory
    assert memory is not None

    def column(value: int) -> int:
        return min(max(round(value / memory.limit_bytes * width), 0), width)

    used_bytes = memory.limit_bytes - memory.headroom_bytes
    server = column(min(view.server_bytes, used_bytes))
    used = max(column(used_bytes), server)
    reserved = max(column(memory.limit_bytes - memory.reserve_bytes), used)
    return (
        Span("█" * server, "server"),
        Span("▓" * (used - server), "others"),
        Span("░" * (reserved - used), free),
        Span("·" * (width - reserved), free),
    )


def _titles(width: int) -> Line:
    titles = _GAP.join(f"{field.title:>{field.width}}" for field in _FIELDS)
    return (Span(f"{titles}{_GAP}MEMORY".ljust(width), "head"),)


def _rows(view: View, order: Order, width: int) -> Iterator[Line]:
    columns = min(width - _TABLE_WIDTH, MAX_SPARK_COLUMNS)
    for row in order.apply(view.workers):
        cells = [f"{field.text(row):>{field.width}}{_GAP}" for field in _FIELDS]
        grown = row.growth_bytes >= max(row.first_bytes * GROWN_FRACTION, GROWN_BYTES)
        yield (
            Span("".join(cells[:-1])),
            Span(cells[-1], "grown" if grown else ""),
            Span(sparkline(row.points, columns), "server"),
        )
