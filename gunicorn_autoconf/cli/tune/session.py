"""From what the user asks to what came of it: plan, candidates, load, run, lines to paste."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gunicorn_autoconf.cli.options import by_flag, declared_texts
from gunicorn_autoconf.cli.paste import Content, Pasted, render
from gunicorn_autoconf.cli.tune.asked import Command, Requests
from gunicorn_autoconf.cli.tune.candidate import CURRENT, PLAN, Candidate
from gunicorn_autoconf.cli.tune.field import NATIVE_ASGI, Grounds, neighbours
from gunicorn_autoconf.cli.tune.load import loading
from gunicorn_autoconf.cli.tune.measure import Bench
from gunicorn_autoconf.cli.tune.model import bound_of
from gunicorn_autoconf.cli.tune.outcome import Measured
from gunicorn_autoconf.cli.tune.run import Display, Run, tune
from gunicorn_autoconf.cli.tune.server import describe
from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.plan.budget import memory_budget
from gunicorn_autoconf.plan.variables import PREFIX
from gunicorn_autoconf.server.autoconf import Autoconf, build
from gunicorn_autoconf.server.command_line import read_command_line
from gunicorn_autoconf.server.gunicorn import spellings
from gunicorn_autoconf.worker_classes import Slots, class_name, family_of

_OURS = ("-c", "python:gunicorn_autoconf.conf")
# How long a server may take to boot: a part of the time, within bounds.
_PATIENCE_FRACTION, _LEAST_PATIENCE_SECONDS, _MOST_PATIENCE_SECONDS = 0.25, 45.0, 150.0
# How long a request may take: what a user waits, and more where the limit is higher.
_TIMEOUT_SECONDS, _TIMEOUT_SLOS = 10.0, 3.0
# One load process is enough for the servers of so many cores.
_CORES_FOR_EACH_LOAD = 4
# The most workers for each core, and one.
_MOST_PER_CORE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What the user asks for.

    Attributes:
        application: As Gunicorn takes it; None where *current* or the environment names it.
        declared: What is declared, by the keyword of its option.
    """

    application: str | None
    requests: Requests
    clients: int | None = None
    is_new_connections: bool = False
    slo_seconds: float | None = None
    budget_seconds: float = 600.0
    has_threads: bool = False
    current: Command | None = None
    declared: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """
    What a run rests on.

    Attributes:
        arguments: For Gunicorn, with every candidate.
        environ: Of the servers.
        target: The application, if it is known by its name.
        given: The candidates that are measured first: what runs now, and the plan.
        load_cpus: The CPUs that only the load uses; empty where it shares those of the server.
    """

    asked: Asked
    arguments: Sequence[str]
    environ: Mapping[str, str]
    target: Sequence[str]
    planned: Autoconf
    given: Sequence[Candidate]
    has_threads: bool
    server_cpus: frozenset[int]
    load_cpus: frozenset[int]

    @property
    def cores(self) -> float:
        """The cores that the server has."""
        return self.planned.declaration.cpus or self.planned.machine.cpu.cores


def prepare(asked: Asked, environ: Mapping[str, str]) -> Session:
    """
    Return what a run of *asked* rests on; nothing is started but Gunicorn's own reading.

    Raises:
        AutoconfError: There is no application, or *current* would not start.
    """
    environ, declared, target = dict(environ), dict(asked.declared), asked.application
    arguments, runs_now = [*_OURS, *([target] if target else [])], None
    if asked.current:
        environ |= asked.current.environ
        arguments = list(asked.current.arguments)
        named = read_command_line(["gunicorn", *arguments], environ).target
        if target and named and named != target:
            raise AutoconfError(f"--current runs {named}, not {target}: name it once")
        if target and not named:
            arguments.append(target)
        target = target or named
        runs_now = _candidate(describe(arguments, environ), CURRENT)
        if target is None and not declared.get("interface"):
            # Its configuration names the application, and the class shows what that speaks.
            family = family_of(runs_now.worker_class)
            speaks = family.interface if family else None
            declared["interface"] = speaks and speaks.value
    elif target is None:
        raise AutoconfError("name the application, such as mysite.wsgi:application")
    targets = [target] if target else []
    planned = build(by_flag(declared), environ, ["gunicorn", *targets], "/")
    plan = _candidate(planned.plan.settings, PLAN)
    given = [plan]
    if runs_now:
        given = [runs_now, *([plan] if plan.settings != runs_now.settings else [])]
    server_cpus, load_cpus = _divide_cpus(planned.declaration.cpus)
    return Session(
        asked=asked,
        arguments=arguments,
        environ=environ,
        target=targets,
        planned=planned,
        given=given,
        has_threads=asked.has_threads or any(map(_runs_threads, given)),
        server_cpus=server_cpus,
        load_cpus=load_cpus,
    )


def run_session(
    session: Session, run: Run, display: Display, field: Sequence[Candidate] = ()
) -> None:
    """Measure the *field*, or the neighbours of what is given, and fill *run*."""
    asked = session.asked
    load_cores = len(session.load_cpus) or session.cores / _CORES_FOR_EACH_LOAD
    with loading(
        asked.requests.kinds, count=max(int(load_cores), 1), cpus=session.load_cpus
    ) as load:
        patience = asked.budget_seconds * _PATIENCE_FRACTION
        bench = Bench(
            arguments=session.arguments,
            environ=session.environ,
            load=load,
            first_request=asked.requests.first,
            clients=asked.clients,
            is_new_connections=asked.is_new_connections,
            server_cpus=session.server_cpus,
            patience_seconds=min(max(patience, _LEAST_PATIENCE_SECONDS), _MOST_PATIENCE_SECONDS),
            timeout_seconds=max(_TIMEOUT_SECONDS, _TIMEOUT_SLOS * (asked.slo_seconds or 0.0)),
        )
        tune(
            bench,
            run,
            session.given,
            lambda first: field or neighbours(session.given, _grounds(session, run, first)),
            display,
        )


def paste(form: str, session: Session, best: Candidate) -> Pasted:
    """
    Return *best* in one of the forms of `cli.paste`.

    The plan is made once more with it: timeouts and the like follow from class and counts.
    """
    environ = dict(session.environ)
    chosen = {PREFIX + name.upper(): str(value) for name, value in best.settings.items()}
    declared, argv = session.asked.declared, ["gunicorn", *session.target]
    result = build(by_flag(declared), environ | chosen, argv, "/")
    parts = (result.machine, result.declaration, result.plan)
    return render(form, Content(*parts, declared_texts(declared, environ), spellings()))


def _grounds(session: Session, run: Run, known: Measured | None) -> Grounds:
    planned, cores = session.planned, session.cores
    first = known.outcomes[0] if known else None
    bounds = [_MOST_PER_CORE * math.ceil(cores) + 1]
    if planned.declaration.max_workers:
        bounds.append(planned.declaration.max_workers)
    measured = first.worker_bytes if first else None
    if budget := memory_budget(planned.machine.memory, planned.declaration, measured):
        bounds.append(budget.fits)
    computing = first.cpu_seconds_per_request if first else None
    takes = run.light.mean if run.light else None
    share = min(computing / takes, 1.0) if computing and takes else None
    return Grounds(
        cores=cores,
        interface=planned.plan.interface,
        has_threads=session.has_threads,
        most_workers=max(min(bounds), 1),
        most_slots=planned.declaration.max_concurrency,
        compute_fraction=share,
        bound=bound_of(known.candidate, first, cores, takes or 0.0) if known and first else None,
        has_native_asgi=_has_native_asgi(),
    )


def _has_native_asgi() -> bool:
    from gunicorn.workers import SUPPORTED_WORKERS

    return NATIVE_ASGI in SUPPORTED_WORKERS


def _candidate(settings: Mapping[str, object], origin: str) -> Candidate:
    worker_class = settings["worker_class"]
    assert isinstance(worker_class, (str, type))
    return Candidate(
        worker_class=class_name(worker_class),
        workers=int(str(settings["workers"])),
        threads=int(str(settings.get("threads", 1))),
        origin=origin,
    )


def _runs_threads(candidate: Candidate) -> bool:
    """Whether *candidate* shows that the code runs in threads already."""
    family = family_of(candidate.worker_class, candidate.threads)
    return family is not None and family.slots is Slots.THREADS and candidate.threads > 1


def _divide_cpus(declared: float | None) -> tuple[frozenset[int], frozenset[int]]:
    """Return the CPUs of the server and of the load: apart where some are not declared."""
    if declared is None or not hasattr(os, "sched_getaffinity"):
        return frozenset(), frozenset()
    granted = sorted(os.sched_getaffinity(0))
    count = math.ceil(declared)
    if count >= len(granted):
        return frozenset(), frozenset()
    return frozenset(granted[:count]), frozenset(granted[count:])
