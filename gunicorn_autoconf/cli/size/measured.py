"""
What a running server has measured of its requests, as ``size`` needs it. Pure.

What holds no such measurement, or too small a one, raises `NotMeasuredError`.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from gunicorn_autoconf.units import MIB, write_bytes

# Of Prometheus' text: a name, labels perhaps, a value. Source: Prometheus, "Exposition formats".
_SAMPLE = re.compile(r"(gunicorn_\w+)(?:\{[^}]*\})?\s+(\S+)(?:\s+\S+)?", re.ASCII)
_REQUESTS = "gunicorn_requests_total"
_SLOT_SECONDS = "gunicorn_request_seconds_total"
_CPU_SECONDS = "gunicorn_cpu_seconds_total"
_NEEDED = (_REQUESTS, _SLOT_SECONDS, _CPU_SECONDS)


class NotMeasuredError(Exception):
    """What was given holds no such measurement; the text says what is wrong with it."""


class Measured(NamedTuple):
    """What is known of the requests of a server."""

    latency_seconds: float
    compute_seconds: float
    rate: float | None = None
    """Requests per second; None where one moment is all there is."""
    interface: str | None = None
    worker_bytes: int | None = None
    """The memory of a worker at work."""

    @property
    def options(self) -> dict[str, str | None]:
        """The same as a user would type it."""
        # A request cannot compute for longer than it takes; two clocks may say so.
        compute_seconds = min(self.compute_seconds, self.latency_seconds)
        return {
            "rate": None if self.rate is None else f"{self.rate:.6f}",
            "latency": f"{self.latency_seconds * 1e3:.6f}ms",
            "compute": f"{compute_seconds * 1e3:.6f}ms",
            "interface": self.interface,
            "worker_memory": None if self.worker_bytes is None else write_bytes(self.worker_bytes),
        }


def measured_by(status: Mapping[str, Any]) -> Measured:
    """Return what a server has measured, from its status."""
    try:
        load, request, memory = status["load"], status["request"], status["memory"]
        if not load or not load["requests"]:
            raise NotMeasuredError("no request was answered in the last minute: ask under load")
        # One that meets no other takes as long as it takes; the others may have waited for it.
        each = request or load
        workers = (memory or {}).get("workers")
        used_bytes = memory["pss_bytes"] / workers if workers else None
        return _checked(
            Measured(
                latency_seconds=float(each["request_seconds"]),
                compute_seconds=float(each["computing_seconds"]),
                rate=float(load["requests_per_second"]),
                interface=status["interface"],
                worker_bytes=None if not used_bytes else math.ceil(used_bytes / MIB) * MIB,
            )
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotMeasuredError(f"its status cannot be read: {error}") from None


def measured_between(before: str, after: str, seconds: float) -> Measured:
    """Return what happened between two texts in Prometheus' format."""
    first, last = _totals(before), _totals(after)
    did = {name: last[name] - first[name] for name in _NEEDED}
    if not did[_REQUESTS] > 0:
        raise NotMeasuredError(f"no request was answered in {seconds:.0f} s: ask under load")
    measured = _each(did)
    return _checked(measured._replace(rate=did[_REQUESTS] / seconds))


def measured_until(text: str) -> Measured:
    """
    Return what happened since the start, from one text in Prometheus' format.

    The CPU time counts the start of the workers, too, which matters less the more requests follow.
    """
    totals = _totals(text)
    if not totals[_REQUESTS] > 0:
        raise NotMeasuredError("no request was answered yet")
    return _checked(_each(totals))


def parse_document(text: str) -> Measured:
    """Return what ``explain --pid --json`` or ``top --json`` has printed, or Prometheus' text."""
    if not text.lstrip().startswith("{"):
        return measured_until(text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise NotMeasuredError("it begins like JSON and is none") from None
    status = document.get("status", document)
    if status is None:
        raise NotMeasuredError("the server told nothing of its requests")
    return measured_by(status)


def _each(did: Mapping[str, float]) -> Measured:
    requests = did[_REQUESTS]
    return Measured(did[_SLOT_SECONDS] / requests, did[_CPU_SECONDS] / requests)


def _totals(text: str) -> Mapping[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        sample = _SAMPLE.fullmatch(line.strip())
        if sample and sample[1] in _NEEDED:
            try:
                totals[sample[1]] += float(sample[2])
            except ValueError:
                raise NotMeasuredError(f"{sample[1]} is no number") from None
    for name in _NEEDED:
        if name not in totals:
            raise NotMeasuredError(f"it holds no {name}")
    return totals


def _checked(measured: Measured) -> Measured:
    for seconds in (measured.latency_seconds, measured.compute_seconds):
        if not 0 <= seconds < math.inf:
            raise NotMeasuredError("it holds a time that is no number from 0 on")
    # The kernel counts CPU time in ticks of 10 ms: a few short requests use none that it shows.
    if not (measured.latency_seconds and measured.compute_seconds):
        raise NotMeasuredError("too few requests to tell how long each computes: ask under load")
    return measured
