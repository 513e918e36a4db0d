"""
When the memory will be gone at the present rate. Pure.

A rate is taken over a quarter of the time that it forecasts: one second says nothing of the next
minute. Memory used by a boot or freed by an exit does not count as growth.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from gunicorn_autoconf.fleet.sample import Sample

WINDOW_FRACTION = 0.25
BITES_SECONDS = 15.0


def is_short(history: Sequence[Sample], seconds: float) -> bool:
    """Whether the headroom will be gone within so many *seconds*."""
    left = seconds_left(history, seconds * WINDOW_FRACTION)
    return left is not None and left < seconds


def seconds_left(history: Sequence[Sample], window_seconds: float = 0) -> float | None:
    """
    Return when the headroom will be gone; None where it does not shrink.

    By the lower one of two rates: of the last *window_seconds*, and of the last two samples. What
    one request has taken is in the first one for some time, and only once in the second. A leak
    in bites shows in neither: it is what was lost in the last quarter of a minute but for the
    largest bite.
    """
    evenly = min(_rate(history, window_seconds), _rate(history[-2:], 0))
    rate = max(evenly, _rate_of_bites(history))
    return history[-1].headroom_bytes / rate if rate > 0 else None


def loss(history: Sequence[Sample], seconds: float) -> float:
    """Return what will be lost of the headroom in so many *seconds*, in bytes, at least 0."""
    evenly = _rate(history, seconds * WINDOW_FRACTION)
    return max(evenly, _rate_of_bites(history), 0) * seconds


def _rate(history: Sequence[Sample], window_seconds: float) -> float:
    """Bytes a second by which the headroom shrank, over the last two samples or more."""
    now = history[-1]
    lost_bytes, since_seconds = 0, now.at_seconds
    for before, after in reversed(list(pairwise(history))):
        is_enough = since_seconds < now.at_seconds - window_seconds or (
            since_seconds < now.at_seconds and not window_seconds
        )
        if is_enough or before.limit_bytes != now.limit_bytes:
            break
        lost_bytes += _lost_bytes(before, after)
        since_seconds = before.at_seconds
    passed = now.at_seconds - since_seconds
    return lost_bytes / passed if passed > 0 else 0.0


def _rate_of_bites(history: Sequence[Sample]) -> float:
    """Bytes a second by which the headroom shrank, but for the largest loss at one time."""
    now, losses, since_seconds = history[-1], [0], history[-1].at_seconds
    for before, after in reversed(list(pairwise(history))):
        if now.at_seconds - before.at_seconds > BITES_SECONDS:
            break
        if before.limit_bytes != now.limit_bytes:
            break
        losses.append(_lost_bytes(before, after))
        since_seconds = before.at_seconds
    passed = now.at_seconds - since_seconds
    return (sum(losses) - max(losses)) / passed if passed > 0 else 0.0


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
