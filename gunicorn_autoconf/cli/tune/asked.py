"""What is asked, from the options. Reads the files that they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gunicorn_autoconf.cli.options import naming
from gunicorn_autoconf.cli.top.arbiters import is_gunicorn
from gunicorn_autoconf.cli.tune.access_log import Logged, read_log
from gunicorn_autoconf.cli.tune.request import ALLOWED, Request, parse_header, parse_request
from gunicorn_autoconf.errors import AutoconfError, DeclarationError

_Value = TypeVar("_Value")
# A list of URLs, a body: what is larger is none.
_MOST_BYTES = 64 * 1024 * 1024
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """
    What is asked.

    Attributes:
        kinds: Each kind of request, with its weight.
        first: The one that shows that a server is up, and warms it.
        notes: What was left out, one sentence each.
    """

    kinds: Sequence[Request]
    first: Request
    notes: Sequence[str] = ()


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


def read_requests(  # noqa: PLR0913 - one argument for each option
    *,
    urls: Sequence[str] = (),
    url_files: Sequence[str] = (),
    access_logs: Sequence[str] = (),
    is_unsafe_wanted: bool = False,
    headers: Sequence[str] = (),
    host: str | None = None,
    warm_up: str | None = None,
) -> Requests:
    """
    Return the requests that the options name; ``GET /`` where they name none.

    Raises:
        AutoconfError: One cannot be understood, or a file cannot be read.
    """
    texts = [("--url", text) for text in urls]
    for path in url_files:
        lines = _read("--urls", path).decode("utf-8", "replace").splitlines()
        written = [line for line in lines if line.strip() and not line.startswith("#")]
        texts += [("--urls", line) for line in written]
    kinds = [_request(option, text) for option, text in texts]
    notes: list[str] = []
    for path in access_logs:
        logged = _read_log(path, is_unsafe_wanted=is_unsafe_wanted)
        kinds += logged.requests
        notes += _left_out(path, logged)
    fields = tuple(parsed("--header", text, parse_header, "use 'Name: value'") for text in headers)
    if host:
        fields = (("Host", host), *fields)
    kinds = [_with(request, fields) for request in kinds or [Request()]]
    first = _with(_request("--warm-up", warm_up), fields) if warm_up else kinds[0]
    return Requests(kinds=kinds, first=first, notes=notes)


def _read(option: str, path: str) -> bytes:
    with naming(option, path), open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise AutoconfError(f"{option}={path!r}: more than {_MOST_BYTES // 2**20} MiB")
    return content


def _read_log(path: str, *, is_unsafe_wanted: bool) -> Logged:
    # Whatever its size: it is read line by line.
    with naming("--access-log", path), open(path, encoding="utf-8", errors="replace") as lines:
        logged = read_log(lines, is_unsafe_wanted=is_unsafe_wanted)
    if not logged.requests:
        why = "in the common or combined format" if logged.unread == logged.lines else "to repeat"
        remedy = "" if is_unsafe_wanted or not logged.unsafe else "; see --unsafe"
        raise AutoconfError(
            f"--access-log={path!r}: none of its {logged.lines} lines is a request {why}{remedy}"
        )
    return logged


def _left_out(path: str, logged: Logged) -> Iterator[str]:
    parts = {
        "with a method that may change something (see --unsafe)": logged.unsafe,
        "answered with an error": logged.failed,
        "of rare kinds": logged.rare,
        "in no known format": logged.unread,
    }
    told = [f"{count:,} {what}" for what, count in parts.items() if count]
    if told:
        yield f"{path}: left out {', '.join(told)}, of {logged.lines:,} lines"


def _request(option: str, text: str) -> Request:
    read = partial(_read, option)
    return parsed(option, text, lambda text: parse_request(text, read), f"use {ALLOWED}")


def parsed(option: str, text: str, parse: Callable[[str], _Value], remedy: str) -> _Value:
    """Return what *text* means; raise the error that names *option* and *remedy*."""
    try:
        return parse(text)
    except ValueError as error:
        raise DeclarationError(option, text, remedy) from error


def _with(request: Request, headers: tuple[tuple[str, str], ...]) -> Request:
    """Return *request* with *headers*, which replace those of the same name."""
    replaced = {name.lower() for name, _ in headers}
    kept = tuple(row for row in request.headers if row[0].lower() not in replaced)
    return replace(request, headers=(*kept, *headers))
