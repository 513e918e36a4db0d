"""
When the load asks for more workers or fewer: the decision of workload ``auto``. Pure.

Theory of operation. `Follow` is asked every few seconds, by the supervisor's thread alone, and a
reload throws it away. It keeps how busy the workers were in the last ten minutes, and its last step
upwards until that is judged. Of these rules the first that applies makes a change, at most one a
minute:

1. A step that did not raise the rate is taken back, and not tried again for an hour.
2. Where all workers are busy while cores are idle, there are to be as many as requests ask for: as
   many as serve those that run and those that wait, or four times as many where it is not known how
   many wait; of event loops, as many as do what is asked of them. Not more than keep all cores
   busy, than eight times the plan, or than fit.
3. Where in ten minutes one worker less would have had work for at most 60 % of its time, there is
   one less, down to the plan.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.fleet.counters import DURATIONS_SECONDS
from gunicorn_autoconf.load.capacity import Bound, Load

CHANGE_SECONDS = 60.0
# So long all workers have to be busy, which is two readings of the counters and more.
BUSY_SECONDS = 9.0
# So long a step waits for the workers to show what they need, where a guess would bound it.
GUESS_SECONDS = 60.0
# With a core in use beyond this share, more workers would take it from those that there are.
IDLE_CORES_FRACTION = 0.70
# Each process may hold a connection to a database, and memory of its own.
MOST_TIMES_PLANNED = 8
UNKNOWN_DEMAND = 4
# With this part of the event loops busy, the next request mostly finds a free one.
BUSY_LOOPS_FRACTION = 0.8
# Where loops are busy for less than this, they do all that is asked, if late. Requests that block
# now and then keep them busy for ten seconds by chance.
FULL_LOOPS_FRACTION = 0.97
RISE_SECONDS = 30.0
# Clients that wait for their answers before they ask again keep the number of requests as it is.
STEADY_FRACTION = 0.25
# Of requests that keep a loop busy for less, one loop more answers 20 and more a second.
LONG_SECONDS = 0.05
# A step is judged by so much time, and has to answer so many more requests.
JUDGE_SECONDS = 30.0
LEAST_RISE = 1.10
HOLD_SECONDS = 3600.0
QUIET_SECONDS = 600.0
QUIET_FRACTION = 0.60


class Cause(str, Enum):
    """Why the count changes."""

    BUSY = "busy"
    QUIET = "quiet"
    IN_VAIN = "in_vain"


class Limits(NamedTuple):
    """Between which counts the load may choose."""

    workers: int
    """How many workers there are to be now."""
    planned: int
    """How many the plan has without any load."""
    most: int
    """How many memory and all bounds allow."""
    is_guess: bool = False
    """Whether that rests on a guess, as workers have not shown yet what they need."""


class Change(NamedTuple):
    """Another count of workers, and why."""

    cause: Cause
    before: int
    workers: int
    planned: int
    load: Load
    rate_before: float = 0.0
    """In vain: the requests a second before the step."""

    @property
    def connections(self) -> int | None:
        """How many connections to a database there may be, one for each request at once."""
        load = self.load
        return None if load.slots is None else load.slots // max(load.workers, 1) * self.workers


class _Step(NamedTuple):
    """A step upwards that is not judged yet."""

    before: int
    rate: float
    settled_at_seconds: float | None = None
    """When its workers had booted."""


class Follow:
    """What the last steps have led to."""

    def __init__(self) -> None:
        self._busy: deque[tuple[float, float]] = deque()
        self._full_since_seconds: float | None = None
        self._step: _Step | None = None
        self._changed_at_seconds = -math.inf
        self._held_until_seconds = -math.inf
        self._held_workers = 0

    def settled_seconds(self, now_seconds: float) -> float | None:
        """Return for how long the workers of a step have run; None where no step is judged."""
        if self._step is None:
            return None
        if self._step.settled_at_seconds is None:
            self._step = self._step._replace(settled_at_seconds=now_seconds)
            return 0.0
        return now_seconds - self._step.settled_at_seconds

    def saw(self, now_seconds: float, lately: Load) -> None:
        """Keep how busy workers were."""
        self._busy.append((now_seconds, lately.busy_workers))
        while self._busy[0][0] < now_seconds - QUIET_SECONDS - CHANGE_SECONDS:
            self._busy.popleft()

    def decide(
        self, now_seconds: float, lately: Load, since_step: Load | None, limits: Limits
    ) -> Change | None:
        """
        Return another count; None where this one is right.

        Args:
            now_seconds: A clock that never jumps; all workers that are to be have booted.
            lately: The load of the last ten seconds.
            since_step: The load since the workers of the last step have booted.
            limits: What the count may be.
        """
        if now_seconds - self._changed_at_seconds < CHANGE_SECONDS:
            return None
        step = self._step
        if step and since_step and since_step.seconds >= JUDGE_SECONDS:
            is_full = since_step.bound_by not in (Bound.NOTHING, Bound.ONE_LOOP)
            if is_full and since_step.rate < step.rate * LEAST_RISE:
                workers = max(step.before, limits.planned)
                if workers < limits.workers:  # Memory may have taken the step back already.
                    return self._change(Cause.IN_VAIN, workers, since_step, limits, step.rate)
            self._step = None
        wanted = self._wanted(now_seconds, lately, limits)
        if wanted > limits.workers:
            return self._change(Cause.BUSY, wanted, lately, limits)
        if limits.workers > limits.planned and self._is_quiet(now_seconds, limits.workers - 1):
            return self._change(Cause.QUIET, limits.workers - 1, lately, limits)
        return None

    def changed(self, now_seconds: float, change: Change) -> None:
        """Note that *change* is made."""
        self._changed_at_seconds = now_seconds
        self._step = None
        if change.cause is Cause.BUSY:
            self._step = _Step(change.before, change.load.rate)
        elif change.cause is Cause.IN_VAIN:
            self._held_until_seconds = now_seconds + HOLD_SECONDS
            self._held_workers = change.workers

    @staticmethod
    def _change(
        cause: Cause, workers: int, load: Load, limits: Limits, rate: float = 0.0
    ) -> Change:
        return Change(cause, limits.workers, workers, limits.planned, load, rate)

    def _wanted(self, now_seconds: float, lately: Load, limits: Limits) -> int:
        """Return how many workers the requests ask for; those there are where they ask for none."""
        is_full = lately.bound_by in (Bound.SLOTS, Bound.LOOP) and lately.seconds >= BUSY_SECONDS
        if not is_full or lately.cores_fraction > IDLE_CORES_FRACTION:
            self._full_since_seconds = None
            return limits.workers
        if self._full_since_seconds is None:
            self._full_since_seconds = now_seconds
        asked = min(demand(lately), most_by_cores(lately), MOST_TIMES_PLANNED * limits.planned)
        if now_seconds < self._held_until_seconds:
            asked = min(asked, self._held_workers)
        full_seconds = now_seconds - self._full_since_seconds
        if limits.is_guess and full_seconds < GUESS_SECONDS and limits.most < asked:
            return limits.workers
        if _are_loops(lately) and full_seconds < RISE_SECONDS and not is_saturated(lately):
            return limits.workers
        return min(asked, limits.most)

    def _is_quiet(self, now_seconds: float, workers: int) -> bool:
        """Whether *workers* would have been enough for ten minutes."""
        if not self._busy or now_seconds - self._busy[0][0] < QUIET_SECONDS:
            return False
        since_seconds = now_seconds - QUIET_SECONDS
        most = max(busy for at, busy in self._busy if at >= since_seconds)
        return most <= workers * QUIET_FRACTION


def demand(load: Load) -> int:
    """Return how many workers serve all requests that run and wait, where all are busy."""
    if _are_loops(load):
        return _loops(load)
    present = load.busy_slots + (load.waiting or 0.0)
    if not load.waiting or load.slots is None:
        return load.workers * UNKNOWN_DEMAND
    return max(math.ceil(present / load.slots * load.workers), load.workers + 1)


def _are_loops(load: Load) -> bool:
    """Whether event loops are too few. So are processes whose threads take turns to compute."""
    return load.loop_fraction is not None and load.bound_by is Bound.LOOP


def _loops(load: Load) -> int:
    """
    Return how many loops do what is asked of those there are.

    Loops go on accepting. What they have accepted waits until they are blocked no more: after each
    block many do, though a loop or two more would be enough.
    """
    if is_saturated(load):
        return max(math.ceil(passing(load) / BUSY_LOOPS_FRACTION), 2 * load.workers)
    # Loops that have time left get to all that is asked. What then comes to stay are streams.
    piled_up = max(load.present[-1] - load.present[0], 0.0) if _are_full(load) else 0.0
    asked = load.busy_workers * (1.0 + piled_up / max(load.requests, 1))
    return max(math.ceil(asked / BUSY_LOOPS_FRACTION), load.workers + 1)


def is_saturated(load: Load) -> bool:
    """
    Whether each request present could do with a loop of its own.

    It blocks for long, loops are full, and nothing piles up: clients wait for their answers.
    """
    blocking_seconds = load.busy_workers * load.seconds / max(load.requests, 1)
    is_steady = max(load.present) - min(load.present) <= STEADY_FRACTION * passing(load)
    return blocking_seconds >= LONG_SECONDS and _are_full(load) and is_steady


def _are_full(load: Load) -> bool:
    return (load.loop_fraction or 0.0) >= FULL_LOOPS_FRACTION


def passing(load: Load) -> float:
    """
    Return how many requests ran and waited at most, without those that stay for more than 10 s.

    A stream is a request, too; it stays, and asks a loop for next to nothing.
    """
    counted = zip(load.durations, DURATIONS_SECONDS, strict=False)
    ended = sum(count * seconds for count, seconds in counted) / load.seconds
    return min(load.busy_slots, ended) + (load.waiting or 0.0)


def most_by_cores(load: Load) -> int:
    """Return how many busy workers use all cores, and one more."""
    cores_each = load.cores_used / load.busy_workers if load.busy_workers else 0.0
    if cores_each <= 0:
        return MOST_TIMES_PLANNED * load.workers
    return math.ceil(load.cores / cores_each) + 1
