"""The remarks on a plan: when each one is made, and when it would be out of place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import ASGI, FASTAPI, GIB, WSGI, declare, limit, machine, memory

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Explicit
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.plan import Plan, Remark, Severity
from gunicorn_autoconf.plan.remarks import RULES, remarks
from gunicorn_autoconf.plan.steps import plan
from gunicorn_autoconf.workers import UvicornWorker

# A pod for which there is nothing to advise.
LIMITED = memory(16 * GIB, limit(8 * GIB))
POD = machine(8, quota=2, supply=LIMITED, container=True, worker_tmp_dir="/dev/shm")
DECLARED = {"GUNICORN_WORKLOAD": "mixed"}
IO = {"GUNICORN_WORKLOAD": "io"}


def advice(
    on: Machine = POD,
    environ: dict[str, str] | None = None,
    app: Finding = WSGI,
    *,
    has_uvloop: bool = True,
) -> dict[str, str]:
    declaration = declare(DECLARED if environ is None else environ)
    planned = plan(on, declaration, application=app)
    return texts(advise(Known(on, declaration, planned, app, has_uvloop=has_uvloop)))


def advise(known: Known) -> list[Remark]:
    return [remark for remark in remarks(known) if remark.severity is Severity.ADVICE]


def texts(of: list[Remark]) -> dict[str, str]:
    return {remark.topic: remark.text for remark in of}


def test_nothing() -> None:
    assert advice() == {}


def test_workload() -> None:
    assert advice(environ={}) == {
        "workload": (
            "No workload is declared, planned as mixed, without threads. Set GUNICORN_WORKLOAD: "
            "cpu if requests mostly compute, io if they mostly wait, mixed if they do both."
        )
    }
    assert "async if they wait in pure async code" in advice(environ={}, app=ASGI)["workload"]
    # Where there are threads, or could not be, nothing is said of them.
    for shown in (advice(environ={"GUNICORN_THREADS": "4"}), advice(environ={}, app=ASGI)):
        assert shown["workload"].startswith("No workload is declared, planned as mixed. ")


@pytest.mark.parametrize(
    ("environ", "app", "most"),
    [
        ({}, WSGI, "3 x 100"),
        ({}, FASTAPI, "5 x 100"),
        # 256 MiB are a guess, of which one fits.
        ({"GUNICORN_MEMORY": "400MiB"}, WSGI, "3 x 100 once the guard has added workers"),
        ({"GUNICORN_MEMORY": "400MiB", "GUNICORN_MEMORY_GUARD": "observe"}, WSGI, "1 x 200"),
        ({"GUNICORN_MEMORY": "400MiB", "GUNICORN_WORKER_MEMORY": "256MiB"}, WSGI, "1 x 200"),
    ],
)
def test_many_threads(environ: dict[str, str], app: Finding, most: str) -> None:
    remedy = "bound the application's own pool or set" if app is FASTAPI else "set"
    assert advice(environ=IO | environ, app=app) == {
        "max-concurrency": (
            f"Each thread may hold a connection to a database: up to {most}, made only as requests "
            f"need them. Where the database takes fewer, {remedy} GUNICORN_MAX_CONCURRENCY."
        )
    }


@pytest.mark.parametrize("declared", [{}, {"GUNICORN_INTERFACE": "asgi"}])
def test_threads_that_django_makes_itself(declared: dict[str, str]) -> None:
    assert advice(environ=IO | declared, app=ASGI) == {}
    assert list(advice(environ=IO | declared, app=FASTAPI)) == ["max-concurrency"]
    other = replace(ASGI, makes_own_threads=False)
    assert list(advice(environ=IO | declared, app=other)) == ["max-concurrency"]


@pytest.mark.parametrize(
    "environ",
    [
        IO | {"GUNICORN_MAX_CONCURRENCY": "400"},
        IO | {"GUNICORN_THREADS": "100"},
        IO | {"GUNICORN_WORKER_CLASS": "gevent"},
        {"GUNICORN_WORKLOAD": "mixed"},
        {"GUNICORN_WORKLOAD": "cpu"},
    ],
)
def test_threads_that_are_few_or_bounded(environ: dict[str, str]) -> None:
    assert advice(environ=environ) == {}


def test_no_memory_limit_in_a_container() -> None:
    on = machine(8, quota=2, container=True, worker_tmp_dir="/dev/shm")
    assert list(advice(on)) == ["memory-limit"]
    assert advice(on, DECLARED | {"GUNICORN_MEMORY": "1GiB"}) == {}


def test_no_limits_on_a_host() -> None:
    assert advice(machine(8, worker_tmp_dir="/dev/shm")) == {}


def test_no_quota_in_a_container() -> None:
    on = machine(4, supply=LIMITED, container=True, worker_tmp_dir="/dev/shm")
    assert list(advice(on)) == ["cpu-quota"]
    assert advice(on, DECLARED | {"GUNICORN_CPUS": "2"}) == {}
    assert advice(on, DECLARED | {"GUNICORN_WORKERS": "2"}) == {}


def test_a_cpuset_is_a_limit() -> None:
    on = machine(4, online=8, supply=LIMITED, container=True, worker_tmp_dir="/dev/shm")
    assert advice(on) == {}


def test_what_the_plan_warns_of_is_not_advised_again() -> None:
    on = machine(64, supply=LIMITED, container=True, worker_tmp_dir="/dev/shm")
    declaration = declare(DECLARED)
    planned = plan(on, declaration, application=WSGI)
    assert [warning for warning in planned.warnings if "no CPU limit" in warning] != []
    assert advise(Known(on, declaration, planned)) == []


@pytest.mark.parametrize(("quota", "topics"), [(0.5, ["quota-below-one-core"]), (1.0, [])])
def test_quota_below_one_core(quota: float, topics: list[str]) -> None:
    on = machine(8, quota=quota, supply=LIMITED, container=True, worker_tmp_dir="/dev/shm")
    assert list(advice(on)) == topics


@pytest.mark.parametrize(
    ("quota", "cpus", "begins"),
    [
        (None, "500m", None),
        (2.0, "500m", None),
        (0.25, "0.5", "The CPU quota is 0.25 of a core: "),
        (0.5, "2", "The CPU quota is 0.5 of a core: "),
    ],
)
def test_declared_cores_throttle_nobody_and_lift_no_quota(
    quota: float | None, cpus: str, begins: str | None
) -> None:
    on = machine(8, quota=quota, supply=LIMITED, container=True, worker_tmp_dir="/dev/shm")
    shown = advice(on, DECLARED | {"GUNICORN_CPUS": cpus})
    assert list(shown) == ([] if begins is None else ["quota-below-one-core"])
    assert shown.get("quota-below-one-core", "").startswith(begins or "")


def test_web_concurrency() -> None:
    shown = advice(environ=DECLARED | {"WEB_CONCURRENCY": "7"})
    assert list(shown) == ["web-concurrency"]
    assert shown["web-concurrency"].startswith(
        "WEB_CONCURRENCY=7 overrides the planned count of 3 "
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"WEB_CONCURRENCY": "3"},  # as planned
        {"GUNICORN_WORKERS": "7"},
        {"GUNICORN_WORKERS": "7", "WEB_CONCURRENCY": "6"},
    ],
)
def test_web_concurrency_that_overrides_nothing(environ: dict[str, str]) -> None:
    assert advice(environ=DECLARED | environ) == {}


def test_uvloop() -> None:
    assert list(advice(app=ASGI, has_uvloop=False)) == ["uvloop"]
    assert advice(app=ASGI) == {}
    assert advice(app=WSGI, has_uvloop=False) == {}


def test_uvloop_under_the_stock_worker() -> None:
    environ = DECLARED | {"GUNICORN_WORKER_CLASS": "uvicorn_worker.UvicornWorker"}
    assert list(advice(environ=environ, has_uvloop=False)) == ["uvloop"]


@pytest.mark.parametrize(
    ("file_system", "topics"),
    [("tmpfs", []), ("ramfs", []), (None, []), ("ext4", ["worker-tmp-dir"])],
)
def test_heartbeat_on_disk(file_system: str | None, topics: list[str]) -> None:
    declaration = declare(DECLARED)
    planned = plan(POD, declaration, application=WSGI)
    shown = advise(
        Known(
            POD,
            declaration,
            planned,
            heartbeat_directory="/srv/beats",
            heartbeat_file_system=file_system,
        )
    )
    assert [item.topic for item in shown] == topics
    assert all("a file in /srv/beats, which is on ext4, " in item.text for item in shown)


def test_conf_file() -> None:
    declaration = declare(DECLARED)
    planned = plan(POD, declaration, application=WSGI)
    known = Known(POD, declaration, planned, conf_file="./gunicorn.conf.py")
    (shown,) = advise(known)
    assert shown.topic == "conf-file"
    assert "assigns" not in shown.text
    (shown,) = advise(known._replace(conf_file_assigns=("timeout", "workers")))
    assert "It assigns timeout, workers." in shown.text


def test_every_topic_is_tested_here() -> None:
    assert [topic for topic, severity, _ in RULES if severity is Severity.ADVICE] == [
        "workload",
        "max-concurrency",
        "memory-limit",
        "cpu-quota",
        "quota-below-one-core",
        "web-concurrency",
        "uvloop",
        "worker-tmp-dir",
        "conf-file",
    ]


def test_severities_of_one_stream() -> None:
    environ = {"GUNICORN_KEEPALIVE": "5", "GUNICORN_MEMORY": "128MiB"}
    planned = plan(POD, declare(environ), application=WSGI)
    assert [(remark.topic, remark.severity.value) for remark in planned.remarks] == [
        ("settings", "without-effect"),
        ("memory", "problem"),
        ("workload", "advice"),
    ]
    assert planned.warnings == tuple(remark.text for remark in planned.remarks[:2])


@pytest.mark.parametrize(
    ("environ", "texts"),
    [
        ({"GUNICORN_MEMORY": "1GiB", "GUNICORN_WORKERS": "3"}, []),
        (
            {"GUNICORN_MEMORY": "128MiB", "GUNICORN_WORKERS": "1"},
            [
                (
                    "1 worker of 256 MiB (a guess until measured) exceeds the memory budget of "
                    "115.2 MiB (GUNICORN_MEMORY) by 140.8 MiB"
                )
            ],
        ),
        (
            {
                "GUNICORN_MEMORY": "1GiB",
                "GUNICORN_WORKER_MEMORY": "512MiB",
                "GUNICORN_WORKERS": "4",
            },
            [
                (
                    "4 workers of 512 MiB (GUNICORN_WORKER_MEMORY) exceed the memory budget of "
                    "921.6 MiB (GUNICORN_MEMORY) by 1.1 GiB"
                )
            ],
        ),
        (
            {"GUNICORN_MEMORY": "16GiB", "GUNICORN_WORKERS": "4"},
            ["GUNICORN_MEMORY declares 16 GiB, but the machine grants only 8 GiB"],
        ),
        ({"GUNICORN_MEMORY": "8GiB", "GUNICORN_WORKERS": "4"}, []),
        ({"GUNICORN_MEMORY": "128MiB", "GUNICORN_WORKERS": "0"}, []),
    ],
    ids=["fits", "one-too-many", "too-many", "not-granted", "all-of-it", "no-workers"],
)
def test_memory(environ: dict[str, str], texts: list[str]) -> None:
    planned = plan(machine(supply=memory(8 * GIB)), declare(environ), application=WSGI)
    assert [remark.text for remark in planned.remarks if remark.topic == "memory"] == texts


def test_nothing_is_said_of_memory_that_is_unknown() -> None:
    declaration = declare({"GUNICORN_MEMORY": "2GiB"})
    planned = plan(machine(supply=memory(None)), declaration, application=WSGI)
    assert "memory" not in {remark.topic for remark in planned.remarks}


def test_a_setting_without_effect_may_have_any_value() -> None:
    explicit = Explicit(value={"X-FORWARDED-PROTO": "https"}, source="gunicorn.conf.py")
    declaration = replace(declare(DECLARED), settings={"secure_scheme_headers": (explicit,)})
    planned = plan(POD, declaration, application=ASGI)
    (warning,) = planned.warnings
    assert warning == (
        "secure_scheme_headers, set by gunicorn.conf.py, has no effect under "
        "gunicorn_autoconf.workers.UvicornWorker: uvicorn has an HTTP parser of its own"
    )


class Mine(UvicornWorker):
    """A worker class of an operator's own, whose name shows nothing."""


def test_ancestry_of_a_loaded_class_decides() -> None:
    environ = {
        "GUNICORN_WORKER_CLASS": "mine.Worker",
        "GUNICORN_LIMIT_REQUEST_LINE": "100",
        "GUNICORN_TIMEOUT": "10",
        "GUNICORN_GRACEFUL_TIMEOUT": "25",
    }
    declaration = declare(DECLARED | environ)
    planned = plan(POD, declaration, application=ASGI)
    # Its name alone may stand for a worker that is killed while it drains.
    assert topics(planned) == ["graceful-timeout"]
    loaded = Known(POD, declaration, planned, ASGI, worker_class=Mine)
    (remark,) = remarks(loaded)
    assert remark.text == (
        "limit_request_line, set by GUNICORN_LIMIT_REQUEST_LINE, has no effect under mine.Worker: "
        "uvicorn's parser httptools has no such limit; with h11 they have"
    )


def topics(planned: Plan) -> list[str]:
    return [remark.topic for remark in planned.remarks]
