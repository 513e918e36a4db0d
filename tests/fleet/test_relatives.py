"""The arbiter's processes as they come and go."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from harness import wait_until

from gunicorn_autoconf.fleet.relatives import Relatives
from gunicorn_autoconf.fleet.sample import Helper
from gunicorn_autoconf.machine.process_state import ProcessState, read_process_state

MIB = 2**20
ARBITER = os.getpid()


class Family:
    """Processes by pid: name, parent, size."""

    def __init__(self, **processes: tuple[str, int, int]) -> None:
        self.processes = {int(pid[1:]): row for pid, row in processes.items()}
        self.ending: set[int] = set()
        self.now = 100.0
        self.relatives = Relatives(
            descendants=lambda pid: list(self.processes),
            state=self.state,
            rss=lambda pid: self.processes[pid][2] * MIB,
            clock=lambda: self.now,
        )

    def state(self, pid: int) -> ProcessState | None:
        if pid not in self.processes:
            return None
        name, parent, _ = self.processes[pid]
        return ProcessState(name, parent, pid in self.ending)

    def look(self) -> None:
        self.now += 2
        self.relatives.look((11, 12))


def family() -> Family:
    return Family(
        p11=("gunicorn", ARBITER, 40),
        p12=("gunicorn", ARBITER, 40),
        p21=("python", 11, 200),
        p22=("ffmpeg", 21, 90),
        p23=("sh", ARBITER, 3),
    )


def test_helpers_that_have_gone_the_largest_first() -> None:
    tree = family()
    tree.look()
    for pid in (21, 22, 23):
        del tree.processes[pid]
    tree.look()
    assert tree.relatives.gone() == [
        Helper(21, "python", 11, 200 * MIB),
        Helper(22, "ffmpeg", 11, 90 * MIB),
        Helper(23, "sh", None, 3 * MIB),
    ]
    assert tree.relatives.gone() == []


def test_one_that_is_not_reaped_yet_has_gone() -> None:
    tree = family()
    tree.look()
    tree.ending.add(21)
    tree.look()
    assert [helper.pid for helper in tree.relatives.gone()] == [21]


def test_a_worker_that_has_gone_is_no_helper() -> None:
    tree = family()
    tree.look()
    del tree.processes[12]
    tree.look()
    assert tree.relatives.gone() == []


def test_what_went_long_ago_is_forgotten() -> None:
    tree = family()
    tree.look()
    del tree.processes[21]
    tree.look()
    tree.now += 30
    tree.look()
    assert tree.relatives.gone() == []


def test_not_every_step_looks() -> None:
    tree = family()
    tree.look()
    del tree.processes[21]
    tree.now += 1
    tree.relatives.look((11, 12))
    assert tree.relatives.gone() == []
    tree.relatives.look((11, 12), now=True)
    assert [helper.pid for helper in tree.relatives.gone()] == [21]


@pytest.mark.parametrize(
    ("missing", "ending", "well"), [(None, None, True), (12, None, False), (None, 12, False)]
)
def test_whether_workers_are_well(missing: int | None, ending: int | None, well: bool) -> None:
    tree = family()
    tree.processes.pop(missing or 0, None)
    tree.ending |= {ending or 0}
    assert tree.relatives.are_well((11, 12)) is well


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
class TestRealProcesses:
    def test_states(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as process:
            wait_until(
                lambda: (
                    read_process_state(process.pid)
                    == ProcessState("sleep", os.getpid(), is_ending=False)
                ),
                "it runs",
            )
            process.kill()
            # A zombie until we ask for it.
            wait_until(
                lambda: (found := read_process_state(process.pid)) is not None and found.is_ending,
                "it is seen to have ended",
            )
        assert read_process_state(process.pid) is None

    def test_helper(self) -> None:
        relatives = Relatives()
        with subprocess.Popen(["sleep", "60"]) as process:
            # Until it has become what it is to run, it is a copy of us.
            wait_until(
                lambda: (
                    (found := read_process_state(process.pid)) is not None and found.name == "sleep"
                ),
                "it runs",
            )
            relatives.look((), now=True)
            process.kill()
        relatives.look((), now=True)
        gone = {helper.pid: helper for helper in relatives.gone()}
        helper = gone[process.pid]
        assert (helper.name, helper.worker) == ("sleep", None)
        assert helper.rss_bytes > 0
