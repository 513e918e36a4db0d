"""What a worker has done since its fork, as numbers that only grow. Pure."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# Where each number is in the worker's slot of the shared page. The order is part of the promise
# that a reader never sees too much: it copies them in this order, the time of the last change last.
FINISHED = 0
STARTED = 1
WEBSOCKETS = 2
# The time of the requests beyond the first, where several run at once.
EXTRA_SECONDS = 3
BUSY_SECONDS = 4
CHANGED_AT_SECONDS = 5
CPU_SECONDS = 6
QUEUE_SECONDS = 7
QUEUED = 8
REJECTED = 9
LOOP_SECONDS = 10
POOL_SECONDS = 11
# The first of as many numbers as there are `DURATIONS`: the requests that took as long.
DURATIONS_AT = 12

# In the place of the time of the last change: no request runs, whatever was started.
IDLE = -1.0

# The upper bounds by which requests are counted by how long they took. The default of Prometheus'
# own client: client_golang, prometheus/histogram.go, DefBuckets.
DURATIONS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DURATIONS = len(DURATIONS_SECONDS) + 1


class Counters(NamedTuple):
    """
    What one worker, or several together, have done.

    Attributes:
        requests: HTTP requests that are over, however they ended.
        in_flight: Requests and WebSockets that go on now; the one value that also falls.
        busy_seconds: Time with at least one request.
        slot_seconds: The time of every request, summed: two at once for a second are 2.
        cpu_seconds: CPU time of the whole process, the start included.
        queue_seconds: How long requests waited before they reached the worker, summed.
        queued: How many requests *queue_seconds* is of.
        rejected: Requests that were refused unserved.
        loop_seconds: For how long its event loop was found busy: what was ready had to wait.
        pool_seconds: For how long calls were found to wait for a thread of a full pool.
        durations: How many requests took no longer than each of `DURATIONS_SECONDS`, and longer
            than the one before; the last took longer than all. Those that ended this very moment
            may be missing.
    """

    requests: int = 0
    in_flight: int = 0
    busy_seconds: float = 0.0
    slot_seconds: float = 0.0
    cpu_seconds: float = 0.0
    queue_seconds: float = 0.0
    queued: int = 0
    rejected: int = 0
    loop_seconds: float = 0.0
    pool_seconds: float = 0.0
    durations: tuple[int, ...] = (0,) * DURATIONS

    def plus(self, other: Counters) -> Counters:
        """
        Return the sums.

        >>> Counters(requests=3, busy_seconds=0.5).plus(Counters(requests=4)).requests
        7
        """
        return self._with(other, operator.add)

    def minus(self, earlier: Counters) -> Counters:
        """
        Return what was done since *earlier*, and what goes on now.

        >>> Counters(requests=7, busy_seconds=0.5).minus(Counters(requests=4)).requests
        3
        """
        return self._with(earlier, operator.sub)._replace(in_flight=self.in_flight)

    def at_least(self, earlier: Counters) -> Counters:
        """
        Return these where they are more than *earlier*, and *earlier* where not.

        A reader that comes in the middle of a change sees a little too little for a moment.
        """
        return self._with(earlier, max)._replace(in_flight=self.in_flight)

    def _with(self, other: Counters, operation: Callable[[Any, Any], Any]) -> Counters:
        durations = tuple(map(operation, self.durations, other.durations))
        return Counters._make((*map(operation, self[:-1], other[:-1]), durations))


def duration_of(seconds: float) -> int:
    """
    Return which of the durations a request counts for.

    >>> duration_of(0.004), duration_of(0.005), duration_of(0.3), duration_of(60)
    (0, 0, 6, 11)
    """
    return bisect_left(DURATIONS_SECONDS, seconds)


def parse_counters(numbers: Sequence[float], now_seconds: float) -> Counters | None:
    """
    Return the counters that *numbers* hold, the requests that still run counted up to now.

    None where it is not counted: the worker has not loaded its application, or its class is
    unknown.

    Args:
        numbers: The region of a worker's slot, copied.
        now_seconds: The monotonic clock before they were copied.
    """
    changed_at = numbers[CHANGED_AT_SECONDS]
    if not changed_at:
        return None
    is_idle = changed_at == IDLE
    requests = 0 if is_idle else max(int(numbers[STARTED] - numbers[FINISHED]), 0)
    since = max(now_seconds - changed_at, 0.0)
    return Counters(
        requests=int(numbers[FINISHED]),
        in_flight=requests + int(numbers[WEBSOCKETS]),
        busy_seconds=numbers[BUSY_SECONDS] + (since if requests else 0.0),
        slot_seconds=numbers[BUSY_SECONDS] + numbers[EXTRA_SECONDS] + since * requests,
        cpu_seconds=numbers[CPU_SECONDS],
        queue_seconds=numbers[QUEUE_SECONDS],
        queued=int(numbers[QUEUED]),
        rejected=int(numbers[REJECTED]),
        loop_seconds=numbers[LOOP_SECONDS],
        pool_seconds=numbers[POOL_SECONDS],
        durations=tuple(map(int, numbers[DURATIONS_AT : DURATIONS_AT + DURATIONS])),
    )
