"""The arbiter's own look at its workers: sample, log, ask the guard, let the executor act.

Reads /proc, logs.

Theory of operation. One `Supervisor` belongs to one arbiter process. Its `try_step` runs in a
thread (`PausedThread`) that is never there while the arbiter forks. A step takes one sample and
then does what is due, in this order: it logs, it lets the executor go on with the action under
way, and only when none is under way does it ask the guard for another one. So there is never more
than one action at a time.

Each part keeps its own state: `History` what the guard's next decision depends on, the executor
what is wanted of Gunicorn, `GuardLog` what was already logged. The only state here is what was
found last, `memory` and `latest`. The arbiter's main thread calls `reloaded`, while the thread is
paused, and `worker_oom_killed`; the thread makes all other changes.

A step only looks at the load where guards, memory log and metrics are off. One that fails is logged
once and skipped; the next one follows some seconds later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from gunicorn_autoconf.fleet.relatives import Relatives
from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.fleet.sampler import Sampler
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.host import Host
from gunicorn_autoconf.memory.actions import Action, Kind
from gunicorn_autoconf.memory.beside import beside_workers
from gunicorn_autoconf.memory.count import size_to_grow_by
from gunicorn_autoconf.memory.ends import Ends
from gunicorn_autoconf.memory.executor import Executor
from gunicorn_autoconf.memory.guard import decide, next_interval
from gunicorn_autoconf.memory.history import History
from gunicorn_autoconf.memory.kill_loop import KillLoop
from gunicorn_autoconf.memory.plans import budget_beside, plans_for
from gunicorn_autoconf.memory.throttling import Held, slowdown
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.plan.bounds import guard_mode
from gunicorn_autoconf.plan.budget import memory_budget
from gunicorn_autoconf.plan.workload import LoadGuard, MemoryGuard
from gunicorn_autoconf.server.guard_log import GuardLog
from gunicorn_autoconf.server.load_follower import LoadFollower, Room
from gunicorn_autoconf.worker_classes import family_of

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.machine.facts import Machine
    from gunicorn_autoconf.server.load_watch import LoadWatch
    from gunicorn_autoconf.server.oom_watch import ServerOom
    from gunicorn_autoconf.server.planned import Planned

# Time between two looks at an action under way.
ACTING_SECONDS = 0.1
# After so many failures in a row, what the guard has begun is taken back.
MAX_FAILURES = 3


class Supervisor:
    """Watches one arbiter's workers, in a thread."""

    def __init__(  # noqa: PLR0913 - the last two are what a simulation replaces
        self,
        server: Arbiter,
        final: Callable[[], Planned],
        records: WorkerRecords,
        oom: ServerOom | None,
        replaced: Callable[[], Sequence[str]],
        *,
        load: LoadWatch,
        timing: Timing = DEFAULT,
        executor: Executor | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """
        Prepare to watch *server*.

        *final* returns the plan that holds, *replaced* the names of our hooks that others replace.
        """
        self._server = server
        self._final = final
        self._records = records
        self._oom = oom
        self._replaced = replaced
        self._timing = timing
        self._sampler = sampler or Sampler(self._detect)
        self._load = load
        self._follower = LoadFollower(server, final, self._load, replaced)
        self._history = History()
        self._ends = Ends()
        self._log = GuardLog(server.log)
        self._loop = KillLoop()
        self._relatives = Relatives()
        self._held: Held | None = None
        self._failures = 0
        self.is_complete = False
        """Whether all workers have been ready at once since the start."""
        self.executor = executor or Executor(server, timing)
        self.memory = final().machine.memory
        self.latest: tuple[Machine, Sample] | None = None
        """What the last look at the memory has found."""

    def worker_oom_killed(self, last: WorkerSample | None, freed_bytes: int | None = None) -> bool:
        """Note, in the main thread, an OOM-killed worker; return whether it gets its own line."""
        self._history.oom_killed(last, freed_bytes)
        return self._loop.add(time.monotonic(), last.uss_bytes if last else None)

    def log_kills(self, machine: Machine | None = None, *, at_once: bool = False) -> None:
        """Log the OOM kills of many workers in a row, as is due or *at_once*."""
        loop = self._loop.due(time.monotonic(), at_once=at_once)
        if loop is None:
            return
        supply = machine.memory if machine else self.memory
        budget = memory_budget(supply, self._final().declaration)
        size_bytes = loop.size_bytes
        fits = budget.budget_bytes // size_bytes if budget and size_bytes else None
        self._log.kill_loop(loop, fits)

    def reloaded(self) -> None:
        """Begin again with another plan, while the thread is paused."""
        self.executor.reloaded()
        self._history.clear()
        self._history.begin_again()
        self._log.begin_again()
        self._load.begin_again()
        self._follower.begin_again()

    @property
    def mode(self) -> MemoryGuard:
        """What the guard may do. To act, it must be told of each worker, and lose no connection."""
        server, final = self._server, self._final()
        wanted = guard_mode(final.machine, final.declaration)
        if wanted is not MemoryGuard.ACT:
            return wanted
        # With a listener of its own, a worker leaves there what waits, unless its class takes it.
        family = family_of(server.worker_class)
        loses = server.cfg.reuse_port and not (family and family.empties_queue)
        return MemoryGuard.OBSERVE if self._replaced() or loses else wanted

    @property
    def load_mode(self) -> LoadGuard:
        """What may be done for the load."""
        return self._follower.mode

    def try_step(self, stopping: threading.Event) -> float:
        """Do one `step`; log where it fails. Return the seconds until the next one."""
        try:
            seconds = self.step(stopping)
        except Exception as error:
            if self._log.is_new_failure(error):
                self._server.log.exception(
                    "gunicorn-autoconf: the memory guard failed; retrying in %s s",
                    self._timing.retry_seconds,
                )
            self._failures += 1
            if self._failures == MAX_FAILURES:
                with suppress(OSError):
                    self.executor.abandon()
            return self._timing.retry_seconds  # One bad sample does not end the guard.
        self._failures = 0
        return seconds

    def step(self, stopping: threading.Event) -> float:
        """
        Take one sample and do what is due; return the seconds until the next step.

        Once *stopping* is set, another thread may go on: this one does nothing more.
        """
        server, declaration = self._server, self._final().declaration
        if not server.LISTENERS and not server.cfg.reuse_port:
            return self._interval()  # Gunicorn has closed them: the server stops.
        is_off = self.mode is MemoryGuard.OFF and self._follower.mode is LoadGuard.OFF
        publishes = declaration.metrics is not None or server.cfg.statsd_host is not None
        if is_off and not (declaration.memory_log_interval_seconds or publishes):
            self._load.try_look()
            return self._interval()
        records = self._records.known(server.WORKERS)
        machine, sample = self._sampler.sample(
            records, server.num_workers, declaration.memory_bytes
        )
        if stopping.is_set():
            return self._interval()
        self._load.try_look()
        if sample is None:
            return self._interval()
        self.memory = machine.memory
        now = sample.at_seconds
        self._ends.see(self.executor.exiting, now)
        sample = sample._replace(
            end_seconds=self._ends.seconds(now), late_seconds=self._ends.late_seconds(now)
        )
        self.latest = machine, sample
        self._records.seen(sample, records)
        self._history.add(sample)
        self._write_log(sample, machine)
        was_busy = self.executor.is_busy
        self.executor.advance(sample)
        self._log.stopped(self.executor.stopped)
        if not was_busy and not is_off:
            self._follow_limit(machine)
            self._guard(sample, machine)
        seconds = self._interval(was_busy=was_busy)
        self._ends.expect(now + seconds)
        return seconds

    def _interval(self, *, was_busy: bool = False) -> float:
        timing = self._timing
        if self.executor.is_busy:
            return ACTING_SECONDS
        samples = self._history.samples
        if not samples:
            return timing.fastest_seconds
        seconds = next_interval(samples, timing)
        if was_busy:
            # The next action, if there is one, is due as soon as this one is done.
            seconds = min(seconds, timing.booting_seconds)
        if log_seconds := self._final().declaration.memory_log_interval_seconds:
            seconds = min(seconds, max(log_seconds, timing.fastest_seconds))
        return seconds

    def _guard(self, sample: Sample, machine: Machine) -> None:
        """Ask the guard what memory needs, then what the load does; do one of them or log it."""
        samples = self._history.samples
        if not samples:
            return  # A reload did not wait for this step.
        declaration = self._final().declaration
        resizing = self._may_resize()
        load_workers = self._follower.keeps(resizing=resizing)
        application = self._final().application
        plans = plans_for(machine, declaration, application, load_workers=load_workers)
        needed = self._history.needed(plans, declaration.worker_memory_bytes)
        permissions = self._history.permissions(sample, resizing=resizing)
        action = Action(Kind.KEEP)
        if self.mode is not MemoryGuard.OFF:
            action = decide(samples, permissions, needed, plans, self._timing)
        is_keep = action.kind is Kind.KEEP
        if is_keep or self.mode is not MemoryGuard.ACT or self._server.master_pid != 0:
            self._log.would_act(action)
            if is_keep and action.pid and self._history.spared(sample.at_seconds):
                self._log.action(action)
            # What the memory guard would add and may not is nothing against the load's.
            if action.kind in (Kind.KEEP, Kind.GROW) and not action.pid:
                size_bytes = size_to_grow_by(sample, permissions, needed)
                self._follow_load(Room(sample, machine, size_bytes, needed.largest, permissions))
            return
        self._log.action(action)
        self._history.acted(action, sample)
        self.executor.start(action, sample)

    def _follow_load(self, room: Room) -> None:
        """Do what the load asks for, as memory needs nothing."""
        if (action := self._follower.decide(room)) is None:
            return
        if action.kind is Kind.GROW:
            self._history.acted(action, room.sample)
        else:
            self._history.clear()  # It shrinks for want of load, which is no reason not to grow.
        self.executor.start(action, room.sample)

    def _may_resize(self) -> bool:
        """Whether the count is ours: no operator set it, and no upgrade is under way."""
        server, is_stood_down = self._server, self.executor.is_stood_down
        if is_stood_down:
            self._log.stood_down(server.num_workers)
        is_upgrading = server.reexec_pid != 0 or server.master_pid != 0
        is_explicit = self._final().declaration.explicit("workers") is not None
        return not (is_stood_down or is_explicit or is_upgrading)

    def _follow_limit(self, machine: Machine) -> None:
        """Go to the plan again where the limit has changed."""
        lowest = machine.memory.lowest
        limit_bytes = lowest.limit_bytes if lowest else None
        before_bytes = self._history.follow_limit(limit_bytes)
        if before_bytes is not None:
            self._log.limit_changed(before_bytes, limit_bytes or 0)

    def _write_log(self, sample: Sample, machine: Machine) -> None:
        declaration = self._final().declaration
        interval_seconds = declaration.memory_log_interval_seconds
        budget = budget_beside(machine, declaration)
        beside = beside_workers(machine.memory)
        self.is_complete = self._log.ready(sample)
        if self._log.memory(sample, interval_seconds, budget, beside) and self._oom:
            self._log_slowdown(self._oom, sample.at_seconds)
        self._log_unclaimed(sample.at_seconds)
        self.log_kills(machine)

    def _log_slowdown(self, oom: ServerOom, now: float) -> None:
        """Log whether want of memory has slowed the server down since the last such look."""
        events = tuple(level.highs or 0 for level in oom.read())
        before, self._held = self._held, Held(now, events, oom.pressure())
        if before and (slow := slowdown(before, self._held, oom.highs())):
            self._log.slowdown(slow)

    def _log_unclaimed(self, now: float) -> None:
        """Log OOM kills of processes that were no workers."""
        # Without our child_exit it is not known which of the killed processes were workers.
        if self._oom is None or "child_exit" in self._replaced():
            return
        pids = tuple(self._server.WORKERS)
        self._relatives.look(pids, now=self._oom.has_unclaimed)
        kills = self._oom.unclaimed(now, are_well=self._relatives.are_well(pids))
        if kills:
            self._log.unclaimed(len(kills), self._relatives.gone())

    def _detect(self, own_bytes: int) -> Machine:
        final = self._final()
        host = Host(own_bytes=own_bytes)
        return detect_machine(final.root, environ=final.environ, host=host)
