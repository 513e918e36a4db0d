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
    from rich.progress import Progress, TaskID

    from gunicorn_autoconf.cli.tune.run import Display


class Lines:
    """One line on standard error for each block."""

    def begin(self, candidate: Candidate, spent_seconds: float, budget_seconds: float) -> None:
        """Show nothing: the line comes with the result."""

    def end(self, candidate: Candidate, result: Result, rate: float | None) -> None:
        """Show what a block came to."""
        click.echo(block_line(candidate, result, rate), err=True)


class Bar:
    """The same lines above a bar that counts the time down. Needs rich."""

    def __init__(self, progress: Progress, budget_seconds: float) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("", total=budget_seconds)

    def begin(self, candidate: Candidate, spent_seconds: float, budget_seconds: float) -> None:
        """Name the candidate on the bar."""
        self._progress.update(
            self._task,
            description=candidate.label,
            total=budget_seconds,
            completed=min(spent_seconds, budget_seconds),
        )

    def end(self, candidate: Candidate, result: Result, rate: float | None) -> None:
        """Show what a block came to."""
        line = block_line(candidate, result, rate)
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def block_line(candidate: Candidate, result: Result, rate: float | None) -> str:
    """Return what one block came to, in a line."""
    if isinstance(result, Failure):
        return f"{candidate.label}: {result}"
    limit = f"{rate:,.4g}/s within the limit" if rate else "no rate within the limit"
    return f"{candidate.label}: {limit}, {result.capacity:,.4g}/s at most"


@contextmanager
def showing(budget_seconds: float) -> Iterator[Display]:
    """Show how far a run of at most *budget_seconds* is, until the end of the block."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from gunicorn_autoconf.cli.tune.countdown import Countdown

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Countdown())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        yield Bar(progress, budget_seconds)
