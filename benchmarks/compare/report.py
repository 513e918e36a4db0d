"""Tables as Markdown and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from gunicorn_autoconf.units import plural

from .figures import DISTURBED_FRACTION, Row, Sample, Spread, Table, tables
from .ways import DECLARED, UNDECLARED

HEAD = (
    "| way | requests/s | to the oracle | to the best peer | p50 | p99 | errors | Σ PSS "
    "| disturbed |\n|---|---|---|---|---|---|---|---|---|"
)
HEAD_LIMITED = HEAD.replace("| errors |", "| errors | OOM kills |") + "---|"
LEGEND = (
    "Medians over the rounds; ratios are paired by round: median (quartiles). Disturbed: rounds "
    f"in which others had more than {DISTURBED_FRACTION:.0%} of the machine's CPU time."
)

NEVER_STARTED = "did not start"

SUMMARY = (
    "Requests per second of this package, as a part of {}: medians of the ratios in each round."
)
SUMMARY_LIMITED = (
    "Under a memory limit. *Survived*: in no round was a worker killed for its memory or a request "
    "left without a good answer."
)
HEAD_SUMMARY_LIMITED = (
    "| workload | limit | connections | requests/s | survived | best peer that survived "
    "| peers that did not |\n|---|---|---|---|---|---|---|"
)


def render_summary(found: Sequence[Table]) -> str:
    """Return how this package did, a row for each workload, and one for each memory limit."""
    parts = []
    if free := [table for table in found if table.limit_mib is None]:
        has_oracle = any(row.is_oracle for table in free for row in table.rows)
        whole = "the oracle's / of the best peer's" if has_oracle else "the best peer's"
        parts.append(f"{SUMMARY.format(whole)}\n\n{_summary(free)}")
    if limited := [table for table in found if table.limit_mib is not None]:
        rows = [row for table in limited if (row := _limited_summary(table))]
        parts.append("\n".join([SUMMARY_LIMITED, "", HEAD_SUMMARY_LIMITED, *rows]))
    return "\n\n".join(parts) + "\n"


def _summary(found: Sequence[Table]) -> str:
    patterns = list(dict.fromkeys(table.pattern for table in found))
    lines = [
        f"| workload | way | {' | '.join(patterns)} |",
        "|---|---" + "|---" * len(patterns) + "|",
    ]
    for workload in dict.fromkeys(table.workload for table in found):
        by_pattern = {table.pattern: table for table in found if table.workload == workload}
        for way in (DECLARED, UNDECLARED):
            cells = [_parts(by_pattern.get(pattern), way) for pattern in patterns]
            if any(cells):
                lines.append(f"| {workload} | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parts(table: Table | None, way: str) -> str:
    """What *way* reaches of the oracle's rate and of the best peer's, and who that is."""
    row = _find(table, way)
    if table is None or row is None:
        return ""
    if not row.started:
        return NEVER_STARTED
    peer = next((other.way for other in table.rows if other.is_best_peer), "no peer")
    oracle = f"{row.to_oracle.median:.2f} / " if row.to_oracle else ""
    best = f"{row.to_peer.median:.2f}" if row.to_peer else "-"
    return f"{oracle}{best} {peer}"


def _limited_summary(table: Table) -> str | None:
    row = _find(table, DECLARED)
    if row is None:
        return None
    peers = [other for other in table.rows if other.role == "peer"]
    alive = [peer for peer in peers if peer.survived]
    best = max(alive, key=lambda peer: peer.rate.median, default=None)
    lost = ", ".join(peer.way for peer in peers if not peer.survived)
    cells = [
        table.workload,
        f"{table.limit_mib} MiB",
        table.pattern,
        f"{row.rate.median:,.0f}" if row.started else "-",
        "yes" if row.survived else f"no: {_what_happened(row)}",
        f"{best.way}: {best.rate.median:,.0f}" if best else "none",
        lost or "none",
    ]
    return f"| {' | '.join(cells)} |"


def _what_happened(row: Row) -> str:
    """Why *row* has not survived."""
    if not row.started:
        return NEVER_STARTED
    missed = row.rounds - row.started
    seen = [f"{missed} of {row.rounds} {NEVER_STARTED}"] if missed else []
    counts = ((row.oom_kills, "kill"), (row.errors, "error"))
    return ", ".join(seen + [plural(count, noun) for count, noun in counts if count])


def _find(table: Table | None, way: str) -> Row | None:
    """The row of *way*, which may share it with others that start the same server."""
    rows = table.rows if table else ()
    return next((row for row in rows if way in row.way.split(", ")), None)


def render_markdown(samples: Sequence[Sample], machine: Mapping[str, object]) -> str:
    """Return the machine, and a table for each workload, memory limit and pattern."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in machine.items()), LEGEND]
    parts += [_table(table) for table in tables(samples)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    limit = f", limit {table.limit_mib} MiB" if table.limit_mib else ""
    title = f"## {table.workload}{limit}, connections: {table.pattern}"
    limited = table.limit_mib is not None
    # The finalists that lost against the oracle stand in the JSON.
    shown = [row for row in table.rows if row.role != "sweep" or row.is_oracle]
    shown.sort(key=lambda row: -row.rate.median)
    rows = [_row(row, limited=limited) for row in shown]
    return "\n".join([title, "", HEAD_LIMITED if limited else HEAD, *rows])


def _row(row: Row, *, limited: bool) -> str:
    cells = [_name(row)]
    if row.started:
        cells += [f"{row.rate.median:,.0f}", _ratio(row.to_oracle), _ratio(row.to_peer)]
        cells += [f"{row.p50_ms:.1f} ms", f"{row.p99_ms:.1f} ms", str(row.errors)]
    else:
        cells += [NEVER_STARTED, *["-"] * 5]
    cells += [str(row.oom_kills)] if limited else []
    cells += [f"{row.pss_bytes / 2**20:.0f} MiB", f"{row.disturbed}/{row.rounds}"]
    return f"| {' | '.join(cells)} |"


def _name(row: Row) -> str:
    if row.is_oracle:
        return f"**oracle**: {row.way.removeprefix('sweep ')}"
    name = f"**{row.way}**" if row.role == "ours" else row.way
    name += " (best peer)" if row.is_best_peer else ""
    missed = row.rounds - row.started
    return f"{name}, {missed} of {row.rounds} {NEVER_STARTED}" if row.started and missed else name


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def render_json(samples: Sequence[Sample], machine: Mapping[str, object]) -> str:
    """Return everything: the machine, each sample and the tables."""
    found = [
        {**table._asdict(), "rows": [_plain(row) for row in table.rows]}
        for table in tables(samples)
    ]
    document = {
        "machine": dict(machine),
        "samples": [asdict(sample) for sample in samples],
        "tables": found,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _plain(row: Row) -> dict[str, object]:
    return {
        name: value._asdict() if isinstance(value, Spread) else value
        for name, value in asdict(row).items()
    }
