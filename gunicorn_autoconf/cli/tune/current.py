"""What the operator runs now: a command line of Gunicorn, taken apart. Pure."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_PYTHON = re.compile(r"(python|pypy)[\d.]*t?")


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
    if (
        words
        and _PYTHON.fullmatch(posixpath.basename(words[0]))
        and words[1:3] == ["-m", "gunicorn"]
    ):
        return Command(environ=environ, arguments=tuple(words[3:]))
    if words and posixpath.basename(words[0]) == "gunicorn":
        return Command(environ=environ, arguments=tuple(words[1:]))
    raise ValueError
