"""
What a worker answers when the arbiter asks for its stacks: how it is written and read. Pure.

A worker whose interpreter runs writes one line of JSON for each thread. One that is stuck in
native code writes by `faulthandler`, whose text is read here as well. Either may break off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from gunicorn_autoconf.watchdog.stacks import Frame, ThreadStack, trim

# faulthandler's own limit (CPython, Python/traceback.c, MAX_FRAME_DEPTH).
MAX_FRAMES = 100

_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.+)$')
# From Python 3.14 on the name of the thread stands between its id and the rest.
_HEADER = re.compile(
    r"^(?:(?:Current t|T)hread 0x([0-9a-f]+).*|Stack) \(most recent call first\):$"
)
# What is not ASCII is escaped; a backslash of a path itself is not.
_ESCAPED = re.compile(r"\\x[89a-f][0-9a-f]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")


def render_answer(threads: Iterable[ThreadStack]) -> bytes:
    """Return the answer of a worker whose interpreter runs."""
    lines = (
        json.dumps([name, request, [frame[:3] for frame in stack[:MAX_FRAMES]]])
        for name, stack, request in threads
    )
    return "".join(f"{line}\n" for line in lines).encode()


def parse_answer(text: str) -> list[ThreadStack]:
    r"""
    Return the threads that *text* describes, as far as it goes.

    >>> dump = 'Stack (most recent call first):\n  File "/srv/app.py", line 3 in view\n'
    >>> parse_answer(dump)[0].stack[0].place
    '/srv/app.py:3 in view()'
    >>> parse_answer('["main", "GET /", [["/srv/app.py", 3, "view"]]]\n["half')[0].request
    'GET /'
    """
    threads: list[tuple[str, str | None, list[Frame]]] = []
    for line in text.splitlines():
        if line.startswith("["):
            if described := _from_json(line):
                threads.append(described)
        elif header := _HEADER.match(line):
            threads.append((f"0x{header[1]}" if header[1] else "", None, []))
        elif (frame := _FRAME.match(line)) and threads:
            threads[-1][2].append(Frame(_unescape(frame[1]), int(frame[2]), _unescape(frame[3])))
    return [ThreadStack(name, trim(tuple(frames)), request) for name, request, frames in threads]


def _from_json(line: str) -> tuple[str, str | None, list[Frame]] | None:
    try:
        name, request, frames = json.loads(line)
        return name, request, [Frame(*frame) for frame in frames]
    except (TypeError, ValueError):  # cut off
        return None


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(f"0x{found[0][2:]}", 0)), text)
