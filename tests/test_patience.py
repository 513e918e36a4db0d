"""Deadlines of tests: as long as they say on a quiet machine, longer on a busy one."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import patience
import pytest
from patience import Patience, stretched


class Machine:
    """Two cores, so many processes that want them, and a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.average, self.running = 0.0, 1
        monkeypatch.setattr(patience, "_CORES", 2)
        monkeypatch.setattr(patience, "_running", lambda: self.running)
        monkeypatch.setattr(os, "getloadavg", lambda: (self.average, 0, 0))
        monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def lasts(machine: Machine, patience: Patience) -> float:
    """How long it takes until *patience* is over, looking every half second."""
    began = machine.now
    while not patience.is_over():
        machine.now += 0.5
    return machine.now - began


def test_quiet(machine: Machine) -> None:
    assert lasts(machine, Patience(20)) == pytest.approx(20, abs=1)
    assert stretched(20) == 40


@pytest.mark.parametrize(("average", "running"), [(30, 1), (0, 30)])
def test_fifteen_processes_for_each_core(machine: Machine, average: float, running: int) -> None:
    machine.average, machine.running = average, running

    assert lasts(machine, Patience(20)) == pytest.approx(300, abs=10)
    assert stretched(20) == 600


def test_load_that_comes_while_we_wait(machine: Machine) -> None:
    patient = Patience(20)
    machine.now += 10
    assert not patient.is_over()
    machine.running = 8

    assert lasts(machine, patient) == pytest.approx(40, abs=2)


def test_this_machine_says_how_busy_it_is() -> None:
    began = time.monotonic()
    patient = Patience(0.01)
    while not patient.is_over():
        time.sleep(0.05)
    assert 0.5 <= time.monotonic() - began < stretched(10)
    assert patient.waited_seconds >= 0.5
