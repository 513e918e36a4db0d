"""What the log, the command line and JSON say of a plan; and what they never say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
import pytest
from builders import ASGI, GIB, MIB, WSGI, declare, limit, machine, memory, plan_for

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.cli.explain.document import to_json
from gunicorn_autoconf.cli.explain.text import render_explanation
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration, Explicit
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.plan.report import (
    render_change,
    render_final,
    render_overridden,
    render_table,
    verdict_line,
)
from gunicorn_autoconf.plan.steps import plan

POD = machine(
    8,
    quota=1.5,
    supply=memory(16 * GIB, limit(GIB, 300 * MIB), in_use=4 * GIB, own=100 * MIB),
    container=True,
    platform="kubernetes",
    worker_tmp_dir="/dev/shm",
)

# What the command line would set, were nothing else.
DEFAULTS = {
    "worker_class": "sync",
    "workers": 1,
    "threads": 1,
    "timeout": 30,
    "graceful_timeout": 30,
    "keepalive": 2,
    "worker_tmp_dir": None,
}


def table(on: Machine, environ: Mapping[str, str], argv: Sequence[str] = ()) -> str:
    declaration = declare(environ, argv)
    planned = plan(on, declaration, application=WSGI)
    first = verdict_line(on, declaration, planned)
    return "\n".join(line.text for line in (first, *render_table(on, declaration, planned)))


def explanation(
    on: Machine,
    environ: Mapping[str, str],
    argv: Sequence[str] = (),
    app: Finding | None = WSGI,
) -> str:
    declaration = declare(environ, argv)
    planned = plan(on, declaration, application=app)
    return click.unstyle(render_explanation(on, declaration, planned, planned.remarks))


def document(on: Machine, environ: Mapping[str, str], argv: Sequence[str] = ()) -> Any:
    declaration = declare(environ, argv)
    planned = plan(on, declaration, application=WSGI)
    shown = to_json(on, declaration, planned, WSGI, planned.remarks)
    return json.loads(json.dumps(shown))


class TestTable:
    def test_of_a_pod(self) -> None:
        environ = {"GUNICORN_WORKLOAD": "io", "WEB_CONCURRENCY": "3", "GUNICORN_TIMEOUT": "10"}
        assert table(POD, environ, ["gunicorn", "--workers", "4", "app:app"]) == (
            """\
gunicorn-autoconf: plan: 4 ThreadWorkers x 100 threads: 1.5 cores, 1 GiB, WSGI, workload io \
(GUNICORN_WORKLOAD)
gunicorn-autoconf:   cores from /sys/fs/cgroup/kubepods/pod1/app/cpu.max; \
memory from /sys/fs/cgroup/kubepods/pod1/app/memory.max; \
WSGI from app.wsgi calls get_wsgi_application()
gunicorn-autoconf:   worker_class     gunicorn_autoconf.workers.ThreadWorker  io, WSGI: waiting costs a thread, not a process
gunicorn-autoconf:   workers          4                                       set by --workers; planned = 2; WEB_CONCURRENCY = 3
gunicorn-autoconf:   threads          100                                     io: each made only when a request has to wait for \
one
gunicorn-autoconf:   timeout          10                                      set by GUNICORN_TIMEOUT
gunicorn-autoconf:   graceful_timeout 8                                       timeout - 2: most draining workers send no \
heartbeat, timeout = 10 (GUNICORN_TIMEOUT)
gunicorn-autoconf:   keepalive        65                                      longer than the 60 s idle timeout of load balancers
gunicorn-autoconf:   worker_tmp_dir   /dev/shm                                a tmpfs: heartbeats never wait for a disk \
(/dev/shm)"""  # noqa: E501 - as wide as the log
        )

    def test_of_a_host_where_nothing_is_declared(self) -> None:
        head, *_ = table(machine(1), {}).splitlines()
        assert head == (
            "gunicorn-autoconf: plan: 3 sync workers: 1 core, 16 GiB, WSGI, workload auto"
        )

    def test_of_declared_sizes(self) -> None:
        environ = {"GUNICORN_CPUS": "500m", "GUNICORN_MEMORY": "1.5GiB"}
        head, *_ = table(POD, environ).splitlines()
        assert ": 0.5 cores, 1.5 GiB, WSGI, " in head

    def test_memory_unknown(self) -> None:
        head, *_ = table(machine(supply=memory(None)), {}).splitlines()
        assert ": 4 cores, memory unknown, WSGI, " in head

    def test_memory_that_cut_the_count_is_shown_with_its_numbers(self) -> None:
        shown = table(machine(), {"GUNICORN_MEMORY": "1GiB"})
        assert (
            "gunicorn-autoconf:   workers          3     budget // worker_memory, "
            "budget = 921.6 MiB, "
            "worker_memory = 256 MiB, wanted = 9 (GUNICORN_MEMORY; a guess until measured)"
        ) in shown.splitlines()

    def test_other_settings_are_named(self) -> None:
        environ = {"GUNICORN_MAX_REQUESTS": "1000", "GUNICORN_RAW_ENV": "TOKEN=hunter2"}
        shown = table(machine(), environ)
        (line,) = (row for row in shown.splitlines() if "as well" in row)
        assert line.startswith("gunicorn-autoconf:   set by the environment as well: ")
        assert set(line.partition("as well: ")[2].split(", ")) == {"max_requests", "raw_env"}


class TestFinal:
    """The line of `when_ready`: what holds, and who overrode the plan."""

    def test_as_planned(self) -> None:
        planned = plan_for({}, ASGI, on=machine(worker_tmp_dir="/dev/shm"))
        assert render_final(planned, DEFAULTS | planned.settings) == (
            "gunicorn-autoconf: running with "
            "worker_class=gunicorn_autoconf.workers.UvicornWorker workers=9 "
            "threads=1 timeout=60 graceful_timeout=30 keepalive=65 worker_tmp_dir=/dev/shm"
        )

    def test_what_was_not_planned_is_shown_as_it_is(self) -> None:
        planned = plan_for({})
        assert render_final(planned, DEFAULTS | planned.settings).endswith(
            " keepalive=2 worker_tmp_dir=None"
        )

    def test_overridden_by_the_command_line(self) -> None:
        planned = plan_for(
            {"WEB_CONCURRENCY": "3", "GUNICORN_TIMEOUT": "90"},
            argv=["gunicorn", "--workers", "7", "app:app"],
        )
        shown = render_final(planned, DEFAULTS | planned.settings)
        assert " workers=7 (--workers over planned=9, WEB_CONCURRENCY=3) " in shown
        assert " timeout=90 (GUNICORN_TIMEOUT) " in shown
        assert render_overridden(planned, DEFAULTS | planned.settings) == (
            "gunicorn-autoconf: set by you: workers=7 (--workers over planned=9, "
            "WEB_CONCURRENCY=3), timeout=90 (GUNICORN_TIMEOUT)"
        )

    def test_changed_since(self) -> None:
        values = DEFAULTS | plan_for({}).settings | {"workers": 2}
        shown = render_final(plan_for({}), values)
        assert " workers=2 (changed after planning 9) " in shown

    def test_nothing_is_said_of_a_plan_that_holds(self) -> None:
        planned = plan_for({})
        assert render_overridden(planned, DEFAULTS | planned.settings) is None


class TestChange:
    def test_what_a_new_plan_changed(self) -> None:
        before = plan_for({}, ASGI, on=machine(4))
        after = plan_for({}, WSGI, on=machine(2, worker_tmp_dir="/dev/shm"))
        assert render_change(before, after) == (
            "gunicorn-autoconf: planned again: "
            "worker_class gunicorn_autoconf.workers.UvicornWorker -> sync, "
            "workers 9 -> 5, keepalive 65 -> unplanned, worker_tmp_dir unplanned -> /dev/shm"
        )

    def test_nothing(self) -> None:
        assert render_change(plan_for({}), plan_for({})) == (
            "gunicorn-autoconf: planned again: nothing changed"
        )


DECLARED = {
    "GUNICORN_WORKLOAD": "io",
    "GUNICORN_CPUS": "1.5",
    "GUNICORN_MEMORY": "600MiB",
    "GUNICORN_MEMORY_RESERVE": "10%",
    "GUNICORN_WORKER_MEMORY": "500MiB",
    "GUNICORN_MEMORY_GUARD": "observe",
    "GUNICORN_INTERFACE": "auto",
    "GUNICORN_BIND": ":80 :81",
    "GUNICORN_ON_EXIT": "posixpath.basename",
}


class TestJson:
    def test_plan(self) -> None:
        shown = document(machine(), DECLARED)["plan"]
        assert shown["workload"] == "io"
        assert shown["interface"] == "wsgi"
        assert shown["interface_evidence"] == "app.wsgi calls get_wsgi_application()"
        assert shown["settings"]["worker_class"] == "gunicorn_autoconf.workers.ThreadWorker"
        assert shown["settings"]["workers"] == 1
        assert shown["settings"]["threads"] == 200
        assert shown["settings"]["bind"] == [":80", ":81"]
        assert shown["memory"] == {
            "limit_bytes": 629_145_600,
            "reserve_bytes": 62_914_560,
            "others_bytes": 0,
            "source": "GUNICORN_MEMORY",
            "worker_memory_bytes": 524_288_000,
            "worker_memory_source": "GUNICORN_WORKER_MEMORY",
            "granted_bytes": 17_179_869_184,
            "is_guess": False,
            "budget_bytes": 566_231_040,
            "fits": 1,
        }

    def test_reasons_in_the_order_in_which_they_were_found(self) -> None:
        reasons = document(machine(), DECLARED)["plan"]["reasons"]
        assert [reason for reason in reasons if reason["setting"] == "workers"] == [
            {
                "setting": "workers",
                "value": 3,
                "rule": "ceil(c) + 1",
                "inputs": {"c": 1.5},
                "source": "GUNICORN_CPUS",
            },
            {
                "setting": "workers",
                "value": 1,
                "rule": "budget // worker_memory",
                "inputs": {
                    "budget_bytes": 566_231_040,
                    "worker_memory_bytes": 524_288_000,
                    "wanted": 3,
                },
                "source": "GUNICORN_MEMORY; GUNICORN_WORKER_MEMORY",
            },
        ]

    def test_declaration(self) -> None:
        shown = document(machine(), DECLARED)["declaration"]
        assert shown["values"] == {
            "workload": {"value": "io", "source": "GUNICORN_WORKLOAD"},
            "interface": {"value": None, "source": "GUNICORN_INTERFACE"},
            "cpus": {"value": 1.5, "source": "GUNICORN_CPUS"},
            "memory_bytes": {"value": 629_145_600, "source": "GUNICORN_MEMORY"},
            "worker_memory_bytes": {"value": 524_288_000, "source": "GUNICORN_WORKER_MEMORY"},
            "memory_reserve": {"value": "10%", "source": "GUNICORN_MEMORY_RESERVE"},
            "memory_guard": {"value": "observe", "source": "GUNICORN_MEMORY_GUARD"},
        }
        assert shown["settings"]["bind"] == [{"value": [":80", ":81"], "source": "GUNICORN_BIND"}]

    def test_machine_and_application(self) -> None:
        shown = document(POD, {})
        assert shown["machine"]["cpu"]["quota"] == {
            "cores": 1.5,
            "origin": {
                "path": "/sys/fs/cgroup/kubepods/pod1/app/cpu.max",
                "text": "150000 100000",
                "certain": True,
            },
        }
        assert shown["machine"]["memory"]["own_bytes"] == 104_857_600
        assert shown["machine"]["platform"] == "kubernetes"
        assert shown["application"] == {
            "interface": "wsgi",
            "evidence": "app.wsgi calls get_wsgi_application()",
            "missing_module": None,
            "is_neither": False,
            "worker_class": None,
            "depends_on_version": False,
            "makes_own_threads": False,
            "runs_without_gil": False,
            "process_state": [],
        }

    def test_warnings(self) -> None:
        assert document(machine(), {"GUNICORN_MEMORY": "17GiB"})["warnings"] == [
            "GUNICORN_MEMORY declares 17 GiB, but the machine grants only 16 GiB"
        ]

    def test_nothing_known(self) -> None:
        on = machine(supply=memory(None))
        shown = to_json(on, Declaration(), plan(on), None, ())
        assert json.loads(json.dumps(shown))["plan"]["memory"] is None
        assert shown["application"] is None


SECRETS = {
    "GUNICORN_RAW_ENV": "TOKEN=hunter2 OTHER=hunter3",
    "GUNICORN_RAW_PASTE_GLOBAL_CONF": "password=hunter4",
    "GUNICORN_CMD_ARGS": "--env TOKEN=hunter5",
}


class TestSecrets:
    """What applications are handed through `raw_env` is nobody's business."""

    ARGV = ("gunicorn", "-e", "TOKEN=hunter6", "app:app")

    @pytest.mark.parametrize("argv", [ARGV, ()], ids=["argv", "environment"])
    @pytest.mark.parametrize("without", ["", "GUNICORN_CMD_ARGS"])
    def test_never_appear(self, argv: tuple[str, ...], without: str) -> None:
        environ = {name: text for name, text in SECRETS.items() if name != without}
        shown = (
            table(POD, environ, argv),
            explanation(POD, environ, argv),
            json.dumps(document(POD, environ, argv)),
        )
        for text in shown:
            assert "hunter" not in text
            assert "raw_paste_global_conf" in text

    def test_nor_do_those_that_were_overruled(self) -> None:
        stronger = Explicit(value=["TOKEN=hunter2"], source="GUNICORN_RAW_ENV")
        weaker = Explicit(value=["TOKEN=hunter3"], source="gunicorn.conf.py")
        declaration = Declaration(settings={"raw_env": (stronger, weaker)})
        planned = plan(POD, declaration)

        shown = render_explanation(POD, declaration, planned, ())
        assert "hunter" not in shown
        assert "gunicorn.conf.py = (not shown)" in shown
        assert "hunter" not in json.dumps(to_json(POD, declaration, planned, None, ()))

    def test_that_they_are_set_is_told(self) -> None:
        shown = explanation(POD, {"GUNICORN_RAW_ENV": "TOKEN=hunter2"})
        assert "  raw_env = (not shown) (GUNICORN_RAW_ENV)" in shown.splitlines()
        assert "  raw_env = (not shown)" in shown.splitlines()


class Worker:
    """A worker class that a configuration file hands over as an object."""


def test_a_worker_class_is_shown_by_its_dotted_name() -> None:
    explicit = Explicit(value=Worker, source="gunicorn.conf.py", applied=True)
    declaration = Declaration(settings={"worker_class": (explicit,)})
    planned: Plan = plan(machine(), declaration)

    shown = to_json(machine(), declaration, planned, None, ())
    assert shown["plan"]["settings"]["worker_class"] == "test_report.Worker"
    assert any(
        line.text.split()[1:]
        == ["worker_class", "test_report.Worker", "set", "by", "gunicorn.conf.py"]
        for line in render_table(machine(), declaration, planned)
    )
    assert "worker_class = test_report.Worker (gunicorn.conf.py)" in render_explanation(
        machine(), declaration, planned, ()
    )
    assert " worker_class=test_report.Worker " in render_final(planned, DEFAULTS | planned.settings)
