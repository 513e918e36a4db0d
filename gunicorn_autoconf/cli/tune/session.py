"""From what the user asks to a report: plan, field, run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gunicorn_autoconf.cli.tune.candidate import PLAN, Candidate
from gunicorn_autoconf.cli.tune.field import Grounds, neighbours
from gunicorn_autoconf.cli.tune.load import LoadProcesses
from gunicorn_autoconf.cli.tune.measure import Bench
from gunicorn_autoconf.cli.tune.outcome import Outcome
from gunicorn_autoconf.cli.tune.report import Report, ranked, row_of
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.cli.tune.run import Display, Run, tune
from gunicorn_autoconf.cli.tune.verdict import judge
from gunicorn_autoconf.plan.budget import memory_budget
from gunicorn_autoconf.server.autoconf import Autoconf, build
from gunicorn_autoconf.worker_classes import GTHREAD, class_name

_OURS = ("-c", "python:gunicorn_autoconf.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user asks for."""

    application: str | None
    requests: Sequence[Request]
    clients: int | None
    slo_seconds: float | None
    budget_seconds: float
    has_threads: bool
    declared: Mapping[str, str | None]


def run_session(asked: Asked, environ: Mapping[str, str], display: Display) -> Report:
    """Measure, and return what came of it."""
    application = [asked.application] if asked.application else []
    planned = build(asked.declared, environ, ["gunicorn", *application], "/")
    plan = _planned(planned)
    run = Run(budget_seconds=asked.budget_seconds, slo_seconds=asked.slo_seconds)
    with LoadProcesses(asked.requests) as load:
        bench = Bench(
            application=application,
            environ=dict(environ),
            load=load,
            requests=asked.requests,
            clients=asked.clients,
            patience_seconds=min(max(asked.budget_seconds / 4, 40.0), 120.0),
            timeout_seconds=max(10.0, 3 * (asked.slo_seconds or 0.0)),
        )

        def find_field(first: Outcome | None, unloaded: float | None) -> list[Candidate]:
            return neighbours([plan], _grounds(asked, planned, first, unloaded))

        def arguments_of(candidate: Candidate) -> list[str]:
            return [*_OURS, *candidate.arguments]

        tune(bench, run, [plan], find_field, arguments_of, display)
    return _report(asked, run)


def _planned(planned: Autoconf) -> Candidate:
    settings = planned.plan.settings
    return Candidate(
        worker_class=class_name(settings["worker_class"]),
        workers=settings["workers"],
        threads=settings.get("threads", 1),
        origin=PLAN,
    )


def _grounds(
    asked: Asked, planned: Autoconf, first: Outcome | None, unloaded: float | None
) -> Grounds:
    from gunicorn.workers import SUPPORTED_WORKERS

    cores = planned.declaration.cpus or planned.machine.cpu.cores
    measured = first.worker_bytes if first else None
    budget = memory_budget(planned.machine.memory, planned.declaration, measured)
    bounds = [planned.declaration.max_workers, budget and budget.fits, int(4 * cores + 4)]
    computing = first.cpu_seconds_per_request if first else None
    return Grounds(
        cores=cores,
        interface=planned.plan.interface,
        has_threads=asked.has_threads or _planned(planned).worker_class == GTHREAD,
        most_workers=max(min(bound for bound in bounds if bound is not None), 1),
        most_slots=planned.declaration.max_concurrency,
        compute_fraction=min(computing / unloaded, 1.0) if computing and unloaded else None,
        has_native_asgi="asgi" in SUPPORTED_WORKERS,
    )


def _report(asked: Asked, run: Run) -> Report:
    outcomes = {each: known.outcomes for each, known in run.measured.items()}
    verdict = judge(run.standing, outcomes)
    best = run.measured[verdict.best] if verdict.best else None
    rows = [
        row_of(
            each,
            known.outcomes,
            known.scores,
            str(known.failure or ""),
            verdict.best,
            best.score if best else None,
        )
        for each, known in run.measured.items()
    ]
    return Report(
        asked=[request.label for request in asked.requests[:10]],
        rows=ranked(rows),
        verdict=verdict,
    )
