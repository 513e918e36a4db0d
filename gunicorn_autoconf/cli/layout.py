"""What commands print: sections, hanging lines, lists, bars, JSON, text to paste. Uses click."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import click

WIDTH = 80

# Explanations below a line, such as the reasons for a setting, are indented by this much.
INDENT = " " * 6


def echo(text: str) -> None:
    """Print *text*, with colour on a terminal; NO_COLOR and FORCE_COLOR go before that."""
    click.echo(text, nl=False, color=_wants_colour(os.environ))


def _wants_colour(environ: Mapping[str, str]) -> bool | None:
    # Sources: no-color.org, force-color.org; the first one goes before the second.
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return False if environ.get("TERM") == "dumb" else None


def echo_json(document: object) -> None:
    """Print *document* as JSON."""
    click.echo(json.dumps(document, indent=2))


def echo_to_paste(text: str, notes: Iterable[str]) -> None:
    """Print only *text*, which is to be pasted, to stdout, and the *notes* to stderr."""
    for note in notes:
        click.echo(f"Note: {note}", err=True)
    click.echo(text, nl=False)


def headline(text: str) -> str:
    """Return *text*, the first lines of a report, with an empty line below."""
    return "\n".join(click.style(line, bold=True) for line in hanging("", text)) + "\n\n"


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


def setting(name: str, value: str, reasons: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a setting and, below it, of the *reasons* for its value."""
    for line in hanging(f"  {name} = ", value):
        yield click.style(line, "cyan")
    for reason in reasons:
        yield from hanging(INDENT, reason)


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
