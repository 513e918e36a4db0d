"""A loop that is never well: which places are reported and counted, on a clock of the test's."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gunicorn_autoconf.watchdog import loop as loop_module
from gunicorn_autoconf.watchdog import watched as watched_module
from gunicorn_autoconf.watchdog.loop import LoopWatch
from gunicorn_autoconf.watchdog.stacks import Frame, Origins
from gunicorn_autoconf.watchdog.tally import Tally
from gunicorn_autoconf.watchdog.watched import MAX_SAMPLES, Sample, Samples
from gunicorn_autoconf.watchdog.witnesses import Delay, OwnDelay

AA = Frame("/srv/app.py", 5, "aa")
BB = Frame("/srv/app.py", 9, "bb")

Turn = tuple[tuple[Frame, float], ...]
"""What the loop does between two answers: where it is, and for how many seconds."""


class Simulation:
    """A loop that is always late, and the watchdog that looks at it whenever it wants to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.at = AA
        self.said: list[str] = []
        self.tally = Tally()
        self._running = True
        self._asked: list[Callable[[], None]] = []
        self._look_at = 0.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(loop_module, "time", clock)
        monkeypatch.setattr(watched_module, "time", clock)
        monkeypatch.setattr(loop_module, "read_stack", lambda ident: ((self.at,), None))
        monkeypatch.setattr(loop_module, "is_in_code", lambda ident: True)
        loop = SimpleNamespace(
            is_running=lambda: self._running, call_soon_threadsafe=self._asked.append
        )
        self.watch = LoopWatch(
            cast("asyncio.AbstractEventLoop", loop),
            threshold_seconds=0.25,
            origins=Origins(),
            own=OwnDelay(),
            tally=self.tally,
            say=self.said.append,
        )

    def run(self, turns: Iterator[Turn], until_seconds: float) -> None:
        while self.now < until_seconds:
            self.turn(next(turns))
        self.end()

    def turn(self, work: Turn) -> None:
        for self.at, seconds in work:
            self._pass(seconds)
        asked, self._asked[:] = [*self._asked], []
        for answer in asked:
            answer()

    def end(self) -> None:
        self._running = False
        self.watch.check(self.now, Delay())
        self.watch.close()

    def _pass(self, seconds: float) -> None:
        ends = self.now + seconds
        while self._look_at < ends:
            self.now = max(self.now, self._look_at)
            self._look_at = self.now + self.watch.check(self.now, Delay())
        self.now = ends

    def count(self, pattern: str) -> Counter[str]:
        """How often something was said, by the function that it names."""
        found = (
            re.search(rf"{pattern}.* in (\w+)\(\)", line.splitlines()[0]) for line in self.said
        )
        return Counter(match[1] for match in found if match)


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Any:
    return Simulation(monkeypatch)


def test_worse_place_is_seen_behind_one_that_never_ends(simulation: Simulation) -> None:
    """Six clients of 0.1 s each and one of 1.0 s, for 130 s: 81 rounds."""
    simulation.run(cycle([*[((AA, 0.1),)] * 6, ((BB, 1.0),)]), until_seconds=130)

    assert simulation.count("has been blocked for") == {"aa": 3, "bb": 3}
    counted = simulation.tally.render() or ""
    assert re.search(r"^  8[01] at /srv/app\.py:9 in bb\(\): 8\d\.\d\d s, ", counted, re.MULTILINE)


def test_worse_place_is_seen_in_the_same_turn(simulation: Simulation) -> None:
    """The loop answers once a round; what comes first in it is not all there is."""
    turn = (*[(AA, 0.1)] * 3, (BB, 1.0))
    simulation.run(cycle([turn]), until_seconds=50)

    assert simulation.count("has been blocked for")["bb"] == 1
    counted = simulation.tally.render() or ""
    assert re.search(r"^  3\d at /srv/app\.py:9 in bb\(\): ", counted, re.MULTILINE)


def test_worse_place_is_reported_while_it_blocks(simulation: Simulation) -> None:
    for _ in range(20):
        simulation.turn(((AA, 0.1),))
    simulation.turn(((BB, 30.0),))
    simulation.end()

    assert simulation.count(r"has been blocked for 0\.2\d s by") == {"bb": 1}
    assert simulation.count(r"runs again; it was blocked for 1\.\d\d s, in ") == {"aa": 1}
    assert simulation.count(r"runs again; it was blocked for (?:29|30)\.\d\d s at") == {"bb": 1}


def test_stall_that_never_ends_is_reported_every_minute(simulation: Simulation) -> None:
    simulation.run(cycle([((AA, 0.1),)]), until_seconds=130)

    assert simulation.count("has been blocked for") == {"aa": 3}
    assert simulation.count("is as busy as before; it was blocked for 5") == {"aa": 2}
    assert simulation.count("runs again; it was blocked for ") == {"aa": 1}
    assert "blocked 3 times" in (simulation.tally.render() or "")


def test_samples_are_few_and_of_the_whole_time() -> None:
    samples = Samples()
    for number in range(1000):
        samples.add(Sample((AA._replace(line=number),), None))

    lines = [stack[0].line for stack in samples.stacks]
    assert len(lines) <= MAX_SAMPLES
    assert lines[0] == 0
    assert lines[-1] >= 900
    assert {b - a for a, b in pairwise(lines)} == {64}
