"""What is said of a worker that is gone, and why it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import GIB, MIB, limit, machine, memory
from cgroup_trees import V2_EVENTS, v2
from simulation import Log

from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.server.state import ServerState

MEMORY = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
APP = "/sys/fs/cgroup/app"
ODD = "worker 11 ended without its exit hooks"


class Scene:
    """The state of an arbiter whose kernel counts kills or does not; worker 11 has booted."""

    def __init__(self, root: Path, *, counts: bool = True) -> None:
        self.root = root
        self.counts = counts
        self.kill(0)
        supply = memory(16 * GIB, limit(512 * MIB, at=APP))
        loaded: Any = SimpleNamespace(root=str(root), machine=machine(supply=supply))
        self.log = Log()
        self.server: Any = SimpleNamespace(log=self.log, WORKERS={12: object()})
        self.state = ServerState(loaded)
        self.worker = self.boot(11)

    def boot(self, pid: int) -> Any:
        worker: Any = SimpleNamespace(pid=pid, aborted=False)
        self.state.records.forking(worker)
        self.state.records.ready(worker, MEMORY)
        return worker

    def kill(self, kills: int) -> None:
        """Let the kernel's counter stand at *kills*."""
        files = {"app/memory.events": V2_EVENTS.format(kills=kills)} if self.counts else {}
        v2(self.root, files, at="/app")

    def supervise(self, *, retired: bool = False, limit_mib: int = 256) -> None:
        """Let a supervisor run that sees this limit now."""
        executor = SimpleNamespace(worker_ended=lambda pid: retired)
        supply = memory(16 * GIB, limit(limit_mib * MIB, at=APP))
        supervisor: Any = SimpleNamespace(
            executor=executor, memory=supply, worker_oom_killed=lambda last: None
        )
        self.state.supervisor = supervisor

    def end(self, *, reports: bool = False, tells_end: bool = True) -> str:
        """Let worker 11 end; return what is said of it."""
        if reports:
            self.state.records.exiting(self.worker, MEMORY)
        self.state.ended(self.server, self.worker, tells_end=tells_end)
        (line,) = self.log.lines
        return line


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_orderly_end(scene: Scene) -> None:
    assert scene.end(reports=True).startswith("worker 11 exited: ")


def test_oom_kill(scene: Scene) -> None:
    scene.kill(1)
    assert scene.end() == (
        "worker 11 was killed by the kernel's OOM killer: "
        "limit 512 MiB at /sys/fs/cgroup/app, 2 workers"
    )


def test_oom_kill_names_the_limit_of_now(scene: Scene) -> None:
    scene.supervise(limit_mib=256)
    scene.kill(1)
    assert "limit 256 MiB at /sys/fs/cgroup/app" in scene.end()


@pytest.mark.parametrize("retired", [True, False])
def test_orderly_end_after_a_kill_of_another_process(scene: Scene, retired: bool) -> None:
    """The next one that ends without a word is whom the kernel took."""
    scene.supervise(retired=retired)
    scene.kill(1)
    cause = "was retired by the memory guard" if retired else "exited"
    assert scene.end(reports=True).startswith(f"worker 11 {cause}: ")
    scene.state.ended(scene.server, scene.boot(12), tells_end=True)
    assert scene.log.lines[-1].startswith("worker 12 was killed by the kernel's OOM killer: ")


def test_timeout(scene: Scene) -> None:
    scene.worker.aborted = True
    assert scene.end() == (
        "worker 11 was killed by Gunicorn after timeout, not by the kernel's OOM killer"
    )


def test_kill_by_somebody_else(scene: Scene) -> None:
    assert scene.end() == f"{ODD}, not by the kernel's OOM killer"


def test_kill_where_the_kernel_counts_none(tmp_path: Path) -> None:
    """That it was not the OOM killer is not known."""
    assert Scene(tmp_path, counts=False).end() == ODD


def test_worker_that_never_tells_its_end(scene: Scene) -> None:
    assert scene.end(tells_end=False) == "worker 11 exited"
