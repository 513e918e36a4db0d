"""What the memory guard may do, and what it decides to do. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(str, Enum):
    """What kind of thing the guard decides to do."""

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
    """Recycle: the worker. Keep: the worker that recycling would not help; 0 for none."""
    replacement_first: bool = False
    """Recycle: whether the replacement boots before the worker is told to exit."""


class Permissions(NamedTuple):
    """
    What the guard may do at this time.

    Attributes:
        resizing: Whether it may change the worker count; not after an operator has set it.
        shrinking: Whether the count may come down to the plan for the largest worker. True after a
            start, a reload and a change of the limit, until the count is that plan.
        growing: Whether the count may go up. True from the same moments on, until the count is the
            plan for the smallest worker or the guard has shrunk. After that the count only comes
            down, so that it cannot swing.
        churning: Whether recycles come so often that they do not help.
    """

    resizing: bool = True
    shrinking: bool = True
    growing: bool = True
    churning: bool = False
