"""
What requests are made of: how long one takes, computes and blocks a loop, as measured. Pure.

Theory of operation. `Evidence` sums up the loads of the last minutes, a part at a time; only the
supervisor's thread uses it, and a reload throws it away. The computing time of a request holds at
any load. How long one takes holds only where requests did not wait for each other: alone in their
process, or in a process that was mostly idle. Parts in which they did count for the computing time
only. The time that a worker waited for a core is taken out: it says how crowded the machine is.

The sums are halved every few minutes once they rest on enough requests, so they follow what
requests become.
"""

from __future__ import annotations

from dataclasses import dataclass

from gunicorn_autoconf.load.capacity import SLOTS_FRACTION, Load

# On fewer requests nothing is said.
LEAST_REQUESTS = 1000
# Requests at once in a process that count as alone ...
ALONE = 1.25
# ... unless it computes for less than this share of the time: then they seldom meet.
IDLE_FRACTION = 0.5
HALVE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    A mean request.

    Attributes:
        requests: How many requests this rests on.
        whole_seconds: How long one takes where it meets no other.
        computing_seconds: CPU time for one.
        blocking_seconds: For how long one keeps an event loop busy; None without a loop.
        full_per_second: How many were answered in a second while a thread pool was full; None
            where none was.
    """

    requests: int
    whole_seconds: float
    computing_seconds: float
    blocking_seconds: float | None = None
    full_per_second: float | None = None


class Evidence:
    """The sums over the last minutes."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._requests = self._cpu_seconds = self._loop_seconds = 0.0
        self._alone = self._alone_seconds = 0.0
        self._full = self._full_seconds = 0.0

    def add(self, load: Load) -> None:
        """Take in what happened in the last few seconds."""
        if self._seconds >= HALVE_SECONDS and self._requests >= 4 * LEAST_REQUESTS:
            for name, value in vars(self).items():
                setattr(self, name, value / 2)
        self._seconds += load.seconds
        whole, computing = load.request_seconds, load.computing_seconds
        if whole is None or computing is None:
            return
        self._requests += load.requests
        self._cpu_seconds += load.requests * computing
        if load.loop_fraction is not None:
            self._loop_seconds += load.loop_fraction * load.workers * load.seconds
        if load.pool_fraction >= SLOTS_FRACTION:
            self._full += load.requests
            self._full_seconds += load.seconds
        elif _is_sound(load):
            alone_seconds = max(whole - (load.delay_seconds or 0.0), computing)
            self._alone += load.requests
            self._alone_seconds += load.requests * alone_seconds

    def request(self) -> Request | None:
        """Return the mean request; None as long as too few are known."""
        has_loop = self._loop_seconds > 0
        if self._requests < LEAST_REQUESTS or (self._alone < LEAST_REQUESTS and not has_loop):
            return None
        if not self._cpu_seconds:
            return None  # A sandbox that keeps no CPU times.
        computing = self._cpu_seconds / self._requests
        return Request(
            requests=round(self._requests),
            whole_seconds=self._alone_seconds / self._alone if self._alone else computing,
            computing_seconds=computing,
            blocking_seconds=self._loop_seconds / self._requests if has_loop else None,
            full_per_second=(
                self._full / self._full_seconds if self._full >= LEAST_REQUESTS else None
            ),
        )


def _is_sound(load: Load) -> bool:
    """Whether requests took no longer than each takes by itself."""
    return (load.concurrency or 0.0) <= ALONE or load.process_fraction <= IDLE_FRACTION
