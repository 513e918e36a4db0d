"""Command-line options from tables of variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.plan.variables import VARIABLES, Variable

Command = Callable[..., Any]


def option_for_each(rows: Sequence[Variable]) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for each of *rows*; its keyword is the row's."""

    def decorate(command: Command) -> Command:
        for row in reversed(rows):  # click lists the last one added first.
            flag = "--" + row.keyword.replace("_", "-")
            text = f"{row.meaning}: {row.allowed} [{row.default}]"
            command = click.option(
                flag,
                row.keyword,
                metavar="VALUE",
                help=text,
                shell_complete=_completing(row.choices),
            )(command)
        return command

    return decorate


def _completing(choices: Sequence[str]) -> Callable[..., list[str]]:
    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(begun.lower())]

    return complete


declaring = option_for_each(VARIABLES)


def by_flag(options: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the values of *options* by the option as its user writes it, such as ``--cpus``."""
    return {"--" + keyword.replace("_", "-"): value for keyword, value in options.items()}


def declared_texts(options: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the text of each declared variable, from its option or else from *environ*."""
    texts = {
        variable.name: (options.get(variable.keyword) or environ.get(variable.name, "")).strip()
        for variable in VARIABLES
    }
    return {name: text for name, text in texts.items() if text}


@contextmanager
def naming(option: str, path: str) -> Iterator[None]:
    """Make an AutoconfError that names *option* of an OSError about the file at *path*."""
    try:
        yield
    except OSError as error:
        raise AutoconfError(f"{option}={path!r}: {error.strerror}") from error
