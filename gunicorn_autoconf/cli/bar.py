"""How a bar of characters divides into parts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def divide(amounts: Sequence[int], width: int) -> list[int]:
    """
    Return how many of *width* characters each amount takes; together all, each to the nearest.

    >>> divide([1, 1, 2], 8)
    [2, 2, 4]

    Where all amounts are 0, nothing is taken.
    """
    total = sum(amounts)
    if not total:
        return [0] * len(amounts)
    # Each end is rounded, not each length: what one part loses the next gains.
    ends = [(2 * end * width + total) // (2 * total) for end in accumulate(amounts)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
