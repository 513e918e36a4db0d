"""A calculation that shows its steps: each number with its formula and its inputs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_UNITS = ("", "_bytes", "_seconds")


class Step(NamedTuple):
    """
    How one number was calculated. A name ends in its unit: ``_bytes`` or ``_seconds``.

    Attributes:
        formula: Over the names of the inputs, without their units.
        why: The reason for the formula, one phrase.
    """

    name: str
    value: float | str
    formula: str
    inputs: Mapping[str, float]
    why: str = ""


class Calculation:
    """The known numbers, and the steps so far. The result of a step is an input of later ones."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._known: dict[str, float] = {}

    def know(self, **numbers: float) -> None:
        """Add *numbers* that are given, by name."""
        self._known |= numbers

    def add(self, name: str, value: float | str, formula: str, why: str = "") -> None:
        """Add a step with the result *value*. Its inputs are the known names in *formula*."""
        self.steps.append(Step(name, value, formula, dict(self._inputs(formula)), why))
        if not isinstance(value, str):
            self._known[name] = value

    def _inputs(self, formula: str) -> Iterator[tuple[str, float]]:
        for word in re.findall("[a-z_]+", formula):
            for name in (word + unit for unit in _UNITS):
                if name in self._known:
                    yield name, self._known[name]
