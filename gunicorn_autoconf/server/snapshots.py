"""
What is known of one server now, gathered for metrics and health answers.

Reads the shared page, /proc and cpu.stat; changes nothing.

Theory of operation. `take` and `states` run in the threads that publish, never in the main thread,
and wait for nobody: what the supervisor has seen last is taken as it is, and counters are read when
they are asked for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from gunicorn_autoconf.fleet.shared_page import Region
from gunicorn_autoconf.memory.plans import budget_beside
from gunicorn_autoconf.metrics.snapshot import STALL, Snapshot, State, Throttled
from gunicorn_autoconf.server.pulse import Pulse
from gunicorn_autoconf.watchdog.quota import QuotaCounters
from gunicorn_autoconf.watchdog.stamps import Stamps
from gunicorn_autoconf.worker_classes import Slots, class_name, family_of

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.server.planned import Planned
    from gunicorn_autoconf.server.supervisor import Supervisor


class Snapshots:
    """
    Takes snapshots of one arbiter.

    Args:
        server: The arbiter.
        records: What is known of its workers.
        occurrences: Returns the counts of exits and stalls.
        final: Returns the plan that holds.
        supervisor: Returns what has looked at the memory; None where nothing does.
    """

    def __init__(
        self,
        server: Arbiter,
        records: WorkerRecords,
        occurrences: Callable[[], Mapping[str, int]],
        *,
        final: Callable[[], Planned],
        supervisor: Callable[[], Supervisor | None],
    ) -> None:
        self._server = server
        self._records = records
        self._occurrences = occurrences
        self._final = final
        self._supervisor = supervisor
        self.pulse = Pulse()
        self.pulse.attach(server)

    def states(self) -> dict[int, State]:
        """Return what each worker does, by pid."""
        workers = dict(self._server.WORKERS)
        ready, draining = self._records.ready_pids(workers), self._draining(workers)
        return {
            pid: State.DRAINING
            if pid in draining
            else State.READY
            if pid in ready
            else State.BOOTING
            for pid in workers
        }

    def count(self) -> dict[State, int]:
        """Return how many workers there are in each state."""
        counted = Counter(self.states().values())
        return {state: counted[state] for state in State}

    def take(self) -> Snapshot:
        """Return a snapshot."""
        server, final = self._server, self._final()
        workers = dict(server.WORKERS)
        states = self.states()
        totals, each = self._records.total_and_each(workers)
        ready = [pid for pid, state in states.items() if state is State.READY]
        counted = Counter(states.values())
        happened = dict(self._occurrences())
        stalls = happened.pop(STALL, 0)
        supervisor = self._supervisor()
        latest = supervisor.latest if supervisor else None
        budget = budget_beside(latest[0], final.declaration) if latest else None
        slots = self._slots_per_worker
        return Snapshot(
            workers={state: counted[state] for state in State},
            target=server.num_workers,
            planned=final.plan.settings.get("workers", server.num_workers),
            slots=None if slots is None else slots * len(ready),
            in_flight=sum(each[pid].in_flight for pid in ready if pid in each),
            totals=totals,
            exits=happened,
            stalls=stalls,
            cores=final.declaration.cpus or final.machine.cpu.cores,
            sample=latest and latest[1],
            budget_bytes=budget.budget_bytes if budget else None,
            numbers=self._records.numbers(workers),
            throttled={
                os.path.dirname(path): Throttled(done.periods, done.throttled, done.seconds)
                for path, done in self._quota.read().items()
            },
            labels={
                "version": self._version,
                "worker_class": class_name(server.worker_class),
                "workload": final.plan.workload.value,
                "interface": final.plan.interface.value,
            },
        )

    def _draining(self, workers: Mapping[int, Worker]) -> set[int]:
        """Return those of *workers* that were told to exit."""
        if self.pulse.is_stopping:
            return set(workers)
        supervisor = self._supervisor()
        # Gunicorn tells the oldest to exit where there are too many, as after a reload.
        # Source: gunicorn/arbiter.py, `manage_workers`.
        by_age = sorted(workers, key=lambda pid: workers[pid].age)
        draining = set(by_age[: max(len(by_age) - self._server.num_workers, 0)])
        if supervisor:
            draining |= supervisor.executor.exiting
        return draining | {pid for pid, worker in workers.items() if self._ends(worker)}

    def _ends(self, worker: Worker) -> bool:
        numbers = self._records.doubles(worker, Region.STAMPS)
        line = self._records.raw(worker, Region.REQUEST_LINE)
        if numbers is None or line is None:
            return False
        return Stamps(numbers, line).read().ending_since > 0

    @property
    def _slots_per_worker(self) -> int | None:
        cfg = self._server.cfg
        family = family_of(self._server.worker_class)
        bounds = {
            Slots.ONE: 1,
            Slots.THREADS: cfg.threads,
            Slots.GREENLETS: cfg.worker_connections,
        }
        return bounds.get(family.slots) if family else None

    @cached_property
    def _quota(self) -> QuotaCounters:
        return QuotaCounters(self._final().root)

    @cached_property
    def _version(self) -> str:
        try:
            return version("gunicorn-autoconf")
        except PackageNotFoundError:
            return ""
