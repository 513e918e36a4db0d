"""
When the memory will be gone at the present rate. Pure.

A rate is taken over a quarter of the time that it forecasts: one second says nothing of the next
minute. What a boot takes and what an end frees is no rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from gunicorn_autoconf.fleet.sample import Sample

WINDOW_FRACTION = 0.25
# A headroom that lasts longer is not worth a word.
TOLD_SECONDS = 60


def is_short(history: Sequence[Sample], seconds: float) -> bool:
    """Whether the headroom will be gone within so many *seconds*."""
    left = seconds_left(history, seconds * WINDOW_FRACTION)
    return left is not None and left < seconds


def seconds_left(history: Sequence[Sample], window_seconds: float) -> float | None:
    """When the headroom will be gone at the present rate; None where it does not shrink."""
    bytes_a_second = rate(history, window_seconds)
    return history[-1].headroom_bytes / bytes_a_second if bytes_a_second > 0 else None


def rate(history: Sequence[Sample], window_seconds: float) -> float:
    """Bytes a second by which the headroom shrank, over *window_seconds* or the last two samples."""
    now, lost_bytes = history[-1], 0
    at_seconds = now.at_seconds
    for before, after in reversed(list(pairwise(history))):
        if before.limit_bytes != now.limit_bytes or before.at_seconds >= at_seconds:
            break
        if now.at_seconds - at_seconds >= max(window_seconds, 1e-9):
            break
        lost_bytes += _lost_bytes(before, after)
        at_seconds = before.at_seconds
    passed = now.at_seconds - at_seconds
    return lost_bytes / passed if passed > 0 else 0.0


def _lost_bytes(before: Sample, now: Sample) -> int:
    """By how much the headroom shrank, but for what a boot took and an end freed."""
    booted = {worker.pid for worker in before.workers if worker.is_booted}
    earlier = {worker.pid: worker.freed_bytes for worker in before.workers}
    still_there = {worker.pid for worker in now.workers}
    boots = sum(
        max(worker.freed_bytes - earlier.get(worker.pid, 0), 0)
        for worker in now.workers
        if worker.pid not in booted
    )
    freed = sum(size for pid, size in earlier.items() if pid not in still_there)
    return before.headroom_bytes - now.headroom_bytes - boots + freed


def render_left(history: Sequence[Sample]) -> str:
    """Return when the memory will be gone, to be added to a line; empty where it lasts."""
    left = seconds_left(history, 1)
    return f", gone in {max(left, 0):.1f} s" if left is not None and left < TOLD_SECONDS else ""
