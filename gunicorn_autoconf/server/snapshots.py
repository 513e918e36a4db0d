"""
What is known of one server now, gathered for metrics and health answers.

Reads the shared page, /proc and cpu.stat. Replaces two methods of the arbiter.

Theory of operation. `take` and `states` run in the threads that publish, never in the main thread,
and wait for nothing: what the supervisor has seen last is taken as it is, and counters are read
when they are asked for.

Gunicorn has no hook for its main loop, which wakes once a second at least. Each round begins with
`maybe_promote_master`, and each way to stop goes through `stop`, from the signal on and before the
workers are waited for. `Pulse` puts a line before both, on the object of this one arbiter. The main
thread writes its two attributes, others read them.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from gunicorn_autoconf.fleet.shared_page import Region
from gunicorn_autoconf.load.capacity import Bound
from gunicorn_autoconf.load.listeners import read_backlogs
from gunicorn_autoconf.memory.plans import budget_beside
from gunicorn_autoconf.metrics.endings import STALL, Ending
from gunicorn_autoconf.metrics.snapshot import Advice, Snapshot, State, Throttled
from gunicorn_autoconf.server.load_watch import slots_per_worker
from gunicorn_autoconf.server.status import own_version, told_to_exit
from gunicorn_autoconf.watchdog.quota import QuotaCounters
from gunicorn_autoconf.watchdog.stamps import Stamps

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.server.load_watch import LoadWatch
    from gunicorn_autoconf.server.planned import Planned
    from gunicorn_autoconf.server.supervisor import Supervisor


class Known(Protocol):
    """What is known of one arbiter: its `ServerState`, of which nothing is changed here."""

    final: Planned
    records: WorkerRecords
    happened: dict[str, int]
    supervisor: Supervisor | None
    load: LoadWatch | None


class Pulse:
    """When the arbiter's main loop last ran, and whether it stops."""

    def __init__(self, server: Arbiter, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat_at = clock()
        self.is_stopping = False
        _before(server, "maybe_promote_master", self._beat)
        _before(server, "stop", self._stop)

    @property
    def silent_seconds(self) -> float:
        """How long ago the loop began its last round."""
        return self._clock() - self._beat_at

    def _beat(self) -> None:
        self._beat_at = self._clock()

    def _stop(self) -> None:
        self.is_stopping = True


def _before(server: Arbiter, name: str, note: Callable[[], None]) -> None:
    method = getattr(server, name)

    def noting(*args: Any, **kwargs: Any) -> Any:
        note()
        return method(*args, **kwargs)

    setattr(server, name, noting)


class Snapshots:
    """Takes snapshots of one arbiter."""

    def __init__(self, server: Arbiter, known: Known) -> None:
        self._server = server
        self._known = known
        self.pulse = Pulse(server)

    def states(self) -> dict[int, State]:
        """Return what each worker does, by pid."""
        workers = dict(self._server.WORKERS)
        ready, draining = self._known.records.ready_pids(workers), self._draining(workers)
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
        server, known, final = self._server, self._known, self._known.final
        workers = dict(server.WORKERS)
        states = self.states()
        tally = known.records.tally(workers)
        ready = [pid for pid, state in states.items() if state is State.READY]
        counted = Counter(states.values())
        latest = known.supervisor.latest if known.supervisor else None
        budget = budget_beside(latest[0], final.declaration) if latest else None
        slots = slots_per_worker(server)
        minute = known.load.minute if known.load else None
        return Snapshot(
            workers={state: counted[state] for state in State},
            target=server.num_workers,
            planned=final.plan.settings.get("workers", server.num_workers),
            slots=None if slots is None else slots * len(ready),
            in_flight=sum(tally.workers[pid].in_flight for pid in ready if pid in tally.workers),
            totals=tally.total,
            endings={ending: known.happened[ending] for ending in Ending},
            stalls=known.happened[STALL],
            cores=final.declaration.cpus or final.machine.cpu.cores,
            backlogs={
                backlog.address: backlog.waiting
                for backlog in read_backlogs(server.LISTENERS)
                if backlog.waiting is not None
            },
            bounds={bound.value: bound is minute.bound_by for bound in Bound} if minute else {},
            advice=self._advice(),
            sample=latest and latest[1],
            budget_bytes=budget.budget_bytes if budget else None,
            numbers=known.records.numbers(workers),
            throttled={
                os.path.dirname(path): Throttled(done.periods, done.throttled, done.seconds)
                for path, done in self._quota.read().items()
            },
            labels={
                "version": own_version(),
                "worker_class": server.cfg.worker_class_str,
                "workload": final.plan.workload.value,
                "interface": final.plan.interface.value,
            },
        )

    def _advice(self) -> Advice | None:
        verdict = self._known.load.verdict if self._known.load else None
        if verdict is None:
            return None
        workload = verdict.workload.value if verdict.workload else ""
        return Advice(verdict.cause.value, workload, verdict.gain)

    def _draining(self, workers: Mapping[int, Worker]) -> set[int]:
        """Return those of *workers* that were told to exit."""
        if self.pulse.is_stopping:
            return set(workers)
        supervisor = self._known.supervisor
        draining = told_to_exit(self._server, supervisor.executor if supervisor else None)
        return draining | {pid for pid, worker in workers.items() if self._ends(worker)}

    def _ends(self, worker: Worker) -> bool:
        numbers = self._known.records.doubles(worker, Region.STAMPS)
        line = self._known.records.raw(worker, Region.REQUEST_LINE)
        if numbers is None or line is None:
            return False
        return Stamps(numbers, line).read().ending_since > 0

    @cached_property
    def _quota(self) -> QuotaCounters:
        return QuotaCounters(self._known.final.root)
