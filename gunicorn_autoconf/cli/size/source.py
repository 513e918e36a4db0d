"""Where ``size --from`` gets its measurement. Reads a running server, a URL or a file."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request

from gunicorn_autoconf.cli.channel import read_status
from gunicorn_autoconf.cli.size.measured import (
    Measured,
    NotMeasuredError,
    measured_between,
    measured_by,
    parse_document,
)
from gunicorn_autoconf.errors import AutoconfError, DeclarationError

OPTION = "--from"
# Between two looks at the same counters, and for how long one may take.
BETWEEN_SECONDS = 10.0
TIMEOUT_SECONDS = 10.0
# A scrape of a server with 100 workers has 40 kB.
MOST_BYTES = 16 * 1024 * 1024


def read_source(name: str) -> tuple[Measured, str]:
    """
    Return what *name* has measured: the pid of an arbiter, a URL or a file.

    The text is of what, as a sentence goes on after "measured".

    Raises:
        AutoconfError: It cannot be read, or holds no measurement.
    """
    try:
        if name.isdecimal():
            status = read_status(int(name), f"{OPTION}={name}")
            measured, seconds = measured_by(status), status["load"]["seconds"]
            return measured, f"in the last {seconds:.0f} s by arbiter {int(name)}"
        if name.startswith(("http://", "https://")):
            before, began = _fetch(name), time.monotonic()
            time.sleep(BETWEEN_SECONDS)
            after, seconds = _fetch(name), time.monotonic() - began
            return measured_between(before, after, seconds), f"in {seconds:.0f} s at {name}"
        with open(name, encoding="utf-8", errors="replace") as file:
            return parse_document(file.read(MOST_BYTES)), f"in {name}"
    except NotMeasuredError as error:
        raise AutoconfError(f"{OPTION}={name!r}: {error}") from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        remedy = (
            f"{reason}; use the pid of an arbiter, a URL such as "
            "http://127.0.0.1:9100/metrics, or a file"
        )
        raise DeclarationError(OPTION, name, remedy) from None


def _fetch(url: str) -> str:
    try:
        # Only http and https come here.
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return bytes(response.read(MOST_BYTES)).decode("utf-8", "replace")
    except (ValueError, http.client.HTTPException) as error:  # A URL, or an answer, that is none.
        raise urllib.error.URLError(str(error)) from None
