"""One look at all workers and at the limit above them."""

from __future__ import annotations

import os

import pytest
from builders import GIB, MIB, limit, machine, memory

from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.fleet.records import WorkerRecord
from gunicorn_autoconf.fleet.sample import WorkerSample
from gunicorn_autoconf.fleet.sampler import (
    Readers,
    Sampler,
    WorkerPast,
    tightest_level,
)
from gunicorn_autoconf.fleet.shared_page import BootReport
from gunicorn_autoconf.machine.facts import Machine, MemorySupply, ProcessMemory

MINUTE, HOUR, DAY = 60, 3600, 86_400


class Scene:
    """Processes whose memory is what is written here, and a clock that is set."""

    def __init__(self, supply: MemorySupply | None = None) -> None:
        self.now = 100.0
        self.memory: dict[int, ProcessMemory] = {os.getpid(): ProcessMemory(20 * MIB, 15 * MIB)}
        self.swapped: dict[int, int] = {}
        self.children: dict[int, tuple[int, ...]] = {}
        self.own_bytes = -1
        self.supply = supply or memory(16 * GIB, limit(1000 * MIB, 400 * MIB))
        self.sampler = Sampler(
            self.detect,
            readers=Readers(
                memory=self.memory.get,
                rss=lambda pid: None,
                swapped=lambda pid: self.swapped.get(pid, 0),
                descendants=lambda pid: self.children.get(pid, ()),
            ),
            clock=lambda: self.now,
        )

    def detect(self, own_bytes: int) -> Machine:
        self.own_bytes = own_bytes
        return machine(supply=self.supply)

    def look_at(self, record: WorkerRecord) -> WorkerSample:
        _, sample = self.sampler.sample({11: record}, 1, None)
        assert sample is not None
        (worker,) = sample.workers
        return worker


def booted(uss: int | None, at: float = 90) -> WorkerRecord:
    return WorkerRecord(at, BootReport(11, 1.5, 99 * MIB, 98 * MIB, uss))


class TestWorker:
    def test_that_has_booted(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        worker = scene.look_at(booted(40 * MIB))
        assert worker == WorkerSample(
            pid=11,
            age_seconds=10.0,
            uss_bytes=52_428_800,
            pss_bytes=62_914_560,
            boot_uss_bytes=41_943_040,
            boot_seconds=1.5,
            earlier_bytes=None,
        )
        assert worker.growth_bytes == 10_485_760

    def test_that_boots(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        worker = scene.look_at(WorkerRecord(99, None))
        assert worker.boot_uss_bytes is None
        assert not worker.is_booted
        assert worker.boot_seconds == 2.0

    def test_of_which_only_rss_is_known(self) -> None:
        """Growth shows in it as well."""
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB)
        worker = scene.look_at(WorkerRecord(90, BootReport(11, 1.5, 70 * MIB, None, None)))
        assert (worker.uss_bytes, worker.pss_bytes) == (83_886_080, 83_886_080)
        assert worker.growth_bytes == 0
        scene.now, scene.memory[11] = 105, ProcessMemory(95 * MIB)
        worker = scene.look_at(WorkerRecord(90, BootReport(11, 1.5, 70 * MIB, None, None)))
        assert worker.growth_bytes == 15_728_640

    def test_that_has_not_told_its_size(self) -> None:
        """What was seen of it first stands for its boot."""
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        scene.look_at(booted(None))
        scene.now, scene.memory[11] = 200, ProcessMemory(99 * MIB, 75 * MIB, 65 * MIB)
        assert scene.look_at(booted(None)).boot_uss_bytes == 52_428_800

    def test_whose_uss_only_itself_may_see(self) -> None:
        """As under `user` in a container without CAP_SYS_PTRACE: its RSS did not grow."""
        scene = Scene()
        scene.memory[11] = ProcessMemory(99 * MIB)
        worker = scene.look_at(booted(40 * MIB))
        assert (worker.uss_bytes, worker.growth_bytes) == (103_809_024, 0)
        scene.now, scene.memory[11] = 200, ProcessMemory(109 * MIB)
        assert scene.look_at(booted(40 * MIB)).growth_bytes == 10_485_760

    def test_that_is_gone(self) -> None:
        scene = Scene()
        scene.memory[12] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        records = {11: WorkerRecord(90, None), 12: WorkerRecord(90, None)}
        _, sample = scene.sampler.sample(records, 2, None)
        assert sample is not None
        assert [worker.pid for worker in sample.workers] == [12]
        assert sample.target == 2
        assert not sample.is_settled

    def test_past_of_a_pid_that_comes_again(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        scene.look_at(booted(None))
        scene.sampler.sample({}, 1, None)
        scene.now, scene.memory[11] = 200, ProcessMemory(30 * MIB, 30 * MIB, 30 * MIB)
        worker = scene.look_at(booted(None, at=190))
        assert worker.boot_uss_bytes == 31_457_280
        assert worker.earlier_bytes is None


class TestHelpers:
    """The child processes of a worker, and theirs, are part of it."""

    def test_count(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        scene.memory[21] = ProcessMemory(40 * MIB, 30 * MIB, 20 * MIB)
        scene.memory[22] = ProcessMemory(10 * MIB, 5 * MIB, 5 * MIB)
        scene.children[11] = (21, 22, 23)  # 23 has ended meanwhile.
        worker = scene.look_at(booted(40 * MIB))
        assert (worker.helper_bytes, worker.helpers) == (36_700_160, 2)
        assert worker.size_bytes == 99_614_720
        assert worker.growth_bytes == 47_185_920
        # The arbiter's 15 MiB, the worker and its helpers: nothing of it is another's.
        assert scene.own_bytes == 115_343_360

    def test_are_looked_for_every_5_seconds(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        scene.memory[21] = ProcessMemory(40 * MIB, 30 * MIB, 20 * MIB)
        assert scene.look_at(booted(40 * MIB)).helpers == 0
        scene.now, scene.children[11] = 104.9, (21,)
        assert scene.look_at(booted(40 * MIB)).helpers == 0
        scene.now = 105
        assert scene.look_at(booted(40 * MIB)).helpers == 1
        scene.memory[21] = ProcessMemory(90 * MIB, 80 * MIB, 70 * MIB)
        scene.now = 105.5
        assert scene.look_at(booted(40 * MIB)).helper_bytes == 83_886_080
        del scene.memory[21]
        assert scene.look_at(booted(40 * MIB)).helper_bytes == 0


class TestSwapped:
    def test_counts_as_size_and_not_as_use(self) -> None:
        """The kernel swaps a leak out; the limit does not count that."""
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        before = scene.look_at(booted(40 * MIB))
        assert scene.own_bytes == 78_643_200
        scene.memory[11] = ProcessMemory(50 * MIB, 35 * MIB, 25 * MIB)
        scene.swapped[11] = 40 * MIB
        worker = scene.look_at(booted(40 * MIB))
        assert (before.uss_bytes, worker.uss_bytes) == (52_428_800, 68_157_440)
        assert worker.size_bytes == 78_643_200
        assert worker.growth_bytes == 26_214_400
        assert scene.own_bytes == 52_428_800


class TestRequests:
    @pytest.mark.parametrize("requests", [None, 0])
    def test_none(self, requests: int | None) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        counters = None if requests is None else Counters(requests=requests)
        worker = scene.look_at(booted(40 * MIB)._replace(counters=counters))
        assert (worker.requests, worker.traffic_seconds) == (requests, 0)

    def test_traffic_since_the_first(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        scene.look_at(booted(40 * MIB)._replace(counters=Counters(requests=0)))
        scene.now = 130
        first = scene.look_at(booted(40 * MIB)._replace(counters=Counters(requests=1)))
        assert first.traffic_seconds == 0
        scene.now = 190
        worker = scene.look_at(booted(40 * MIB)._replace(counters=Counters(requests=3)))
        assert worker.traffic_seconds == 60
        assert worker.has_worked

    def test_how_long_none_has_ended(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)

        def held_seconds(now: float, requests: int, in_flight: int) -> float:
            scene.now = now
            did = Counters(requests=requests, in_flight=in_flight)
            return scene.look_at(booted(40 * MIB)._replace(counters=did)).held_seconds

        # It waits for a request, gets one, gets another, ends one, ends all, gets one.
        assert held_seconds(100, 5, 0) == 0
        assert held_seconds(160, 5, 0) == 0
        assert held_seconds(163, 5, 1) == 3
        assert held_seconds(165, 5, 2) == 5
        assert held_seconds(166, 6, 1) == 0
        assert held_seconds(168, 6, 1) == 2
        assert held_seconds(170, 7, 0) == 0
        assert held_seconds(171, 7, 1) == 1

    @pytest.mark.parametrize(
        ("cpu_share", "busy_seconds", "has_worked"),
        [(0.001, 0, False), (0.009, 0, False), (0.011, 60, True), (1, 60, True)],
    )
    def test_cpu_time_where_they_are_not_counted(
        self, cpu_share: float, busy_seconds: float, has_worked: bool
    ) -> None:
        """A minute, seen every 5 s."""
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        for second in range(0, 65, 5):
            scene.now = 130 + second
            record = booted(40 * MIB)._replace(cpu_seconds=3 + second * cpu_share)
            worker = scene.look_at(record)
        assert worker.traffic_seconds == busy_seconds
        assert worker.has_worked == has_worked

    def test_cpu_time_of_the_boot_is_no_work(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        for second in range(0, 65, 5):
            scene.now = 130 + second
            worker = scene.look_at(WorkerRecord(90, None, None, second))
        assert (worker.traffic_seconds, worker.has_worked) == (0, False)


class TestFlatness:
    """Growth that has ended is told from growth that goes on, at any age."""

    # Every 5 s, as the guard looks.
    @pytest.mark.parametrize("hours", [0.05, 0.5, 2, 8])
    def test_of_a_worker_that_has_filled_its_caches(self, hours: float) -> None:
        """It grew from 40 to 100 MiB in the first half of its life."""
        scene = Scene()
        end = round(hours * HOUR)
        for age in range(0, end + 1, 5):
            size = 40 + 60 * min(age / (end / 2), 1)
            scene.now = 90 + age
            scene.memory[11] = ProcessMemory(0, 0, round(size * MIB))
            worker = scene.look_at(booted(40 * MIB))
        assert worker.has_grown
        assert worker.earlier_bytes == 104_857_600
        assert worker.is_flat

    @pytest.mark.parametrize("hours", [0.05, 0.5, 2, 8])
    def test_of_a_worker_that_leaks(self, hours: float) -> None:
        """It grew from 40 to 100 MiB, evenly."""
        scene = Scene()
        end = round(hours * HOUR)
        for age in range(0, end + 1, 5):
            scene.now = 90 + age
            scene.memory[11] = ProcessMemory(0, 0, round((40 + 60 * age / end) * MIB))
            worker = scene.look_at(booted(40 * MIB))
        assert worker.has_grown
        assert not worker.is_flat


class TestPast:
    def test_at_an_age(self) -> None:
        past = WorkerPast()
        for age, size in [(1, 10), (5, 20), (10, 30)]:
            past.add(age, size)
        assert past.first == 10
        assert past.at(0.5) is None
        assert past.at(1) == 10
        assert past.at(4.9) == 10
        assert past.at(5) == 20
        assert past.at(100) == 30

    def test_takes_no_more_room_in_a_week(self) -> None:
        past = WorkerPast()
        for age in range(0, 7 * DAY, 60):
            past.add(age, age)
        assert len(past._points) <= 64
        assert past.first == 0

    @pytest.mark.parametrize("age", [10 * MINUTE, HOUR, DAY, 7 * DAY])
    def test_remembers_three_quarters_of_a_life(self, age: int) -> None:
        """Within a twentieth, however long the life."""
        past = WorkerPast()
        for seconds in range(0, age + 1, 5):
            past.add(seconds, seconds)
        found = past.at(age * 0.75)
        assert found is not None
        assert age * 0.70 <= found <= age * 0.75


class TestSample:
    def test_is_under_the_limit(self) -> None:
        scene = Scene()
        scene.memory[11] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        found, sample = scene.sampler.sample({11: WorkerRecord(90, None)}, 3, None)
        assert sample is not None
        assert sample.at_seconds == 100.0
        assert sample.limit_bytes == 1_048_576_000
        assert sample.headroom_bytes == 629_145_600
        assert sample.headroom_fraction == pytest.approx(0.6)
        assert sample.target == 3
        assert found == machine(supply=scene.supply)

    @pytest.mark.parametrize(
        ("arbiter", "own_bytes"),
        [
            (ProcessMemory(20 * MIB, 15 * MIB, 10 * MIB), 141_557_760),
            (ProcessMemory(20 * MIB), 146_800_640),
            (None, 125_829_120),
        ],
    )
    def test_our_own_processes(self, arbiter: ProcessMemory | None, own_bytes: int) -> None:
        """Shares of the workers, and the arbiter's."""
        scene = Scene()
        del scene.memory[os.getpid()]
        if arbiter:
            scene.memory[os.getpid()] = arbiter
        scene.memory[11] = scene.memory[12] = ProcessMemory(80 * MIB, 60 * MIB, 50 * MIB)
        scene.sampler.sample({11: WorkerRecord(90, None), 12: WorkerRecord(90, None)}, 2, None)
        assert scene.own_bytes == own_bytes

    def test_none_where_no_limit_is_known(self) -> None:
        scene = Scene(memory(None))
        found, sample = scene.sampler.sample({}, 1, None)
        assert sample is None
        assert found == machine(supply=memory(None))

    def test_no_workers(self) -> None:
        _, sample = Scene().sampler.sample({}, 1, None)
        assert sample is not None
        assert sample.workers == ()


@pytest.mark.parametrize(
    ("supply", "declared", "tightest"),
    [
        pytest.param(memory(None), None, None, id="nothing"),
        pytest.param(memory(1000, in_use=300), None, (1000, 700), id="machine"),
        pytest.param(memory(1000, limit(500, 450)), None, (500, 50), id="limit"),
        pytest.param(memory(1000, limit(500, 100), in_use=950), None, (500, 400), id="full host"),
        pytest.param(memory(9000, limit(500, 400), limit(800, 720)), None, (800, 80), id="parent"),
        # 30 of 300 is a smaller share than 25 of 200.
        pytest.param(memory(9000, limit(300, 270), limit(200, 175)), None, (300, 30), id="share"),
        pytest.param(memory(1000, limit(500, None), in_use=100), None, (1000, 900), id="no usage"),
        pytest.param(memory(None, limit(500, None)), None, None, id="no usage at all"),
        pytest.param(memory(None, limit(500, 600)), None, (500, -100), id="over"),
        # As ``memory.high`` may be.
        pytest.param(memory(None, limit(500, 100), limit(0, 100)), None, (0, -100), id="no room"),
        pytest.param(memory(None, limit(0, 0)), None, (0, 0), id="neither room nor use"),
        pytest.param(memory(1000, limit(500, 300), own=80), 100, (100, 20), id="declared"),
        # What the kernel enforces holds, whatever was declared.
        pytest.param(memory(1000, limit(500, 450), own=80), 600, (500, 50), id="declared too much"),
        pytest.param(memory(1000, own=80, in_use=950), 200, (200, 120), id="declared, full host"),
        pytest.param(memory(None, own=80), 200, (200, 120), id="declared alone"),
    ],
)
def test_level_that_leaves_least(
    supply: MemorySupply, declared: int | None, tightest: tuple[int, int] | None
) -> None:
    assert tightest_level(supply, declared) == tightest
