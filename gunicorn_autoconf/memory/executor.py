"""Carries out the guard's actions by the signals that Gunicorn documents.

Signals the arbiter and its workers. Knows which changes of the worker count are its own.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.fleet.sample import Sample
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.guard import CRITICAL_FRACTION

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

# What is not done by then is given up, so that a worker that never boots and a signal that is lost
# do not hold up the guard for good. A worker that was told to end is waited for: Gunicorn ends it.
PATIENCE_SECONDS = 60.0


class _Doing(NamedTuple):
    """An action under way."""

    action: Action
    since_seconds: float
    before: frozenset[int]
    """The workers that were there."""
    to_add: int = 0
    is_victim_told: bool = False

    @property
    def has_spare(self) -> bool:
        """Whether there is a replacement, or soon will be, whose victim stays so far."""
        is_recycle = self.action.kind is Kind.RECYCLE
        return is_recycle and not self.is_victim_told and not self.to_add


class Executor:
    """
    The one who acts, one action at a time.

    `start`, `advance` and `abandon` run in the supervisor's thread, the others in the arbiter's
    main thread, where Gunicorn changes its count.
    """

    def __init__(self, server: Arbiter) -> None:
        self._server = server
        self._cfg = server.cfg
        # Gunicorn 23 reaps inside of a signal handler: the main thread may be in here already.
        self._lock = threading.RLock()
        self._now_seconds = 0.0
        self._doing: _Doing | None = None
        # Signals to ourselves that Gunicorn has not handled yet, as changes of the count.
        self._sent: list[int] = []
        self._sent_at_seconds = 0.0
        # What signals from before a reload changed or will change, to be taken back.
        self._stale: list[int] = []
        # By how much the count is to change until it is what it was.
        self._owed = 0
        self._surplus: set[int] = set()
        self.retired: set[int] = set()
        self.is_stood_down = False

    @property
    def is_busy(self) -> bool:
        """Whether an action is under way, or a worker that we told to end is still there."""
        ends = any(pid in self._server.WORKERS for pid in tuple(self.retired))
        return self._doing is not None or bool(self._sent) or bool(self._owed) or ends

    @property
    def exiting(self) -> frozenset[int]:
        """The workers that we told to exit and that are still there."""
        return frozenset(pid for pid in tuple(self.retired) if pid in self._server.WORKERS)

    def start(self, action: Action, sample: Sample) -> None:
        """Begin *action*."""
        self._now_seconds = sample.at_seconds
        before = frozenset(worker.pid for worker in sample.workers)
        doing = _Doing(action, sample.at_seconds, before)
        if action.kind is Kind.GROW:
            doing = doing._replace(to_add=action.add)
        elif action.kind is Kind.SHRINK:
            self._signal_arbiter(-1)
        elif action.replacement_first:
            doing = doing._replace(to_add=1)
        else:
            self._retire(action.pid)
            doing = doing._replace(is_victim_told=True)
        with self._lock:
            self._doing = doing
        self.advance(sample)

    def advance(self, sample: Sample) -> None:
        """Take the next step of the action under way, if it is due."""
        self._now_seconds = sample.at_seconds
        if self._server.cfg is not self._cfg:
            self.reloaded()  # A user's own on_reload stands in the place of ours.
        self._forget_lost()
        doing = self._doing
        if self._sent:
            return  # One by one: signals of one kind melt into each other.
        if self._owed:
            self._repay()
        elif doing is None:
            return
        elif sample.at_seconds - doing.since_seconds > PATIENCE_SECONDS:
            self._give_up(doing)
        elif doing.to_add:
            self._doing = doing._replace(to_add=doing.to_add - 1)
            self._signal_arbiter(+1)
        elif doing.has_spare:
            booted = {worker.pid for worker in sample.workers if worker.is_booted}
            if booted - doing.before or sample.headroom_fraction < CRITICAL_FRACTION:
                self._doing = doing._replace(is_victim_told=True)
                self._retire_surplus(doing.action.pid)
        elif sample.is_settled and doing.action.pid not in self._server.WORKERS:
            self._finish(doing, sample)

    def abandon(self) -> None:
        """Take back a replacement whose victim stays: nobody will come to tell it to end."""
        doing, self._doing = self._doing, None
        if doing and doing.has_spare:
            self._signal_arbiter(-1)

    def count_changed(self, new: int, old: int | None) -> None:
        """Hear that Gunicorn's count changed, and stand down where that was not our doing."""
        if old is None or self._server.cfg is not self._cfg:
            return  # A start or a reload, which set the count anew.
        change = new - old
        with self._lock:
            if change in self._sent:
                self._sent.remove(change)
                if self._owed * change > 0:
                    self._owed -= change
            elif change in self._stale:
                self._stale.remove(change)
                self._owed -= change
            elif change:
                self.is_stood_down = True

    def worker_ended(self, pid: int) -> bool:
        """Return whether we retired the worker that ended; keep the count as it was."""
        with self._lock:
            has_replacement = pid in self._surplus and self._server.cfg is self._cfg
            self._surplus.discard(pid)
            was_ours = pid in self.retired
            self.retired.discard(pid)
            # The operator may have lowered the count meanwhile: Gunicorn itself stops at one.
            if has_replacement and self._server.num_workers > 1:
                self._sent.append(-1)
                self._server.num_workers -= 1
        return was_ours

    def reloaded(self) -> None:
        """Forget what was under way: a reload replaces every worker and sets the count."""
        with self._lock:
            self._cfg = self._server.cfg
            self._doing = None
            self._owed = 0
            self._surplus.clear()
            # Gunicorn does not go below one worker: what would, changes nothing.
            alone = self._server.num_workers <= 1
            self._stale += [change for change in self._sent if not (alone and change < 0)]
            self._sent = []
            self.is_stood_down = False

    def _forget_lost(self) -> None:
        """
        Wait no longer for a signal that Gunicorn has lost: Gunicorn 23 drops it when five wait.

        Should it still come, it is taken for the operator's: that leaves the count alone.
        """
        if self._now_seconds - self._sent_at_seconds <= PATIENCE_SECONDS:
            return
        with self._lock:
            if self._sent:
                self._doing = None
            self._sent = []
            self._stale = []

    def _repay(self) -> None:
        """Bring the count one nearer to what it was, until `count_changed` has heard of it."""
        if self._owed < 0 and self._server.num_workers <= 1:
            self._owed = 0  # The operator was there before us.
        else:
            self._signal_arbiter(1 if self._owed > 0 else -1)

    def _finish(self, doing: _Doing, sample: Sample) -> None:
        """End an action, and lower the count where nobody else will."""
        pid = doing.action.pid
        if any(worker.pid == pid for worker in sample.workers):
            return  # It was there when we looked: `worker_ended` may come yet.
        self._doing = None
        with self._lock:
            # Gunicorn strikes off whom it cannot signal any more, as somebody else has reaped it,
            # and calls no child_exit then. Source: gunicorn/arbiter.py, `kill_worker`.
            if pid in self._surplus:
                self._surplus.discard(pid)
                self._owed -= 1
            self.retired.discard(pid)

    def _give_up(self, doing: _Doing) -> None:
        """Wait no longer for a worker to boot."""
        self._doing = None
        if doing.has_spare:
            with self._lock:
                self._owed -= 1
            self._repay()  # The oldest may go in its place.

    def _retire_surplus(self, pid: int) -> None:
        """End a worker whose replacement is there; `worker_ended` then lowers the count."""
        self._surplus.add(pid)
        self._retire(pid)
        with self._lock:
            if pid not in self._server.WORKERS and pid in self._surplus:
                # It ended by itself, and Gunicorn has forked another one in its place.
                self._surplus.discard(pid)
                self._owed -= 1

    def _retire(self, pid: int) -> None:
        if pid in self._server.WORKERS:  # Still our child.
            self.retired.add(pid)
            with suppress(ProcessLookupError):  # It was reaped this very moment.
                os.kill(pid, signal.SIGTERM)

    def _signal_arbiter(self, change: int) -> None:
        with self._lock:
            self._sent.append(change)
            self._sent_at_seconds = self._now_seconds
        os.kill(os.getpid(), signal.SIGTTIN if change > 0 else signal.SIGTTOU)
