"""The remarks on a plan: when each one is made, and when it would be out of place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import ASGI, FASTAPI, GIB, LEAF, WSGI, declare, limit, machine, memory

from gunicorn_autoconf.app.finding import Finding, KeptState, StateKind
from gunicorn_autoconf.machine.facts import Machine, Platform
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
            "No workload is declared: the running server measures what requests do and logs what a "
            "declaration would gain. Set GUNICORN_WORKLOAD: cpu if requests mostly compute, io if "
            "they mostly wait, mixed if they do both."
        )
    }
    assert "async if they wait in pure async code" in advice(environ={}, app=ASGI)["workload"]


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


def test_enough_workers() -> None:
    on = machine(64, supply=LIMITED, worker_tmp_dir="/dev/shm")
    assert advice(on, {"GUNICORN_WORKLOAD": "mixed"}) == {
        "enough-workers": (
            "64 cores would give 65 workers; the plan stops at 12, which are enough for most. If "
            "all of them are busy while cores are idle, set GUNICORN_WORKERS, or GUNICORN_CPUS "
            "for a count by cores. GUNICORN_WORKLOAD=cpu plans one for each core."
        )
    }


@pytest.mark.parametrize(
    "environ",
    [
        {"GUNICORN_WORKERS": "40"},
        {"GUNICORN_CPUS": "11"},
        {"GUNICORN_MIN_WORKERS": "20"},
        {"GUNICORN_WORKLOAD": "cpu"},
    ],
)
def test_as_many_workers_as_were_declared(environ: dict[str, str]) -> None:
    on = machine(24, supply=LIMITED, worker_tmp_dir="/dev/shm")
    assert "enough-workers" not in advice(on, DECLARED | environ)


FARGATE = machine(2, supply=LIMITED, container=True, platform="fargate", worker_tmp_dir="/dev/shm")


def test_what_a_platform_hides() -> None:
    assert advice(FARGATE) == {
        "cpu-quota": (
            "This container has no CPU quota: the plan counts on every core of the machine, which "
            "others use as well. No file shows a Fargate task's vCPU; a task of 0.25 vCPU sees "
            "whole cores. Set GUNICORN_CPUS to the vCPU of the task, such as 0.25."
        )
    }
    assert advice(FARGATE, DECLARED | {"GUNICORN_CPUS": "0.5"}) == {}


def test_what_a_platform_hides_among_many_cores() -> None:
    on = machine(64, supply=LIMITED, container=True, platform="heroku")
    warnings = plan(on, declare(DECLARED), application=WSGI).warnings
    assert warnings == (
        (
            "no CPU limit: the host's 64 cores are not this container's alone; set a CPU limit or "
            "GUNICORN_CPUS. Shared dynos (Eco, Basic, Standard) show every core of the host and "
            "get a share of them: set GUNICORN_CPUS=1. Performance dynos own their cores."
        ),
    )


def test_memory_that_a_platform_hides() -> None:
    on = machine(2, quota=2, container=True, platform="cloud-run", worker_tmp_dir="/dev/shm")
    assert advice(on)["memory-limit"].endswith(
        "The first generation shows no memory limit: set GUNICORN_MEMORY to --memory."
    )


def test_a_virtual_machine_with_shared_cores() -> None:
    on = machine(2, platform="fly", worker_tmp_dir="/dev/shm")
    assert advice(on) == {
        "cpu-quota": (
            "A shared CPU has a sixteenth of a core for good and more only for a while: set "
            "GUNICORN_CPUS there."
        ),
        "platform": (
            "Fly sends SIGKILL 5 s after its signal: requests have 4 s to finish; for longer ones "
            "raise kill_timeout in fly.toml and GUNICORN_GRACEFUL_TIMEOUT. Fly sends SIGINT, on "
            'which Gunicorn drops its requests: set kill_signal = "SIGTERM" in fly.toml.'
        ),
    }


@pytest.mark.parametrize(
    ("platform", "grace_seconds", "text"),
    [
        ("kubernetes", None, None),
        ("railway", 30, None),
        (
            "railway",
            None,
            (
                "Railway sends SIGKILL right after SIGTERM: a deploy cuts every request. Set "
                "RAILWAY_DEPLOYMENT_DRAINING_SECONDS to 30."
            ),
        ),
        (
            "app-service",
            None,
            (
                "Azure App Service sends SIGKILL 5 s after its signal: requests have 4 s to "
                "finish; for longer ones raise WEBSITES_CONTAINER_STOP_TIME_LIMIT."
            ),
        ),
        (
            "cloud-run",
            None,
            "Cloud Run sends SIGKILL 10 s after its signal: requests have 8 s to finish.",
        ),
    ],
)
def test_how_a_platform_stops_a_server(
    platform: Platform, grace_seconds: int | None, text: str | None
) -> None:
    on = machine(
        2,
        quota=2,
        supply=LIMITED,
        container=True,
        platform=platform,
        grace_seconds=grace_seconds,
        worker_tmp_dir="/dev/shm",
    )
    assert advice(on).get("platform") == text


@pytest.mark.parametrize(
    ("app", "environ", "pids", "text"),
    [
        (WSGI, {"GUNICORN_WORKLOAD": "io"}, 64, None),
        (WSGI, {"GUNICORN_WORKLOAD": "io", "GUNICORN_WORKERS": "3"}, 440, None),
        (
            WSGI,
            {"GUNICORN_WORKERS": "3", "GUNICORN_THREADS": "100"},
            64,
            (
                f"3 workers x 100 threads may need 440 processes and threads, pids.max allows 64 "
                f"({LEAF}/pids.max): starting one beyond fails; set fewer or raise the limit"
            ),
        ),
        (
            FASTAPI,
            {},
            100,
            (
                f"5 workers x 40 threads for synchronous code may need 292 processes and threads, "
                f"pids.max allows 100 ({LEAF}/pids.max): starting one beyond fails; bound them by "
                f"GUNICORN_WORKLOAD=io or GUNICORN_THREADS, or raise the limit"
            ),
        ),
        (FASTAPI, {"GUNICORN_WORKLOAD": "io"}, 100, None),
        (FASTAPI, {"GUNICORN_WORKLOAD": "async"}, 100, None),
    ],
)
def test_pids_limit(app: Finding, environ: dict[str, str], pids: int, text: str | None) -> None:
    on = machine(8, quota=2, supply=LIMITED, container=True, pids=pids)
    planned = plan(on, declare(environ), application=app)
    shown = [remark.text for remark in planned.remarks if remark.topic == "pids"]
    assert shown == ([] if text is None else [text])


SOCKETS = KeptState(kind=StateKind.SESSIONS, evidence="SocketIO() at app.py:7")
JOBS = KeptState(kind=StateKind.JOBS, evidence="BackgroundScheduler() at jobs.py:3")
SHARED = KeptState(kind=StateKind.MEMORY, evidence="Manager() at app.py:9")


def test_state_in_one_process() -> None:
    app = replace(WSGI, process_state=(SOCKETS, JOBS, SHARED))
    planned = plan(POD, declare({}), application=app)
    assert planned.warnings == (
        (
            "SocketIO() at app.py:7 keeps its state in one process: with 5 workers a client's "
            "next request may reach a worker that does not know its session; set "
            "GUNICORN_WORKERS=1 GUNICORN_THREADS=100, or run several servers of one worker "
            "with a message queue behind a sticky load balancer"
        ),
        (
            "BackgroundScheduler() at jobs.py:3 keeps its state in one process: with 5 workers "
            "every worker runs each job; set GUNICORN_WORKERS=1 GUNICORN_THREADS=100, or run "
            "the scheduler in a process of its own"
        ),
        (
            "Manager() at app.py:9 keeps its state in one process: with 5 workers no worker sees "
            "what another one has written; set GUNICORN_WORKERS=1 GUNICORN_THREADS=100, or "
            "use a store that all workers share, such as Redis"
        ),
    )


def test_state_in_one_process_that_runs_alone() -> None:
    app = replace(FASTAPI, process_state=(JOBS,))
    assert plan(POD, declare({"GUNICORN_WORKERS": "1"}), application=app).warnings == ()
    (warning,) = plan(POD, declare({}), application=app).warnings
    assert "set GUNICORN_WORKERS=1, or run the scheduler" in warning


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


def test_no_workers() -> None:
    zero = {"workers": (Explicit(value=0, source="--workers"),)}
    declaration = replace(declare({}), settings=zero)
    known = Known(POD, declaration, plan(POD, declaration, application=WSGI))
    assert "workers = 0 (--workers): no request is answered; set at least 1" in [
        remark.text for remark in remarks(known)
    ]


def test_container_that_only_itself_reaches() -> None:
    def shown(on: Machine, address: str | None, **environ: str) -> dict[str, str]:
        declaration = declare(DECLARED | environ)
        planned = plan(on, declaration, application=WSGI)
        return texts([*remarks(Known(on, declaration, planned, WSGI, default_address=address))])

    default = "127.0.0.1:8000"
    assert shown(POD, default) == {
        "bind": (
            "The server listens at 127.0.0.1:8000, Gunicorn's default: nothing outside of this "
            "container or pod reaches it. Set GUNICORN_BIND=0.0.0.0:8000, or to 127.0.0.1:8000 "
            "where a proxy in here asks it"
        )
    }
    assert shown(POD, None) == shown(POD, "0.0.0.0:8080") == {}
    assert shown(POD, default, GUNICORN_BIND=default) == {}
    assert "bind" not in shown(replace(POD, container=None), default)


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
        "enough-workers",
        "platform",
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
        ({"GUNICORN_MEMORY": "128MiB", "GUNICORN_CMD_ARGS": "-w 0"}, []),
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
