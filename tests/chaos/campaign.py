"""Round after round of faults, each followed by a calm in which the invariants are looked at."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from arena import Arena, lives
from faults import COURSES, impossible
from harness import wait_until
from invariants import Vitals, leaks, wait_for_calm
from load import Load
from schedule import Fault, Lane, Step, draw_round


class Injection(NamedTuple):
    """A fault that was injected, by the clock of `time.monotonic`."""

    fault: Fault
    began_at: float
    ended_at: float


@dataclass
class Campaign:
    """What was done to a server, how it was in each calm, and what did not hold."""

    arena: Arena
    load: Load
    seed: int
    injections: list[Injection] = field(default_factory=list)
    calms: list[Vitals] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def run(self, seconds: float) -> None:
        """Go on for *seconds*, one round at least, until something does not hold."""
        began = time.monotonic()
        with self._watched("the start"):
            self.calms.append(wait_for_calm(self.arena))
        with self.load.running():
            while not self.violations:
                self.seconds = time.monotonic() - began
                if len(self.calms) > 1 and self.seconds >= seconds:
                    break
                self._round(self._left_out(seconds))
                with self._watched("the calm after it"):
                    self.calms.append(wait_for_calm(self.arena))
                    self.violations += leaks(self.calms[0], self.calms[-1])

    def _left_out(self, seconds: float) -> set[Fault]:
        """
        What is not injected now.

        In the second half there is no upgrade: what leaks in an arbiter shows with its age.
        """
        is_late = len(self.calms) > 1 and self.seconds >= seconds / 2
        return impossible(self.arena) | ({Fault.UPGRADE} if is_late else set())

    def _round(self, without: Collection[Fault]) -> None:
        drawn = draw_round(self.seed, len(self.calms) - 1, without)
        with ThreadPoolExecutor(len(Lane)) as pool:
            for steps in drawn.values():
                pool.submit(self._lane, steps)

    def _lane(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if self.violations:
                return  # The other lane has met what does not hold.
            time.sleep(step.pause_seconds)
            began = time.monotonic()
            with self._watched(step.fault.value):
                COURSES[step.fault](self.arena, self.load, random.Random(step.seed))
                # In an upgrade the old one is gone for a moment before the new one is known.
                wait_until(lambda: lives(self.arena.server.pid), "there is an arbiter")
            self.injections.append(Injection(step.fault, began, time.monotonic()))

    @contextmanager
    def _watched(self, what: str) -> Iterator[None]:
        """Note what goes wrong in the block, `pytest.fail` included, which is no `Exception`."""
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - the run tells them all
            number = len(self.calms) - 1
            self.violations.append(f"round {number}, {what}: {error!r}")
