"""What is lost where a hook of the user's own replaces one of ours, as a line for the log. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

_OBSERVES = "the memory guard only observes"

# What each hook of ours is for. Without it the server runs on, and this is missing.
LOST: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "on_starting": ("the plan does not follow your configuration file and is not logged",),
        "when_ready": ("no memory guard", "no memory lines", "no watchdog"),
        "on_reload": ("no new plan at a reload", _OBSERVES),
        "pre_fork": ("no memory of the workers", "no watchdog", _OBSERVES),
        "post_worker_init": ("no line for a worker that has booted", "no watchdog", _OBSERVES),
        "worker_exit": ("no last size of a worker that ends",),
        "nworkers_changed": ("a count that you change is not seen", _OBSERVES),
        "child_exit": ("no line for a worker that ends or is OOM-killed", _OBSERVES),
    }
)


def render_replaced(names: Sequence[str]) -> str | None:
    """
    Return one line on our hooks of these *names*, or None where nothing is lost.

    >>> render_replaced(["when_ready"])
    'your when_ready hook replaces ours; combine them with compose(). Without ours: no memory \
guard, no memory lines, no watchdog'
    """
    replaced = [name for name in LOST if name in names]
    if not replaced:
        return None
    lost = dict.fromkeys(loss for name in replaced for loss in LOST[name])
    if "when_ready" in replaced:
        lost.pop(_OBSERVES, None)  # There is none.
    *others, last = replaced
    subject = f"your {', '.join(others)} and {last} hooks replace ours"
    if not others:
        subject = f"your {last} hook replaces ours"
    return f"{subject}; combine them with compose(). Without ours: {', '.join(lost)}"
