"""How much a lack of memory has slowed the server down, in numbers. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.machine.pressure import Pressure
from gunicorn_autoconf.units import format_bytes

# Processes that waited for memory for less than this share of the time are not worth a line.
WAITED_FRACTION = 0.10
# Where the kernel does not tell how long they waited, so many passings of memory.high are.
HIGH_EVENTS = 10


class Held(NamedTuple):
    """What has held processes back until now: numbers that only grow."""

    at_seconds: float
    high_events: tuple[int, ...]
    """How often memory.high was exceeded at each level, the leaf first."""
    pressure: Pressure | None = None


class High(NamedTuple):
    """A level that has a memory.high."""

    directory: str
    limit_bytes: int | None


class Slowdown(NamedTuple):
    """What has slowed the server down between two readings."""

    seconds: float
    high_events: int
    high: High | None
    """The level whose memory.high was exceeded most often."""
    waited: Pressure | None
    """None where the kernel does not tell."""


def slowdown(before: Held, now: Held, highs: tuple[High, ...]) -> Slowdown | None:
    """
    Return what has slowed the server down between two readings; None where that is little.

    *highs* are the levels, as in the readings.
    """
    events = [
        later - earlier for earlier, later in zip(before.high_events, now.high_events, strict=False)
    ]
    most = max(events, default=0)
    waited = None
    seconds = now.at_seconds - before.at_seconds
    if before.pressure and now.pressure:
        waited = Pressure(
            now.pressure.some_seconds - before.pressure.some_seconds,
            now.pressure.full_seconds - before.pressure.full_seconds,
        )
        matters = waited.some_seconds >= WAITED_FRACTION * seconds
    else:
        matters = most >= HIGH_EVENTS
    if not matters:
        return None
    high = highs[events.index(most)] if most > 0 else None
    return Slowdown(seconds, max(most, 0), high, waited)


def render_slowdown(slow: Slowdown) -> str:
    """Return the line of a slowdown: what was short, and for how long."""
    causes = []
    if slow.waited:
        causes.append(
            f"processes waited for memory for {slow.waited.some_seconds:.1f} s, all at once for "
            f"{slow.waited.full_seconds:.1f} s"
        )
    if slow.high:
        limit = "" if slow.high.limit_bytes is None else f" {format_bytes(slow.high.limit_bytes)}"
        causes.append(
            f"memory.high{limit} at {slow.high.directory} was exceeded {slow.high_events} times"
        )
    return (
        f"in the last {slow.seconds:.0f} s memory pressure, not your code, slowed the server down: "
        f"{'; '.join(causes)}"
    )
