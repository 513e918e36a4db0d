"""What is planned and said on some of the machines of ``roots``."""

from __future__ import annotations

import pytest
from builders import WSGI, declare
from machine_roots import machine_of

from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.plan.steps import plan
from gunicorn_autoconf.server.planned import Planned

NO_CPU_LIMIT = (
    "no CPU limit: the host's 64 cores are not this container's alone; set a CPU limit or "
    "GUNICORN_CPUS"
)
OUT_OF_SIGHT = (
    "/proc/self/cgroup: our own cgroup is not among those that are mounted: CPU and memory limits "
    "are unknown; set GUNICORN_CPUS and GUNICORN_MEMORY"
)


def planned_on(case: str, **environ: str) -> tuple[Machine, Plan, Planned]:
    machine, declaration = machine_of(case), declare(environ)
    planned = plan(machine, declaration, application=WSGI)
    whole = Planned(
        machine=machine,
        declaration=declaration,
        application=WSGI,
        plan=planned,
        root="/",
        environ=environ,
    )
    return machine, planned, whole


@pytest.mark.parametrize(
    "case", ["containerd-no-mark", "lxc-marks", "crio-host-namespace", "ecs-v1-path"]
)
@pytest.mark.parametrize("workload", ["", "cpu", "io"])
def test_a_container_by_whatever_shows_it(case: str, workload: str) -> None:
    _, planned, whole = planned_on(case, GUNICORN_WORKLOAD=workload)
    assert planned.settings["workers"] == 12
    assert whole.warnings == (NO_CPU_LIMIT,)


def test_a_unit_with_a_memory_limit_is_no_container() -> None:
    machine, planned, whole = planned_on(
        "systemd-service-memory-max", GUNICORN_WORKLOAD="cpu", GUNICORN_WORKER_MEMORY="128MiB"
    )
    assert machine.container is None
    assert planned.settings["workers"] == 32
    assert not any("container" in remark.text for remark in whole.remarks)
    assert planned.memory is not None
    assert planned.memory.limit_bytes == 17_179_869_184


@pytest.mark.parametrize("case", ["host-cgroupfs-out-of-sight", "no-cgroup-mount"])
def test_limits_that_are_unknown_are_a_warning(case: str) -> None:
    _, _, whole = planned_on(case)
    assert OUT_OF_SIGHT in whole.warnings


def test_limits_that_were_found_by_our_pid() -> None:
    _, planned, whole = planned_on("host-cgroupfs-pid-found", GUNICORN_WORKER_MEMORY="64MiB")
    assert planned.settings["workers"] == 4  # 1.5 cores
    assert planned.memory is not None
    assert planned.memory.limit_bytes == 536_870_912
    assert whole.warnings == ()


def test_limits_that_only_lxcfs_shows() -> None:
    machine, planned, whole = planned_on("proxmox-lxcfs", GUNICORN_WORKLOAD="io")
    assert planned.settings["workers"] == 3
    assert planned.memory is not None
    assert planned.memory.limit_bytes == 4_294_967_296
    assert not any(remark.topic in {"memory-limit", "cpu-quota"} for remark in whole.remarks)
    assert machine.memory.limits[0].origin.text == "MemTotal: 4194304 kB, by lxcfs"


def test_few_processes_and_threads() -> None:
    _, planned, whole = planned_on("docker-pids-limit", GUNICORN_WORKLOAD="io")
    assert (planned.settings["workers"], planned.settings["threads"]) == (2, 10)
    assert whole.warnings == ()


@pytest.mark.parametrize(
    ("case", "graceful"),
    [("cloud-run-gvisor", 8), ("app-service", 50), ("fly-machine", 4), ("railway", 25)],
)
def test_the_platforms_grace_period(case: str, graceful: int) -> None:
    _, planned, _ = planned_on(case)
    assert planned.settings["graceful_timeout"] == graceful


def test_a_fargate_task_is_told_to_declare_its_vcpu() -> None:
    _, _, whole = planned_on("fargate")
    texts = [remark.text for remark in whole.remarks if remark.topic == "cpu-quota"]
    assert len(texts) == 1
    assert "Set GUNICORN_CPUS to the vCPU of the task" in texts[0]
