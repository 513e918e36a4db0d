"""What a running server tells of itself, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.metrics.snapshot import State


class WorkerInside(NamedTuple):
    """One worker, by its slot of the shared page."""

    phase: State
    counters: Counters | None = None
    """What it has done; None where its class does not count, or it has not begun."""
    boot_rss_bytes: int | None = None
    """What it used when it could serve ..."""
    boot_uss_bytes: int | None = None
    """... on its own."""

    @property
    def is_booted(self) -> bool:
        """Whether it can serve, or could."""
        return self.phase is not State.BOOTING


class Inside(NamedTuple):
    """A server as it tells of itself."""

    at_seconds: float
    """When the counters were read, by the monotonic clock."""
    status: Mapping[str, Any]
    """What ``server/status.py`` writes; empty as long as it has not."""
    workers: Mapping[int, WorkerInside]
    """By pid, as we see it."""

    @property
    def slots_per_worker(self) -> int | None:
        """How many requests one worker serves at once; None where nothing bounds them."""
        return self.status.get("slots_per_worker")
