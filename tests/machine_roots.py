"""The machines in ``roots``, each as `detect_machine` finds it there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.machine.host import Host

ROOTS = Path(__file__).parent / "roots"
CASES = sorted(folder.name for folder in ROOTS.iterdir())
OWN_BYTES = 52_428_800


class FolderHost(Host):
    """The host of a folder: what its ``inputs`` say."""

    affinity_call = "os.sched_getaffinity"

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.inputs = inputs

    @property
    def pid(self) -> int:
        return int(self.inputs.get("pid", 4242))

    def affinity(self) -> int:
        return int(self.inputs["affinity"])

    def online(self) -> int:
        return int(self.inputs["online"])

    def physical_memory(self) -> tuple[int, int]:
        if self.inputs["physical_memory"] is None:
            raise NotImplementedError("no physical memory in this case")
        total_bytes, available_bytes = self.inputs["physical_memory"]
        return total_bytes, available_bytes

    def kernel_memory(self) -> int:
        return int(self.inputs["kernel_memory"])

    def own_memory(self, environ: Mapping[str, str]) -> int:
        assert environ == self.inputs["environ"]
        return OWN_BYTES


def expected_of(case: str) -> dict[str, Any]:
    """Return what ``expected.json`` says of a machine."""
    path = ROOTS / case / "expected.json"
    expected: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return expected


def machine_of(case: str, *, suffix: str = "") -> Machine:
    """Return what `detect_machine` finds in a folder, whose path ends in *suffix*."""
    inputs = expected_of(case)["inputs"]
    root = f"{ROOTS / case}{suffix}"
    return detect_machine(root, environ=inputs["environ"], host=FolderHost(inputs))
