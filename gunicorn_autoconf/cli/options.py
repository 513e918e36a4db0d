"""Options from tables: one for each variable that the environment would declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from gunicorn_autoconf.plan.variables import VARIABLES, Variable

Command = Callable[..., Any]


def option_for_each(rows: Sequence[Variable]) -> Callable[[Command], Command]:
    """Return what gives a command an option for each of *rows*, as keywords of the row's name."""

    def decorate(command: Command) -> Command:
        for row in reversed(rows):  # click shows first what was added last.
            flag = "--" + row.keyword.replace("_", "-")
            text = f"{row.meaning}: {row.allowed} [{row.default}]"
            command = click.option(flag, row.keyword, metavar="VALUE", help=text)(command)
        return command

    return decorate


declaring = option_for_each(VARIABLES)


def by_flag(options: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what `option_for_each` gave, by the option as its user wrote it."""
    return {"--" + keyword.replace("_", "-"): value for keyword, value in options.items()}


def declared_texts(options: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
    """Return each declared variable with the text that was given, by an option or in *environ*."""
    texts = {
        variable.name: (options.get(variable.keyword) or environ.get(variable.name, "")).strip()
        for variable in VARIABLES
    }
    return {name: text for name, text in texts.items() if text}
