"""The order of the workers in the table, and the keys that change it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gunicorn_autoconf.cli.top.view import Row

# Each column to sort by, with the rank of a row in it. The first letter is the key to press.
_RANKS: Mapping[str, Callable[[Row], float]] = {
    "memory": lambda row: -row.now.used_bytes,
    "cpu": lambda row: -(row.cpu_percent or 0.0),
    "busy": lambda row: -(row.work.busy_fraction if row.work else 0.0),
    "served": lambda row: -(row.work.rate if row.work else 0.0),
    "latency": lambda row: -((row.work.request_seconds if row.work else None) or 0.0),
    "growth": lambda row: -(row.growth_bytes or 0),
    "age": lambda row: -row.now.age_seconds,
    "pid": lambda row: row.now.pid,
}


class Order(NamedTuple):
    """The order of the workers: the most of a column first, or the lowest pid, unless reversed."""

    column: str = "memory"
    reverse: bool = False

    def press(self, key: str) -> Order:
        """Return the order after *key* was pressed; unknown keys change nothing."""
        if key == "r":
            return self._replace(reverse=not self.reverse)
        return next((Order(column) for column in _RANKS if column[0] == key), self)

    def apply(self, rows: Iterable[Row]) -> list[Row]:
        """Return *rows* in this order; equal ones are ordered by pid."""
        rank = _RANKS[self.column]
        return sorted(rows, key=lambda row: (rank(row), row.now.pid), reverse=self.reverse)

    @property
    def arrow(self) -> str:
        """Where the values go from top to bottom: up or down."""
        return "▲" if self.reverse is not (self.column == "pid") else "▼"
