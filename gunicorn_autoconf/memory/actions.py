"""What the memory guard may do, and what it says is to be done. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(str, Enum):
    """What is to be done."""

    KEEP = "keep"
    GROW = "grow"
    SHRINK = "shrink"
    RECYCLE = "recycle"


class Action(NamedTuple):
    """One thing to do, and why."""

    kind: Kind
    reason: str
    add: int = 0
    """Grow: how many workers to add."""
    pid: int = 0
    """Recycle: which worker. Keep: which one would go if that helped; 0 for none."""
    replacement_first: bool = False
    """Recycle: whether there is room for the replacement beside it."""


class Permissions(NamedTuple):
    """
    What the guard may do at this time.

    Attributes:
        resizing: Whether the count is ours; not after the operator has set it.
        shrinking: Whether the count may come down to the plan for the largest worker: after a
            start, a reload and a change of the limit, until it is there.
        growing: Whether it may go up: until no worker is so small that more are planned, and
            nothing was retired on the way. Later on it only comes down, so that it cannot swing.
        churning: Whether recycles come so often that they help nobody.
    """

    resizing: bool = True
    shrinking: bool = True
    growing: bool = True
    churning: bool = False
