"""How far a run is: a bar where rich and a terminal are there, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.outcome import Failure, Result

if TYPE_CHECKING:
    from gunicorn_autoconf.cli.tune.run import Display


def print_line(candidate: Candidate, result: Result | None, rate: float | None) -> None:
    """Print what a block came to on standard error, and nothing when one begins."""
    if result:
        click.echo(block_line(candidate, result, rate), err=True)


def block_line(candidate: Candidate, result: Result, rate: float | None) -> str:
    """Return what one block came to, in a line."""
    if isinstance(result, Failure):
        return f"{candidate.label}: {result}"
    return f"{candidate.label}: {rate:,.4g}/s within the limit, {result.capacity:,.4g}/s at most"


@contextmanager
def showing(budget_seconds: float) -> Iterator[Display]:
    """Show how far a run of at most *budget_seconds* is, until the end of the block."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield print_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Countdown(ProgressColumn):
        """At most so long: a run may end before its time."""

        def render(self, task: Task) -> Text:
            left = max(int(budget_seconds - (task.elapsed or 0.0)), 0)
            return Text(f"at most {left // 60}:{left % 60:02} left")

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Countdown())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        bar = progress.add_task("", total=budget_seconds)

        def show(candidate: Candidate, result: Result | None, rate: float | None) -> None:
            spent_seconds = progress.tasks[0].elapsed or 0.0
            progress.update(bar, description=candidate.label, completed=spent_seconds)
            if result:
                line = block_line(candidate, result, rate)
                console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield show
