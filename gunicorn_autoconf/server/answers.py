"""What metrics and health requests are answered, in the little HTTP that they need. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from gunicorn_autoconf.metrics.snapshot import State

# A scraper's head has some 500 bytes.
MAX_HEAD_BYTES = 8192
HEAD_END = b"\r\n\r\n"

TEXT = "text/plain; charset=utf-8"

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]\r\n")
_ACCEPT = re.compile(rb"^accept:[ \t]*([ -~\t]*)\r$", re.IGNORECASE | re.MULTILINE)

# With `preload_app` a reload imports the application in the main loop, and imports of 290 s were
# seen. To wait that long costs little: workers go on to serve without the arbiter.
ALIVE_SECONDS = 300.0


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
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if answer.status == 405:
        lines.append("Allow: GET")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + answer.body


def livez(silent_seconds: float, *, is_stopping: bool) -> Answer:
    """
    Answer whether the arbiter's main loop runs, whose last round began so many seconds ago.

    An arbiter that was told to stop only waits for its workers: it begins no more rounds.
    """
    if is_stopping:
        return Answer(200, b"stopping\n")
    if silent_seconds < ALIVE_SECONDS:
        return Answer(200, b"ok\n")
    text = f"the arbiter's main loop has not run for {silent_seconds:.0f} s\n"
    return Answer(503, text.encode())


def readyz(workers: Mapping[State, int], *, is_stopping: bool) -> Answer:
    """Answer whether at least one of the *workers* serves and the server does not stop."""
    if is_stopping:
        return Answer(503, b"stopping\n")
    if workers.get(State.READY):
        return Answer(200, b"ok\n")
    booting, draining = workers.get(State.BOOTING, 0), workers.get(State.DRAINING, 0)
    text = f"no worker is ready: {booting} booting, {draining} draining\n"
    return Answer(503, text.encode())
