"""The options that stand for what the environment would declare: one for each variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from gunicorn_autoconf._environment import VARIABLES


def declaring(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* an option for each variable, as keywords of the variable's own name."""
    for variable in reversed(VARIABLES):  # click shows first what was added last.
        flag = "--" + variable.keyword.replace("_", "-")
        text = f"{variable.meaning}: {variable.allowed} [{variable.default}]"
        command = click.option(flag, variable.keyword, metavar="VALUE", help=text)(command)
    return command


def by_flag(options: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what `declaring` gave, by the option as its user wrote it."""
    return {"--" + keyword.replace("_", "-"): value for keyword, value in options.items()}


def declared_texts(options: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
    """Return each declared variable with the text that was given, by an option or in *environ*."""
    texts = {
        variable.name: (options.get(variable.keyword) or environ.get(variable.name, "")).strip()
        for variable in VARIABLES
    }
    return {name: text for name, text in texts.items() if text}
