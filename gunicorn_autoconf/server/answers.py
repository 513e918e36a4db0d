"""The little HTTP that metrics and health answers need: one GET, one answer, no more. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

# A scraper's head has some 500 bytes.
MAX_HEAD_BYTES = 8192
HEAD_END = b"\r\n\r\n"

TEXT = "text/plain; charset=utf-8"

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]\r\n")
_ACCEPT = re.compile(rb"^accept:[ \t]*([ -~\t]*)\r$", re.IGNORECASE | re.MULTILINE)

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    """A response."""

    status: int
    body: bytes
    content_type: str = TEXT


# Gets the header "Accept".
Route = Callable[[str], Answer]
Routes = Mapping[str, Route]


def route_for(head: bytes, routes: Routes) -> Route:
    """
    Return what answers a request, given its *head* with the empty line at its end.

    A head that is wrong gets an answer that says so.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        return refusal(400, "this is no HTTP/1.1 request")
    method, target = (part.decode("ascii") for part in line.groups())
    if method != "GET":
        return refusal(405, "GET only")
    path = target.partition("?")[0]
    route = routes.get(path)
    return route or refusal(404, f"see {', '.join(sorted(routes))}")


def accept_of(head: bytes) -> str:
    """Return the header "Accept" of a request; empty where there is none."""
    found = _ACCEPT.search(head)
    return found[1].decode("ascii") if found else ""


def refusal(status: int, text: str) -> Route:
    """Return what answers *status*."""
    return lambda _accept: Answer(status, text.encode() + b"\n")


TOO_LONG = refusal(431, f"a head has at most {MAX_HEAD_BYTES} bytes")
FAILED = refusal(500, "see the log of the server")


def render_answer(answer: Answer) -> bytes:
    """Return the bytes of *answer*, the last on its connection."""
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if answer.status == 405:
        lines.append("Allow: GET")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + answer.body
