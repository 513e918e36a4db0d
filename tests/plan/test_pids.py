"""Processes and threads together stay within the cgroup's ``pids.max``."""

from __future__ import annotations

import pytest
from builders import ASGI, LEAF, WSGI, machine, memory, plan_for
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.plan.pids import tasks_needed
from gunicorn_autoconf.plan.plan import Plan

ROOM = memory(256 * 1024**3)


def planned_for(
    pids: int | None, environ: dict[str, str], app: Finding = WSGI, cores: int = 2
) -> Plan:
    return plan_for(environ, app, on=machine(cores, supply=ROOM, pids=pids))


@pytest.mark.parametrize(
    ("pids", "environ", "app", "workers", "threads"),
    [
        (None, {"GUNICORN_WORKLOAD": "io"}, WSGI, 3, 100),
        (440, {"GUNICORN_WORKLOAD": "io"}, WSGI, 3, 100),
        (439, {"GUNICORN_WORKLOAD": "io"}, WSGI, 3, 99),
        (64, {"GUNICORN_WORKLOAD": "io"}, WSGI, 2, 10),
        # Fewer workers before fewer than 8 threads: each worker has threads of its own.
        (52, {"GUNICORN_WORKLOAD": "io"}, WSGI, 1, 12),
        (40, {"GUNICORN_WORKLOAD": "io"}, WSGI, 1, 6),
        (20, {"GUNICORN_WORKLOAD": "io"}, WSGI, 1, 1),
        (64, {"GUNICORN_WORKLOAD": "io"}, ASGI, 2, 10),
        (64, {}, WSGI, 5, 1),
        (44, {}, WSGI, 3, 1),
        (64, {"GUNICORN_THREADS": "20"}, WSGI, 1, 20),
        # What was set stays, with a warning.
        (64, {"GUNICORN_WORKERS": "9", "GUNICORN_WORKLOAD": "io"}, WSGI, 9, 1),
        (64, {"GUNICORN_WORKERS": "9", "GUNICORN_THREADS": "20"}, WSGI, 9, 20),
        (64, {"GUNICORN_MIN_WORKERS": "9"}, WSGI, 9, 1),
    ],
)
def test_bounds(
    pids: int | None, environ: dict[str, str], app: Finding, workers: int, threads: int
) -> None:
    settings = planned_for(pids, environ, app).settings
    assert (settings["workers"], settings["threads"]) == (workers, threads)


def test_the_reasons() -> None:
    planned = planned_for(64, {"GUNICORN_WORKLOAD": "io"})
    reason = planned.reasons_for("workers")[-1]
    assert reason.rule == "(pids_max - 16) // (threads + 6) - 1"
    assert reason.inputs == {"pids_max": 64, "threads": 8, "wanted": 3}
    assert reason.source == f"{LEAF}/pids.max"
    reason = planned.reasons_for("threads")[-1]
    assert reason.rule == "(pids_max - 16) // (workers + 1) - 6"
    assert reason.inputs == {"pids_max": 64, "workers": 2, "wanted": 100}


@given(
    pids=st.integers(40, 5_000),
    workload=st.sampled_from(["", "cpu", "mixed", "io", "async"]),
    app=st.sampled_from([WSGI, ASGI]),
    cores=st.integers(1, 64),
    measured=st.none() | st.integers(1, 2**30),
)
def test_what_is_planned_fits(
    pids: int, workload: str, app: Finding, cores: int, measured: int | None
) -> None:
    on = machine(cores, supply=ROOM, pids=pids)
    environ = {"GUNICORN_WORKLOAD": workload}
    planned = plan_for(environ, app, on=on)
    grown = plan_for(environ, app, on=on, measured=measured).settings["workers"]

    most = max(planned.most_workers, planned.settings["workers"], grown)
    assert tasks_needed(most, planned.settings["threads"]) <= pids


@given(limits=st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)).map(sorted))
@pytest.mark.parametrize("workload", ["", "io"])
def test_a_higher_limit_never_yields_fewer_workers(workload: str, limits: list[int]) -> None:
    lower, higher = (
        planned_for(pids, {"GUNICORN_WORKLOAD": workload}, cores=16).settings["workers"]
        for pids in limits
    )
    assert lower <= higher
