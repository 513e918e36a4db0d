"""Carries out the guard's actions by the signals that Gunicorn documents, one action at a time.

Sends signals to the arbiter and to its workers.

Theory of operation. The executor compares what is wanted with what is. `_wanted` is how many
workers there are to be and, while a worker is replaced, who the victim is: as long as it is set,
one spare worker more is wanted. What is: Gunicorn's `num_workers`, its `WORKERS`, and the latest
sample. Nothing else is counted or queued. An operator's signal, a reload, a worker that dies or a
lost signal therefore needs no case of its own: the next comparison finds what is missing.

States:

- *At rest*: `_wanted` is None. Gunicorn's count is right, whatever it is; no signal is sent.
- *Under way*: `_wanted` is set. Each `advance` does the first of these that applies:

  1. A signal is pending: wait for it. Signals of one kind sent at once would melt into one.
  2. `num_workers` differs from the total wanted: send SIGTTIN or SIGTTOU, which is now pending.
  3. There is a victim, and the spare has booted: send the victim SIGTERM.
  4. All workers are there and have booted, and none is about to exit: rest. After a shrink it is
     enough that none is too many: in a loop of OOM kills there is always one that boots.

A signal is pending until `count_changed` reports the change that it makes, until it can change
nothing (Gunicorn never goes below one worker), or until it counts as lost. Gunicorn 23 drops
signals when five are waiting. Any other change of the count was made by an operator: it is added to
what is wanted, and the guard stands down, which means that it resizes no more until a reload.

Threads. `start`, `advance` and `abandon` run in the supervisor's thread; `count_changed`,
`worker_ended` and `reloaded` in the arbiter's main thread. All of them change state only while
they hold the lock. Gunicorn 23 reaps workers in a signal handler, so the main thread may enter
`worker_ended` while it is in another method: hence an RLock, and hence each method leaves a state
that the next `advance` can make good.

What never happens: two of our signals pending at once, a count below one, SIGTERM to a process
that Gunicorn does not list as its worker.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.fleet.sample import Sample
from gunicorn_autoconf.memory.actions import Action, Kind, Stopped
from gunicorn_autoconf.memory.guard import CRITICAL_FRACTION
from gunicorn_autoconf.memory.timing import DEFAULT, Timing

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter


class _Wanted(NamedTuple):
    """What an action is to lead to."""

    workers: int
    """How many workers are to be left when all is done."""
    until_seconds: float
    """When to stop waiting for workers to be added and to boot."""
    victim: int | None = None
    """The worker to replace; until it is gone there is to be one spare more."""
    before: frozenset[int] = frozenset()
    """The workers that are not the spare, as they were there before it."""
    awaits_boots: bool = True
    """Whether all have to have booted; after a shrink it is enough that there is none too many."""
    grows: bool = False
    """Whether more workers are wanted, as long as memory is not low."""

    @property
    def total(self) -> int:
        """How many workers there are to be now."""
        return self.workers + (self.victim is not None)


class _Signal(NamedTuple):
    """A signal to the arbiter that it has not handled yet."""

    change: int
    sent_at_seconds: float


class Executor:
    """What is wanted of one arbiter, and the signal that it has not handled yet."""

    def __init__(
        self,
        server: Arbiter,
        timing: Timing = DEFAULT,
        *,
        kill: Callable[[int, int], None] = os.kill,
    ) -> None:
        """Begin at rest; *kill* sends a signal to a process."""
        self._server = server
        self._patience_seconds = timing.patience_seconds
        self._low_fraction = timing.low_fraction
        self._kill = kill
        self._cfg = server.cfg
        self._lock = threading.RLock()
        self._wanted: _Wanted | None = None
        self._pending: _Signal | None = None
        self._retired: set[int] = set()
        # The same, by when one was gone: its end may be reported after a sample without it.
        self._recycled: dict[int, float] = {}
        # Workers that Gunicorn tells to exit because we lowered its count. Only their name depends
        # on it: an operator who raises the count at once may keep them.
        self._dismissed: set[int] = set()
        # An operator may have changed the count before.
        self.is_stood_down = server.num_workers != server.cfg.workers
        self.stopped: Stopped | None = None  # Where memory has ended the last growth.

    @property
    def is_busy(self) -> bool:
        """Whether an action is under way, or a worker that we told to exit is still there."""
        return self._wanted is not None or bool(self.exiting)

    @property
    def exiting(self) -> frozenset[int]:
        """The workers that we told to exit and that are still there."""
        return frozenset(pid for pid in tuple(self._retired) if pid in self._server.WORKERS)

    # In the supervisor's thread.

    def start(self, action: Action, sample: Sample) -> None:
        """Begin *action*, which was decided by *sample*."""
        with self._lock:
            self.stopped, count = None, self._server.num_workers
            wanted = _Wanted(count, sample.at_seconds + self._patience_seconds)
            if action.kind is Kind.GROW:
                wanted = wanted._replace(workers=count + action.add, grows=True)
            elif action.kind is Kind.SHRINK:
                wanted = wanted._replace(workers=max(count - action.remove, 1), awaits_boots=False)
            elif action.replacement_first:
                before = frozenset(worker.pid for worker in sample.workers)
                wanted = wanted._replace(victim=action.pid, before=before)
            else:
                self._retire(action.pid)
            self._wanted = wanted
        self.advance(sample)

    def advance(self, sample: Sample) -> None:
        """Compare what is wanted with what is, and take the next step."""
        if self._server.cfg is not self._cfg:
            self.reloaded()  # The user's own on_reload replaces ours.
        with self._lock:
            self._forget_gone(sample)
            pending = self._pending
            if pending and sample.at_seconds - pending.sent_at_seconds > self._patience_seconds:
                # Lost. Should it still come, it looks like an operator's, which is safe.
                self._pending = None
            if self._wanted and not self._pending:
                self._wanted = self._next(self._review(self._wanted, sample), sample)

    def abandon(self) -> None:
        """Take back a spare whose victim stays: the victim will not be told to exit."""
        with self._lock:
            wanted = self._wanted
            if wanted is None or wanted.victim in self._retired:
                return  # `worker_ended` lowers the count.
            self._wanted = None
            coming = self._pending.change if self._pending else 0
            if self._server.num_workers + coming > wanted.workers:
                self._signal_arbiter(-1, inf)

    # In the arbiter's main thread.

    def count_changed(self, new: int, old: int | None) -> None:
        """Take note that Gunicorn's count changed; stand down where an operator changed it."""
        with self._lock:
            if old is None or self._server.cfg is not self._cfg:
                return  # A start or a reload, which sets the count anew.
            change = new - old
            if self._pending and self._pending.change == change:
                self._pending = None
                self._dismissed = self._surplus(new)
            elif change:
                self._dismissed = set()
                self.is_stood_down = True
                if self._wanted:
                    self._wanted = self._follow_operator(self._wanted, change)
            self._forget_without_effect(new)

    def worker_ended(self, pid: int) -> Kind | None:
        """
        Return the action by which we told the worker to exit, None where we did not.

        The spare takes a victim's place.
        """
        with self._lock:
            was_ours = None
            if pid in self._recycled:
                was_ours = Kind.RECYCLE
            elif pid in self._dismissed:
                was_ours = Kind.SHRINK
            self._retired.discard(pid)
            self._recycled.pop(pid, None)
            self._dismissed.discard(pid)
            wanted = self._wanted
            if wanted and wanted.victim == pid and self._server.cfg is self._cfg:
                self._wanted = wanted._replace(victim=None)
                # Not where the spare is still to come.
                if self._server.num_workers > wanted.workers:
                    self._lower_count()
        return was_ours

    def reloaded(self) -> None:
        """Forget what was under way: a reload replaces every worker and sets the count."""
        with self._lock:
            self._cfg = self._server.cfg
            self.is_stood_down = False
            self._wanted = None
            count = self._server.num_workers
            self._forget_without_effect(count)
            if self._pending:
                # It will change the new count. There is time for it to come or to be given up, and
                # then as much to make good for it.
                until = self._pending.sent_at_seconds + 2 * self._patience_seconds
                self._wanted = _Wanted(count, until)

    # All below runs under the lock.

    def _review(self, wanted: _Wanted, sample: Sample) -> _Wanted:
        """Give up what has become pointless or has taken too long."""
        if wanted.victim is not None and self._is_gone(wanted.victim, sample):
            # Gunicorn drops a worker that it cannot signal without calling child_exit, so
            # `worker_ended` was not called. Source: gunicorn/arbiter.py, `kill_worker`.
            wanted = wanted._replace(victim=None)
        if sample.at_seconds > wanted.until_seconds and wanted.victim not in self._retired:
            # Workers that are too many are still taken back.
            workers = min(wanted.workers, self._server.num_workers)
            wanted = wanted._replace(workers=workers, victim=None)
        if wanted.grows and sample.headroom_fraction < self._low_fraction:
            # The guard decides anew, and does not wait for workers to boot.
            count = self._server.num_workers
            if count < wanted.workers:
                self.stopped = Stopped(count, wanted.workers)
            wanted = wanted._replace(workers=min(wanted.workers, count), awaits_boots=False)
        return wanted

    def _next(self, wanted: _Wanted, sample: Sample) -> _Wanted | None:
        """Take the next step towards *wanted*; return what is wanted after it."""
        count = self._server.num_workers
        if count != wanted.total:
            # Where the count changed since the sample, `count_changed` may be about to be called.
            if count == sample.target:
                self._signal_arbiter(1 if count < wanted.total else -1, sample.at_seconds)
            return wanted
        if wanted.victim is not None:
            if wanted.victim not in self._retired and _is_replaceable(wanted, sample):
                self._retire(wanted.victim)
            return wanted
        is_late = sample.at_seconds > wanted.until_seconds
        is_there = sample.is_settled if wanted.awaits_boots else len(sample.workers) <= count
        return wanted if self._retired or not (is_there or is_late) else None

    def _follow_operator(self, wanted: _Wanted, change: int) -> _Wanted:
        """Add an operator's *change* to what is wanted."""
        workers = wanted.workers + change
        if workers > 0:
            return wanted._replace(workers=workers)
        # One worker is left, the spare: Gunicorn tells the oldest, the victim, to exit.
        if wanted.victim is not None and wanted.victim in self._server.WORKERS:
            self._retired.add(wanted.victim)
            self._recycled[wanted.victim] = inf
        return wanted._replace(workers=1, victim=None)

    def _surplus(self, count: int) -> set[int]:
        """
        Return the workers that Gunicorn tells to exit next, as there are more than *count*.

        Source:
            gunicorn/arbiter.py, `manage_workers`: the oldest ones.
        """
        by_age = sorted(self._server.WORKERS.items(), key=lambda each: each[1].age)
        return {pid for pid, _ in by_age[: max(len(by_age) - count, 0)]}

    def _is_gone(self, pid: int, sample: Sample) -> bool:
        """Whether a worker ended. One that *sample* has seen may be about to be reported."""
        is_seen = any(worker.pid == pid for worker in sample.workers)
        return pid not in self._server.WORKERS and not is_seen

    def _forget_gone(self, sample: Sample) -> None:
        """Forget retired workers that are gone, and in time that we retired them."""
        for pid in [pid for pid in self._retired if self._is_gone(pid, sample)]:
            self._retired.discard(pid)
            self._recycled[pid] = sample.at_seconds
        for pid, at in [*self._recycled.items()]:
            if sample.at_seconds - at > self._patience_seconds:
                del self._recycled[pid]  # Its end is not reported; the pid may come again.

    def _retire(self, pid: int) -> None:
        """Tell a worker to exit."""
        if pid in self._server.WORKERS:  # Otherwise the pid may be another process's by now.
            self._retired.add(pid)
            self._recycled[pid] = inf
            with suppress(ProcessLookupError):  # It was reaped this very moment.
                self._kill(pid, signal.SIGTERM)

    def _signal_arbiter(self, change: int, now_seconds: float) -> None:
        self._pending = _Signal(change, now_seconds)
        self._kill(self._server.pid, signal.SIGTTIN if change > 0 else signal.SIGTTOU)

    def _lower_count(self) -> None:
        """Lower Gunicorn's count by one, in its main thread, and recognise the change as ours."""
        pending, self._pending = self._pending, _Signal(-1, inf)
        self._server.num_workers -= 1
        self._pending = pending

    def _forget_without_effect(self, count: int) -> None:
        """Stop waiting for a SIGTTOU that changes nothing: Gunicorn keeps one worker."""
        if count <= 1 and self._pending and self._pending.change < 0:
            self._pending = None


def _is_replaceable(wanted: _Wanted, sample: Sample) -> bool:
    """Whether the victim may go: its spare has booted, or memory leaves no time for that."""
    booted = {worker.pid for worker in sample.workers if worker.is_booted}
    return bool(booted - wanted.before) or sample.headroom_fraction < CRITICAL_FRACTION
