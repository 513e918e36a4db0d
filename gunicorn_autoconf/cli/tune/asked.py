"""What is asked, from the options. Reads the files that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gunicorn_autoconf.cli.tune.access_log import Logged, read_log
from gunicorn_autoconf.cli.tune.request import ALLOWED, Request, parse_header, parse_request
from gunicorn_autoconf.errors import AutoconfError, DeclarationError

_Value = TypeVar("_Value")
# A list of URLs, a body: what is larger is none.
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """
    Where the requests come from, as the options name it.

    Attributes:
        warm_up: The request that is sent first to each server; empty for the first of the others.
    """

    urls: Sequence[str] = ()
    url_files: Sequence[str] = ()
    access_logs: Sequence[str] = ()
    is_unsafe_wanted: bool = False
    headers: Sequence[str] = ()
    host: str | None = None
    warm_up: str | None = None


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


def read_requests(sources: Sources) -> Requests:
    """
    Return the requests of *sources*; ``GET /`` where they name none.

    Raises:
        AutoconfError: One cannot be understood, or a file cannot be read.
    """
    texts = [("--url", text) for text in sources.urls]
    for path in sources.url_files:
        lines = _read("--urls", path).decode("utf-8", "replace").splitlines()
        written = [line for line in lines if line.strip() and not line.startswith("#")]
        texts += [("--urls", line) for line in written]
    kinds = [_request(option, text) for option, text in texts]
    notes: list[str] = []
    for path in sources.access_logs:
        logged = _read_log(path, sources)
        kinds += logged.requests
        notes += _left_out(path, logged)
    headers = tuple(
        parsed("--header", text, parse_header, "use 'Name: value'") for text in sources.headers
    )
    if sources.host:
        headers = (("Host", sources.host), *headers)
    kinds = [_with(request, headers) for request in kinds or [Request()]]
    first = _with(_request("--warm-up", sources.warm_up), headers) if sources.warm_up else kinds[0]
    return Requests(kinds=kinds, first=first, notes=notes)


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AutoconfError(f"{option}={path!r}: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise AutoconfError(f"{option}={path!r}: more than {_MOST_BYTES // 2**20} MiB")
    return content


def _read_log(path: str, sources: Sources) -> Logged:
    try:
        # Whatever its size: it is read line by line.
        with open(path, encoding="utf-8", errors="replace") as lines:
            logged = read_log(lines, is_unsafe_wanted=sources.is_unsafe_wanted)
    except OSError as error:
        raise AutoconfError(f"--access-log={path!r}: {error.strerror}") from error
    if not logged.requests:
        why = "in the common or combined format" if logged.unread == logged.lines else "to repeat"
        remedy = "" if sources.is_unsafe_wanted or not logged.unsafe else "; see --unsafe"
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
