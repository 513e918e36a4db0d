"""The layout of what the commands print: sections, hanging lines, lists and bars. Uses click."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import click

WIDTH = 80

# Explanations below a line, such as the reasons for a setting, are indented by this much.
INDENT = " " * 6


def echo(text: str) -> None:
    """Print *text*, with colour only on a terminal where NO_COLOR is unset."""
    # Source: no-color.org.
    click.echo(text, nl=False, color=False if os.environ.get("NO_COLOR") else None)


def sections(*parts: tuple[str, Iterable[str]]) -> str:
    """Return each title with its lines below it, separated by empty lines; skip empty parts."""
    blocks = [(title, "\n".join(lines)) for title, lines in parts]
    return "\n".join(f"{click.style(title, bold=True)}\n{body}\n" for title, body in blocks if body)


def hanging(head: str, text: str) -> list[str]:
    """
    Return *head* with *text* to its right, wrapped, or below it where a word is too long for that.

    Words are never cut, so that a path can be copied: one that is wider than the page makes a line
    that is wider than the page.
    """
    longest = max(map(len, text.split()), default=0)
    is_beside = len(head) + longest <= WIDTH
    indent = " " * len(head) if is_beside else INDENT
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    if not is_beside:
        return [head.rstrip(), *lines]
    return [(head + "".join(lines[:1]).lstrip()).rstrip(), *lines[1:]]


def items(texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a list with one item for each of *texts*."""
    for text in texts:
        yield from hanging("  - ", text)


def divide(amounts: Sequence[int], width: int) -> list[int]:
    """
    Return how many of *width* columns each of *amounts* gets; together they get all columns.

    >>> divide([1, 1, 2], 8)
    [2, 2, 4]

    When all amounts are 0, none gets a column.
    """
    total = sum(amounts)
    if not total:
        return [0] * len(amounts)
    # Rounding the ends instead of the lengths keeps the sum exact.
    ends = [(2 * end * width + total) // (2 * total) for end in accumulate(amounts)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
