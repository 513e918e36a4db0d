"""The JSON document of ``gunicorn-autoconf top``. Pure."""

from __future__ import annotations

from typing import Any

from gunicorn_autoconf.cli.top.view import Row, View
from gunicorn_autoconf.units import rounded

# The version of the document; a change that breaks a reader raises it, a new name does not.
SCHEMA = 2


def to_json(view: View) -> dict[str, Any]:
    """Return *view* as values that `json.dumps` takes; unknown values are None."""
    now = view.now
    sizes = {"server_bytes": now.server_bytes, "others_bytes": now.others_bytes}
    return {
        "schema": SCHEMA,
        "command": now.command,
        "cores": now.cores,
        "cpu_percent": rounded(view.cpu_percent, 1),
        "listeners": [listener._asdict() for listener in now.listeners],
        "memory": now.memory and now.memory._asdict() | sizes,
        "arbiter": _process(view.arbiter),
        "workers": [_process(row) | _work(row) for row in view.workers],
        "status": (now.inside.status or None) if now.inside else None,
        "untold": now.untold or None,
    }


def _process(row: Row) -> dict[str, Any]:
    return {
        "pid": row.now.pid,
        "age_seconds": round(row.now.age_seconds, 1),
        "state": row.now.state,
        "cpu_seconds": round(row.now.cpu_seconds, 2),
        "cpu_percent": rounded(row.cpu_percent, 1),
        **row.now.memory._asdict(),
        "growth_bytes": row.growth_bytes,
    }


def _work(row: Row) -> dict[str, Any]:
    inside, work = row.inside, row.work
    counters = inside.counters if inside else None
    return {
        "phase": inside.phase.value if inside else None,
        "requests": counters.requests if counters else None,
        "in_flight": counters.in_flight if counters else None,
        "busy_fraction": rounded(work.busy_fraction, 4) if work else None,
        "requests_per_second": rounded(work.rate, 3) if work else None,
        "request_seconds": rounded(work.request_seconds, 6) if work else None,
    }
