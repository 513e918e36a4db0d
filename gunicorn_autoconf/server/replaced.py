"""What is lost where a hook of the user's own replaces one of ours, as a line for the log. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Lost(NamedTuple):
    """What is missing without one hook of ours; the server runs on."""

    texts: tuple[str, ...]
    stops_guard: bool = False
    """
    Whether the guard only observes then: it would count wrongly where it does not hear of each
    worker's start and end and of each change of the count.
    """


LOST: Mapping[str, Lost] = MappingProxyType(
    {
        "on_starting": Lost(
            ("the plan does not follow your configuration file and is not logged",)
        ),
        "when_ready": Lost(
            ("no memory guard", "no memory lines", "no watchdog", "no metrics", "no health answers")
        ),
        "on_reload": Lost(("no new plan on reload",), stops_guard=True),
        "pre_fork": Lost(
            ("no memory sizes of workers", "no watchdog", "no check of the worker class"),
            stops_guard=True,
        ),
        "post_worker_init": Lost(
            ("no line for a worker that has booted", "no watchdog"), stops_guard=True
        ),
        "worker_exit": Lost(("no last memory size of a worker that exits",)),
        "nworkers_changed": Lost(
            ("your changes of the worker count go unnoticed",), stops_guard=True
        ),
        "child_exit": Lost(("no line for a worker that ends or is OOM-killed",), stops_guard=True),
    }
)
GUARD_HOOKS = tuple(name for name, lost in LOST.items() if lost.stops_guard)


def render_replaced(names: Sequence[str]) -> str | None:
    """
    Return one line on our hooks of these *names*, or None where nothing is lost.

    >>> render_replaced(["when_ready"])
    'your when_ready hook replaces ours; combine them with compose(). Without ours: no memory \
guard, no memory lines, no watchdog, no metrics, no health answers'
    """
    replaced = [name for name in LOST if name in names]
    if not replaced:
        return None
    has_guard = "when_ready" not in replaced
    lost: dict[str, None] = {}  # In this order, each once.
    for name in replaced:
        lost |= dict.fromkeys(LOST[name].texts)
        if has_guard and LOST[name].stops_guard:
            lost["the memory guard only observes"] = None
    *others, last = replaced
    subject = f"your {', '.join(others)} and {last} hooks replace ours"
    if not others:
        subject = f"your {last} hook replaces ours"
    return f"{subject}; combine them with compose(). Without ours: {', '.join(lost)}"
