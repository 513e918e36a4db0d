"""Carrying out an action by signals that Gunicorn handles when it comes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from signal import SIGHUP, SIGTTIN, SIGTTOU
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import stretched
from simulation import Arbiter, Config

from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.memory.actions import Action, Kind, Stopped
from gunicorn_autoconf.memory.executor import Executor
from gunicorn_autoconf.memory.timing import Timing

PATIENCE_SECONDS = 60.0
GROW = Action(Kind.GROW, add=1)
SHRINK = Action(Kind.SHRINK)


def recycle(pid: int, *, replacement_first: bool) -> Action:
    return Action(Kind.RECYCLE, pid=pid, replacement_first=replacement_first)


class Scene:
    """An executor, an arbiter with workers 11, 12, ..., and what the supervisor sees of them."""

    def __init__(self, workers: int, arbiter: type[Arbiter] = Arbiter) -> None:
        self.arbiter = arbiter(workers)
        self.arbiter.manage_workers()
        server: Any = self.arbiter
        timing = Timing(patience_seconds=PATIENCE_SECONDS)
        self.executor = Executor(server, timing, kill=self.kill)
        self.arbiter.executor = self.executor
        self.now = 100.0
        self.booting: set[int] = set()
        self.killed: list[int] = []
        self.reaped: set[int] = set()
        """Whom somebody else has reaped."""
        self.headroom = 200

    def kill(self, pid: int, number: int) -> None:
        """Take the place of `os.kill`."""
        self.killed.append(pid)
        if pid in self.reaped:
            raise ProcessLookupError(3, "No such process")
        self.arbiter.kill(pid, number)

    def sample(self) -> Sample:
        workers = tuple(
            WorkerSample(pid, 60, 50, 50, None if pid in self.booting else 40)
            for pid in self.arbiter.WORKERS
        )
        return Sample(self.now, 1000, self.headroom, self.arbiter.num_workers, workers)

    def start(self, action: Action) -> None:
        self.executor.start(action, self.sample())

    def advance(self, seconds: float = 0.1) -> None:
        """Let time pass; the supervisor looks again."""
        self.now += seconds
        self.executor.advance(self.sample())

    def handle(self) -> None:
        """Let Gunicorn handle what has come; whom it forks boots for now."""
        before = set(self.arbiter.WORKERS)
        self.arbiter.handle()
        self.booting |= set(self.arbiter.WORKERS) - before

    def end(self) -> list[int]:
        """Let each worker end that was told to, and Gunicorn keep its count."""
        told = [pid for pid, each in self.arbiter.WORKERS.items() if each.is_told_to_end]
        for pid in told:
            self.arbiter.reap(pid)
        self.handle()
        return told

    def settle(self) -> list[int]:
        """Let everything happen that is under way; return who has ended."""
        ended = []
        for _ in range(20):
            self.handle()
            self.booting.clear()
            self.advance()
            ended += self.end()
        return ended

    @property
    def told(self) -> list[int]:
        return [pid for pid, each in self.arbiter.WORKERS.items() if each.is_told_to_end]

    @property
    def pids(self) -> list[int]:
        return sorted(self.arbiter.WORKERS)

    def is_busy(self) -> bool:
        return self.executor.is_busy

    def stopped(self) -> Stopped | None:
        return self.executor.stopped

    def is_stood_down(self) -> bool:
        return bool(self.executor.is_stood_down)

    @property
    def queue(self) -> list[int]:
        return self.arbiter.queue

    @property
    def count(self) -> int:
        return self.arbiter.num_workers


@pytest.fixture
def two() -> Scene:
    return Scene(2)


@pytest.fixture
def four() -> Scene:
    return Scene(4)


# -- grow and shrink ---------------------------------------------------------------------------


def test_grows_one_by_one(two: Scene) -> None:
    """Signals of one kind melt into each other: the next one waits until the last is handled."""
    two.start(GROW._replace(add=3))
    two.advance()
    two.advance()
    assert two.queue == [SIGTTIN]

    two.handle()
    assert (two.count, two.queue) == (3, [])
    two.advance()
    assert two.queue == [SIGTTIN]
    two.handle()
    two.advance()
    two.handle()
    two.advance()
    assert (two.count, two.queue) == (5, [])
    assert two.pids == [11, 12, 13, 14, 15]


def test_growing_ends_when_the_last_has_booted(two: Scene) -> None:
    two.start(GROW)
    assert two.is_busy()
    two.handle()
    two.advance()
    assert two.is_busy()
    two.booting.clear()
    two.advance()
    assert not two.is_busy()


def test_growing_stops_at_once_when_memory_gets_tight(two: Scene) -> None:
    """The load has asked for eight times as many; three are there when others take the memory."""
    two.start(GROW._replace(add=14))
    two.handle()
    two.advance()
    assert two.stopped() is None
    two.headroom = 80
    two.advance()
    two.handle()  # The signal that was under way.
    two.advance()

    assert (two.count, two.queue) == (4, [])
    # They still boot: the guard may retire one meanwhile.
    assert not two.is_busy()
    assert not two.is_stood_down()
    assert two.stopped() == (4, 16)
    two.headroom = 900
    two.settle()
    assert two.count == 4


def test_memory_guard_need_not_wait_for_a_growth_to_boot(two: Scene) -> None:
    """All were forked before any of them had taken its memory."""
    two.start(GROW)
    two.handle()
    two.advance()
    assert two.is_busy()
    two.headroom = 80
    two.advance()
    assert not two.is_busy()
    assert two.stopped() is None


def test_shrinking_goes_on_when_memory_is_tight(four: Scene) -> None:
    four.headroom = 10
    four.start(SHRINK)
    four.settle()
    assert four.count == 3
    assert four.stopped() is None


def test_growing_is_no_operator(two: Scene) -> None:
    two.start(GROW._replace(add=2))
    two.settle()
    assert two.count == 4
    assert not two.is_stood_down()


def test_shrinks_by_one(four: Scene) -> None:
    four.start(SHRINK)
    assert four.queue == [SIGTTOU]
    assert four.settle() == [11]  # Gunicorn takes the oldest.
    assert (four.count, four.pids) == (3, [12, 13, 14])
    assert not four.is_busy()
    assert not four.is_stood_down()


def test_worker_that_is_too_many_was_retired_by_us(four: Scene) -> None:
    """Gunicorn tells the oldest one to exit, for our signal."""
    four.start(Action(Kind.SHRINK))
    four.handle()
    ended = [four.executor.worker_ended(pid) for pid in (11, 12, 13, 14)]
    assert ended == [Kind.SHRINK, None, None, None]


def test_worker_that_an_operator_took_away_was_not(four: Scene) -> None:
    four.queue.append(SIGTTOU)
    four.handle()
    assert four.executor.worker_ended(11) is None


def test_shrinking_ends_when_the_worker_has_ended(four: Scene) -> None:
    four.start(SHRINK)
    four.handle()
    four.advance()
    assert four.is_busy()
    four.end()
    four.advance()
    assert not four.is_busy()


# -- recycle -----------------------------------------------------------------------------------


def test_replacement_first(two: Scene) -> None:
    two.start(recycle(12, replacement_first=True))
    assert two.queue == [SIGTTIN]
    assert two.told == []

    two.handle()
    two.advance()
    assert two.pids == [11, 12, 13]
    assert two.told == []  # 13 boots.

    two.booting.clear()
    two.advance()
    assert two.told == [12]

    assert two.end() == [12]
    two.advance()
    assert (two.count, two.pids) == (2, [11, 13])
    assert not two.is_busy()
    assert not two.is_stood_down()


def test_replacement_is_not_waited_for_when_it_gets_tight(two: Scene) -> None:
    two.start(recycle(12, replacement_first=True))
    two.handle()
    two.headroom = 49  # of 1000
    two.advance()
    assert two.told == [12]
    assert two.settle() == [12]
    assert (two.count, two.pids) == (2, [11, 13])


def test_stop_first(two: Scene) -> None:
    two.start(recycle(11, replacement_first=False))
    assert two.told == [11]
    assert two.queue == []

    assert two.end() == [11]
    two.advance()
    assert two.pids == [12, 13]
    assert two.is_busy()  # 13 boots.

    two.booting.clear()
    two.advance()
    assert two.count == 2
    assert not two.is_busy()
    assert not two.is_stood_down()


def test_is_busy_until_the_victim_has_ended(two: Scene) -> None:
    two.start(recycle(11, replacement_first=False))
    two.advance(PATIENCE_SECONDS / 2)
    assert two.is_busy()


@pytest.mark.parametrize("replacement_first", [True, False])
def test_knows_whom_it_retired(two: Scene, replacement_first: bool) -> None:
    two.start(recycle(12, replacement_first=replacement_first))
    two.handle()
    two.booting.clear()
    two.advance()
    del two.arbiter.WORKERS[12]
    assert two.executor.worker_ended(12) is Kind.RECYCLE
    assert two.executor.worker_ended(12) is None
    assert two.executor.worker_ended(11) is None


def test_knows_whom_it_retired_where_a_sample_comes_before_the_report(two: Scene) -> None:
    """Gunicorn takes a worker off its list before it calls `child_exit`."""
    two.start(recycle(12, replacement_first=False))
    del two.arbiter.WORKERS[12]
    two.advance()
    assert two.executor.worker_ended(12) is Kind.RECYCLE
    assert two.executor.worker_ended(12) is None


def test_one_after_the_other(four: Scene) -> None:
    for pid in (11, 12, 13, 14):
        four.start(recycle(pid, replacement_first=pid % 2 == 0))
        assert four.settle() == [pid]
        assert not four.is_busy()
    assert (four.count, four.pids) == (4, [15, 16, 17, 18])


class TestVictimEndsOnItsOwn:
    """It ran into max_requests, or somebody else killed it."""

    def die(self, scene: Scene, pid: int) -> None:
        scene.arbiter.reap(pid)
        scene.handle()

    def test_before_the_replacement_is_asked_for(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=True))
        self.die(two, 12)
        two.settle()
        assert two.count == 2
        assert len(two.pids) == 2
        assert not two.is_busy()

    def test_the_only_one_before_the_replacement_is_forked(self) -> None:
        """Gunicorn is never told to keep no worker at all."""
        scene = Scene(1)
        scene.start(recycle(11, replacement_first=True))
        scene.arbiter.reap(11)
        assert scene.count == 1
        scene.settle()
        assert (scene.count, len(scene.pids)) == (1, 1)
        assert not scene.is_busy()

    def test_while_the_replacement_boots(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.advance()
        self.die(two, 12)
        two.settle()
        # The spare takes its place: no other worker has to go.
        assert (two.count, two.pids) == (2, [11, 13])
        assert not two.is_busy()
        assert not two.is_stood_down()

    def test_as_it_is_told_to(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=False))
        self.die(two, 12)
        two.settle()
        assert (two.count, two.pids) == (2, [11, 13])
        assert not two.is_busy()

    def test_another_one_while_the_replacement_boots(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.advance()
        self.die(two, 11)
        assert two.settle() == [12]
        assert (two.count, two.pids) == (2, [13, 14])

    def test_as_we_signal_it(self, two: Scene) -> None:
        """It is reaped already, but Gunicorn has not struck it off its list."""
        two.reaped.add(12)
        two.start(recycle(12, replacement_first=False))
        self.die(two, 12)
        two.settle()
        assert two.count == 2
        assert not two.is_busy()

    def test_one_that_is_gone_is_not_signalled(self, two: Scene) -> None:
        """Its pid may be another process's by now."""
        del two.arbiter.WORKERS[12]
        two.start(recycle(12, replacement_first=False))
        assert two.killed == []

    @pytest.mark.parametrize("drain_seconds", [0.1, PATIENCE_SECONDS + 1])
    @pytest.mark.parametrize("replacement_first", [True, False])
    def test_without_our_hearing_of_it(
        self, two: Scene, replacement_first: bool, drain_seconds: float
    ) -> None:
        """Gunicorn could not signal it, and struck it off its list without a `child_exit`."""
        two.start(recycle(12, replacement_first=replacement_first))
        two.handle()
        two.booting.clear()
        two.advance()
        assert two.told == [12]
        two.advance(drain_seconds)
        del two.arbiter.WORKERS[12]
        two.settle()
        assert two.count == 2
        assert len(two.pids) == 2
        assert not two.is_busy()
        assert not two.is_stood_down()
        two.advance(PATIENCE_SECONDS + 0.1)
        # Its pid may be another worker's one day.
        assert not two.executor.worker_ended(12)

    def test_where_a_hook_that_tells_of_the_count_fails(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.booting.clear()
        two.advance()
        del two.arbiter.WORKERS[12]
        two.arbiter.executor = None
        assert two.executor.worker_ended(12)
        two.arbiter.executor = two.executor
        two.settle()
        assert (two.count, two.pids) == (2, [11, 13])
        assert not two.is_busy()

    def test_as_the_supervisor_looks(self, two: Scene) -> None:
        """It is off the list, and `child_exit` is about to be called."""
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.booting.clear()
        two.advance()
        seen = two.sample()
        del two.arbiter.WORKERS[12]
        two.executor.advance(seen)
        assert two.executor.worker_ended(12)
        two.settle()
        assert (two.count, two.pids) == (2, [11, 13])
        assert not two.is_busy()


class InterruptedArbiter(Arbiter):
    """Gunicorn 23 reaps inside of a signal handler, wherever the main thread is: here."""

    interruption: Callable[[], None] | None = None

    @property
    def cfg(self) -> Config:
        interruption, self.interruption = self.interruption, None
        if interruption:
            interruption()
        return self._cfg

    @cfg.setter
    def cfg(self, value: Config) -> None:
        self._cfg = value


def test_worker_ends_while_the_main_thread_is_in_here() -> None:
    scene = Scene(2, InterruptedArbiter)
    assert isinstance(scene.arbiter, InterruptedArbiter)
    scene.start(recycle(12, replacement_first=True))
    scene.handle()
    scene.booting.clear()
    scene.advance()
    assert scene.told == [12]
    scene.arbiter.interruption = lambda: scene.arbiter.reap(12)

    def operate() -> None:
        scene.arbiter.num_workers += 1

    main = threading.Thread(target=operate, daemon=True)
    main.start()
    main.join(stretched(10))
    assert not main.is_alive()
    assert scene.is_stood_down()
    scene.settle()
    assert (scene.count, len(scene.pids)) == (3, 3)
    assert not scene.is_busy()


# -- patience ----------------------------------------------------------------------------------


class TestPatience:
    def test_replacement_never_boots(self, two: Scene) -> None:
        """It is taken back, and the count is as it was."""
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.advance(PATIENCE_SECONDS)
        assert two.count == 3
        two.advance(1)
        two.handle()
        assert two.count == 2
        two.end()
        two.advance()
        assert not two.is_busy()
        assert not two.is_stood_down()

    @pytest.mark.parametrize("replacement_first", [True, False])
    def test_victim_is_waited_for(self, two: Scene, replacement_first: bool) -> None:
        """Gunicorn ends it; until then no other is retired, nor the same one again."""
        two.start(recycle(12, replacement_first=replacement_first))
        two.handle()
        two.booting.clear()
        for _ in range(5):
            two.advance(PATIENCE_SECONDS)
            assert two.is_busy()
        assert two.end() == [12]
        assert (two.count, two.pids) == (2, [11, 13])
        two.settle()
        assert not two.is_busy()
        assert not two.is_stood_down()

    def test_new_worker_never_boots(self, two: Scene) -> None:
        two.start(GROW)
        two.handle()
        two.advance(PATIENCE_SECONDS + 1)
        assert not two.is_busy()
        assert two.count == 3

    @pytest.mark.parametrize(
        "action", [GROW, recycle(12, replacement_first=True)], ids=lambda a: a.kind.value
    )
    def test_signal_is_lost(self, two: Scene, action: Action) -> None:
        """Gunicorn 23 drops a signal when five wait; the guard must not wait for it for good."""
        two.start(action)
        two.queue.clear()
        for _ in range(3):
            two.advance(PATIENCE_SECONDS)
            two.queue.clear()
        assert not two.is_busy()
        assert two.count == 2

    def test_signal_that_shrinks_is_lost(self, four: Scene) -> None:
        """Another one follows."""
        four.start(SHRINK)
        four.queue.clear()
        four.advance(PATIENCE_SECONDS + 1)
        four.settle()
        assert (four.is_busy(), four.count) == (False, 3)
        assert not four.is_stood_down()

    def test_signal_that_takes_back_is_lost(self, two: Scene) -> None:
        """The count is too high by one: another signal follows."""
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.advance(PATIENCE_SECONDS + 1)
        two.queue.clear()
        two.advance(PATIENCE_SECONDS)
        assert (two.is_busy(), two.count) == (True, 3)
        two.advance(1)
        two.handle()
        two.end()
        two.advance()
        assert (two.is_busy(), two.count) == (False, 2)
        assert not two.is_stood_down()

    def test_signal_from_before_a_reload_is_lost(self, two: Scene) -> None:
        """The operator's own one, long after, is not taken for it."""
        two.start(GROW)
        two.queue.clear()
        two.arbiter.reload(2)
        two.settle()
        two.advance(PATIENCE_SECONDS + 1)
        two.queue.append(SIGTTIN)
        two.settle()
        assert two.count == 3
        assert two.is_stood_down()


class TestFailure:
    """The supervisor's thread ends: nobody advances what is under way."""

    def test_replacement_is_taken_back(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=True))
        two.executor.abandon()
        assert two.queue == [SIGTTIN, SIGTTOU]
        two.handle()
        assert two.count == 2

    def test_victim_that_was_told_goes(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.booting.clear()
        two.advance()
        two.executor.abandon()
        assert two.queue == []
        assert two.end() == [12]
        assert two.count == 2

    @pytest.mark.parametrize("action", [GROW, SHRINK, recycle(12, replacement_first=False)])
    def test_nothing_to_take_back(self, two: Scene, action: Action) -> None:
        two.start(action)
        before = two.queue.copy()
        two.executor.abandon()
        assert two.queue == before


# -- the operator ------------------------------------------------------------------------------


class TestOperator:
    @pytest.mark.parametrize(("number", "count"), [(SIGTTIN, 3), (SIGTTOU, 1)])
    def test_sets_the_count(self, two: Scene, number: int, count: int) -> None:
        two.queue.append(number)
        two.handle()
        assert two.is_stood_down()
        two.settle()
        assert two.count == count

    def test_sets_it_by_more_than_one(self, two: Scene) -> None:
        """Gunicornc writes the number."""
        two.start(GROW)
        two.arbiter.num_workers = 6
        assert two.is_stood_down()

    def test_sets_it_while_we_grow(self, two: Scene) -> None:
        two.start(GROW)
        two.queue.append(SIGTTOU)
        two.handle()
        assert two.is_stood_down()

    def test_sets_it_the_same_way_as_we(self, two: Scene) -> None:
        two.start(GROW)
        two.queue.append(SIGTTIN)
        two.handle()
        assert two.count == 4
        assert two.is_stood_down()

    def test_sets_it_during_a_recycle(self, two: Scene) -> None:
        """One more than there were, and the victim is replaced."""
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.queue.append(SIGTTIN)
        assert two.settle() == [12]
        assert two.count == 3
        assert two.is_stood_down()

    @pytest.mark.parametrize(("workers", "count"), [(1, 1), (2, 1), (3, 2)])
    def test_lowers_it_while_the_victim_drains(self, workers: int, count: int) -> None:
        """Never to nothing: Gunicorn would end the replacement too."""
        scene = Scene(workers)
        scene.start(recycle(11, replacement_first=True))
        scene.handle()
        scene.booting.clear()
        scene.advance()
        scene.queue.append(SIGTTOU)
        scene.handle()
        scene.settle()
        assert scene.count == count
        assert len(scene.pids) == count

    def test_lowers_it_to_one_before_the_replacement_is_taken_back(self, two: Scene) -> None:
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.queue.extend([SIGTTOU, SIGTTOU])
        two.handle()
        two.advance(PATIENCE_SECONDS + 1)
        two.settle()
        assert two.count == 1
        assert not two.is_busy()

    def test_takes_the_last_worker_away_while_its_spare_boots(self) -> None:
        """The guard wanted it to go, whoever told it to."""
        scene = Scene(1)
        scene.start(recycle(11, replacement_first=True))
        scene.handle()
        scene.queue.append(SIGTTOU)
        scene.handle()
        assert scene.told == [11]
        del scene.arbiter.WORKERS[11]
        assert scene.executor.worker_ended(11) is Kind.RECYCLE

    def test_is_obeyed_where_ours_came_to_nothing(self) -> None:
        """One worker is left when our signal comes: the next one is not ours."""
        scene = Scene(3)
        scene.start(SHRINK)
        scene.arbiter.num_workers = 1
        scene.handle()
        for number in (SIGTTIN, SIGTTOU):
            scene.queue.append(number)
            scene.handle()
        scene.settle()
        assert scene.count == 1

    def test_sets_it_as_the_supervisor_looks(self, two: Scene) -> None:
        """The count is set, and `nworkers_changed` is about to be called."""
        two.start(GROW)
        two.handle()
        seen = two.sample()
        two.arbiter.executor = None
        two.arbiter.num_workers = 4
        two.executor.advance(seen)
        assert two.queue == []
        two.executor.count_changed(4, 3)
        two.arbiter.executor = two.executor
        two.settle()
        assert two.count == 4
        assert two.is_stood_down()

    def test_sets_what_it_was(self, two: Scene) -> None:
        two.arbiter.num_workers = 2
        assert not two.is_stood_down()

    def test_the_first_count_is_no_operator(self, two: Scene) -> None:
        two.executor.count_changed(2, None)
        assert not two.is_stood_down()

    def test_is_asked_again_after_a_reload(self, two: Scene) -> None:
        two.queue.append(SIGTTIN)
        two.handle()
        assert two.is_stood_down()
        two.arbiter.reload(2)
        assert not two.is_stood_down()
        assert two.count == 2


# -- reload ------------------------------------------------------------------------------------


class TestReload:
    """SIGHUP in the middle: the count is the configuration's, whatever is still in the queue."""

    @pytest.mark.parametrize("workers", [1, 2, 3, 5])
    @pytest.mark.parametrize(
        "action",
        [
            GROW,
            GROW._replace(add=2),
            SHRINK,
            recycle(12, replacement_first=True),
            recycle(12, replacement_first=False),
        ],
        ids=["grow", "grow by 2", "shrink", "replacement first", "stop first"],
    )
    @pytest.mark.parametrize("order", ["before", "after", "handled", "told", "ended"])
    def test_leaves_the_right_count(
        self, two: Scene, action: Action, order: str, workers: int
    ) -> None:
        """The reload comes before or after our signal, once it was handled, and so on."""
        two.start(action)
        if order == "before":
            two.handle()
        if order in {"handled", "told", "ended"}:
            two.handle()
            two.booting.clear()
        if order in {"told", "ended"}:
            two.advance()
        if order == "ended":
            two.end()
        two.arbiter.reload(workers)
        assert not two.is_stood_down()

        two.settle()

        assert two.count == workers
        assert len(two.pids) == workers
        assert not two.is_busy()
        assert not two.is_stood_down()

    def test_operator_after_it_is_obeyed(self, two: Scene) -> None:
        """Our signal from before came to nothing: the next one is not ours."""
        two.start(SHRINK)
        two.arbiter.reload(1)
        two.settle()
        two.arbiter.num_workers = 4
        two.settle()
        two.queue.append(SIGTTOU)
        two.settle()
        assert two.count == 3

    @pytest.mark.parametrize("workers", [1, 2, 5])
    def test_victim_is_reaped_amid_the_reload(self, two: Scene, workers: int) -> None:
        """Gunicorn 23 reaps inside of its signal handler, with the new count set already."""
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.booting.clear()
        two.advance()
        two.arbiter.cfg = Config(workers)
        two.arbiter.num_workers = workers
        two.arbiter.reap(12)
        two.executor.reloaded()
        two.settle()
        assert two.count == workers
        assert len(two.pids) == workers

    def test_that_we_do_not_hear_of(self, two: Scene) -> None:
        """It brought an on_reload of the user's own."""
        two.start(recycle(12, replacement_first=True))
        two.handle()
        two.arbiter.executor = None
        two.arbiter.reload(2)
        two.arbiter.executor = two.executor
        two.end()
        two.settle()
        assert two.count == 2
        assert not two.is_busy()

    def test_owes_nothing_from_before_the_last_one(self, two: Scene) -> None:
        two.start(GROW)
        two.arbiter.reload(2)
        two.handle()
        two.arbiter.reload(2)
        two.settle()
        assert two.count == 2
        assert not two.is_busy()

    def test_by_signal_amid_our_own(self, two: Scene) -> None:
        two.start(GROW._replace(add=2))
        two.queue.append(SIGHUP)
        two.queue.append(SIGHUP)
        two.settle()
        assert two.count == 2
        assert not two.is_stood_down()

    def test_new_action_before_an_old_signal_is_handled(self, two: Scene) -> None:
        two.start(GROW)
        two.arbiter.reload(2)
        two.booting.clear()
        two.start(GROW)
        two.settle()
        assert two.count == 3
        assert not two.is_stood_down()


# -- anything, in any order --------------------------------------------------------------------

STEPS = (
    *("recycle", "recycle at once", "supervisor looks", "supervisor looks late"),
    *("Gunicorn handles signals", "workers boot", "told workers end", "a worker dies"),
    *("a told worker is dropped", "SIGTTIN", "SIGTTOU", "SIGHUP"),
)


def take(scene: Scene, step: str) -> None:
    if step.startswith("recycle") and not scene.is_busy():
        scene.start(recycle(scene.pids[0], replacement_first=step == "recycle"))
    elif step == "supervisor looks":
        scene.advance()
    elif step == "supervisor looks late" and not scene.queue:
        scene.advance(PATIENCE_SECONDS + 1)
    elif step == "Gunicorn handles signals":
        scene.handle()
    elif step == "workers boot":
        scene.booting.clear()
    elif step == "told workers end":
        scene.end()
    elif step == "a worker dies":
        scene.arbiter.reap(scene.pids[-1])
        scene.handle()
    elif step == "a told worker is dropped" and scene.told:
        del scene.arbiter.WORKERS[scene.told[0]]  # Without a child_exit.
        scene.handle()


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_count_is_the_operators_in_the_end(steps: list[str]) -> None:
    """What was configured and what was changed since, whatever was recycled meanwhile."""
    scene, expected = Scene(4), 4
    for step in steps:
        if step == "SIGTTIN":
            scene.queue.append(SIGTTIN)
            expected += 1
        elif step == "SIGTTOU" and expected > 2:
            scene.queue.append(SIGTTOU)
            expected -= 1
        elif step == "SIGHUP":
            scene.handle()
            scene.arbiter.reload(4)
            expected = 4
        else:
            take(scene, step)
    for _ in range(3):
        scene.settle()
        scene.advance(PATIENCE_SECONDS + 1)
    assert (scene.count, len(scene.pids), scene.is_busy()) == (expected, expected, False)
