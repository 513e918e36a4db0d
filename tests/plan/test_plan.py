"""The plan: which worker class, how many workers and threads, which timeouts, and why."""

from __future__ import annotations

from typing import Any

import pytest
from builders import (
    ASGI,
    FASTAPI,
    GIB,
    LEAF,
    MIB,
    POD,
    WSGI,
    declare,
    limit,
    machine,
    memory,
    plan_for,
)

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Platform
from gunicorn_autoconf.plan.declaration import Declaration, Explicit
from gunicorn_autoconf.plan.plan import Plan, Reason
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS, plan
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.worker_classes import Interface

THREADS = "gunicorn_autoconf.workers.ThreadWorker"
UVICORN = "gunicorn_autoconf.workers.UvicornWorker"
STOCK = "uvicorn_worker.UvicornWorker"


def shape(planned: Plan) -> tuple[Any, Any, Any]:
    """Worker class, workers and threads."""
    settings = planned.settings
    return settings["worker_class"], settings["workers"], settings["threads"]


class TestWorkloads:
    """The table of the workloads, with 16 GiB to spend."""

    @pytest.mark.parametrize(
        ("cpus", "workload", "app", "worker_class", "workers", "threads"),
        [
            ("4", "cpu", WSGI, "sync", 4, 1),
            ("4", "cpu", ASGI, UVICORN, 4, 1),
            ("4", "", WSGI, "sync", 9, 1),
            ("4", "", ASGI, UVICORN, 9, 1),
            # One worker more than cores, and threads: 8 where requests compute too, else 100.
            ("4", "mixed", WSGI, THREADS, 5, 8),
            ("4", "mixed", ASGI, UVICORN, 9, 1),
            ("4", "io", WSGI, THREADS, 5, 100),
            # The size of the pools for synchronous code.
            ("4", "io", ASGI, UVICORN, 9, 100),
            ("4", "async", WSGI, THREADS, 5, 100),
            ("4", "async", ASGI, UVICORN, 4, 1),
            ("1", "cpu", WSGI, "sync", 1, 1),
            ("1", "", WSGI, "sync", 3, 1),
            ("1", "mixed", WSGI, THREADS, 2, 8),
            ("1", "io", WSGI, THREADS, 2, 100),
            ("1", "io", ASGI, UVICORN, 3, 100),
            ("1.5", "cpu", WSGI, "sync", 2, 1),
            ("1.5", "", WSGI, "sync", 4, 1),
            ("1.5", "mixed", WSGI, THREADS, 3, 8),
            ("1.5", "io", WSGI, THREADS, 3, 100),
            ("1.5", "async", ASGI, UVICORN, 2, 1),
            ("500m", "cpu", WSGI, "sync", 1, 1),
            ("500m", "mixed", ASGI, UVICORN, 2, 1),
            ("100m", "", WSGI, "sync", 1, 1),
            ("100m", "mixed", WSGI, THREADS, 2, 8),
            ("1m", "cpu", WSGI, "sync", 1, 1),
        ],
    )
    def test_shape(
        self,
        cpus: str,
        workload: str,
        app: Finding,
        worker_class: str,
        workers: int,
        threads: int,
    ) -> None:
        environ = {
            "GUNICORN_CPUS": cpus,
            "GUNICORN_WORKLOAD": workload,
            "GUNICORN_MEMORY": "16GiB",
        }
        assert shape(plan_for(environ, app)) == (worker_class, workers, threads)

    @pytest.mark.parametrize(
        ("cores", "quota", "workers"),
        [(4, None, 9), (1, None, 3), (8, 2.0, 5), (8, 1.5, 4), (8, 0.25, 1), (2, 4.0, 5)],
    )
    def test_detected_cores(self, cores: int, quota: float | None, workers: int) -> None:
        assert plan_for({}, on=machine(cores, quota=quota)).settings["workers"] == workers

    def test_declared_cores_replace_the_detected_ones(self) -> None:
        planned = plan_for({"GUNICORN_CPUS": "2"}, on=machine(64, quota=8.0))
        assert planned.reasons_for("workers") == (
            Reason(
                setting="workers",
                value=5,
                rule="floor(2 * c) + 1",
                inputs={"c": 2.0},
                source="GUNICORN_CPUS",
            ),
        )

    def test_reason_names_the_file_with_the_quota(self) -> None:
        (reason,) = plan_for({}, on=machine(8, quota=1.5)).reasons_for("workers")
        assert reason.inputs == {"c": 1.5}
        assert reason.source == f"{LEAF}/cpu.max"

    def test_reason_for_the_class_says_why(self) -> None:
        (reason,) = plan_for({"GUNICORN_WORKLOAD": "cpu"}).reasons_for("worker_class")
        assert reason.rule == (
            "cpu, WSGI: a computing process fills one core; more only switch contexts"
        )

    def test_async_needs_asgi(self) -> None:
        environ = {"GUNICORN_WORKLOAD": "async"}
        assert plan_for(environ, WSGI).warnings == (
            "workload async needs an ASGI application; planned as io",
        )
        assert plan_for(environ, ASGI).warnings == ()

    def test_nothing_declared_is_auto(self) -> None:
        planned = plan(machine(2))
        assert planned.workload is Workload.AUTO
        assert shape(planned) == ("sync", 5, 1)
        assert planned.warnings == ()

    def test_threads_are_only_for_what_is_declared(self) -> None:
        """Nobody has said that the code bears them; to declare the default is to say so."""
        undeclared = plan_for({})
        declared = plan_for({"GUNICORN_WORKLOAD": "mixed"})

        assert (undeclared.workload, declared.workload) == (Workload.AUTO, Workload.MIXED)
        assert (shape(undeclared), shape(declared)) == (("sync", 9, 1), (THREADS, 5, 8))
        assert undeclared.reasons_for("worker_class")[0].rule == (
            "auto, WSGI: one computes while one waits, one spare"
        )
        assert undeclared.reasons_for("threads")[0].rule == (
            "auto: more than one only with a declared workload"
        )
        assert declared.reasons_for("worker_class")[0].rule == (
            "mixed, WSGI: some threads wait while one computes; "
            "a spare where all of a worker's wait"
        )
        assert declared.reasons_for("threads")[0].rule == (
            "mixed: enough to fill the waits, few connections to a database"
        )
        # A class without threads is none that has few of them.
        gevent = plan_for({"GUNICORN_WORKLOAD": "mixed", "GUNICORN_WORKER_CLASS": "gevent"})
        assert gevent.reasons_for("threads")[0].rule == "mixed: one thread a worker"

    def test_an_event_loop_has_the_same_plan_whether_mixed_is_declared_or_not(self) -> None:
        undeclared, declared = plan_for({}, ASGI), plan_for({"GUNICORN_WORKLOAD": "mixed"}, ASGI)
        assert undeclared.settings == declared.settings


class TestInterface:
    @pytest.mark.parametrize(
        ("environ", "app", "interface", "evidence"),
        [
            ({}, ASGI, Interface.ASGI, "app.asgi calls get_asgi_application()"),
            ({}, WSGI, Interface.WSGI, "app.wsgi calls get_wsgi_application()"),
            ({}, None, Interface.WSGI, "no application is named; Gunicorn assumes WSGI"),
            (
                {},
                Finding(interface=None, evidence="app.py binds nothing called app"),
                Interface.WSGI,
                "could not tell, Gunicorn assumes WSGI: app.py binds nothing called app",
            ),
            (
                {"GUNICORN_INTERFACE": "wsgi"},
                ASGI,
                Interface.WSGI,
                "declared by GUNICORN_INTERFACE",
            ),
            (
                {"GUNICORN_INTERFACE": "auto"},
                ASGI,
                Interface.ASGI,
                "app.asgi calls get_asgi_application()",
            ),
            (
                {"GUNICORN_WORKER_CLASS": "asgi"},
                WSGI,
                Interface.ASGI,
                "spoken by asgi (GUNICORN_WORKER_CLASS)",
            ),
            (
                {"GUNICORN_WORKER_CLASS": "gevent"},
                ASGI,
                Interface.WSGI,
                "spoken by gevent (GUNICORN_WORKER_CLASS)",
            ),
            (
                {"GUNICORN_WORKER_CLASS": "mine.Worker"},
                ASGI,
                Interface.ASGI,
                "app.asgi calls get_asgi_application()",
            ),
        ],
    )
    def test_what_decides(
        self, environ: dict[str, str], app: Finding | None, interface: Interface, evidence: str
    ) -> None:
        planned = plan_for(environ, app)
        assert planned.interface is interface
        assert planned.interface_evidence == evidence


class TestMemory:
    """Four cores; memory is declared."""

    @pytest.mark.parametrize(
        ("workload", "app", "memory_size", "worker_memory", "workers", "threads"),
        [
            # nothing measured: 256 MiB a worker
            ("async", ASGI, "1GiB", "", 3, 1),
            ("mixed", ASGI, "2GiB", "300MiB", 6, 1),
            ("", WSGI, "1GiB", "", 3, 1),
            ("", WSGI, "16GiB", "", 9, 1),
            ("cpu", WSGI, "512MiB", "", 1, 1),
            # threads make up for processes, 5 x 100 in all, but at most 200 in each
            ("io", WSGI, "1500MiB", "250MiB", 5, 100),
            ("io", WSGI, "1200MiB", "250MiB", 4, 125),
            ("io", WSGI, "900MiB", "250MiB", 3, 167),
            ("io", WSGI, "600MiB", "250MiB", 2, 200),
            ("io", WSGI, "300MiB", "250MiB", 1, 200),
            ("io", WSGI, "100MiB", "250MiB", 1, 200),
            ("async", WSGI, "900MiB", "250MiB", 3, 167),
            # 9 x 100
            ("io", ASGI, "2GiB", "300MiB", 6, 150),
            # The guard adds what only a guess has cut.
            ("io", ASGI, "1GiB", "", 3, 100),
            # 5 x 8
            ("mixed", WSGI, "900MiB", "250MiB", 3, 14),
            ("mixed", WSGI, "300MiB", "250MiB", 1, 40),
        ],
    )
    def test_cuts_the_count(
        self,
        workload: str,
        app: Finding,
        memory_size: str,
        worker_memory: str,
        workers: int,
        threads: int,
    ) -> None:
        planned = plan_for(
            {
                "GUNICORN_CPUS": "4",
                "GUNICORN_WORKLOAD": workload,
                "GUNICORN_MEMORY": memory_size,
                "GUNICORN_WORKER_MEMORY": worker_memory,
            },
            app,
        )
        assert planned.settings["workers"] == workers
        assert planned.settings["threads"] == threads

    def test_threads_never_exceed_200(self) -> None:
        environ = {
            "GUNICORN_CPUS": "16",
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "600MiB",
            "GUNICORN_WORKER_MEMORY": "250MiB",
        }
        assert shape(plan_for(environ)) == (THREADS, 2, 200)

    def test_reason_holds_the_division(self) -> None:
        environ = {"GUNICORN_MEMORY": "1GiB", "GUNICORN_WORKER_MEMORY": "512MiB"}
        assert plan_for(environ).reasons_for("workers")[-1] == Reason(
            setting="workers",
            value=1,
            rule="budget // worker_memory",
            inputs={
                "budget_bytes": 966_367_641,
                "worker_memory_bytes": 536_870_912,
                "wanted": 9,
            },
            source="GUNICORN_MEMORY; GUNICORN_WORKER_MEMORY",
            is_memory_cut=True,
        )

    def test_measured_workers_replace_the_guess(self) -> None:
        environ = {"GUNICORN_MEMORY": "1GiB"}
        assert plan_for(environ, measured=80 * MIB).settings["workers"] == 8
        assert plan_for(environ, measured=400 * MIB).settings["workers"] == 1

    def test_a_sibling_lowers_the_count(self) -> None:
        alone = memory(16 * GIB, limit(2 * GIB), limit(3 * GIB, 0, at=POD))
        crowded = memory(16 * GIB, limit(2 * GIB), limit(3 * GIB, 2 * GIB, at=POD))

        assert plan_for({}, on=machine(supply=alone)).settings["workers"] == 7
        planned = plan_for({}, on=machine(supply=crowded))
        assert planned.settings["workers"] == 2
        assert planned.reasons_for("workers")[-1].source == (
            f"{POD}/memory.max; a guess until measured"
        )

    def test_own_processes_do_not_count(self) -> None:
        before = memory(16 * GIB, limit(2 * GIB, 0))
        running = memory(16 * GIB, limit(2 * GIB, 1536 * MIB), own=1536 * MIB)
        others = memory(16 * GIB, limit(2 * GIB, 1536 * MIB))

        assert plan_for({}, on=machine(supply=before)).settings["workers"] == 7
        assert plan_for({}, on=machine(supply=running)).settings["workers"] == 7
        assert plan_for({}, on=machine(supply=others)).settings["workers"] == 1

    def test_not_one_worker_fits(self) -> None:
        planned = plan_for({"GUNICORN_MEMORY": "128MiB"})
        assert planned.settings["workers"] == 1
        assert planned.warnings == (
            (
                "1 worker of 256 MiB (a guess until measured) exceeds the memory budget of "
                "115.2 MiB (GUNICORN_MEMORY) by 140.8 MiB"
            ),
        )

    def test_nothing_is_left(self) -> None:
        full = memory(2 * GIB, in_use=2 * GIB)
        planned = plan_for({}, on=machine(supply=full))
        assert planned.settings["workers"] == 1
        assert planned.warnings == (
            (
                "1 worker of 256 MiB (a guess until measured) exceeds the memory budget of "
                "0 MiB (/proc/meminfo) by 256 MiB"
            ),
        )

    def test_unknown_memory_cuts_nothing(self) -> None:
        planned = plan_for({"GUNICORN_CPUS": "64"}, on=machine(64, supply=memory(None)))
        assert planned.memory is None
        assert planned.settings["workers"] == 129
        assert planned.warnings == ()

    def test_limit_above_the_lowest_is_not_declared(self) -> None:
        """Siblings leave less of the parent's limit than the lower one of our own grants."""
        parent, leaf = limit(260 * MIB, 150 * MIB, at="/sys/fs/cgroup/a"), limit(240 * MIB)
        planned = plan_for({}, on=machine(supply=memory(16 * GIB, leaf, parent)))
        assert planned.memory is not None
        assert planned.memory.limit_bytes == 260 * MIB
        assert "grants only" not in "".join(planned.warnings)

    def test_more_declared_than_granted(self) -> None:
        small = machine(supply=memory(16 * GIB, limit(GIB)))
        planned = plan_for({"GUNICORN_MEMORY": "2GiB"}, on=small)
        assert planned.settings["workers"] == 7
        assert planned.warnings == (
            "GUNICORN_MEMORY declares 2 GiB, but the machine grants only 1 GiB",
        )

    def test_an_explicit_count_that_does_not_fit(self) -> None:
        planned = plan_for({"GUNICORN_MEMORY": "1GiB", "WEB_CONCURRENCY": "4"})
        assert planned.settings["workers"] == 4
        assert planned.warnings == (
            (
                "4 workers of 256 MiB (a guess until measured) exceed the memory budget of "
                "921.6 MiB (GUNICORN_MEMORY) by 102.4 MiB"
            ),
        )


class TestNeed:
    """Beyond 12 workers cores alone are no reason for more."""

    ADVICE = (
        "no CPU limit: the host's 64 cores are not this container's alone; "
        "set a CPU limit or GUNICORN_CPUS"
    )
    ROOM = memory(256 * GIB)
    HOST = machine(64, supply=ROOM)

    @pytest.mark.parametrize(
        ("workload", "shaped"), [("", ("sync", 12, 1)), ("io", (THREADS, 12, 100))]
    )
    def test_in_a_container(self, workload: str, shaped: tuple[str, int, int]) -> None:
        planned = plan_for(
            {"GUNICORN_WORKLOAD": workload}, on=machine(64, container=True, supply=self.ROOM)
        )
        assert shape(planned) == shaped
        assert planned.warnings == (self.ADVICE,)
        assert planned.reasons_for("workers")[-1].source == "/.dockerenv"

    @pytest.mark.parametrize("app", [WSGI, ASGI])
    @pytest.mark.parametrize("workload", ["", "mixed", "io"])
    def test_on_a_large_host(self, workload: str, app: Finding) -> None:
        planned = plan_for({"GUNICORN_WORKLOAD": workload}, app, on=self.HOST)
        assert planned.settings["workers"] == 12
        assert planned.warnings == ()
        reason = planned.reasons_for("workers")[-1]
        assert reason.is_need_cut
        assert reason.rule == "at most 12 unless GUNICORN_WORKERS or GUNICORN_CPUS asks for more"
        assert reason.source == "os.sched_getaffinity"

    @pytest.mark.parametrize(
        ("environ", "app", "workers"),
        [
            # One for each core is what these declare.
            ({"GUNICORN_WORKLOAD": "cpu"}, WSGI, 64),
            ({"GUNICORN_WORKLOAD": "cpu"}, ASGI, 64),
            ({"GUNICORN_WORKLOAD": "async"}, ASGI, 64),
            # A number that was declared.
            ({"GUNICORN_CPUS": "64"}, WSGI, 129),
            ({"GUNICORN_WORKERS": "40"}, WSGI, 40),
            ({"WEB_CONCURRENCY": "40"}, WSGI, 40),
            ({"GUNICORN_MIN_WORKERS": "20"}, WSGI, 20),
            # A bound is no wish.
            ({"GUNICORN_MAX_WORKERS": "40"}, WSGI, 12),
            ({"GUNICORN_MAX_CONCURRENCY": "500"}, WSGI, 12),
            ({"GUNICORN_THREADS": "4"}, WSGI, 12),
            # The shape is that of `io` for one request at a time, not one for each core.
            ({"GUNICORN_WORKLOAD": "async", "GUNICORN_WORKER_CLASS": "sync"}, WSGI, 12),
        ],
    )
    def test_what_lifts_it_on_a_large_host(
        self, environ: dict[str, str], app: Finding, workers: int
    ) -> None:
        assert plan_for(environ, app, on=self.HOST).settings["workers"] == workers

    def test_memory_still_counts_below_it(self) -> None:
        planned = plan_for({"GUNICORN_WORKER_MEMORY": "1GiB"}, on=machine(64))
        assert planned.settings["workers"] == 12
        planned = plan_for({"GUNICORN_WORKER_MEMORY": "2GiB"}, on=machine(64))
        assert planned.settings["workers"] == 7

    def test_lifted_by_a_quota(self) -> None:
        planned = plan_for({}, on=machine(64, quota=32.0, container=True, supply=self.ROOM))
        assert planned.settings["workers"] == 65
        assert planned.warnings == ()

    def test_a_cpuset_is_no_wish_for_a_worker_of_each_core(self) -> None:
        # A node's reserved cores or its memory's place, as well as what somebody asked for.
        on = machine(62, online=64, container=True, supply=self.ROOM)
        assert plan_for({}, on=on).settings["workers"] == 12
        assert plan_for({}, on=on).warnings == ()
        assert plan_for({"GUNICORN_WORKLOAD": "cpu"}, on=on).settings["workers"] == 62

    def test_lifted_by_declared_cores(self) -> None:
        planned = plan_for(
            {"GUNICORN_CPUS": "64"}, on=machine(64, container=True, supply=self.ROOM)
        )
        assert planned.settings["workers"] == 129
        assert planned.warnings == ()

    @pytest.mark.parametrize(("cores", "workers"), [(5, 11), (6, 12)])
    def test_from_the_thirteenth_worker_on(self, cores: int, workers: int) -> None:
        planned = plan_for({}, on=machine(cores, container=True, supply=self.ROOM))
        assert planned.settings["workers"] == workers

    def test_a_small_host_needs_no_advice(self) -> None:
        assert plan_for({}, on=machine(4, container=True)).warnings == ()


class TestBounds:
    @pytest.mark.parametrize(
        ("environ", "shaped"),
        [
            ({"GUNICORN_MAX_WORKERS": "3"}, ("sync", 3, 1)),
            ({"GUNICORN_MAX_WORKERS": "20"}, ("sync", 9, 1)),
            ({"GUNICORN_MIN_WORKERS": "12"}, ("sync", 12, 1)),
            ({"GUNICORN_MIN_WORKERS": "2"}, ("sync", 9, 1)),
            ({"GUNICORN_MIN_WORKERS": "3", "GUNICORN_MAX_WORKERS": "3"}, ("sync", 3, 1)),
            ({"GUNICORN_MAX_CONCURRENCY": "6"}, ("sync", 6, 1)),
            ({"GUNICORN_MAX_CONCURRENCY": "6", "GUNICORN_MAX_WORKERS": "2"}, ("sync", 2, 1)),
            # An explicit count beats them all.
            ({"GUNICORN_MAX_WORKERS": "3", "WEB_CONCURRENCY": "5"}, ("sync", 5, 1)),
            ({"GUNICORN_MIN_WORKERS": "8", "GUNICORN_WORKERS": "2"}, ("sync", 2, 1)),
            # As many threads as without the bound.
            ({"GUNICORN_WORKLOAD": "io", "GUNICORN_MAX_WORKERS": "2"}, (THREADS, 2, 100)),
            ({"GUNICORN_WORKLOAD": "io", "GUNICORN_MIN_WORKERS": "6"}, (THREADS, 6, 100)),
        ],
    )
    def test_of_workers(self, environ: dict[str, str], shaped: tuple[str, int, int]) -> None:
        planned = plan_for(environ)
        assert shape(planned) == shaped
        assert planned.warnings == ()

    @pytest.mark.parametrize(
        ("concurrency", "workers", "threads"),
        [
            ("20", 5, 4),  # every core keeps its worker
            ("500", 5, 100),
            ("499", 5, 99),
            ("5", 5, 1),
            ("3", 3, 1),
            ("1", 1, 1),
        ],
    )
    def test_of_concurrency_with_threads(
        self, concurrency: str, workers: int, threads: int
    ) -> None:
        environ = {"GUNICORN_WORKLOAD": "io", "GUNICORN_MAX_CONCURRENCY": concurrency}
        planned = plan_for(environ)
        assert shape(planned) == (THREADS, workers, threads)
        assert planned.warnings == ()

    def test_of_concurrency_with_few_threads(self) -> None:
        environ = {"GUNICORN_WORKLOAD": "mixed", "GUNICORN_MAX_CONCURRENCY": "20"}
        assert shape(plan_for(environ)) == (THREADS, 5, 4)

    @pytest.mark.parametrize(
        ("concurrency", "workers", "threads"),
        [
            ("900", 9, 100),
            ("40", 9, 4),
            ("18", 9, 2),
            # A pool has two threads at least.
            ("17", 8, 2),
            ("6", 3, 2),
            ("2", 1, 2),
        ],
    )
    def test_of_concurrency_with_thread_pools(
        self, concurrency: str, workers: int, threads: int
    ) -> None:
        environ = {"GUNICORN_WORKLOAD": "io", "GUNICORN_MAX_CONCURRENCY": concurrency}
        planned = plan_for(environ, ASGI)
        assert shape(planned) == (UVICORN, workers, threads)
        assert planned.warnings == ()

    @pytest.mark.parametrize(
        ("environ", "workers", "enough"),
        [
            ({"GUNICORN_MAX_CONCURRENCY": "1"}, 1, 2),
            ({"GUNICORN_MAX_CONCURRENCY": "9", "GUNICORN_MIN_WORKERS": "6"}, 6, 12),
        ],
    )
    def test_a_thread_pool_of_one_is_none(
        self, environ: dict[str, str], workers: int, enough: int
    ) -> None:
        planned = plan_for({"GUNICORN_WORKLOAD": "io", **environ}, FASTAPI)
        assert shape(planned) == (UVICORN, workers, 1)
        assert planned.warnings == (
            (
                f"GUNICORN_MAX_CONCURRENCY={environ['GUNICORN_MAX_CONCURRENCY']} bounds workers, "
                "not their thread pools, which keep their own size (anyio: 40 threads in each); "
                "bound the application's own pool of connections, raise this to "
                f"{enough}, or run fewer workers"
            ),
        )

    @pytest.mark.parametrize(
        ("environ", "remedy"),
        [
            ({}, ", or set GUNICORN_WORKLOAD=io"),
            ({"GUNICORN_WORKLOAD": "mixed"}, ", or set GUNICORN_WORKLOAD=io"),
            ({"GUNICORN_WORKLOAD": "cpu"}, ", or set GUNICORN_WORKLOAD=io"),
            ({"GUNICORN_WORKER_CLASS": UVICORN}, ", or set GUNICORN_WORKLOAD=io"),
            ({"GUNICORN_WORKLOAD": "io", "GUNICORN_WORKER_CLASS": STOCK}, ""),
            ({"GUNICORN_WORKLOAD": "io", "GUNICORN_WORKER_CLASS": "asgi"}, ""),
        ],
    )
    def test_thread_pools_that_nobody_sizes(self, environ: dict[str, str], remedy: str) -> None:
        planned = plan_for({"GUNICORN_MAX_CONCURRENCY": "40", **environ}, FASTAPI)
        assert planned.settings["threads"] == 1
        assert planned.warnings == (
            (
                "GUNICORN_MAX_CONCURRENCY=40 bounds workers, not their thread pools, which keep "
                "their own size (anyio: 40 threads in each); bound the application's own pool of "
                f"connections{remedy}"
            ),
        )

    @pytest.mark.parametrize("declared", [{}, {"GUNICORN_INTERFACE": "asgi"}])
    def test_threads_that_django_makes(self, declared: dict[str, str]) -> None:
        planned = plan_for({"GUNICORN_MAX_CONCURRENCY": "40"} | declared, ASGI)
        assert planned.warnings == (
            (
                "GUNICORN_MAX_CONCURRENCY=40 bounds workers, not the threads that Django makes in "
                "each; bound its connections in a pool"
            ),
        )

    def test_a_pool_has_two_threads_when_the_guard_has_added_workers(self) -> None:
        environ = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "512MiB",
            "GUNICORN_MAX_CONCURRENCY": "16",
        }
        assert shape(plan_for(environ, FASTAPI)) == (UVICORN, 1, 2)
        assert plan_for(environ, FASTAPI, measured=MIB).settings["workers"] == 8
        assert plan_for(environ, FASTAPI).warnings == ()

    @pytest.mark.parametrize(("memory_size", "workers"), [("4GiB", 2), ("512MiB", 1)])
    def test_of_concurrency_with_explicit_threads(self, memory_size: str, workers: int) -> None:
        environ = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": memory_size,
            "GUNICORN_THREADS": "20",
            "GUNICORN_MAX_CONCURRENCY": "40",
        }
        assert shape(plan_for(environ)) == (THREADS, workers, 20)
        assert plan_for(environ, measured=MIB).settings["workers"] == 2
        assert plan_for(environ).warnings == ()

    def test_a_guard_that_observes_adds_none(self) -> None:
        """On a host without a limit it does so by itself."""
        environ = {"GUNICORN_WORKLOAD": "io", "GUNICORN_MAX_CONCURRENCY": "40"}
        host, pod = memory(400 * MIB), memory(16 * GIB, limit(400 * MIB))
        assert shape(plan_for(environ, on=machine(supply=host))) == (THREADS, 1, 40)
        assert shape(plan_for(environ, on=machine(supply=pod))) == (THREADS, 1, 8)

    @pytest.mark.parametrize(
        "environ",
        [
            {"GUNICORN_WORKLOAD": "async"},  # It has no synchronous code.
            {"GUNICORN_WORKLOAD": "io", "GUNICORN_THREADS": "1"},  # The operator knows.
            {"GUNICORN_WORKLOAD": "io", "GUNICORN_MAX_WORKERS": "3"},
        ],
    )
    def test_no_word_of_thread_pools(self, environ: dict[str, str]) -> None:
        planned = plan_for(environ | {"GUNICORN_MAX_CONCURRENCY": "9"}, ASGI)
        assert planned.warnings == ()

    def test_reason_names_the_bound(self) -> None:
        planned = plan_for({"GUNICORN_MAX_WORKERS": "3"})
        assert planned.reasons_for("workers")[-1] == Reason(
            setting="workers",
            value=3,
            rule="max_workers",
            inputs={"bound": 3, "wanted": 9},
            source="GUNICORN_MAX_WORKERS",
        )

    def test_reason_shows_what_a_bound_is_divided_by(self) -> None:
        environ = {"GUNICORN_WORKLOAD": "io", "GUNICORN_MAX_CONCURRENCY": "7"}
        assert plan_for(environ, FASTAPI).reasons_for("workers")[-1] == Reason(
            setting="workers",
            value=3,
            rule="max_concurrency // 2 threads",
            inputs={"bound": 7, "wanted": 9},
            source="GUNICORN_MAX_CONCURRENCY",
        )

    def test_threads_that_memory_asks_for_stay_within_the_concurrency(self) -> None:
        environ = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "600MiB",
            "GUNICORN_WORKER_MEMORY": "250MiB",
            "GUNICORN_MAX_CONCURRENCY": "40",
        }
        assert shape(plan_for(environ)) == (THREADS, 2, 20)

    @pytest.mark.parametrize(
        ("environ", "workers", "threads"),
        [
            # One fits by a guess, five are wanted: the guard may add four of 8 threads each.
            ({}, 1, 8),
            ({"GUNICORN_MAX_WORKERS": "2"}, 1, 20),
            ({"GUNICORN_MIN_WORKERS": "6"}, 6, 6),
            # None will be added.
            ({"GUNICORN_MEMORY_GUARD": "off"}, 1, 40),
            ({"GUNICORN_MEMORY_GUARD": "observe"}, 1, 40),
            ({"GUNICORN_WORKER_MEMORY": "256MiB"}, 1, 40),
            ({"WEB_CONCURRENCY": "1"}, 1, 40),
        ],
    )
    def test_workers_that_the_guard_may_add_stay_within_the_concurrency(
        self, environ: dict[str, str], workers: int, threads: int
    ) -> None:
        declared = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "400MiB",
            "GUNICORN_MAX_CONCURRENCY": "40",
        }
        assert shape(plan_for(declared | environ)) == (THREADS, workers, threads)

    def test_reason_names_the_workers_that_the_guard_may_add(self) -> None:
        environ = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "400MiB",
            "GUNICORN_MAX_CONCURRENCY": "40",
        }
        assert plan_for(environ).reasons_for("threads")[-1] == Reason(
            setting="threads",
            value=8,
            rule="max_concurrency // workers, with those that the guard may add",
            inputs={"max_concurrency": 40, "workers": 5},
            source="GUNICORN_MAX_CONCURRENCY",
        )

    @pytest.mark.parametrize(
        ("environ", "warning"),
        [
            (
                {"WEB_CONCURRENCY": "6"},
                "6 workers x 1 thread exceed GUNICORN_MAX_CONCURRENCY=5",
            ),
            (
                {"GUNICORN_MIN_WORKERS": "7"},
                "7 workers x 1 thread exceed GUNICORN_MAX_CONCURRENCY=5",
            ),
            (
                {"GUNICORN_THREADS": "2", "GUNICORN_WORKERS": "4"},
                "4 workers x 2 threads exceed GUNICORN_MAX_CONCURRENCY=5",
            ),
        ],
    )
    def test_what_the_operator_wants_may_exceed_it(
        self, environ: dict[str, str], warning: str
    ) -> None:
        planned = plan_for({"GUNICORN_MAX_CONCURRENCY": "5", **environ})
        assert planned.warnings == (warning,)

    @pytest.mark.parametrize(
        "environ",
        [
            {"GUNICORN_MAX_WORKERS": "2"},
            {"WEB_CONCURRENCY": "2"},
            {"GUNICORN_MAX_CONCURRENCY": "200", "GUNICORN_MAX_WORKERS": "2"},
        ],
    )
    def test_threads_do_not_make_up_for_workers_that_nobody_wants(
        self, environ: dict[str, str]
    ) -> None:
        """Three fit into 900 MiB, two may be."""
        declared = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "900MiB",
            "GUNICORN_WORKER_MEMORY": "250MiB",
        }
        assert shape(plan_for(declared | environ)) == (THREADS, 2, 100)

    def test_threads_make_up_for_workers_within_the_bound(self) -> None:
        environ = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "600MiB",
            "GUNICORN_WORKER_MEMORY": "250MiB",
            "GUNICORN_MAX_WORKERS": "3",
        }
        assert shape(plan_for(environ)) == (THREADS, 2, 150)

    @pytest.mark.parametrize("variable", ["WEB_CONCURRENCY", "GUNICORN_MIN_WORKERS"])
    def test_threads_make_up_only_for_workers_that_are_missing(self, variable: str) -> None:
        """Memory would leave one worker and give it 200 threads; the operator insists on five."""
        environ = {
            "GUNICORN_WORKLOAD": "io",
            "GUNICORN_MEMORY": "300MiB",
            "GUNICORN_WORKER_MEMORY": "250MiB",
            variable: "5",
        }
        assert shape(plan_for(environ)) == (THREADS, 5, 100)


class TestExplicitCount:
    def test_web_concurrency(self) -> None:
        planned = plan_for({"WEB_CONCURRENCY": "3"})
        assert planned.settings["workers"] == 3
        assert planned.reasons_for("workers")[-1].source == "WEB_CONCURRENCY"

    def test_gunicorn_workers_beats_web_concurrency(self) -> None:
        planned = plan_for({"WEB_CONCURRENCY": "3", "GUNICORN_WORKERS": "5"})
        assert planned.settings["workers"] == 5

    def test_the_command_line_beats_both_and_names_all(self) -> None:
        planned = plan_for(
            {"WEB_CONCURRENCY": "3", "GUNICORN_WORKERS": "5"},
            argv=["gunicorn", "--workers", "7", "app:app"],
        )
        assert planned.settings["workers"] == 7
        assert planned.reasons_for("workers")[-1] == Reason(
            setting="workers",
            value=7,
            rule="set",
            is_set=True,
            inputs={"planned": 9, "GUNICORN_WORKERS": 5, "WEB_CONCURRENCY": 3},
            source="--workers",
        )

    def test_no_workers_at_all_is_the_operators_choice(self) -> None:
        """Gunicorn takes it as an option; as a variable it is refused."""
        planned = plan_for({"GUNICORN_MAX_CONCURRENCY": "4"}, argv=["gunicorn", "-w", "0"])
        assert planned.settings["workers"] == 0
        assert planned.warnings == (
            "workers = 0 (--workers): no request is answered; set at least 1",
        )


class TestExplicitClass:
    @pytest.mark.parametrize(
        ("environ", "app", "shaped"),
        [
            # Threads would turn sync into gthread, which is not what was asked for.
            ({"GUNICORN_WORKER_CLASS": "sync"}, WSGI, ("sync", 9, 1)),
            ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_WORKLOAD": "cpu"}, WSGI, ("sync", 4, 1)),
            ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_WORKLOAD": "mixed"}, WSGI, ("sync", 9, 1)),
            ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_WORKLOAD": "io"}, WSGI, ("sync", 9, 1)),
            ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_WORKLOAD": "async"}, WSGI, ("sync", 9, 1)),
            (
                {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_WORKLOAD": "io"},
                WSGI,
                ("gevent", 5, 1),
            ),
            ({"GUNICORN_WORKER_CLASS": "gevent"}, WSGI, ("gevent", 9, 1)),
            # The class says that the code bears threads.
            ({"GUNICORN_WORKER_CLASS": "gthread"}, WSGI, ("gthread", 5, 8)),
            (
                {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_WORKLOAD": "cpu"},
                WSGI,
                ("gthread", 4, 1),
            ),
            (
                {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_WORKLOAD": "mixed"},
                WSGI,
                ("gthread", 5, 8),
            ),
            (
                {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_WORKLOAD": "io"},
                WSGI,
                ("gthread", 5, 100),
            ),
            (
                {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_WORKLOAD": "async"},
                WSGI,
                ("gthread", 5, 100),
            ),
            # Ours takes the threads for its pools, uvicorn-worker's takes no notice of them.
            (
                {"GUNICORN_WORKER_CLASS": UVICORN, "GUNICORN_WORKLOAD": "io"},
                None,
                (UVICORN, 9, 100),
            ),
            ({"GUNICORN_WORKER_CLASS": STOCK, "GUNICORN_WORKLOAD": "io"}, ASGI, (STOCK, 9, 1)),
            ({"GUNICORN_WORKER_CLASS": "asgi", "GUNICORN_WORKLOAD": "io"}, ASGI, ("asgi", 9, 1)),
            (
                {"GUNICORN_WORKER_CLASS": "asgi", "GUNICORN_WORKLOAD": "async"},
                None,
                ("asgi", 4, 1),
            ),
            # Gunicorn makes gthread of sync with threads; the plan says so.
            ({"GUNICORN_THREADS": "8"}, WSGI, (THREADS, 5, 8)),
            ({"GUNICORN_THREADS": "8", "GUNICORN_WORKLOAD": "cpu"}, WSGI, (THREADS, 4, 8)),
            ({"GUNICORN_THREADS": "1"}, WSGI, ("sync", 9, 1)),
            ({"GUNICORN_THREADS": "8", "GUNICORN_WORKLOAD": "io"}, WSGI, (THREADS, 5, 8)),
            # Each serves one request at a time, whatever it does with it.
            ({"GUNICORN_THREADS": "1", "GUNICORN_WORKLOAD": "io"}, WSGI, ("sync", 9, 1)),
            ({"GUNICORN_THREADS": "1", "GUNICORN_WORKLOAD": "mixed"}, WSGI, ("sync", 9, 1)),
            ({"GUNICORN_THREADS": "1", "GUNICORN_WORKLOAD": "async"}, WSGI, ("sync", 9, 1)),
            ({"GUNICORN_THREADS": "1", "GUNICORN_WORKLOAD": "cpu"}, WSGI, ("sync", 4, 1)),
            ({"GUNICORN_THREADS": "1", "GUNICORN_WORKLOAD": "io"}, ASGI, (UVICORN, 9, 1)),
            (
                {"GUNICORN_THREADS": "1", "GUNICORN_WORKER_CLASS": "gthread"},
                WSGI,
                ("gthread", 9, 1),
            ),
            (
                {
                    "GUNICORN_THREADS": "1",
                    "GUNICORN_WORKER_CLASS": "gevent",
                    "GUNICORN_WORKLOAD": "io",
                },
                WSGI,
                ("gevent", 5, 1),
            ),
            ({"GUNICORN_THREADS": "4", "GUNICORN_WORKLOAD": "mixed"}, WSGI, (THREADS, 5, 4)),
            ({"GUNICORN_THREADS": "8"}, ASGI, (UVICORN, 9, 8)),
            ({"GUNICORN_THREADS": "8", "GUNICORN_WORKLOAD": "io"}, ASGI, (UVICORN, 9, 8)),
            # The same classes by their dotted names.
            (
                {
                    "GUNICORN_WORKER_CLASS": "gunicorn.workers.gthread.ThreadWorker",
                    "GUNICORN_WORKLOAD": "io",
                },
                WSGI,
                ("gunicorn.workers.gthread.ThreadWorker", 5, 100),
            ),
            (
                {
                    "GUNICORN_WORKER_CLASS": "gunicorn.workers.sync.SyncWorker",
                    "GUNICORN_WORKLOAD": "io",
                },
                WSGI,
                ("gunicorn.workers.sync.SyncWorker", 9, 1),
            ),
        ],
    )
    def test_shape(
        self, environ: dict[str, str], app: Finding | None, shaped: tuple[str, int, int]
    ) -> None:
        assert shape(plan_for(environ, app)) == shaped

    def test_reason_for_gthread_names_the_threads(self) -> None:
        planned = plan_for({}, argv=["gunicorn", "--threads", "8", "app:app"])
        assert planned.reasons_for("worker_class")[-1] == Reason(
            setting="worker_class",
            value=THREADS,
            rule="auto, WSGI: some threads wait while one computes; "
            "a spare where all of a worker's wait",
            source="--threads",
        )

    def test_reason_for_gthread_where_the_row_has_sync(self) -> None:
        planned = plan_for({"GUNICORN_WORKLOAD": "cpu", "GUNICORN_THREADS": "8"})
        assert planned.reasons_for("worker_class")[-1] == Reason(
            setting="worker_class",
            value=THREADS,
            rule="sync cannot have threads",
            source="GUNICORN_THREADS",
        )

    def test_reason_for_sync_names_the_one_thread(self) -> None:
        planned = plan_for({"GUNICORN_WORKLOAD": "io", "GUNICORN_THREADS": "1"})
        assert planned.reasons_for("worker_class") == (
            Reason(
                setting="worker_class",
                value="sync",
                rule="io, WSGI: one computes while one waits, one spare",
                source="GUNICORN_THREADS",
            ),
        )

    def test_reason_for_the_threads_of_an_event_loop_is_about_threads(self) -> None:
        planned = plan_for({"GUNICORN_WORKLOAD": "io"}, ASGI)
        assert planned.reasons_for("worker_class")[0].rule == (
            "io, ASGI: spares for what blocks a loop"
        )
        assert planned.reasons_for("threads")[0].rule == "io: synchronous code waits in threads"

    def test_a_class_object(self) -> None:
        class Worker:
            pass

        explicit = Explicit(value=Worker, source="gunicorn.conf.py", applied=True)
        planned = plan(machine(), Declaration(settings={"worker_class": (explicit,)}))
        assert planned.settings["worker_class"] is Worker
        assert planned.settings["workers"] == 9


class TestTimeouts:
    @pytest.mark.parametrize(
        ("workload", "timeout"), [("cpu", 120), ("mixed", 60), ("io", 60), ("async", 60), ("", 60)]
    )
    @pytest.mark.parametrize("app", [WSGI, ASGI], ids=["wsgi", "asgi"])
    def test_timeout(self, workload: str, timeout: int, app: Finding) -> None:
        assert plan_for({"GUNICORN_WORKLOAD": workload}, app).settings["timeout"] == timeout

    @pytest.mark.parametrize(
        ("platform", "argv", "graceful"),
        [
            (None, "", 30),
            ("kubernetes", "", 25),
            ("heroku", "", 25),
            # A draining worker sends no heartbeat: it ends 2 s before the timeout at the latest.
            (None, "--timeout 10", 8),
            ("kubernetes", "--timeout 10", 8),
            ("kubernetes", "--timeout 27", 25),
            ("kubernetes", "--timeout 26", 24),
            (None, "--timeout 32", 30),
            (None, "--timeout 31", 29),
            (None, "--timeout 30", 28),
            (None, "--timeout 3", 1),
            (None, "--timeout 2", 1),
            (None, "--timeout 1", 1),
            # No timeout, nothing to stay below.
            (None, "--timeout 0", 30),
            ("heroku", "--timeout 0", 25),
            (None, "--timeout 90", 30),
            # The operator's own.
            (None, "--graceful-timeout 5", 5),
            ("kubernetes", "--graceful-timeout 50", 50),
            (None, "--timeout 0 --graceful-timeout 600", 600),
        ],
    )
    def test_graceful_timeout(self, platform: Platform | None, argv: str, graceful: int) -> None:
        planned = plan_for({}, on=machine(platform=platform), argv=["gunicorn", *argv.split()])
        assert planned.settings["graceful_timeout"] == graceful
        assert planned.warnings == ()

    @pytest.mark.parametrize(
        ("platform", "granted", "graceful", "rule"),
        [
            ("kubernetes", None, 25, "kubernetes kills after 30 s"),
            ("fargate", None, 25, "fargate kills after 30 s"),
            ("cloud-run", None, 8, "cloud-run kills after 10 s"),
            ("cloud-foundry", None, 8, "cloud-foundry kills after 10 s"),
            ("fly", None, 4, "fly kills after 5 s"),
            ("nomad", None, 4, "nomad kills after 5 s"),
            ("app-service", None, 4, "app-service kills after 5 s"),
            ("app-service", 60, 50, "app-service kills after 60 s"),
            ("app-service", 1, 1, "app-service kills after 1 s"),
            # It grants none: a reload and a recycle take theirs.
            ("railway", None, 30, "Gunicorn's own"),
            ("railway", 30, 25, "railway kills after 30 s"),
        ],
    )
    def test_graceful_timeout_of_a_platform(
        self, platform: Platform, granted: int | None, graceful: int, rule: str
    ) -> None:
        planned = plan_for({}, on=machine(platform=platform, grace_seconds=granted))
        reason = planned.reasons_for("graceful_timeout")[-1]
        assert (reason.value, reason.rule) == (graceful, rule)

    @pytest.mark.parametrize(
        ("platform", "argv", "graceful"),
        [
            (None, "--timeout 10", 30),
            ("kubernetes", "--timeout 10", 25),
            (None, "--timeout 10 --graceful-timeout 90", 90),
        ],
    )
    def test_draining_uvicorn_worker_sends_its_heartbeat(
        self, platform: Platform | None, argv: str, graceful: int
    ) -> None:
        on = machine(platform=platform)
        planned = plan_for({}, ASGI, on=on, argv=["gunicorn", *argv.split()])

        assert planned.settings["worker_class"] == UVICORN
        assert planned.settings["graceful_timeout"] == graceful
        assert planned.warnings == ()

    @pytest.mark.parametrize(
        ("worker_class", "graceful"),
        [("gevent", 30), ("eventlet", 8), ("gthread", 8), ("mine.Worker", 8)],
    )
    def test_draining_gevent_worker_sends_its_heartbeat(
        self, worker_class: str, graceful: int
    ) -> None:
        """Source: the run() of Gunicorn's ggevent, geventlet and, before 27.0, gthread."""
        planned = plan_for({"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_TIMEOUT": "10"})

        assert planned.settings["graceful_timeout"] == graceful

    def test_reason_for_a_graceful_timeout_names_the_timeout(self) -> None:
        planned = plan_for({}, argv=["gunicorn", "--timeout", "10"])
        assert planned.settings["timeout"] == 10
        reason = planned.reasons_for("graceful_timeout")[-1]
        assert (reason.source, reason.inputs) == ("--timeout", {"timeout": 10})

    @pytest.mark.parametrize(
        ("timeout", "graceful", "warned"),
        [("60", "60", True), ("60", "59", True), ("60", "58", False), ("60", "90", True)],
    )
    def test_explicit_graceful_timeout_without_margin(
        self, timeout: str, graceful: str, warned: bool
    ) -> None:
        planned = plan_for({"GUNICORN_TIMEOUT": timeout, "GUNICORN_GRACEFUL_TIMEOUT": graceful})
        warning = (
            f"graceful_timeout {graceful} s leaves no margin under timeout 60 s: "
            "a draining worker may be killed with a request in flight"
        )
        assert planned.settings["graceful_timeout"] == int(graceful)
        assert planned.warnings == ((warning,) if warned else ())

    @pytest.mark.parametrize(
        ("environ", "app", "keepalive"),
        [
            ({}, ASGI, 65),
            ({"GUNICORN_WORKLOAD": "io"}, WSGI, 65),
            ({"GUNICORN_WORKLOAD": "mixed"}, WSGI, 65),
            ({"GUNICORN_THREADS": "4"}, WSGI, 65),
            # Gunicorn makes gthread of it, whatever is asked for.
            ({"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_THREADS": "4"}, WSGI, 65),
            # sync closes every connection: the setting would mean nothing.
            ({}, WSGI, None),
            ({"GUNICORN_WORKLOAD": "cpu"}, WSGI, None),
            ({"GUNICORN_KEEPALIVE": "5"}, ASGI, 5),
            ({"GUNICORN_KEEPALIVE": "5"}, WSGI, 5),
            ({"GUNICORN_KEEPALIVE": "0"}, ASGI, 0),
        ],
    )
    def test_keepalive(self, environ: dict[str, str], app: Finding, keepalive: int | None) -> None:
        assert plan_for(environ, app).settings.get("keepalive") == keepalive

    @pytest.mark.newer_gunicorn
    @pytest.mark.parametrize(("app", "keepalive"), [(WSGI, 0), (ASGI, 65)])
    def test_uwsgi_has_no_keepalive(self, app: Finding, keepalive: int) -> None:
        """Uvicorn speaks HTTP whatever the protocol is set to."""
        planned = plan_for({"GUNICORN_WORKLOAD": "io", "GUNICORN_PROTOCOL": "uwsgi"}, app)

        assert planned.settings["keepalive"] == keepalive


class TestKeptConnections:
    @pytest.mark.parametrize(
        ("environ", "app", "warned"),
        [
            ({"GUNICORN_WORKLOAD": "io"}, WSGI, "100 threads"),
            ({"GUNICORN_THREADS": "101"}, WSGI, "101 threads"),
            ({"GUNICORN_WORKLOAD": "io", "GUNICORN_THREADS": "99"}, WSGI, None),
            ({"GUNICORN_WORKLOAD": "io", "GUNICORN_KEEPALIVE": "0"}, WSGI, None),
            ({"GUNICORN_WORKLOAD": "mixed"}, WSGI, None),
            ({"GUNICORN_WORKLOAD": "io"}, ASGI, None),
        ],
    )
    def test_none_beside_the_threads(
        self, environ: dict[str, str], app: Finding, warned: str | None
    ) -> None:
        planned = plan_for({"GUNICORN_WORKER_CONNECTIONS": "100", **environ}, app)
        warning = (
            f"worker_connections 100 (GUNICORN_WORKER_CONNECTIONS) with {warned} leaves no "
            "connection to be kept open, keepalive has no effect; set more"
        )
        assert planned.warnings == ((warning,) if warned else ())


class TestWorkerTmpDir:
    def test_a_tmpfs(self) -> None:
        planned = plan_for({}, on=machine(worker_tmp_dir="/dev/shm"))
        assert planned.settings["worker_tmp_dir"] == "/dev/shm"

    def test_none_to_be_had(self) -> None:
        assert "worker_tmp_dir" not in plan_for({}).settings

    def test_the_operators_own(self) -> None:
        planned = plan_for(
            {"GUNICORN_WORKER_TMP_DIR": "/run/app"}, on=machine(worker_tmp_dir="/dev/shm")
        )
        assert planned.settings["worker_tmp_dir"] == "/run/app"


class TestOtherSettings:
    def test_of_the_environment_are_part_of_the_plan(self) -> None:
        planned = plan_for({"GUNICORN_MAX_REQUESTS": "1000", "GUNICORN_PRELOAD_APP": "yes"})
        assert planned.settings["max_requests"] == 1000
        assert planned.settings["preload_app"] is True
        assert planned.reasons_for("max_requests") == (
            Reason(
                setting="max_requests",
                value=1000,
                rule="set",
                source="GUNICORN_MAX_REQUESTS",
                is_set=True,
            ),
        )

    def test_of_the_command_line_are_left_to_gunicorn(self) -> None:
        planned = plan_for(
            {"GUNICORN_MAX_REQUESTS": "1000", "GUNICORN_CMD_ARGS": "--bind :81"},
            argv=["gunicorn", "--max-requests", "50", "app:app"],
        )
        assert "max_requests" not in planned.settings
        assert "bind" not in planned.settings

    def test_nothing_else_is_touched(self) -> None:
        planned = plan_for({}, ASGI, on=machine(worker_tmp_dir="/dev/shm"))
        assert set(planned.settings) == set(PLANNED_SETTINGS)
        assert set(planned.settings) == {
            "worker_class",
            "workers",
            "threads",
            "timeout",
            "graceful_timeout",
            "keepalive",
            "worker_tmp_dir",
        }


def test_a_declaration_is_enough_for_a_plan() -> None:
    planned = plan(machine(), declare({"GUNICORN_WORKLOAD": "io"}))
    assert shape(planned) == (THREADS, 5, 100)
