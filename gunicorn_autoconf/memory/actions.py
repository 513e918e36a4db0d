"""What the memory guard may do, and what it decides to do. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.memory.why import TooMany, Why


class Kind(str, Enum):
    """What is to be done."""

    KEEP = "keep"
    GROW = "grow"
    SHRINK = "shrink"
    RECYCLE = "recycle"


class Action(NamedTuple):
    """One thing to do, and why."""

    kind: Kind
    why: Why | None = None
    add: int = 0
    """Grow: how many workers to add."""
    remove: int = 1
    """Shrink: how many to retire."""
    pid: int = 0
    """Recycle: which worker. Keep: which one would go if that helped; 0 for none."""
    replacement_first: bool = False
    """Recycle: whether there is room for the replacement beside it."""


class Permissions(NamedTuple):
    """
    What the guard may do at this time.

    Attributes:
        resizing: Whether the count is ours; not after the operator has set it.
        growing: Whether it may go up; not for some time after it went down.
        most: The highest count to grow to; None where nothing has shown that more is too many.
        too_many: Why the count has to come down at once; None where it has not.
        leaking: Whether a worker had to be recycled since the last start or reload.
        churning: Whether recycles come so often that they are in vain.
    """

    resizing: bool = True
    growing: bool = True
    most: int | None = None
    too_many: TooMany | None = None
    leaking: bool = False
    churning: bool = False


class Stopped(NamedTuple):
    """A growth that ended early: how many workers there are, and how many there were to be."""

    workers: int
    wanted_workers: int
