"""What is lost where a hook of the user's own replaces one of ours, as a line for the log. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

# What is missing without each hook of ours; the server runs on.
LOST: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "on_starting": ("the plan does not follow your configuration file and is not logged",),
        "when_ready": (
            "no memory guard",
            "no memory lines",
            "no watchdog",
            "no metrics",
            "no health answers",
        ),
        "on_reload": ("no new plan on reload",),
        "pre_fork": (
            "no memory sizes of workers",
            "no watchdog",
            "no check of the worker class",
        ),
        "post_worker_init": ("no line for a worker that has booted", "no watchdog"),
        "worker_exit": ("no last memory size of a worker that exits",),
        "nworkers_changed": ("your changes of the worker count go unnoticed",),
        "child_exit": ("no line for a worker that ends or is OOM-killed",),
    }
)
# Without these the guard only observes: it would count wrongly where it does not hear of each
# worker's start and end and of each change of the count.
GUARD_HOOKS = ("on_reload", "pre_fork", "post_worker_init", "nworkers_changed", "child_exit")


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
        lost |= dict.fromkeys(LOST[name])
        if has_guard and name in GUARD_HOOKS:
            lost["the memory guard only observes"] = None
    *others, last = replaced
    subject = f"your {', '.join(others)} and {last} hooks replace ours"
    if not others:
        subject = f"your {last} hook replaces ours"
    return f"{subject}; combine them with compose(). Without ours: {', '.join(lost)}"
