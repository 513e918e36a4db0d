"""
Each folder in ``roots`` is a machine: its /proc and /sys, and what must be found there.

A new container quirk is a new folder and no new code. ``expected.json`` holds what the operating
system answers by call (``inputs``) and, as literals, what `detect_machine` finds (``machine``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.machine.host import Host

ROOTS = Path(__file__).parents[1] / "roots"
CASES = sorted(folder.name for folder in ROOTS.iterdir())
OWN_BYTES = 52_428_800


class FolderHost(Host):
    """The host of a folder: what its ``inputs`` say."""

    affinity_call = "os.sched_getaffinity"

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.inputs = inputs

    def affinity(self) -> int:
        return int(self.inputs["affinity"])

    def online(self) -> int:
        return int(self.inputs["online"])

    def physical_memory(self) -> tuple[int, int]:
        if self.inputs["physical_memory"] is None:
            raise NotImplementedError("no physical memory in this case")
        total_bytes, available_bytes = self.inputs["physical_memory"]
        return total_bytes, available_bytes

    def own_memory(self, environ: Mapping[str, str]) -> int:
        assert environ == self.inputs["environ"]
        return OWN_BYTES


def describe(machine: Machine) -> dict[str, object]:
    """Return what ``expected.json`` holds under ``machine``."""
    return {
        "cores": machine.cpu.cores,
        "quota": asdict(machine.cpu.quota) if machine.cpu.quota else None,
        "physical": asdict(machine.memory.physical) if machine.memory.physical else None,
        "limits": [asdict(limit) for limit in machine.memory.limits],
        "container": asdict(machine.container) if machine.container else None,
        "platform": machine.platform,
        "worker_tmp_dir": machine.worker_tmp_dir,
        "problems": [asdict(problem) for problem in machine.problems],
    }


@pytest.mark.parametrize("case", CASES)
def test_folder_is_complete(case: str) -> None:
    assert (ROOTS / case / "ORIGIN.md").read_text(encoding="utf-8").count("\n") == 1
    assert (ROOTS / case / "expected.json").is_file()


@pytest.mark.parametrize("case", CASES)
def test_machine_of_root(case: str) -> None:
    expected = json.loads((ROOTS / case / "expected.json").read_text(encoding="utf-8"))
    inputs = expected["inputs"]

    machine = detect_machine(str(ROOTS / case), environ=inputs["environ"], host=FolderHost(inputs))

    found = describe(machine)
    assert found.keys() == expected["machine"].keys()
    for field, value in expected["machine"].items():
        assert found[field] == value, field
    assert machine.cpu.affinity == inputs["affinity"]
    assert machine.cpu.affinity_origin.path == "os.sched_getaffinity"
    assert machine.cpu.online == inputs["online"]
    assert machine.memory.own_bytes == OWN_BYTES


@pytest.mark.parametrize("case", CASES)
def test_root_is_never_shown(case: str) -> None:
    expected = json.loads((ROOTS / case / "expected.json").read_text(encoding="utf-8"))
    inputs = expected["inputs"]

    # A trailing slash must not matter either.
    machine = detect_machine(
        str(ROOTS / case) + "/", environ=inputs["environ"], host=FolderHost(inputs)
    )

    assert str(ROOTS) not in repr(machine)
    assert "10.96.0.1" not in repr(machine)
    assert "web.1" not in repr(machine)
