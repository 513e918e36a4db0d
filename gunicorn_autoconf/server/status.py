"""
What one arbiter tells those who look from outside: its plan, its load, its memory. Logs.

Writes the status of the shared page, of which `top`, `explain --pid` and `size --from` read it.

Theory of operation. `write` runs in the supervisor's thread after each of its steps, and alone
writes the status. It asks no other thread: all numbers are those that this thread has found last.
The part that only a reload changes is made once for each plan. A status that cannot be written is
logged once; the server goes on without.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.load.lines import (
    PREFIX,
    load_fields,
    render_load,
    render_verdict,
    request_fields,
    verdict_fields,
)
from gunicorn_autoconf.memory.beside import beside_workers
from gunicorn_autoconf.memory.lines import memory_fields
from gunicorn_autoconf.memory.plans import budget_beside
from gunicorn_autoconf.plan.report import describe, value_text
from gunicorn_autoconf.plan.report import render_verdict as render_plan
from gunicorn_autoconf.server.load_watch import slots_per_worker

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.memory.executor import Executor
    from gunicorn_autoconf.server.load_watch import LoadWatch
    from gunicorn_autoconf.server.planned import Planned
    from gunicorn_autoconf.server.supervisor import Supervisor

# The version of the document; a change that breaks a reader raises it, a new name does not.
SCHEMA = 1
# While an action is under way there are ten steps a second.
WRITE_SECONDS = 1.0


class Status:
    """The status of one arbiter."""

    def __init__(
        self,
        server: Arbiter,
        final: Callable[[], Planned],
        records: WorkerRecords,
        supervisor: Supervisor,
        load: LoadWatch,
    ) -> None:
        """Prepare to write; *final* returns the plan that holds."""
        self._server = server
        self._final = final
        self._records = records
        self._supervisor = supervisor
        self._load = load
        self._written_at_seconds = 0.0
        self._described: tuple[Planned, dict[str, Any]] | None = None
        self._has_failed = False

    def write(self) -> None:
        """Write the status, where it is time to."""
        now = time.monotonic()
        if self._has_failed or now - self._written_at_seconds < WRITE_SECONDS:
            return
        self._written_at_seconds = now
        try:
            self._records.publish(lambda: json.dumps(self.document()).encode())
        except Exception:
            self._has_failed = True
            self._server.log.exception("gunicorn-autoconf: the status for top cannot be written")

    def document(self) -> dict[str, Any]:
        """Return the status as values that `json.dumps` takes; None is what is not known."""
        server, supervisor, load = self._server, self._supervisor, self._load
        memory = None
        if supervisor.latest:
            machine, sample = supervisor.latest
            budget = budget_beside(machine, self._final().declaration)
            memory = memory_fields(sample, budget, beside_workers(machine.memory))
        minute, verdict, request = load.minute, load.verdict, load.request
        return {
            "schema": SCHEMA,
            "version": own_version(),
            "at_seconds": round(time.time(), 3),
            "arbiter_pid": os.getpid(),
            "addresses": [str(listener) for listener in list(server.LISTENERS)],
            "worker_class": value_text("worker_class", server.cfg.worker_class_str),
            "threads": server.cfg.threads,
            "slots_per_worker": slots_per_worker(server),
            "target_workers": server.num_workers,
            "exiting_pids": sorted(told_to_exit(server, supervisor.executor)),
            "guards": {"memory": supervisor.mode.value, "load": supervisor.load_mode.value},
            **self._plan(),
            "load": minute and {**load_fields(minute), "text": _text(render_load(minute))},
            "request": request and request_fields(request),
            "verdict": verdict
            and {**verdict_fields(verdict), "text": _text(render_verdict(verdict))},
            "memory": memory,
        }

    def _plan(self) -> dict[str, Any]:
        final = self._final()
        if self._described is None or self._described[0] is not final:
            self._described = final, _describe(final)
        return self._described[1]


def _describe(final: Planned) -> dict[str, Any]:
    plan = final.plan
    return {
        "interface": plan.interface.value,
        "workload": plan.workload.value,
        "plan": {
            "text": render_plan(final.machine, final.declaration, plan),
            "settings": [
                {
                    "setting": name,
                    "value": value_text(name, value),
                    "reasons": [describe(reason) for reason in plan.reasons_for(name)],
                }
                for name, value in plan.settings.items()
            ],
        },
        "warnings": list(final.warnings),
    }


def _text(line: str) -> str:
    return line.removeprefix(PREFIX)


def told_to_exit(server: Arbiter, executor: Executor | None) -> set[int]:
    """
    Return the pids of workers that are to exit: those that are too many, and the guards' own.

    Gunicorn tells the oldest to exit where there are too many, as after a reload.
    Source: gunicorn/arbiter.py, `manage_workers`.
    """
    workers = dict(server.WORKERS)
    by_age = sorted(workers, key=lambda pid: workers[pid].age)
    surplus = set(by_age[: max(len(by_age) - server.num_workers, 0)])
    return surplus | (executor.exiting if executor else frozenset())


def own_version() -> str:
    """Return the version of this package."""
    return str(sys.modules["gunicorn_autoconf"].__version__)
