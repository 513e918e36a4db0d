"""What the operator runs now: a command line of Gunicorn, taken apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from gunicorn_autoconf.cli.top.arbiters import is_gunicorn

_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """
    A command that runs Gunicorn.

    Attributes:
        environ: The variables before it.
        arguments: What comes after ``gunicorn``.
    """

    environ: Mapping[str, str]
    arguments: tuple[str, ...]


def parse_command(text: str) -> Command:
    """
    Return the parts of *text*.

    >>> parse_command("A=1 python -m gunicorn -w 4 app:app").arguments
    ('-w', '4', 'app:app')

    Raises:
        ValueError: It does not run Gunicorn.
    """
    words = shlex.split(text)
    environ = {}
    while words and (found := _VARIABLE.fullmatch(words[0])):
        environ[found[1]] = found[2]
        del words[0]
    for end in range(1, len(words) + 1):
        if is_gunicorn(words[:end]):
            return Command(environ=environ, arguments=tuple(words[end:]))
    raise ValueError
