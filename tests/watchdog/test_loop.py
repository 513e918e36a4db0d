"""What is reported of an event loop that is late, on a clock of the test's."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, cast

import pytest

from gunicorn_autoconf.fleet.standstill import Standstill
from gunicorn_autoconf.watchdog import loop as loop_module
from gunicorn_autoconf.watchdog.clocks import Clock
from gunicorn_autoconf.watchdog.loop import LoopWatch, Thresholds
from gunicorn_autoconf.watchdog.quota import Throttling
from gunicorn_autoconf.watchdog.stack_pipe import StackPipe
from gunicorn_autoconf.watchdog.stacks import Frame, Origins, ThreadStack
from gunicorn_autoconf.watchdog.stamps import Stamps, State

PID = 12
LOOK_SECONDS = 0.0625


class FakePipe:
    """Answers at once with where the simulated worker is; not where that is stopped."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.is_waiting = False
        self.asked = 0
        self.late: list[ThreadStack] = []

    def ask(self, pid: int, *, listens: bool) -> None:
        self.asked += 1
        self.is_waiting = True

    def read(self, pid: int, *, listens: bool) -> list[ThreadStack]:
        if not self.is_waiting or self._simulation.state == "T":
            return []
        self.is_waiting = False
        place = Frame(f"/srv/{self._simulation.at}.py", 5, self._simulation.at)
        return [ThreadStack("MainThread", (place,), self._simulation.request)]

    def forget(self) -> list[ThreadStack]:
        self.is_waiting = False
        return self.late


class Simulation:
    """One worker whose loop does what the test says, looked at 16 times a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = memoryview(bytearray(320))
        self.standstill = Standstill()
        self.stamps = Stamps(page[:64].cast("d"), page[64:], self.standstill.running)
        self.stamps.reach(State.LOADED | State.LISTENING | State.TICKING)
        self.now = 1000.0
        self.at = "idle"
        self.request: str | None = "GET /a"
        self.state = "S"
        self.computing = self.queued = self.throttled = self.pressed = 0.0
        self.said: list[tuple[str, str]] = []
        self.pipe = FakePipe(self)
        monkeypatch.setattr(loop_module, "read_clock", lambda pid, tid: self.clock())
        thresholds = Thresholds(0.25, 60.0, 30.0, Origins())
        self.watch = LoopWatch(
            self.stamps,
            cast("StackPipe", self.pipe),
            thresholds,
            lambda: {
                "cpu.stat": Throttling(0, int(self.throttled * 10), self.throttled, "cpu.stat")
            },
            lambda level, event, text, **_: self.said.append((level, text)),
            read_waited=lambda: self.pressed,
        )
        self.tick()

    def clock(self) -> Clock:
        return Clock(self.computing, self.queued, 0, self.state)

    def tick(self) -> None:
        self.stamps.tick(self.now, self.computing, self.queued)
        self.look()

    def look(self) -> None:
        self.watch.look(PID, self.stamps.read(), self.standstill.running(self.now))

    def freeze(self, seconds: float) -> None:
        """Stop everything, the arbiter too."""
        self.now += seconds
        self.standstill.step(self.now - seconds, self.now)

    def block(
        self,
        seconds: float,
        at: str = "query",
        *,
        computing: float = 0.0,
        queued: float = 0.0,
        throttled: float = 0.0,
        collecting: float = 0.0,
        pressed: float = 0.0,
        state: str = "S",
    ) -> None:
        """Be late; the other times are their shares of it, 0 to 1."""
        self.at, self.state = at, state
        ends = self.now + 0.05 + seconds
        while self.now < ends:
            step = min(LOOK_SECONDS, ends - self.now)
            self.now += step
            self.computing += step * computing
            self.queued += step * queued
            self.throttled += step * throttled
            self.pressed += step * pressed
            self.stamps.collected(step * collecting)
            self.look()
        if state == "R":  # The kernel counts it now that it is over.
            self.queued += seconds
        self.at, self.state = "idle", "S"
        self.tick()

    def lines(self, pattern: str) -> list[str]:
        return [f"{level} {text}" for level, text in self.said if re.search(pattern, text)]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    return Simulation(monkeypatch)


def test_a_standstill_of_the_whole_server_is_no_stall(worker: Simulation) -> None:
    """Neither where the loop was late when it began, nor where the stall goes on after it."""
    worker.freeze(60.0)
    worker.tick()
    worker.now += 0.2
    worker.look()
    worker.freeze(60.0)
    worker.tick()
    assert worker.pipe.asked
    assert worker.said == []

    worker.now += 0.2
    worker.look()
    worker.freeze(60.0)
    worker.block(0.5)
    assert worker.lines("runs again; it was blocked for 0.70 s")
    worker.watch.close()
    assert worker.lines("was blocked once\n  1 at /srv/query.py:5 in query.*: 0.70 s")


def test_loop_that_waits_is_reported_while_it_lasts(worker: Simulation) -> None:
    worker.block(1.0)

    (blocked, again) = (f"{level} {text}" for level, text in worker.said)
    assert re.match(r"warning the event loop has been blocked for 0\.\d\d s by /srv/query", blocked)
    assert "\n  request: GET /a\n  the thread waits; " in blocked
    assert again.startswith("info the event loop runs again; it was blocked for 1.00 s at /srv/que")


def test_loop_that_computes(worker: Simulation) -> None:
    worker.block(0.6, computing=1.0)

    assert worker.lines("the thread computes")


def test_short_stall_is_nobodys_business(worker: Simulation) -> None:
    worker.block(0.1)
    worker.block(0.24)

    assert worker.said == []


def test_request_of_native_code_comes_with_the_end(worker: Simulation) -> None:
    worker.request = None
    worker.pipe.late = [ThreadStack("MainThread", (), "GET /late")]
    worker.block(0.6)

    assert worker.lines(r"runs again.* in query\(\), serving GET /late$")


def test_request_is_named_once(worker: Simulation) -> None:
    """Though an answer comes after the end that names it again."""
    worker.pipe.late = [ThreadStack("MainThread", (), "GET /a")]
    worker.block(0.6)

    assert worker.lines(r"\n  request: GET /a\n")
    assert worker.lines(r"runs again.* in query\(\)$")


def test_quota_is_blamed_for_what_it_throttled(worker: Simulation) -> None:
    worker.block(1.0, computing=0.1, queued=0.9, throttled=0.9)

    (line,) = worker.lines("")
    assert line.startswith("info the event loop was late by 1.00 s, not because of your code: its ")
    assert "throttled by the CPU quota (cpu.stat)" in line


def test_crowded_machine_is_blamed_for_the_rest(worker: Simulation) -> None:
    worker.block(1.0, computing=0.1, queued=0.9, throttled=0.02)

    assert worker.lines("The machine has more work than cores")
    assert not worker.lines("blocked for")


def test_wait_for_memory_is_not_the_codes(worker: Simulation) -> None:
    worker.block(9.0, computing=0.02, pressed=1.0, state="D")

    (late,) = worker.lines("")
    assert late == (
        "info the event loop was late by 9.00 s, not because of your code: its thread waited for "
        "memory for 8.82 s. Raise the limit or memory.high, or run fewer workers"
    )


def test_code_that_sleeps_while_others_wait_for_memory_is_blamed(worker: Simulation) -> None:
    worker.block(3.0, pressed=1.0, state="S")

    assert worker.lines("^the event loop has been blocked for .* by /srv/query")


def test_code_that_computes_under_memory_pressure_has_both_told(worker: Simulation) -> None:
    worker.block(4.0, computing=0.5, pressed=0.75, state="D")

    (blocked, again) = worker.lines("")
    waited = r"; threads of this cgroup waited for memory for [03]\.\d+ s of it"
    assert re.search(rf"blocked for .* by /srv/query(.|\n)*{waited}", blocked)
    assert re.search(rf"was blocked for 4\.00 s at (.|\n)*{waited}$", again)


def test_code_is_blamed_for_its_share_of_a_long_wait(worker: Simulation) -> None:
    worker.block(12.0, computing=0.25, queued=0.75, throttled=0.75, collecting=0.15)

    (blocked, _) = worker.lines("")
    assert re.search(
        r"of this your code took 0\.\d\d s, the garbage collector \d\.\d\d s, and for", blocked
    )


def test_collector_is_blamed_for_its_own(worker: Simulation) -> None:
    worker.block(1.0, computing=1.0, collecting=0.9)

    assert worker.lines("the garbage collector took 0.9")
    assert not worker.lines("blocked for")


def test_both_causes_that_are_not_the_code_are_named(worker: Simulation) -> None:
    """A collection takes longer where other processes compute beside it."""
    worker.block(3.0, computing=0.45, collecting=0.45, queued=0.55)

    (line,) = worker.lines("not because of your code")
    assert "The machine has more work than cores" in line.splitlines()[0]
    assert "the garbage collector 1.3" in line.splitlines()[1]


def test_code_that_computes_on_a_crowded_machine_is_not_taken_for_waiting(
    worker: Simulation,
) -> None:
    """The kernel counts a wait for a CPU once it is over; the code is not charged with this one."""
    worker.block(4.0, computing=0.2, state="R")

    (blocked, _) = worker.lines("")
    assert "the thread computes" in blocked
    assert re.search(r"of this your code took 0\.[0-5]\d s", blocked)


def test_stopped_process_is_not_asked(worker: Simulation) -> None:
    worker.block(2.0, state="T")

    assert worker.pipe.asked == 0
    assert worker.lines("SIGSTOP or a debugger had stopped the process for")
    assert not worker.lines("blocked for")


def test_what_waits_for_a_cpu_and_is_not_counted_yet_is_not_the_codes(worker: Simulation) -> None:
    """The kernel counts a wait when it is over."""
    worker.block(1.0, state="R")

    assert not worker.lines("blocked for")


def test_worse_place_is_seen_behind_one_that_never_ends(worker: Simulation) -> None:
    for _ in range(80):
        worker.block(0.6, "often")
        worker.block(1.0, "seldom")

    reported = Counter(re.findall(r"blocked for \S+ s by /srv/(\w+)", str(worker.said)))
    assert reported == {"often": 3, "seldom": 3}
    worker.watch.close()
    assert worker.lines(r"blocked 160 times\n  80 at /srv/seldom.py:5 in seldom\(\): 80\.\d\d s")


def test_muted_place_is_reported_when_it_is_much_worse(worker: Simulation) -> None:
    worker.block(0.5)
    worker.block(0.5)
    worker.block(8.0)

    assert len(worker.lines("has been blocked for 0")) == 1
    assert len(worker.lines(r"has been blocked for 2\.\d\d s by")) == 1
    assert worker.lines(r"runs again; it was blocked for 8\.00 s")


def test_no_line_is_to_blame_where_each_sample_shows_another(worker: Simulation) -> None:
    seen = iter(f"view_{n}" for n in range(100))

    def read(pid: int, *, listens: bool) -> list[ThreadStack]:
        return [ThreadStack("", (Frame(f"/srv/{next(seen)}.py", 1, "f"),))]

    worker.pipe.read = read  # type: ignore[method-assign]
    worker.block(1.5)

    assert worker.lines("no single line is to blame")


def test_worker_that_is_killed_in_a_stall_has_it_counted(worker: Simulation) -> None:
    worker.at = "query"
    for _ in range(40):
        worker.now += LOOK_SECONDS
        worker.watch.look(PID, worker.stamps.read(), worker.now)
    worker.watch.close()

    assert worker.lines(r"was blocked once\n  1 at /srv/query.py:5 in query\(\): 2\.\d\d s")


def test_worker_that_is_killed_while_it_waits_for_memory_was_not_blocked(
    worker: Simulation,
) -> None:
    """As it is where the OOM killer takes it."""
    worker.at, worker.state = "query", "D"
    for _ in range(40):
        worker.now += LOOK_SECONDS
        worker.pressed += LOOK_SECONDS
        worker.watch.look(PID, worker.stamps.read(), worker.now)
    worker.watch.close()

    (late,) = worker.lines("")
    assert re.search(r"^info .* late once, not .*\n  1 late, memory pressure: 2\.\d\d s$", late)


def test_summary_never_contradicts_what_was_reported(worker: Simulation) -> None:
    """Reported as the code's, then the machine stood still for long: it stays the code's."""
    worker.at = "query"
    for _ in range(8):
        worker.now += LOOK_SECONDS
        worker.watch.look(PID, worker.stamps.read(), worker.now)
    assert worker.lines("has been blocked")
    worker.block(20.0, queued=1.0)
    worker.watch.close()

    assert worker.lines(
        "in the life of this worker its event loop was blocked once$|once\n  1 at /srv"
    )
    assert not worker.lines("late once")
