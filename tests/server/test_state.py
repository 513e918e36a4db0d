"""What is said of a worker that is gone, and why it is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import GIB, MIB, limit, machine, memory
from cgroup_trees import V2_EVENTS, v2
from interruptions import Interruption
from simulation import Log

from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.memory.actions import Kind
from gunicorn_autoconf.server.state import ServerState

MEMORY = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
APP = "/sys/fs/cgroup/app"
ODD = "gunicorn-autoconf: worker 11 ended without its exit hooks"


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
        self.told: list[bool] = []

    def boot(self, pid: int) -> Any:
        worker: Any = SimpleNamespace(pid=pid, aborted=False)
        self.state.records.forking(worker)
        self.state.records.ready(worker, MEMORY)
        return worker

    def kill(
        self, kills: int, *, at: str = "app", used_mib: int = 500, shared_mib: int = 0
    ) -> None:
        """Let the kernel's counter be *kills*, each for the limit of the cgroup *at*."""
        files = {}
        for directory, limit_mib in (("app", 512), ("", 600)):
            ooms = kills if directory == at else 0
            kills_there = kills if directory == "app" else 0
            name = f"{directory}/memory" if directory else "memory"
            files[f"{name}.events.local"] = f"oom {ooms}\noom_kill {kills_there}\n"
            files[f"{name}.max"] = str(limit_mib * MIB)
            files[f"{name}.current"] = str(used_mib * MIB)
            files[f"{name}.stat"] = f"shmem {shared_mib * MIB}\n"
        v2(self.root, files if self.counts else {}, at="/app")

    def supervise(self, *, retired: bool = False) -> None:
        """Let a supervisor run."""
        executor = SimpleNamespace(worker_ended=lambda pid: Kind.RECYCLE if retired else None)
        supply = memory(16 * GIB, limit(512 * MIB, at=APP))
        supervisor: Any = SimpleNamespace(
            executor=executor,
            memory=supply,
            worker_oom_killed=lambda last, freed_bytes: self.told.pop(0) if self.told else True,
        )
        self.state.supervisor = supervisor

    def end(self, *, reports: bool = False, reports_end: bool = True) -> str:
        """Let worker 11 end; return what is said of it."""
        if reports:
            self.state.records.exiting(self.worker, MEMORY)
        self.state.ended(self.server, self.worker, reports_end=reports_end)
        (line,) = self.log.lines
        return line

    def reap_workers(self, wpid: int, status: int, *, reports: bool = False) -> str:
        """Let Gunicorn find it gone; it has the status in a local variable of this name."""
        assert wpid == self.worker.pid, status
        return self.end(reports=reports)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_orderly_end(scene: Scene) -> None:
    assert scene.end(reports=True).startswith("gunicorn-autoconf: worker 11 exited: ")


def test_oom_kill(scene: Scene) -> None:
    scene.kill(1)
    assert scene.end() == (
        "gunicorn-autoconf: worker 11 was killed by the kernel's OOM killer: "
        "limit 512 MiB at /sys/fs/cgroup/app, 2 workers"
    )


def test_oom_kill_names_the_level_whose_limit_was_hit(scene: Scene) -> None:
    scene.kill(1, at="")
    assert "limit 600 MiB at /sys/fs/cgroup, 2 workers" in scene.end()


def test_oom_kill_of_the_machine(scene: Scene) -> None:
    scene.kill(1, at="nowhere")
    assert "no limit visible here was hit" in scene.end()


def test_oom_kill_names_shared_memory(scene: Scene) -> None:
    scene.kill(1, shared_mib=280)
    assert "280 MiB of it in shared memory (/dev/shm, tmpfs)" in scene.end()


def test_fields_of_the_record(scene: Scene) -> None:
    scene.kill(1)
    scene.end()
    assert scene.log.extras == [
        {
            "event_name": "worker_oom_killed",
            "worker": 11,
            "limit_bytes": 536_870_912,
            "limit_directory": "/sys/fs/cgroup/app",
            "workers": 2,
            "is_certain": True,
            "while_ending": False,
        }
    ]


def peak(monkeypatch: pytest.MonkeyPatch, mib: int) -> None:
    """Let no child that has ended have used more; those of other tests may have been large."""
    usage = SimpleNamespace(ru_maxrss=mib * 1024, ru_utime=0.0, ru_stime=0.0)
    monkeypatch.setattr("resource.getrusage", lambda _of: usage)


def test_kill_of_another_process_that_sizes_show(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of the limit is free again, and this one was small: a child of it was killed."""
    peak(monkeypatch, 40)
    scene.kill(1, used_mib=0)
    line = scene.end()
    assert line.startswith(
        f"{ODD}, probably not by the kernel's OOM killer: it killed a process, but 0 MiB of "
        "512 MiB are in use, and this one had "
    )
    # The kill is still to be told.
    assert scene.state.oom is not None
    assert len(scene.state.oom.unclaimed(1e9, are_well=None)) == 1


def test_killed_while_it_ended(scene: Scene) -> None:
    scene.supervise(retired=True)
    scene.kill(1)
    assert scene.reap_workers(11, signal.SIGKILL, reports=True) == (
        "gunicorn-autoconf: worker 11 was killed by the kernel's OOM killer while exiting: "
        "limit 512 MiB at /sys/fs/cgroup/app, 2 workers, it used 50 MiB (50 MiB at boot) when "
        "last seen"
    )


@pytest.mark.parametrize("kills", [1, 2])
def test_killed_while_another_ended(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    """Both have freed memory by the time that the second is reaped, however the first ended."""
    peak(monkeypatch, 240)
    scene.kill(kills, used_mib=30)
    first = scene.boot(13)
    if kills == 1:
        scene.state.records.exiting(first, MEMORY)
    scene.state.ended(scene.server, first, reports_end=True)
    scene.supervise(retired=True)
    scene.log.lines.clear()
    assert scene.reap_workers(11, signal.SIGKILL, reports=True).startswith(
        "gunicorn-autoconf: worker 11 was killed by the kernel's OOM killer while exiting: "
    )
    assert scene.state.oom is not None
    assert scene.state.oom.unclaimed(1e9, are_well=None) == []


def test_killed_before_another_end_that_is_still_to_be_reaped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the arbiter hears of an end long after its memory is free."""
    peak(monkeypatch, 240)
    scene.kill(1, used_mib=30)
    with subprocess.Popen([sys.executable, "-c", ""]) as other:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        scene.server.WORKERS = {other.pid: object()}
        assert scene.reap_workers(11, signal.SIGKILL).startswith(
            "gunicorn-autoconf: worker 11 was killed by the kernel's OOM killer: "
        )
    assert other.returncode == 0


@pytest.mark.parametrize("status", [0, signal.SIGSEGV | 0x80, 3 << 8])
def test_end_by_something_else_claims_no_kill(scene: Scene, status: int) -> None:
    """The status is what the kernel says of this one."""
    scene.kill(1)
    assert scene.reap_workers(11, status) == f"{ODD}, not by the kernel's OOM killer"


@pytest.mark.parametrize("retired", [True, False])
def test_orderly_end_after_a_kill_of_another_process(scene: Scene, retired: bool) -> None:
    """The next one that ends without a word is whom the kernel took."""
    scene.supervise(retired=retired)
    scene.kill(1)
    cause = "was retired by the guard" if retired else "exited"
    assert scene.end(reports=True).startswith(f"gunicorn-autoconf: worker 11 {cause}: ")
    scene.state.ended(scene.server, scene.boot(12), reports_end=True)
    assert scene.log.lines[-1].startswith(
        "gunicorn-autoconf: worker 12 was killed by the kernel's OOM killer: "
    )


def test_one_of_many_kills_has_no_line_of_its_own(scene: Scene) -> None:
    scene.supervise()
    scene.told = [False]
    scene.kill(1)
    scene.log.error = None  # type: ignore[method-assign, assignment]
    assert scene.end().startswith(
        "gunicorn-autoconf: worker 11 was killed by the kernel's OOM killer: "
    )


def test_counter_that_is_shared(tmp_path: Path) -> None:
    """The leaf has no memory controller: what counts is above it."""
    root = v2(tmp_path, {"memory.events": V2_EVENTS.format(kills=0)}, at="/app")
    loaded: Any = SimpleNamespace(root=root, machine=machine())
    state, log, worker = ServerState(loaded), Log(), SimpleNamespace(pid=11, aborted=False)
    v2(tmp_path, {"memory.events": V2_EVENTS.format(kills=1)}, at="/app")
    server: Any = SimpleNamespace(log=log, WORKERS={})
    state.ended(server, worker, reports_end=True)
    (line,) = log.lines
    assert line.startswith(
        "gunicorn-autoconf: worker 11 was probably killed by the kernel's OOM killer: "
    )
    assert line.endswith("the count of kills at /sys/fs/cgroup is shared with other processes")


def test_timeout(scene: Scene) -> None:
    scene.worker.aborted = True
    assert scene.end() == (
        "gunicorn-autoconf: worker 11 was killed by Gunicorn after timeout, "
        "not by the kernel's OOM killer"
    )


def test_kill_by_somebody_else(scene: Scene) -> None:
    assert scene.end() == f"{ODD}, not by the kernel's OOM killer"


def test_kill_where_the_kernel_counts_none(tmp_path: Path) -> None:
    """That it was not the OOM killer is not known."""
    assert Scene(tmp_path, counts=False).end() == ODD


def test_worker_that_never_tells_its_end(scene: Scene) -> None:
    assert scene.end(reports_end=False) == "gunicorn-autoconf: worker 11 exited"


def test_end_between_any_two_lines_of_another_one(tmp_path: Path) -> None:
    """As in Gunicorn 23, which reaps in a signal handler: each end has its own kill and line."""
    lines = 0
    while True:
        scene = Scene(tmp_path)
        other = scene.boot(12)

        def end_other(scene: Scene = scene, other: Any = other) -> None:
            scene.kill(2)
            scene.state.ended(scene.server, other, reports_end=True)

        scene.kill(1)
        interruption = Interruption(ServerState.ended, end_other)
        with interruption.at(lines, file="server/oom_watch.py"):
            scene.state.ended(scene.server, scene.worker, reports_end=True)
        if not interruption.has_come:
            break
        lines += 1
        assert sorted(line.rpartition(": ")[0] for line in scene.log.lines) == [
            "gunicorn-autoconf: worker 11 was killed by the kernel's OOM killer",
            "gunicorn-autoconf: worker 12 was killed by the kernel's OOM killer",
        ]
        assert scene.state.oom is not None
        assert not scene.state.oom.has_unclaimed
        assert scene.state.records._page
        assert len(scene.state.records._page.taken_slots()) == 0
    assert lines > 10


def test_supervisor_that_cannot_be_made_is_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and not the end of the thread."""
    tries = []

    def fail(*_: Any) -> None:
        tries.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(scene.state, "_make_supervisor", fail)
    for _ in range(2):
        assert scene.state._supervise(threading.Event(), scene.server, list) == 5.0

    assert len(tries) == 2
    assert scene.log.lines == ["gunicorn-autoconf: the supervisor failed and will retry"]
