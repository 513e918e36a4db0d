"""
What requests are made of: how long one takes, computes and blocks a loop, as measured. Pure.

Theory of operation. `Evidence` sums up the loads of the last minutes, a part at a time; only the
supervisor's thread uses it, and a reload throws it away. The computing time of a request holds at
any load. How long one takes, and keeps a loop busy, is known less the time for which it waited for
others. For a core: that is measured, and says how crowded the machine is. For the other requests of
its process, as one at a time can compute: that follows from how busy the process is, by the queue
M/M/1. Where it comes to more than half of the whole, the part counts for the computing time only.

A clock of each thread's CPU time would not help: computing time is known as it is, and to read that
clock twice takes 0.9 to 8 us.

The sums are halved every few minutes once they rest on enough requests, so they follow what
requests become.
"""

from __future__ import annotations

from dataclasses import dataclass

from gunicorn_autoconf.load.capacity import SLOTS_FRACTION, Load

# On fewer requests nothing is said.
LEAST_REQUESTS = 1000
# What requests wait for each other, as a share of the time that they take. Those that only compute
# reach it in a process that is busy for half of the time.
MET_FRACTION = 0.5
# What is busier than this is full: there a queue is as long as chance and the clients have it.
FULL_FRACTION = 0.8
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
            busy_seconds = load.loop_fraction * load.workers * load.seconds
            self._loop_seconds += max(busy_seconds, load.requests * computing)
        # Beside a loop a request waits for a thread; without one it begins when it has one.
        if load.loop_fraction is not None and load.pool_fraction >= SLOTS_FRACTION:
            self._full += load.requests
            self._full_seconds += load.seconds
            return
        met_seconds = _met_seconds(load, computing)
        if met_seconds <= whole * MET_FRACTION:
            alone_seconds = max(whole - (load.delay_seconds or 0.0) - met_seconds, computing)
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


def _met_seconds(load: Load, computing: float) -> float:
    """
    Return how long a request waited for others of its process to compute.

    One that computes and waits for a core keeps the others from computing as well. How long
    processes wait for cores is measured; where the kernel does not tell, they wait as these are
    busy. A request cannot wait for more of the others than there were.
    """
    turn_seconds, busy = computing + (load.delay_seconds or 0.0), load.held_fraction
    is_full = max(busy, load.cores_fraction) > FULL_FRACTION
    if load.delay_seconds is None:
        busy = max(busy, load.cores_fraction)
    others = max((load.concurrency or 1.0) - 1.0, 0.0)
    return turn_seconds * (others if is_full else min(busy / (1.0 - busy), others))
