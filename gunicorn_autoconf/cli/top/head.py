"""What `top` shows above the table: server, memory, load. Needs rich."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.text import Text

from gunicorn_autoconf.cli.layout import divide
from gunicorn_autoconf.cli.top.table import format_age, percent
from gunicorn_autoconf.cli.top.view import MemorySample, ServerSample, View
from gunicorn_autoconf.memory.timing import LOW_FRACTION
from gunicorn_autoconf.metrics.snapshot import State
from gunicorn_autoconf.units import format_bytes, plural

SERVER, OTHERS = "cyan", "magenta"
FREE, LOW, WARNS = "green", "bold red", "bold yellow"
# A verdict is longer than most lines; what does not fit is in the log and in `explain --pid`.
VERDICT_LINES = 3


def draw_head(view: View, width: int) -> Iterator[Text]:
    """Yield the lines above the table."""
    now = view.now
    yield line_of(
        (f"arbiter {now.arbiter.pid}", "bold"),
        f", up {format_age(now.arbiter.age_seconds)}, ",
        (plural(len(now.workers), "worker"), "bold"),
        (_phases(now), WARNS),
        f", {percent(view.cpu_percent)} % CPU, {plural(now.cores, 'core')}",
    )
    yield line_of(*_serves(now))
    yield line_of((now.command, "dim"))
    yield line_of()
    if now.memory is None:
        yield line_of(f"server {format_bytes(now.server_bytes)}, limit unknown")
    else:
        yield from _memory(now, now.memory, width)
    yield line_of()
    yield from _load(now, width)
    yield line_of()


def line_of(*parts: str | tuple[str, str]) -> Text:
    """Return one line of *parts*, each a text or a text and its style; it is cut, not wrapped."""
    line = Text.assemble(*parts)
    line.no_wrap, line.overflow = True, "crop"
    return line


def _phases(now: ServerSample) -> str:
    """How many workers do not serve, in parentheses."""
    phases = [worker.phase for worker in now.inside.workers.values()] if now.inside else []
    counts = [
        f"{phases.count(phase)} {phase.value}"
        for phase in (State.BOOTING, State.DRAINING)
        if phase in phases
    ]
    return f" ({', '.join(counts)})" if counts else ""


def _serves(now: ServerSample) -> Iterator[str | tuple[str, str]]:
    """Where it listens and what waits there, then the class, the threads and the kind of work."""
    addresses = [
        f"{each.address} ({each.waiting} waiting)" if each.waiting else each.address
        for each in now.listeners
    ]
    yield ", ".join(addresses) or "address unknown", ""
    status = now.inside.status if now.inside else {}
    if status:
        threads = status["threads"]
        name = status["worker_class"].rpartition(".")[2]
        yield f"  {name}{f' x {threads} threads' if threads > 1 else ''}", "bold"
        yield f"  {status['interface'].upper()}, {status['workload']}"


def _load(now: ServerSample, width: int) -> Iterator[Text]:
    """The load of the last minute, what bounds the server, and what would help."""
    if now.inside is None:
        yield line_of((f"load unknown: {now.untold}", "dim"))
        return
    load, verdict = now.inside.status.get("load"), now.inside.status.get("verdict")
    if load is None:
        yield line_of(("load unknown: nothing is counted yet", "dim"))
    else:
        yield line_of((load["text"], WARNS if load["bound_by"] != "nothing" else ""))
    if verdict:
        lines = textwrap.wrap(verdict["text"], max(width, 20), max_lines=VERDICT_LINES)
        yield from (line_of((line, WARNS)) for line in lines)


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
    yield line_of(*((glyph * columns, style) for glyph, columns, style in parts))
    yield line_of(
        ("█", SERVER),
        f" server {format_bytes(now.server_bytes)}   ",
        ("▓", OTHERS),
        f" others {format_bytes(now.others_bytes)}   ",
        ("░", free),
        f" headroom {format_bytes(headroom_bytes)}",
    )
    yield line_of(
        (f"limit {format_bytes(limit_bytes)}", "bold"),
        "  ",
        ("·", free),
        f" reserve {format_bytes(memory.reserve_bytes)}",
        f"  budget {format_bytes(memory.budget_bytes)}",
        (f"  {memory.source}", "dim"),
    )
