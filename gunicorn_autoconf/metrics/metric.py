"""What a metric is: its name, its type and its labels, and what it is read from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.metrics.snapshot import Snapshot

PREFIX = "gunicorn_"


class Distribution(NamedTuple):
    """How many were how large, and all of them together."""

    counts: tuple[tuple[float, int], ...]
    """An upper bound, the last one infinite, and how many were no larger."""
    total: float


# The values of the labels, in the order of the row's, and the number.
Value = tuple[tuple[str, ...], float | Distribution]


class Kind(Enum):
    """What Prometheus makes of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """
    One row of the table.

    Attributes:
        name: The name without its prefix.
        meaning: What it counts or measures, one sentence.
        read: Returns its values; none where they are not known.
    """

    name: str
    kind: Kind
    meaning: str
    read: Callable[[Snapshot], Iterable[Value]]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as Prometheus has it."""
        return PREFIX + self.name

    @property
    def series(self) -> dict[str, tuple[str, ...]]:
        """The labels of each series that a scrape has of it, by the name."""
        if self.kind is not Kind.HISTOGRAM:
            return {self.full_name: self.labels}
        kinds = {"_bucket": (*self.labels, "le"), "_count": self.labels, "_sum": self.labels}
        return {self.full_name + kind: labels for kind, labels in kinds.items()}
