"""How far a run is: plain lines on standard error."""

from __future__ import annotations

import click

from gunicorn_autoconf.cli.tune.candidate import Candidate
from gunicorn_autoconf.cli.tune.outcome import Failure, Result


class Lines:
    """One line for each block."""

    def begin(self, candidate: Candidate, number: int, done_fraction: float) -> None:
        """Show nothing: the line comes with the result."""

    def end(self, candidate: Candidate, result: Result, score: float | None) -> None:
        """Show what a block came to."""
        if isinstance(result, Failure):
            click.echo(f"{candidate.label}: {result}", err=True)
            return
        click.echo(
            f"{candidate.label}: {score:,.0f}/s within the limit, {result.capacity:,.0f}/s at most,"
            f" {result.seconds:.1f} s",
            err=True,
        )
