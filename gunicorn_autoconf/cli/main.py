"""The ``gunicorn-autoconf`` command: the group of `explain`, `size`, `top` and `tune`."""

from __future__ import annotations

from typing import Any

import click

import gunicorn_autoconf
from gunicorn_autoconf.cli.explain.command import explain
from gunicorn_autoconf.cli.size.command import size
from gunicorn_autoconf.cli.top.command import top
from gunicorn_autoconf.cli.tune.command import tune
from gunicorn_autoconf.errors import AutoconfError


class _Group(click.Group):
    """A group whose commands report a wrong declaration in one line, with exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutoconfError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gunicorn_autoconf.__version__, package_name="gunicorn-autoconf")
def main() -> None:
    """Fit Gunicorn to the machine it runs on, and say why."""


main.add_command(explain)
main.add_command(size)
main.add_command(top)
main.add_command(tune)
