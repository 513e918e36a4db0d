"""
Each folder in ``roots`` is a machine: its /proc and /sys, and what must be found there.

A new container quirk is a new folder and no new code. ``expected.json`` holds what the operating
system answers by call (``inputs``; our ``pid`` and the ``kernel_memory`` where they matter) and, as
literals, what `detect_machine` finds (``machine``).
"""

from __future__ import annotations

import pytest
from machine_roots import CASES, OWN_BYTES, ROOTS, expected_of, machine_of

from gunicorn_autoconf.cli.explain.document import as_values
from gunicorn_autoconf.machine.facts import Machine, MemoryLimit


def describe(machine: Machine) -> dict[str, object]:
    """Return what ``expected.json`` holds under ``machine``."""
    return {
        "cores": machine.cpu.cores,
        "quota": as_values(machine.cpu.quota) if machine.cpu.quota else None,
        "physical": _level(machine.memory.physical) if machine.memory.physical else None,
        "limits": [_level(limit) for limit in machine.memory.limits],
        "container": machine.container._asdict() if machine.container else None,
        "platform": machine.platform,
        "grace_seconds": machine.grace_seconds,
        "pids": as_values(machine.pids) if machine.pids else None,
        "worker_tmp_dir": machine.worker_tmp_dir,
        "problems": [problem._asdict() for problem in machine.problems],
    }


def _level(level: MemoryLimit) -> dict[str, object]:
    """Without cache and shared memory where there is none, as in most of the folders."""
    found = as_values(level)
    return {
        name: value
        for name, value in found.items()
        if value or name not in ("cache_bytes", "shared_bytes")
    }


@pytest.mark.parametrize("case", CASES)
def test_folder_is_complete(case: str) -> None:
    assert (ROOTS / case / "ORIGIN.md").read_text(encoding="utf-8").count("\n") == 1
    assert (ROOTS / case / "expected.json").is_file()


@pytest.mark.parametrize("case", CASES)
def test_machine_of_root(case: str) -> None:
    expected = expected_of(case)
    inputs = expected["inputs"]

    machine = machine_of(case)

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
    # A trailing slash must not matter either.
    machine = machine_of(case, suffix="/")

    assert str(ROOTS) not in repr(machine)
    assert "10.96.0.1" not in repr(machine)
    assert "web.1" not in repr(machine)
