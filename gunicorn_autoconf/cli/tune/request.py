"""One kind of request, and how it is written on the command line. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

# Source: RFC 9110, section 9.2.1.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

ALLOWED = "[WEIGHT] [METHOD] /PATH [@FILE], such as '/items?page=2' or '3 POST /orders @order.json'"

_WORDS = re.compile(
    r"(?:(?P<weight>\d+(?:\.\d+)?)\s+)?"
    r"(?:(?P<method>[A-Z]+)\s+)?"
    r"(?:https?://[^/\s]+)?(?P<target>/\S*)"
    r"(?:\s+@(?P<file>.+))?"
)
_TYPES = {
    "json": "application/json",
    "xml": "application/xml",
    "txt": "text/plain",
    "form": "application/x-www-form-urlencoded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One kind of request.

    Attributes:
        target: Path and query, as they are sent.
        weight: How often it is sent, relative to the others.
    """

    method: str = "GET"
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    weight: float = 1.0

    @property
    def label(self) -> str:
        """Method and path; a query may hold what should not be shown."""
        path, query, _ = self.target.partition("?")
        return f"{self.method} {path}{query and '?…'}"


def parse_request(text: str, read_body: Callable[[str], bytes]) -> Request:
    """
    Return the request that *text* describes; *read_body* returns the content of its file.

    >>> parse_request("3 POST /orders", lambda path: b"").label
    'POST /orders'
    >>> parse_request("http://localhost:8000/a?b=1", lambda path: b"").target
    '/a?b=1'

    Raises:
        ValueError: Not of that form.
    """
    found = _WORDS.fullmatch(text.strip())
    if found is None:
        raise ValueError
    weight = float(found["weight"] or 1)
    if not weight > 0:
        raise ValueError
    name = found["file"]
    kind = _TYPES.get(name.rpartition(".")[2].lower()) if name else None
    return Request(
        method=found["method"] or ("POST" if name else "GET"),
        target=found["target"],
        headers=(("Content-Type", kind),) if kind else (),
        body=read_body(name) if name else b"",
        weight=weight,
    )


def parse_header(text: str) -> tuple[str, str]:
    """
    Return name and value of ``Name: value``.

    Raises:
        ValueError: Not of that form.
    """
    found = re.fullmatch(r"([!#$%&'*+.^_`|~\w-]+):[ \t]*([^\r\n]*)", text, re.ASCII)
    if found is None:
        raise ValueError
    return found[1], found[2].strip()
