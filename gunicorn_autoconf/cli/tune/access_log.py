"""Requests from an access log, in the common or the combined format. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from gunicorn_autoconf.cli.tune.request import SAFE_METHODS, Request

# Gunicorn's default is the combined format, nginx's "combined" is the same. What may stand before
# the client's address, such as a virtual host, is skipped.
# Source: httpd.apache.org/docs/2.4/logs.html; gunicorn/config.py, AccessLogFormat.
_LINE = re.compile(
    r'.*?\[[^\]]{0,64}\] "(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[\d.]+" (?P<status>\d{3}) '
)
# The most common requests; a log of searches has as many as lines.
MOST_KINDS = 500
# A line that is longer is no request that a server takes.
_MOST_CHARACTERS = 16_384


class Logged(NamedTuple):
    """
    What a log holds.

    Attributes:
        requests: The kinds of requests, with how often each was there as its weight.
        unread: How many lines are in no known format.
        unsafe: How many requests were left out because their method may change something.
        failed: How many were left out because they were answered with an error.
        rare: How many were left out because they were not among the most common kinds.
    """

    requests: tuple[Request, ...]
    lines: int
    unread: int
    unsafe: int
    failed: int
    rare: int


def read_log(lines: Iterable[str], *, is_unsafe_wanted: bool = False) -> Logged:
    """
    Return the requests in *lines* that were answered below 400.

    >>> line = '1.2.3.4 - - [27/Nov/2026:06:00:00 +0000] "GET /a?b=1 HTTP/1.1" 200 5'
    >>> read_log([line]).requests[0].target
    '/a?b=1'
    """
    kinds: Counter[tuple[str, str]] = Counter()
    count = unread = unsafe = failed = 0
    for line in lines:
        if not line.strip():
            continue
        count += 1
        found = _LINE.match(line[:_MOST_CHARACTERS])
        target = found and _target(found["target"])
        if not found or not target:
            unread += 1
        elif found["method"] not in SAFE_METHODS and not is_unsafe_wanted:
            unsafe += 1
        elif int(found["status"]) >= 400:
            failed += 1
        else:
            kinds[found["method"], target] += 1
    most = kinds.most_common(MOST_KINDS)
    requests = tuple(
        Request(method=method, target=target, weight=weight) for (method, target), weight in most
    )
    rare = kinds.total() - sum(weight for _, weight in most)
    return Logged(requests, count, unread, unsafe, failed, rare)


def _target(text: str) -> str | None:
    """Return the path and the query of a request's target; None where it has none."""
    text = re.sub(r"^https?://[^/]*", "", text)
    return text if text.startswith("/") else None
