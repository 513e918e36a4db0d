"""The arbiter's thread: sample, log, ask the guard, let the executor act. Reads /proc, logs.

A step that fails is logged and skipped; the next one follows some seconds later.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.fleet.sampler import Sampler
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.host import Host
from gunicorn_autoconf.memory.actions import Kind
from gunicorn_autoconf.memory.ends import Ends
from gunicorn_autoconf.memory.executor import Executor
from gunicorn_autoconf.memory.experience import Experience
from gunicorn_autoconf.memory.guard import decide, next_interval
from gunicorn_autoconf.memory.lines import metrics, render_action, render_memory
from gunicorn_autoconf.memory.plans import budget_beside, plans_for
from gunicorn_autoconf.memory.timing import DEFAULT
from gunicorn_autoconf.plan.bounds import guard_mode
from gunicorn_autoconf.plan.workload import MemoryGuard
from gunicorn_autoconf.units import format_bytes

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.machine.facts import Machine
    from gunicorn_autoconf.memory.oom import OomWatch
    from gunicorn_autoconf.server.planned import Planned

# How long a fork waits for a sample to end; one takes milliseconds.
PAUSE_SECONDS = 1.0

# Two samples running decide; the longest rate is taken over 15 s, at 0.5 s between two samples.
HISTORY = 40
# Until the next step after one that failed: a bad sample does not end the guard.
RETRY_SECONDS = 5.0
# After so many in a row, what the guard has begun is taken back.
MAX_FAILURES = 3


class _CountedHost(Host):
    """A host whose processes of ours were measured already."""

    def __init__(self, own_bytes: int) -> None:
        self._own_bytes = own_bytes

    def own_memory(self, environ: Mapping[str, str]) -> int:
        """Return what was measured."""
        return self._own_bytes


class Supervisor:
    """One arbiter's thread. Held still across every fork, so that none copies it half-way."""

    def __init__(
        self,
        server: Arbiter,
        final: Callable[[], Planned],
        records: WorkerRecords,
        oom: OomWatch,
        replaced: Callable[[], Sequence[str]],
    ) -> None:
        """Take over what is known; *replaced* names our hooks that a user's own have replaced."""
        self._server = server
        self._final = final
        self._records = records
        self._oom = oom
        self._replaced = replaced
        self.memory = final().machine.memory
        self._pid = os.getpid()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_started = False
        self._sampler = Sampler(self._detect)
        self._history: deque[Sample] = deque(maxlen=HISTORY)
        self._experience = Experience()
        # Filled in the main thread, emptied in ours.
        self._killed: deque[WorkerSample | None] = deque()
        self._ends = Ends()
        self._said_replaced: tuple[str, ...] = ()
        self._limit_bytes: int | None = None
        self._began_at = time.monotonic()
        self._logged_at: float | None = None
        self._observed: tuple[Kind, int] | None = None
        self._said_stood_down = False
        self._has_acted = False
        self._due = time.monotonic() + DEFAULT.fastest_seconds
        self._failures = 0
        self._failure = ""
        self.executor = Executor(server)

    def start(self) -> None:
        """Start the thread, once; from here on it pauses for each fork."""
        os.register_at_fork(before=self.pause, after_in_parent=self._resume)
        self._begin()

    def stop(self) -> None:
        """End the thread for good."""
        self.pause()
        self._pid = -1

    def reloaded(self) -> None:
        """Begin anew with what a reload has planned; in the main thread."""
        self.pause()
        self.executor.reloaded()
        self._experience = Experience()
        self._said_stood_down = False
        self._history.clear()
        if self._has_started:
            self._resume()

    def worker_oom_killed(self, last: WorkerSample | None) -> None:
        """Hear of a worker that the kernel killed, and what it used *last*; in the main thread."""
        self._killed.append(last)

    def pause(self) -> None:
        """Wait for the thread to end its step; a fork or `reloaded` starts it again."""
        if os.getpid() == self._pid and self._thread:
            self._stopping.set()
            # Never wait for good: one that is held up ends by itself, another takes its place.
            self._thread.join(PAUSE_SECONDS)
            self._thread = None

    def _resume(self) -> None:
        if os.getpid() == self._pid and self._thread is None:
            self._begin()

    def _begin(self) -> None:
        self._has_started = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping,), name="gunicorn-autoconf", daemon=True
        )
        self._thread.start()

    def _run(self, stopping: threading.Event) -> None:
        # The time that is due outlasts a fork: where forks are many, it comes all the same.
        while not stopping.wait(max(self._due - time.monotonic(), 0)):
            try:
                self._step(stopping)
                seconds = self._interval()
                self._failures = 0
            except Exception as error:
                if self._failure != repr(error):
                    self._server.log.exception(
                        "gunicorn-autoconf: the memory guard failed; it tries again in %d s",
                        RETRY_SECONDS,
                    )
                self._skip(error)
                seconds = RETRY_SECONDS
            if stopping.is_set():
                return  # A sample that was cut short stays due.
            self._due = time.monotonic() + seconds

    def _skip(self, error: Exception) -> None:
        """Go on after a step that failed; after some in a row leave nothing half-done."""
        self._failure = repr(error)
        self._failures += 1
        if self._failures == MAX_FAILURES:
            with suppress(OSError):
                self.executor.abandon()

    def _interval(self) -> float:
        if self.executor.is_busy:
            return 0.1
        history = tuple(self._history)
        if not history:
            return 0.5
        seconds = next_interval(history)
        if self._has_acted:
            # The next step, where there is one, is due as soon as this one is done.
            seconds = min(seconds, DEFAULT.booting_seconds)
        if log_seconds := self._final().declaration.memory_log_interval_seconds:
            seconds = min(seconds, max(log_seconds, DEFAULT.fastest_seconds))
        return seconds

    def _step(self, stopping: threading.Event) -> None:
        server, declaration = self._server, self._final().declaration
        if not server.LISTENERS and not server.cfg.reuse_port:
            return  # The server stops: Gunicorn has closed them, and its workers end.
        forks = self._records.forks(server.WORKERS)
        machine, sample = self._sampler.sample(forks, server.num_workers, declaration.memory_bytes)
        if stopping.is_set() or sample is None:
            return  # A fork did not wait for so slow a sample: another thread goes on.
        self.memory = machine.memory
        self._ends.see(self.executor.exiting, sample.at_seconds)
        sample = sample._replace(end_seconds=self._ends.seconds(sample.at_seconds))
        self._records.seen(sample, forks)
        self._history.append(sample)
        self._log_memory(sample, machine)
        self._log_unclaimed(sample)
        self._has_acted = self.executor.is_busy
        self.executor.advance(sample)
        if not self._has_acted and self.mode is not MemoryGuard.OFF:
            self._say_replaced()
            self._follow_limit(machine)
            self._guard(sample, machine)

    @property
    def mode(self) -> MemoryGuard:
        """What was declared or what suits; to act, we have to hear of each worker and change."""
        wanted = self._wanted_mode
        return MemoryGuard.OBSERVE if wanted is MemoryGuard.ACT and self._replaced() else wanted

    @property
    def _wanted_mode(self) -> MemoryGuard:
        return guard_mode(self._final().machine, self._final().declaration)

    def _say_replaced(self) -> None:
        """Say why the guard only observes where it would act; again when that changes."""
        before, self._said_replaced = self._said_replaced, tuple(self._replaced())
        if self._said_replaced not in ((), before) and self._wanted_mode is MemoryGuard.ACT:
            self._server.log.warning(
                "gunicorn-autoconf: the guard only observes, as your own %s replaced ours",
                " and ".join(self._said_replaced),
            )

    def _guard(self, sample: Sample, machine: Machine) -> None:
        """Ask what is to be done, and do it or say it."""
        history = tuple(self._history)
        if not history:
            return  # A reload did not wait for us.
        declaration = self._final().declaration
        plans = plans_for(machine, declaration, self._final().application)
        killed = [self._killed.popleft() for _ in range(len(self._killed))]
        needed = self._experience.learn(history, killed, plans, declaration.worker_memory_bytes)
        permissions = self._experience.permissions(sample, resizing=self._may_resize())
        action = decide(history, permissions, needed, plans)
        acts = self.mode is MemoryGuard.ACT and self._server.master_pid == 0
        if action.kind is Kind.KEEP:
            self._observed = None
            if action.pid and self._experience.spared(sample):
                self._server.log.warning("%s", render_action(action))
        elif acts:
            say = self._server.log.info if action.kind is Kind.GROW else self._server.log.warning
            say("%s", render_action(action))
            self._history.clear()
            self._experience.acted(action, sample)
            self.executor.start(action, sample)
        elif self._observed != (action.kind, action.pid):
            self._observed = action.kind, action.pid
            self._server.log.info("%s", render_action(action, would=True))

    def _may_resize(self) -> bool:
        """Whether the count is ours: nobody has set it, and no upgrade is under way."""
        if self.executor.is_stood_down and not self._said_stood_down:
            self._said_stood_down = True
            self._server.log.info(
                "gunicorn-autoconf: an operator set the count to %d; it stays so until a reload",
                self._server.num_workers,
            )
        explicit = self._final().declaration.explicit("workers")
        upgrading = self._server.reexec_pid != 0 or self._server.master_pid != 0
        return not (self.executor.is_stood_down or explicit or upgrading)

    def _follow_limit(self, machine: Machine) -> None:
        """Go to the plan again where the limit has changed."""
        lowest = machine.memory.lowest
        limit_bytes = lowest.limit_bytes if lowest else None
        before, self._limit_bytes = self._limit_bytes, limit_bytes
        if None in (before, limit_bytes) or before == limit_bytes:
            return
        self._experience.limit_changed()
        self._server.log.info(
            "gunicorn-autoconf: the memory limit changed from %s to %s; planning again",
            format_bytes(before or 0),
            format_bytes(limit_bytes or 0),
        )

    def _log_memory(self, sample: Sample, machine: Machine) -> None:
        interval = self._final().declaration.memory_log_interval_seconds
        since = self._began_at if self._logged_at is None else self._logged_at
        is_first = self._logged_at is None and sample.is_settled
        if not interval or not (is_first or sample.at_seconds - since >= interval):
            return
        self._logged_at = sample.at_seconds
        budget = budget_beside(machine, self._final().declaration)
        self._server.log.info("%s", render_memory(sample, budget))
        for metric, value in metrics(sample, budget):
            extra = {"metric": metric, "value": value, "mtype": "gauge"}
            self._server.log.debug("%s: %d", metric, value, extra=extra)

    def _log_unclaimed(self, sample: Sample) -> None:
        if "child_exit" in self._replaced():
            return  # Nobody tells which of them were workers.
        unclaimed = self._oom.forget_unclaimed(sample.at_seconds)
        if unclaimed:
            self._server.log.warning(
                "gunicorn-autoconf: the kernel's OOM killer took %d processes of this container "
                "that were no workers",
                unclaimed,
            )

    def _detect(self, own_bytes: int) -> Machine:
        final = self._final()
        host = _CountedHost(own_bytes)
        return detect_machine(final.root, environ=final.environ, host=host)
