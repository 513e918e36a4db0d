"""A helper: a child process of a worker or of the arbiter, or one of theirs. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Helper(NamedTuple):
    """A process that an application has started."""

    pid: int
    name: str
    worker: int | None
    """The worker that it descends from; None for the arbiter's own."""
    rss_bytes: int
    """What it used when it was last seen."""
