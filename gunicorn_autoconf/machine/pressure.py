"""For how long processes have waited for memory, from the text of ``memory.pressure``. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.kernel_files import split_lines


class Pressure(NamedTuple):
    """For how long processes of a cgroup have waited for memory, since it was made."""

    some_seconds: float
    """At least one of them."""
    full_seconds: float
    """All of them at once: nothing was done."""


def parse_pressure(text: str) -> Pressure:
    r"""
    Return how long processes have waited.

    *text* is a whole ``memory.pressure`` file.

    >>> parse_pressure("some avg10=1.5 avg60=0 avg300=0 total=2500000\nfull avg10=0 total=500000")
    Pressure(some_seconds=2.5, full_seconds=0.5)

    Raises:
        MalformedFileError: A line has no total in microseconds.

    Source:
        Linux, accounting/psi.rst.
    """
    totals = {}
    for line in split_lines(text):
        kind, _, rest = line.partition(" ")
        total = rest.rpartition("total=")[2]
        if not (total.isascii() and total.isdigit()):
            raise MalformedFileError("a line with its total in microseconds", text)
        totals[kind] = int(total) / 1e6
    return Pressure(totals.get("some", 0.0), totals.get("full", 0.0))
