"""The text of ``gunicorn-autoconf explain --pid``: what a running server tells. Uses click."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gunicorn_autoconf.cli.layout import hanging, headline, items, sections, setting
from gunicorn_autoconf.units import format_bytes, plural

# What the server would need more of, as people say it.
_BOUNDS = {
    "nothing": "nothing",
    "cores": "cores",
    "slots": "slots: all workers or threads are busy while cores are idle",
    "memory": "memory: it forbids the workers that would help",
    "loop": "event loops: they are busy, or blocked",
    "processes": "processes: with the GIL each of them computes on one core",
    "one_loop": "one event loop: it is busy, or blocked, while others have room",
    "database": "GUNICORN_MAX_CONCURRENCY",
}


def render_status(status: Mapping[str, Any]) -> str:
    """Return the report, in lines of at most 80 columns unless a single word is longer."""
    plan, verdict = status["plan"], status["verdict"]
    return headline(plan["text"]) + sections(
        ("Server", _server(status)),
        ("Load", _load(status)),
        ("Verdict", hanging("  ", verdict["text"]) if verdict else ()),
        ("Memory", _memory(status["memory"])),
        ("Plan", _plan(plan)),
        ("Problems", items(status["warnings"])),
    )


def _row(label: str, text: str) -> list[str]:
    return hanging(f"  {label:<10} ", text)


def _server(status: Mapping[str, Any]) -> Iterator[str]:
    guards, threads = status["guards"], status["threads"]
    each = f", {threads} threads each" if threads > 1 else ""
    yield from _row("arbiter", f"{status['arbiter_pid']}, gunicorn-autoconf {status['version']}")
    yield from _row("listens", ", ".join(status["addresses"]) or "nowhere")
    yield from _row("workers", f"{status['target_workers']} {status['worker_class']}{each}")
    yield from _row("guards", f"memory {guards['memory']}, load {guards['load']}")


def _load(status: Mapping[str, Any]) -> Iterator[str]:
    load = status["load"]
    if load is None:
        yield "  nothing is counted yet, or this worker class counts nothing"
        return
    yield from hanging("  ", load["text"])
    yield from _row("over", f"the last {load['seconds']:.0f} s")
    bound = load["bound_by"]
    if bound == "loop" and load["loop_fraction"] is None:
        bound = "processes"
    yield from _row("bound by", _BOUNDS.get(bound, bound))


def _memory(memory: Mapping[str, Any] | None) -> Iterator[str]:
    if memory is None:
        yield from _row("limit", "unknown")
        return
    sizes = memory["uss_bytes"].values()
    budget = memory["budget_bytes"]
    yield from _row("limit", format_bytes(memory["limit_bytes"]))
    yield from _row("headroom", format_bytes(memory["headroom_bytes"]))
    if budget is not None:
        yield from _row("budget", format_bytes(budget))
    largest = f", the largest {format_bytes(max(sizes))} on its own" if sizes else ""
    used = format_bytes(memory["pss_bytes"])
    yield from _row("in use", f"{used} by {plural(memory['workers'], 'worker')}{largest}")


def _plan(plan: Mapping[str, Any]) -> Iterator[str]:
    for row in plan["settings"]:
        yield from setting(row["setting"], row["value"], row["reasons"])
