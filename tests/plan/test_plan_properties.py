"""What must hold of every plan, whatever the machine and whatever was declared."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from builders import ASGI, GIB, MIB, POD, WSGI, declare, limit, machine, memory, plan_for
from gunicorn.config import KNOWN_SETTINGS
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine, Platform
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.plan.steps import plan, planned_workers

THREADS = "gunicorn_autoconf.workers.ThreadWorker"
UVICORN = "gunicorn_autoconf.workers.UvicornWorker"
STOCK = "uvicorn_worker.UvicornWorker"
CLASSES = ["sync", "gthread", THREADS, "gevent", "asgi", UVICORN, STOCK, "mine.Worker"]

# What the operator may say about the work, the bounds and the memory of a worker, and not about
# the count itself.
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "GUNICORN_WORKLOAD": st.sampled_from(["cpu", "mixed", "io", "async"]),
        "GUNICORN_INTERFACE": st.sampled_from(["auto", "asgi", "wsgi"]),
        "GUNICORN_WORKER_MEMORY": st.integers(MIB, 4 * GIB).map(str),
        "GUNICORN_MEMORY_RESERVE": st.sampled_from(["0", "10%", "99%", "64MiB", "8GiB"]),
        "GUNICORN_MIN_WORKERS": st.integers(1, 20).map(str),
        "GUNICORN_MAX_WORKERS": st.integers(20, 60).map(str),
        "GUNICORN_MAX_CONCURRENCY": st.integers(1, 600).map(str),
        "GUNICORN_WORKER_CLASS": st.sampled_from(CLASSES),
        "GUNICORN_THREADS": st.integers(1, 80).map(str),
        "GUNICORN_TIMEOUT": st.integers(0, 200).map(str),
    },
)
APPS = st.sampled_from([WSGI, ASGI, None, Finding(interface=None, evidence="no source")])
PLATFORMS: st.SearchStrategy[Platform | None] = st.sampled_from([None, *get_args(Platform)])
MEASURED = st.none() | st.integers(0, 4 * GIB)
SIZES = st.integers(16 * MIB, 512 * GIB)
CORES = st.integers(1, 256)
QUOTAS = st.floats(0.001, 256, allow_nan=False)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Any machine: a host or a container, with what it has of limits, neighbours, own processes."""
    online = draw(CORES)
    physical = draw(st.none() | SIZES)
    limits = [
        limit(draw(SIZES), draw(st.none() | SIZES), at=POD) for _ in range(draw(st.integers(0, 2)))
    ]
    in_use, own = draw(st.just(0) | SIZES), draw(st.just(0) | SIZES)
    return machine(
        draw(st.integers(1, online)),
        online=online,
        quota=draw(st.none() | QUOTAS),
        supply=memory(physical, *limits, in_use=in_use, own=own),
        container=draw(st.booleans()),
        platform=draw(PLATFORMS),
        pids=draw(st.none() | st.integers(0, 5_000)),
        worker_tmp_dir=draw(st.sampled_from([None, "/dev/shm"])),
    )


@st.composite
def declarations(draw: st.DrawFn) -> Declaration:
    """Anything that may be declared, an explicit count among it."""
    environ: dict[str, str] = draw(WISHES)
    optional: dict[str, st.SearchStrategy[Any]] = {
        "GUNICORN_CPUS": st.sampled_from(["0.001", "500m", "1.5", "4", "64"]),
        "GUNICORN_MEMORY": SIZES.map(str),
        "GUNICORN_WORKERS": st.integers(1, 40).map(str),
        "GUNICORN_CMD_ARGS": st.integers(0, 40).map("--workers {}".format),
        "GUNICORN_GRACEFUL_TIMEOUT": st.integers(0, 200).map(str),
        "WEB_CONCURRENCY": st.integers(1, 40).map(str),
    }
    return declare(environ | draw(st.fixed_dictionaries({}, optional=optional)))


@st.composite
def plans(draw: st.DrawFn) -> tuple[Plan, Declaration]:
    """Any plan, with what was declared."""
    declaration = draw(declarations())
    planned = plan(
        draw(machines()),
        declaration,
        application=draw(APPS),
        worker_memory_bytes=draw(MEASURED),
    )
    return planned, declaration


def workers(planned: Plan) -> int:
    count = planned.settings["workers"]
    assert isinstance(count, int)
    return count


@given(machines(), declarations(), APPS, st.integers(0, 40))
def test_count_alone_is_that_of_the_plan(
    where: Machine, declaration: Declaration, app: Finding | None, load_workers: int
) -> None:
    whole = plan(where, declaration, application=app, load_workers=load_workers)
    alone = planned_workers(where, declaration, application=app, load_workers=load_workers)
    assert alone == workers(whole)


class TestMoreNeverYieldsFewer:
    """More memory or more cores never yield fewer workers."""

    @given(sizes=st.tuples(SIZES, SIZES).map(sorted), environ=WISHES, app=APPS, measured=MEASURED)
    @pytest.mark.parametrize("kind", ["declared", "limit", "physical"])
    def test_memory(
        self,
        kind: str,
        sizes: list[int],
        environ: dict[str, str],
        app: Finding | None,
        measured: int | None,
    ) -> None:
        def count(size: int) -> int:
            declared = environ | ({"GUNICORN_MEMORY": str(size)} if kind == "declared" else {})
            supply = {
                "declared": memory(),
                "limit": memory(512 * GIB, limit(size, 8 * GIB), own=GIB),
                "physical": memory(size, in_use=8 * GIB, own=GIB),
            }[kind]
            return workers(plan_for(declared, app, on=machine(supply=supply), measured=measured))

        less, more = sizes
        assert count(less) <= count(more)

    @given(used=st.tuples(SIZES, SIZES).map(sorted), environ=WISHES, app=APPS)
    def test_memory_that_others_free(
        self, used: list[int], environ: dict[str, str], app: Finding | None
    ) -> None:
        def count(in_use: int) -> int:
            supply = memory(512 * GIB, limit(16 * GIB, in_use))
            return workers(plan_for(environ, app, on=machine(supply=supply)))

        less, more = used
        assert count(more) <= count(less)

    @given(cores=st.tuples(CORES, CORES).map(sorted), environ=WISHES, app=APPS)
    @pytest.mark.parametrize("container", [False, True], ids=["host", "container"])
    def test_cores(
        self, container: bool, cores: list[int], environ: dict[str, str], app: Finding | None
    ) -> None:
        def count(on: int) -> int:
            return workers(plan_for(environ, app, on=machine(on, container=container)))

        fewer, more = cores
        assert count(fewer) <= count(more)

    @given(quotas=st.tuples(QUOTAS, QUOTAS).map(sorted), environ=WISHES, app=APPS)
    def test_quota(self, quotas: list[float], environ: dict[str, str], app: Finding | None) -> None:
        def count(quota: float) -> int:
            return workers(plan_for(environ, app, on=machine(64, quota=quota, container=True)))

        lower, higher = quotas
        assert count(lower) <= count(higher)

    @given(milli=st.tuples(st.integers(1, 99_999), st.integers(1, 99_999)).map(sorted), app=APPS)
    def test_declared_cores(self, milli: list[int], app: Finding | None) -> None:
        lower, higher = (workers(plan_for({"GUNICORN_CPUS": f"{m}m"}, app)) for m in milli)
        assert lower <= higher


class TestMemory:
    """Workers x memory of a worker stay within the budget, or a warning is there."""

    @given(
        size=SIZES,
        reserve=st.integers(MIB, 8 * GIB),
        worker=st.integers(MIB, 4 * GIB),
        environ=WISHES,
        app=APPS,
        count=st.none() | st.integers(1, 40),
    )
    @example(size=512 * MIB, reserve=MIB, worker=512 * MIB, environ={}, app=WSGI, count=None)
    def test_declared(
        self,
        size: int,
        reserve: int,
        worker: int,
        environ: dict[str, str],
        app: Finding | None,
        count: int | None,
    ) -> None:
        declared = {
            "GUNICORN_MEMORY": str(size),
            "GUNICORN_MEMORY_RESERVE": str(reserve),
            "GUNICORN_WORKER_MEMORY": str(worker),
            "WEB_CONCURRENCY": str(count or ""),
        }
        planned = plan_for(environ | declared, app, on=machine(supply=memory(512 * GIB)))

        exceeds = workers(planned) * worker > max(size - reserve, 0)
        assert any("the memory budget of" in text for text in planned.warnings) is exceeds

    @given(size=SIZES, in_use=SIZES, own=SIZES, environ=WISHES, app=APPS)
    def test_detected(
        self, size: int, in_use: int, own: int, environ: dict[str, str], app: Finding | None
    ) -> None:
        declared = {"GUNICORN_MEMORY_RESERVE": "0", "GUNICORN_WORKER_MEMORY": "300MiB"}
        supply = memory(512 * GIB, limit(size, in_use), own=own)
        planned = plan_for(environ | declared, app, on=machine(supply=supply))

        budget = max(size - max(in_use - own, 0), 0)
        exceeds = workers(planned) * 314_572_800 > budget
        assert any("the memory budget of" in text for text in planned.warnings) is exceeds

    @given(size=SIZES, environ=WISHES, app=APPS)
    def test_is_not_left_unused(self, size: int, environ: dict[str, str], app: Finding) -> None:
        """Where memory cut the count, one more worker would not have fitted."""
        assume("GUNICORN_MAX_CONCURRENCY" not in environ and "GUNICORN_MAX_WORKERS" not in environ)
        declared = {"GUNICORN_MEMORY_RESERVE": "0", "GUNICORN_WORKER_MEMORY": "300MiB"}
        roomy = plan_for(environ | declared, app, on=machine(supply=memory(512 * GIB)))
        tight = plan_for(environ | declared, app, on=machine(supply=memory(size)))

        if workers(tight) < workers(roomy):
            assert (workers(tight) + 1) * 314_572_800 > size


@given(planned_for=plans())
def test_no_workers_only_where_the_operator_says_so(
    planned_for: tuple[Plan, Declaration],
) -> None:
    planned, declaration = planned_for
    explicit = declaration.explicit("workers")
    assert workers(planned) >= 1 or (explicit is not None and explicit.value == 0)


@given(planned_for=plans())
def test_an_explicit_value_always_wins(planned_for: tuple[Plan, Declaration]) -> None:
    planned, declaration = planned_for
    for name, (strongest, *_) in declaration.settings.items():
        wanted = strongest.value
        if (name, wanted) != ("worker_class", "sync"):  # Which Gunicorn turns to gthread.
            assert planned.settings[name] == wanted
        assert planned.reasons_for(name)[-1].source == strongest.source


@given(planned_for=plans())
def test_threads(planned_for: tuple[Plan, Declaration]) -> None:
    planned, declaration = planned_for
    if declaration.explicit("threads") is None:
        assert 1 <= planned.settings["threads"] <= 200


@given(planned_for=plans())
def test_threads_are_for_classes_that_have_them(planned_for: tuple[Plan, Declaration]) -> None:
    planned, declaration = planned_for
    if declaration.explicit("threads") is None and planned.settings["threads"] > 1:
        assert planned.settings["worker_class"] in ("gthread", THREADS, UVICORN)


@given(planned_for=plans())
def test_concurrency(planned_for: tuple[Plan, Declaration]) -> None:
    planned, declaration = planned_for
    bound = declaration.max_concurrency
    exceeds = bound is not None and workers(planned) * planned.settings["threads"] > bound
    warned = any(f"exceed GUNICORN_MAX_CONCURRENCY={bound}" in text for text in planned.warnings)
    assert warned is exceeds


@given(
    workload=st.sampled_from(["", "cpu", "mixed", "io", "async"]),
    bound=st.integers(1, 600),
    app=APPS,
    limit_bytes=SIZES,
    measured=st.integers(0, 4 * GIB),
    threads=st.none() | st.integers(1, 80),
)
@example(workload="io", bound=16, app=ASGI, limit_bytes=512 * MIB, measured=MIB, threads=None)
@example(workload="io", bound=40, app=WSGI, limit_bytes=512 * MIB, measured=MIB, threads=20)
def test_concurrency_when_workers_are_measured(
    workload: str,
    bound: int,
    app: Finding | None,
    limit_bytes: int,
    measured: int,
    threads: int | None,
) -> None:
    """The guard changes the count and not the threads."""
    environ = {"GUNICORN_WORKLOAD": workload, "GUNICORN_MAX_CONCURRENCY": str(bound)}
    on = machine(8, supply=memory(512 * GIB, limit(limit_bytes)))
    if threads:
        environ["GUNICORN_THREADS"] = str(threads)
    settings = plan_for(environ, app, on=on).settings

    grown = workers(plan_for(environ, app, on=on, measured=measured))

    at_once = settings["threads"]
    if (workload, settings["worker_class"], at_once, threads) == ("io", UVICORN, 1, None):
        at_once = 40  # anyio's pool as it is, where ours was not made.
    assert grown * at_once <= bound or (grown == 1 and bound < max(threads or 0, 2))


@given(planned_for=plans())
def test_a_worker_that_drains_in_silence_does_so_before_its_timeout(
    planned_for: tuple[Plan, Declaration],
) -> None:
    planned, declaration = planned_for
    # gevent and our UvicornWorker send their heartbeat while they drain.
    assume(planned.settings["worker_class"] not in {UVICORN, "gevent"})
    timeout, graceful = planned.settings["timeout"], planned.settings["graceful_timeout"]
    late = timeout > 2 and graceful > timeout - 2
    assert not late or declaration.explicit("graceful_timeout")
    if timeout > 2:
        assert any("leaves no margin" in text for text in planned.warnings) is late


@given(planned_for=plans())
def test_the_last_reason_for_a_setting_holds_its_value(
    planned_for: tuple[Plan, Declaration],
) -> None:
    planned, _ = planned_for
    for name, value in planned.settings.items():
        reason = planned.reasons_for(name)[-1]
        assert (reason.setting, reason.value) == (name, value)
        assert reason.rule


@given(planned_for=plans())
def test_every_setting_is_one_of_gunicorn(planned_for: tuple[Plan, Declaration]) -> None:
    planned, _ = planned_for
    known = {setting.name: setting for setting in KNOWN_SETTINGS}
    for name, value in planned.settings.items():
        assert known[name].validator(value) == value


@given(planned_for=plans())
def test_warnings_are_one_line_each_and_said_once(
    planned_for: tuple[Plan, Declaration],
) -> None:
    planned, _ = planned_for
    assert all(len(text.splitlines()) == 1 for text in planned.warnings)
    assert len(set(planned.warnings)) == len(planned.warnings)


@given(on=machines(), declaration=declarations(), app=APPS, measured=MEASURED)
def test_reproducible(
    on: Machine, declaration: Declaration, app: Finding | None, measured: int | None
) -> None:
    first, second = (
        plan(on, declaration, application=app, worker_memory_bytes=measured) for _ in range(2)
    )
    assert first == second
