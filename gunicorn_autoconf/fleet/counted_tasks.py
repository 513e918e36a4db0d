"""The set of a worker's requests on uvicorn's event loop, which counts them. Reads a clock.

Writes the worker's slot of the shared page.

Theory of operation. uvicorn keeps the task of each request in a set, from the parsed head until it
is done: it adds the task when it makes it and discards it in a callback. `CountedTasks` stands in
that set's place. Most of what happens to it is done by `set` itself, as a call of a Python function
costs a thousandth of a request. It is in one of three states, and its attribute `add` is another
function in each:

- idle, no request runs: the next one stores the time, and that one is started;
- timed, up to `TIMED_REQUESTS` in a sample: each change first sums up the time until then;
- sampled, more than these: `add` is that of `set`, and `discard` only counts.

`_sample` runs some times a second while there are requests, and chooses between the last two. A
busy time begins and ends exactly in all of them. What is estimated in the last is the time of
requests beyond the first: as many as run at a sample are taken to have run in all of the busy time
since the one before that found any.

Requests that are sampled take some 20 us and come one after the other, so each is idle, then busy:
`_short` makes the functions for these two changes. They keep their numbers in variables, which cost
less than attributes, until `_settle` takes them over at the next sample. On the page they store
only since when a request runs, or that none does (`IDLE`): there the sums are up to one sample old,
and as many are in flight as at that sample, or one.

uvicorn takes the `discard` of a task when it makes it, so one may end in another state than it has
begun in. A short one that ends while they are timed is counted as those are, and the end of a timed
one among short ones moves what both count from.

How long a request took is known of each while they are timed. While they are sampled one in each
sample is timed, and stands for all that ended since the one before. It is not the first to begin
after the sample, which would be the first of those that arrive together and waits for none of
them: it is any of as many as were running.

WebSockets are in the same set by `Sockets`, which keeps them out of the sums. Only the thread of
the event loop comes here. The stores are those of `Meter`, in its order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.fleet.counters import (
    BUSY_SECONDS,
    CHANGED_AT_SECONDS,
    DURATIONS_AT,
    EXTRA_SECONDS,
    FINISHED,
    IDLE,
    STARTED,
    WEBSOCKETS,
    duration_of,
)

if TYPE_CHECKING:
    import asyncio

Change = Callable[[Any], None]
"""Takes a task."""

# A sample takes 3 us.
SAMPLE_SECONDS = 0.02
# 1,000 a second. To sum up the time of one request takes 0.2 us, a hundredth of the least that a
# request may take.
TIMED_REQUESTS = 20


class CountedTasks(set[Any]):
    """
    Stands in for uvicorn's set of tasks.

    Args:
        numbers: The region of the worker's slot.
        clock: Seconds that the arbiter's clock shows as well.
    """

    # `add` and `discard` are those of the state.
    __slots__ = (
        "_add_next",
        "_began",
        "_busy_seconds",
        "_changed_at",
        "_clock",
        "_counted",
        "_duration",
        "_extra_seconds",
        "_finished",
        "_first",
        "_is_sampling",
        "_is_timed",
        "_numbers",
        "_sampled",
        "_set_add",
        "_set_discard",
        "_settle",
        "_short_began",
        "_short_begin",
        "_short_discard",
        "_skipped",
        "_sockets",
        "_summed_seconds",
        "add",
        "discard",
    )

    def __init__(self, numbers: memoryview[float], clock: Callable[[], float]) -> None:
        super().__init__()
        self._numbers = numbers
        self._clock = clock
        self._set_add: Change = super().add
        self._set_discard: Change = super().discard
        self._finished = self._sampled = 0.0
        self._busy_seconds = self._summed_seconds = self._extra_seconds = 0.0
        self._changed_at = numbers[CHANGED_AT_SECONDS] = clock()
        self._sockets = 0
        self._is_sampling, self._is_timed = False, True
        self._began: dict[Any, float] = {}
        self._counted = 0.0
        """How many that ended were timed, or one that was timed stands for them."""
        self._duration = DURATIONS_AT
        """Where the last that was timed is counted."""
        self._skipped = 0
        """While they are sampled: how many begin before the one that is timed."""
        self._add_next: Change = self._add_timed
        """What adds a request beside others."""
        self._short_begin, self._short_discard, self._short_began, self._settle = self._short()
        self._first: Change = self._add_first
        """What adds a request where none runs."""
        self.add: Change = self._first
        self.discard: Change = self._discard_timed

    @property
    def are_short(self) -> bool:
        """Whether over 1,000 requests end each second: none can block the loop for long."""
        return not self._is_timed

    def _short(self) -> tuple[Change, Change, Callable[[float], None], Callable[[], None]]:
        """
        Return what counts sampled requests: the beginning and the end.

        And what says since when the set is busy, and what takes over what they have counted.
        """
        numbers, clock, set_add, set_discard = (
            self._numbers,
            self._clock,
            self._set_add,
            self._set_discard,
        )
        ended = busy_seconds = began = 0.0

        def begin(task: Any) -> None:
            nonlocal began
            numbers[CHANGED_AT_SECONDS] = began = clock()
            set_add(task)
            self.add = set_add

        def discard(task: Any) -> None:
            nonlocal ended, busy_seconds
            if self._is_timed:
                self._discard_timed(task)
                return
            set_discard(task)
            ended += 1.0
            if len(self) == self._sockets:
                self.add = self._first
                busy_seconds += clock() - began
                numbers[CHANGED_AT_SECONDS] = IDLE

        def busy_since(seconds: float) -> None:
            nonlocal began
            began = seconds

        def settle() -> None:
            nonlocal ended, busy_seconds
            self._finished += ended
            self._busy_seconds += busy_seconds
            self._changed_at = began
            ended = busy_seconds = 0.0

        return begin, discard, busy_since, settle

    def _begin_next(self, task: asyncio.Task[Any]) -> None:
        """Begin the first busy times after a sample."""
        self._short_begin(task)
        self._numbers[STARTED] = self._finished + 1.0
        if self._add_next is self._set_add:
            self._first = self._short_begin
        else:
            self.add = self._add_next
            self._choose(task)

    def _add_first(self, task: asyncio.Task[Any]) -> None:
        self._numbers[CHANGED_AT_SECONDS] = self._changed_at = self._clock()
        self._set_add(task)
        self.add = self._add_next
        self._began[task] = self._changed_at
        self._numbers[STARTED] = self._finished + 1.0
        if not self._is_sampling:
            self._is_sampling = True
            task.get_loop().call_later(SAMPLE_SECONDS, self._sample, task.get_loop())

    def _add_timed(self, task: asyncio.Task[Any]) -> None:
        self._sum_up()
        self._set_add(task)
        self._began[task] = self._changed_at
        self._numbers[STARTED] = self._finished + (len(self) - self._sockets)

    def _add_chosen(self, task: asyncio.Task[Any]) -> None:
        self._set_add(task)
        self._choose(task)

    def _choose(self, task: asyncio.Task[Any]) -> None:
        """Time *task* where it is its turn."""
        if self._skipped:
            self._skipped -= 1
            return
        self.add = self._add_next = self._set_add
        stands_for, self._counted = self._finished - self._counted, self._finished
        task.add_done_callback(partial(self._chosen_ended, self._clock(), stands_for))

    def _chosen_ended(self, began: float, stands_for: float, _: asyncio.Task[Any]) -> None:
        self._duration = DURATIONS_AT + duration_of(self._clock() - began)
        self._numbers[self._duration] += stands_for

    def _discard_timed(self, task: asyncio.Task[Any]) -> None:
        if len(self) - self._sockets > 1:
            self._sum_up()
        self._set_discard(task)
        self._numbers[FINISHED] = self._finished = self._finished + 1.0
        if len(self) == self._sockets:
            self._end()
            self._summed_seconds = self._busy_seconds  # There was one request in this time.
        if began := self._began.pop(task, None):
            self._duration = DURATIONS_AT + duration_of(self._clock() - began)
            self._counted += 1.0
            self._numbers[self._duration] += 1.0

    def _end(self) -> None:
        self.add = self._first
        self._busy_seconds += self._clock() - self._changed_at
        self._numbers[BUSY_SECONDS] = self._busy_seconds
        self._numbers[CHANGED_AT_SECONDS] = IDLE

    def _sum_up(self) -> None:
        """Add the busy time that is not yet summed up, times the requests that run."""
        self._numbers[CHANGED_AT_SECONDS] = now = self._clock()
        self._busy_seconds += now - self._changed_at
        self._changed_at = now
        self._short_began(now)
        self._numbers[BUSY_SECONDS] = self._busy_seconds
        seconds, self._summed_seconds = (
            self._busy_seconds - self._summed_seconds,
            self._busy_seconds,
        )
        self._extra_seconds += (len(self) - self._sockets - 1) * seconds
        self._numbers[EXTRA_SECONDS] = self._extra_seconds

    def show_ended(self) -> None:
        """Store what has ended since the last sample."""
        if not self._is_timed:
            self._settle()
            self._numbers[BUSY_SECONDS] = self._busy_seconds
            self._numbers[FINISHED] = self._finished

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        numbers = self._numbers
        self.show_ended()
        ended, self._sampled = self._finished - self._sampled, self._finished
        self._is_timed = ended <= TIMED_REQUESTS
        running = len(self) - self._sockets
        if self._is_timed:
            self.discard, self._add_next = self._discard_timed, self._add_timed
            self._first = self._add_first
            if left := self._finished - self._counted:  # The last that were sampled.
                self._counted = self._finished
                numbers[self._duration] += left
        else:
            self.discard, self._add_next = self._short_discard, self._add_chosen
            self._first = self._begin_next
            most = max(min(running, int(ended)), TIMED_REQUESTS)
            self._skipped = random.randrange(most)  # noqa: S311 - no secret
        if running > 0:
            self._sum_up()
        numbers[FINISHED] = self._finished
        numbers[STARTED] = self._finished + running
        self.add = self._add_next if running > 0 else self._first
        self._is_sampling = running > 0 or ended > 0
        if self._is_sampling:
            loop.call_later(SAMPLE_SECONDS, self._sample, loop)

    def add_socket(self, task: asyncio.Task[Any]) -> None:
        """Count a WebSocket that opens; its time is no request's."""
        self._sockets += 1
        self._set_add(task)
        self._numbers[WEBSOCKETS] = self._sockets

    def discard_socket(self, task: asyncio.Task[Any]) -> None:
        """Count a WebSocket that is closed."""
        if task in self:
            self._sockets -= 1
            self._set_discard(task)
            self._numbers[WEBSOCKETS] = self._sockets


class Sockets:
    """What stands in for *tasks* where they are those of WebSockets."""

    def __init__(self, tasks: CountedTasks) -> None:
        self.add = tasks.add_socket
        self.discard = tasks.discard_socket
