"""Carries out the guard's actions by the signals that Gunicorn documents.

Signals the arbiter and its workers. Knows which changes of the worker count are its own.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf._actions import Action, Kind
from gunicorn_autoconf._guard import CRITICAL_FRACTION, Sample

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

# What is not done by then is given up, so that a worker that never boots or never ends does not
# hold up the guard for good.
PATIENCE_SECONDS = 60.0


class _Doing(NamedTuple):
    """An action under way."""

    action: Action
    since_seconds: float
    before: frozenset[int]
    """The workers that were there."""
    to_add: int = 0
    is_victim_told: bool = False


class Hand:
    """
    The one who acts, one action at a time.

    `start`, `advance` and `repay` run in the supervisor's thread, the others in the arbiter's main
    thread, where Gunicorn changes its count.
    """

    def __init__(self, server: Arbiter) -> None:
        self._server = server
        self._cfg = server.cfg
        self._lock = threading.Lock()
        self._doing: _Doing | None = None
        # Signals to ourselves that Gunicorn has not handled yet, as changes of the count.
        self._sent: list[int] = []
        # What signals from before a reload changed or will change, to be taken back.
        self._stale: list[int] = []
        self._owed = 0
        self._surplus: set[int] = set()
        self.retired: set[int] = set()
        self.is_stood_down = False

    @property
    def is_busy(self) -> bool:
        """Whether an action is under way."""
        return self._doing is not None or bool(self._sent) or bool(self._owed)

    def start(self, action: Action, sample: Sample) -> None:
        """Begin *action*."""
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
        self._repay()
        doing = self._doing
        if doing is None:
            return
        if sample.at_seconds - doing.since_seconds > PATIENCE_SECONDS:
            self._give_up(doing)
        elif self._sent:
            return
        elif doing.to_add:
            self._doing = doing._replace(to_add=doing.to_add - 1)
            self._signal_arbiter(+1)  # One by one: signals of one kind melt into each other.
        elif doing.action.kind is Kind.RECYCLE and not doing.is_victim_told:
            booted = {worker.pid for worker in sample.workers if worker.is_booted}
            if booted - doing.before or sample.headroom_fraction < CRITICAL_FRACTION:
                self._retire_surplus(doing.action.pid)
                self._doing = doing._replace(is_victim_told=True)
        elif sample.is_settled and doing.action.pid not in self._server.WORKERS:
            self._doing = None

    def count_changed(self, new: int, old: int | None) -> None:
        """Hear that Gunicorn's count changed, and stand down where that was not our doing."""
        if old is None or self._server.cfg is not self._cfg:
            return  # A start or a reload, which set the count anew.
        change = new - old
        with self._lock:
            if change in self._sent:
                self._sent.remove(change)
            elif change in self._stale:
                self._stale.remove(change)
                self._owed -= change
            elif change:
                self.is_stood_down = True

    def worker_ended(self, pid: int) -> bool:
        """Return whether we retired the worker that ended; keep the count as it was."""
        if pid in self._surplus:
            # Its replacement is there already.
            self._surplus.discard(pid)
            self._sent.append(-1)
            self._server.num_workers -= 1
        was_ours = pid in self.retired
        self.retired.discard(pid)
        return was_ours

    def reloaded(self) -> None:
        """Forget what was under way: a reload replaces every worker and sets the count."""
        with self._lock:
            self._cfg = self._server.cfg
            self._doing = None
            self._surplus.clear()
            # Gunicorn does not go below one worker: what would, changes nothing.
            alone = self._server.num_workers <= 1
            self._stale += [change for change in self._sent if not (alone and change < 0)]
            self._sent = []
            self.is_stood_down = False

    def _repay(self) -> None:
        """Take back what a signal from before a reload did to the count after it."""
        with self._lock:
            owed, self._owed = self._owed, 0
        if owed:
            self._owed = owed - (1 if owed > 0 else -1)
            self._signal_arbiter(1 if owed > 0 else -1)

    def _give_up(self, doing: _Doing) -> None:
        with self._lock:
            # Gunicorn 23 drops a signal when five wait. Should it still come, it is taken for the
            # operator's: that leaves the count alone.
            was_lost, self._sent = bool(self._sent), []
        if not was_lost and doing.action.kind is Kind.RECYCLE and not doing.is_victim_told:
            # The replacement did not boot in time: take it back, the oldest may go in its place.
            self._signal_arbiter(-1)
        self._doing = None

    def _retire_surplus(self, pid: int) -> None:
        """End a worker whose replacement is there; `worker_ended` then lowers the count."""
        self._surplus.add(pid)
        self._retire(pid)
        if pid not in self._server.WORKERS and pid in self._surplus:
            # It ended by itself, and Gunicorn has forked another one in its place.
            self._surplus.discard(pid)
            self._signal_arbiter(-1)

    def _retire(self, pid: int) -> None:
        if pid in self._server.WORKERS:  # Still our child.
            self.retired.add(pid)
            os.kill(pid, signal.SIGTERM)

    def _signal_arbiter(self, change: int) -> None:
        with self._lock:
            self._sent.append(change)
        os.kill(os.getpid(), signal.SIGTTIN if change > 0 else signal.SIGTTOU)
