"""Whether Python runs without the GIL. Asks the interpreter.

A free-threaded build of Python runs without the GIL until it imports an extension that does not
say that it can do so, too. Then it turns the GIL on, for good, and warns with the name of the
module. ``PYTHON_GIL=0`` or ``-X gil=0`` keep it off whatever is imported.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple


class Gil(NamedTuple):
    """What this interpreter does about the GIL."""

    is_on: bool = True
    """The GIL is on now."""
    is_kept_off: bool = False
    """``PYTHON_GIL=0`` or ``-X gil=0`` is set."""

    @property
    def stays_off(self) -> bool:
        """Whether it is off, and no import turns it on."""
        return self.is_kept_off and not self.is_on


def read_gil() -> Gil:
    """Return what the running interpreter does."""
    is_enabled: Any = getattr(sys, "_is_gil_enabled", lambda: True)  # Python 3.13 and later.
    return Gil(is_on=is_enabled(), is_kept_off=getattr(sys.flags, "gil", None) == 0)
