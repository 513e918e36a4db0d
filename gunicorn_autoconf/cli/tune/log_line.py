"""The line of a server's log that says why it did not start. Pure."""

from __future__ import annotations

import re

# What Python prints at the end of a traceback, and Gunicorn in place of one.
_ERROR = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b.*|Error: .+)")
_GUNICORN = re.compile(r"^\[.+?\] \[\d+\] \[(?:ERROR|CRITICAL)\] (.+)")
_MOST = 160


def reason_in(log: str) -> str:
    r"""
    Return the last line in *log* that names an error, or else its last line.

    >>> reason_in('Traceback (most recent call last):\n  x\nKeyError: "SECRET"\n[1] [INFO] bye')
    'KeyError: "SECRET"'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    told = [found[1] for line in lines if (found := _GUNICORN.match(line))]
    text = (named or told or lines or [""])[-1]
    return text if len(text) <= _MOST else text[: _MOST - 1] + "…"
