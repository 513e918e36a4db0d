"""The ``gunicorn-autoconf`` command: the group of `explain`, `size`, `top` and `tune`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import gunicorn_autoconf
from gunicorn_autoconf.cli.explain.command import explain
from gunicorn_autoconf.cli.size.command import size
from gunicorn_autoconf.cli.top.command import top
from gunicorn_autoconf.cli.tune.command import tune
from gunicorn_autoconf.errors import AutoconfError


class _Group(click.Group):
    """A group whose commands report every error in one line, with exit status 2."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            status = super().main(words, *rest, **{**more, "standalone_mode": False})
            sys.exit(status if isinstance(status, int) else 0)
        except click.Abort:
            sys.exit(130)  # Ctrl-C, as a shell has it.
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "gunicorn-autoconf"
            _fail(f"{error.format_message().rstrip('.')}; see {command} --help")
        except AutoconfError as error:
            _fail(str(error))


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    gunicorn_autoconf.__version__, "-V", "--version", package_name="gunicorn-autoconf"
)
def main() -> None:
    """
    Fit Gunicorn to the machine it runs on and the work it does, and say why.

    \b
    Completion of commands, options and values:
      bash   eval "$(_GUNICORN_AUTOCONF_COMPLETE=bash_source gunicorn-autoconf)"
      zsh    eval "$(_GUNICORN_AUTOCONF_COMPLETE=zsh_source gunicorn-autoconf)"
      fish   _GUNICORN_AUTOCONF_COMPLETE=fish_source gunicorn-autoconf | source
    """


main.add_command(explain)
main.add_command(size)
main.add_command(top)
main.add_command(tune)
