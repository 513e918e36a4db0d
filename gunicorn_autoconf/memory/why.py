"""Why the guard acts, in numbers; `memory/lines.py` puts them into words. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Needs(NamedTuple):
    """Workers need so much each, for which so many are planned."""

    size_bytes: int
    planned: int


class Room(NamedTuple):
    """Workers need no more than this each, so more are planned."""

    size_bytes: int
    planned: int


class NoWorkYet(NamedTuple):
    """Workers have not answered requests yet; for the first guess so many are planned."""

    planned: int


class Crowded(NamedTuple):
    """The memory is gone, and others use much of it."""

    headroom_bytes: int
    limit_bytes: int
    others_bytes: int
    planned: int


class TooMany(NamedTuple):
    """OOM kills have shown that a count is too high, for one of three reasons."""

    fits: int
    """The count to go down to."""
    grown: tuple[int, int] | None = None
    """A kill followed the growth from the first count to the second."""
    seconds: float | None = None
    """Two kills came within this time. Where neither is set, others took the memory."""


class GrowsBack(NamedTuple):
    """Recycling does not help: replacements grow to this size again."""

    size_bytes: int
    planned: int | None = None
    """So many workers are planned for this size; None where a worker is kept instead."""


class Leak(NamedTuple):
    """A worker grows while the memory runs out."""

    headroom_bytes: int
    limit_bytes: int
    left_seconds: float | None
    """When the memory will be gone; None where it does not shrink."""
    uss_bytes: int
    boot_uss_bytes: int
    helper_bytes: int | None
    """What its child processes use; None where it has none."""


Why = Needs | Room | NoWorkYet | Crowded | TooMany | GrowsBack | Leak
