"""What is asked, from the options. Reads the files that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gunicorn_autoconf.cli.tune.request import (
    ALLOWED,
    SAFE_METHODS,
    Request,
    parse_header,
    parse_request,
)
from gunicorn_autoconf.errors import AutoconfError, DeclarationError

# A file of URLs, a body.
_MOST_BYTES = 64 * 1024 * 1024


def read_file(option: str, path: str) -> bytes:
    """
    Return what is in the file *path*.

    Raises:
        AutoconfError: It cannot be read, or is too large; *option* has named it.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AutoconfError(f"{option}={path!r}: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise AutoconfError(f"{option}={path!r}: more than {_MOST_BYTES // 2**20} MiB")
    return content


def requests_of(
    urls: Sequence[str],
    url_files: Sequence[str],
    headers: Sequence[str],
    host: str | None,
) -> list[Request]:
    """
    Return the requests of all options; ``GET /`` where they name none.

    Raises:
        AutoconfError: One cannot be understood, or a file cannot be read.
    """
    texts = [("--url", text) for text in urls]
    for path in url_files:
        lines = read_file("--urls", path).decode("utf-8", "replace").splitlines()
        texts += [(f"--urls={path!r}", line) for line in lines if line.strip(" #\t")]
    requests = [request_of(option, text) for option, text in texts] or [Request()]
    more = tuple(header_of(text) for text in headers)
    if host:
        more = (("Host", host), *more)
    return [_with(request, more) for request in requests]


def request_of(option: str, text: str) -> Request:
    """Return the request that *text* describes; raise DeclarationError where it describes none."""
    try:
        return parse_request(text, lambda path: read_file(option, path))
    except ValueError as error:
        raise DeclarationError(option, text, f"use {ALLOWED}") from error


def header_of(text: str) -> tuple[str, str]:
    """Return the header that *text* is; raise DeclarationError where it is none."""
    try:
        return parse_header(text)
    except ValueError as error:
        raise DeclarationError("--header", text, "use 'Name: value'") from error


def _with(request: Request, headers: tuple[tuple[str, str], ...]) -> Request:
    """Return *request* with *headers*, which replace those of the same name."""
    replaced = {name.lower() for name, _ in headers}
    kept = tuple(row for row in request.headers if row[0].lower() not in replaced)
    return replace(request, headers=(*kept, *headers))


__all__ = ["SAFE_METHODS", "header_of", "read_file", "request_of", "requests_of"]
