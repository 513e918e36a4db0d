"""What the arbiter notes of its workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from gunicorn_autoconf.fleet import records as records_module
from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.fleet.meter import Meter
from gunicorn_autoconf.fleet.records import WorkerRecord, WorkerRecords
from gunicorn_autoconf.fleet.sample import Sample, WorkerSample
from gunicorn_autoconf.fleet.shared_page import BootReport, Region, SharedPage
from gunicorn_autoconf.machine.facts import ProcessMemory

MEMORY = ProcessMemory(80_000_000, 60_000_000, 50_000_000)


class Clock:
    """Time that passes when it is told to, also by those who sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker here is a process, but the machine may have one with its pid."""
    monkeypatch.setattr(records_module, "read_cpu_seconds", lambda pid: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(records_module, "time", clock)
    return clock


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> SharedPage:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(records_module, "SharedPage", refuse)


def worker(pid: int, workers: int = 2) -> Any:
    """Gunicorn's worker, which learns its pid in the fork."""
    return SimpleNamespace(
        pid=pid, cfg=SimpleNamespace(workers=workers), alive=True, notify=lambda: None
    )


def sample(*pids: int) -> Sample:
    workers = tuple(WorkerSample(pid, 60.0, pid * 1000, pid * 1100, pid * 500) for pid in pids)
    return Sample(60.0, 10**9, 10**8, len(pids), workers)


def test_a_worker_boots(clock: Clock) -> None:
    records, eleven = WorkerRecords(), worker(11)
    records.forking(eleven)
    assert records.known({11: eleven}) == {11: WorkerRecord(1000.0, None)}

    clock.now = 1007.5
    assert records.ready(eleven, MEMORY) == 7.5
    report = BootReport(11, 7.5, 80_000_000, 60_000_000, 50_000_000)
    assert records.known({11: eleven}) == {11: WorkerRecord(1000.0, report)}


def test_workers_are_told_apart(clock: Clock) -> None:
    records, eleven, twelve = WorkerRecords(), worker(11), worker(12)
    records.forking(eleven)
    clock.now = 1002.0
    records.forking(twelve)
    records.ready(twelve, MEMORY)
    known = records.known({11: eleven, 12: twelve})
    assert known[11] == WorkerRecord(1000.0, None)
    assert known[12].forked_at_seconds == 1002.0
    assert known[12].report is not None


def test_only_partly_known_memory(clock: Clock) -> None:
    records, eleven = WorkerRecords(), worker(11)
    records.forking(eleven)
    records.ready(eleven, ProcessMemory(80_000_000))
    assert records.known({11: eleven})[11].report == BootReport(11, 0.0, 80_000_000, None, None)


def test_slot_is_given_back(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers at most, a hundred in all."""
    monkeypatch.setattr(records_module, "SharedPage", lambda: SharedPage(3))
    records = WorkerRecords()
    for pid in range(100):
        each = worker(pid)
        records.forking(each)
        records.ready(each, MEMORY)
        report = records.known({pid: each})[pid].report
        assert report is not None
        assert (report.pid, report.rss_bytes) == (pid, 80_000_000)
        records.ended(each)


def test_next_on_the_slot_has_not_booted(clock: Clock) -> None:
    records, eleven, twelve = WorkerRecords(), worker(11), worker(12)
    records.forking(eleven)
    records.ready(eleven, MEMORY)
    records.ended(eleven)
    records.forking(twelve)
    assert records.known({12: twelve})[12].report is None


def test_another_ones_report_is_not_taken(clock: Clock) -> None:
    """A worker that came back from the dead writes on a slot that is another's by now."""
    records, eleven, twelve = WorkerRecords(), worker(11), worker(12)
    records.forking(eleven)
    records.ended(eleven)
    records.forking(twelve)
    records.ready(eleven, MEMORY)
    assert records.known({12: twelve})[12].report is None


def test_worker_that_was_forked_before_us_is_left_out(clock: Clock) -> None:
    """A reload brought the hooks; the old workers have no note."""
    records, twelve = WorkerRecords(), worker(12)
    records.forking(twelve)
    assert set(records.known({11: worker(11), 12: twelve})) == {12}
    assert records.ready(worker(11), MEMORY) is None
    assert records.ended(worker(11)) == (None, None)


def test_last_words(clock: Clock) -> None:
    records, eleven, twelve = WorkerRecords(), worker(11), worker(12)
    for each in (eleven, twelve):
        records.forking(each)
    records.seen(sample(11, 12), (11, 12))
    assert records.ended(eleven) == (WorkerSample(11, 60.0, 11_000, 12_100, 5_500), False)
    records.seen(sample(12), (12,))
    assert records.ended(twelve) == (WorkerSample(12, 60.0, 12_000, 13_200, 6_000), False)


def test_what_a_worker_tells_at_its_end_is_newer_than_what_was_seen(clock: Clock) -> None:
    records, eleven = WorkerRecords(), worker(11)
    records.forking(eleven)
    records.seen(sample(11), (11,))
    clock.now += 75
    records.exiting(eleven, MEMORY)
    assert records.ended(eleven) == (WorkerSample(11, 75.0, 50_000_000, 60_000_000, 5_500), True)


def test_worker_that_was_never_seen_tells_its_end(clock: Clock) -> None:
    """It lived for less than a sample, or nobody takes samples."""
    records, eleven, twelve = WorkerRecords(), worker(11), worker(12)
    for each in (eleven, twelve):
        records.forking(each)
    records.ready(eleven, ProcessMemory(50_000_000, 40_000_000, 30_000_000))
    clock.now += 3
    records.exiting(eleven, MEMORY)
    records.exiting(twelve, MEMORY)
    end = WorkerSample(11, 3.0, 50_000_000, 60_000_000, 30_000_000)
    assert records.ended(eleven) == (end, True)
    end = WorkerSample(12, 3.0, 50_000_000, 60_000_000, None)
    assert records.ended(twelve) == (end, True)


def test_worker_that_just_dies_keeps_what_was_seen_of_it(clock: Clock) -> None:
    """A process that ends has no pages left; it is in no sample, but still Gunicorn's."""
    records, eleven = WorkerRecords(), worker(11)
    records.forking(eleven)
    records.seen(sample(11), (11,))
    records.seen(sample(), (11,))
    assert records.ended(eleven).last == WorkerSample(11, 60.0, 11_000, 12_100, 5_500)


def test_worker_that_is_gone_is_forgotten(clock: Clock) -> None:
    """Also where nobody hears of its end; its pid may come again."""
    records = WorkerRecords()
    records.seen(sample(11), (11,))
    records.seen(sample(), ())
    assert records.ended(worker(11)).last is None


def test_end_without_sizes_is_an_end(clock: Clock) -> None:
    """Where the kernel tells RSS alone, what was seen last stands."""
    records, eleven = WorkerRecords(), worker(11)
    records.forking(eleven)
    records.seen(sample(11), (11,))
    records.exiting(eleven, ProcessMemory(80_000_000, None, None))
    assert records.ended(eleven) == (WorkerSample(11, 60.0, 11_000, 12_100, 5_500), True)


class TestWithoutAPage:
    """The boots stay untold; everything else goes on."""

    pytestmark = pytest.mark.usefixtures("no_page")

    def test_worker_counts_as_booted(self, clock: Clock) -> None:
        records, eleven = WorkerRecords(), worker(11)
        records.forking(eleven)
        clock.now = 1001.5
        assert records.ready(eleven, MEMORY) == 1.5
        known = records.known({11: eleven})
        assert known[11] == WorkerRecord(1000.0, BootReport(11, 0.0, 0, None, None))

    def test_start_ends_without_it(self, clock: Clock) -> None:
        records, eleven = WorkerRecords(), worker(11)
        records.forking(eleven)
        records.end_start(eleven)
        assert records.wait_for_end(eleven) is False
        assert records.ended(eleven) == (None, None)
        assert clock.now == 1000.0


def test_more_workers_than_slots(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "SharedPage", lambda: SharedPage(1))
    records, eleven, twelve = WorkerRecords(), worker(11), worker(12)
    records.forking(eleven)
    records.forking(twelve)
    assert records.ready(twelve, MEMORY) == 0.0
    known = records.known({11: eleven, 12: twelve})
    assert known[11].report is None
    assert known[12].report == BootReport(12, 0.0, 0, None, None)
    records.ended(twelve)
    assert records.known({11: eleven})[11].report is None


class Counted:
    """A worker that counts on its slot, as if it were in the fork."""

    def __init__(self, records: WorkerRecords, pid: int, clock: Clock) -> None:
        self.worker = worker(pid)
        records.forking(self.worker)
        numbers = records.doubles(self.worker, Region.COUNTERS)
        assert numbers is not None
        self.meter = Meter(numbers, clock=clock.monotonic)
        # As uvicorn does with the task of a request.
        self.tasks = self.meter.tasks()

    def enter(self) -> None:
        self.tasks.add(Mock())

    def leave(self) -> None:
        self.tasks.discard(next(iter(self.tasks)))

    def serve(self, times: int) -> None:
        for _ in range(times):
            self.enter()
            self.leave()


def at_once(requests: int) -> tuple[int, ...]:
    """Return the durations of requests that took no time."""
    return (requests, *[0] * 11)


class TestCounters:
    """What each worker has done, and all together."""

    @pytest.fixture
    def cpu(self, monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
        """What /proc has of each pid."""
        seconds: dict[int, float] = {}
        monkeypatch.setattr(records_module, "read_cpu_seconds", seconds.get)
        monkeypatch.setattr(records_module, "read_reaped_cpu_seconds", lambda: seconds.get(0, 0.0))
        return seconds

    def test_each_worker(self, clock: Clock, cpu: dict[int, float]) -> None:
        records = WorkerRecords()
        eleven, twelve = Counted(records, 11, clock), Counted(records, 12, clock)
        records.forking(loading := worker(13))
        eleven.serve(3)
        twelve.enter()
        clock.now += 2.5
        cpu[11] = 0.25

        assert records.tally({11: eleven.worker, 12: twelve.worker, 13: loading}).workers == {
            11: Counters(requests=3, cpu_seconds=0.25, durations=at_once(3)),
            12: Counters(in_flight=1, busy_seconds=2.5, slot_seconds=2.5),
        }

    def test_worker_that_is_killed_leaves_what_it_has_done(
        self, clock: Clock, cpu: dict[int, float]
    ) -> None:
        """In the middle of a request, which never ends."""
        records = WorkerRecords()
        eleven, twelve = Counted(records, 11, clock), Counted(records, 12, clock)
        cpu.update({11: 3.5, 12: 1.0})
        eleven.serve(5)
        twelve.serve(2)
        eleven.enter()
        clock.now += 4
        both = {11: eleven.worker, 12: twelve.worker}
        expected = Counters(
            requests=7,
            in_flight=1,
            busy_seconds=4.0,
            slot_seconds=4.0,
            cpu_seconds=4.5,
            durations=at_once(7),
        )
        assert records.tally(both).total == expected

        del both[11], cpu[11]
        records.ended(eleven.worker)

        assert records.tally(both).total == expected._replace(in_flight=0)

    @pytest.mark.parametrize(
        ("reaped_seconds", "expected"),
        [
            (3.75, 3.75),  # A quarter of a second since it was read.
            (0.0, 3.5),  # The kernel does not tell.
            (500.0, 7.5),  # Two cores for two seconds: the rest were processes of its own.
        ],
    )
    def test_cpu_time_until_a_worker_was_killed(
        self,
        clock: Clock,
        cpu: dict[int, float],
        monkeypatch: pytest.MonkeyPatch,
        reaped_seconds: float,
        expected: float,
    ) -> None:
        monkeypatch.setattr("os.cpu_count", lambda: 2)
        records = WorkerRecords()
        eleven = Counted(records, 11, clock)
        cpu[11] = 3.5
        assert records.tally({11: eleven.worker}).total.cpu_seconds == 3.5
        clock.now += 2
        cpu[0] = reaped_seconds
        del cpu[11]
        records.ended(eleven.worker)
        assert records.tally({}).total.cpu_seconds == expected

    def test_slot_is_used_again(
        self, clock: Clock, cpu: dict[int, float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A hundred workers on one slot, ten requests each, the pid of every second one again."""
        monkeypatch.setattr(records_module, "SharedPage", lambda: SharedPage(1))
        records = WorkerRecords()
        for lives in range(100):
            pid = 11 + lives % 2
            each = Counted(records, pid, clock)
            cpu[pid] = 0.5
            assert records.tally({pid: each.worker}).workers[pid].requests == 0
            each.serve(10)
            assert records.tally({pid: each.worker}).total.requests == 10 * (lives + 1)
            records.ended(each.worker)

        assert records.tally({}).total == Counters(
            requests=1000, cpu_seconds=50.0, durations=at_once(1000)
        )
        assert len(records._ended) == 1  # A server runs for months.

    def test_total_does_not_fall_while_a_worker_ends(
        self, clock: Clock, cpu: dict[int, float]
    ) -> None:
        """Gunicorn strikes a worker off before it says so."""
        records = WorkerRecords()
        eleven = Counted(records, 11, clock)
        eleven.serve(5)
        assert records.tally({11: eleven.worker}).total.requests == 5
        assert records.tally({}).total.requests == 5
        records.ended(eleven.worker)
        assert records.tally({}).total.requests == 5

    def test_worker_tells_its_cpu_time_at_its_end(
        self, clock: Clock, cpu: dict[int, float]
    ) -> None:
        """It is more than what was seen last, or nobody looked."""
        records = WorkerRecords()
        eleven = Counted(records, 11, clock)
        eleven.meter.exiting()
        records.ended(eleven.worker)
        assert records.tally({}).total.cpu_seconds > 0

    def test_worker_that_does_not_count_is_left_out(
        self, clock: Clock, cpu: dict[int, float]
    ) -> None:
        """Its class is unknown, or a reload brought the hooks."""
        records = WorkerRecords()
        records.forking(unknown := worker(11))
        assert records.tally({11: unknown, 12: worker(12)}).workers == {}
        records.ended(unknown)
        assert records.tally({12: worker(12)}).total == Counters()

    def test_without_a_slot(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(records_module, "SharedPage", lambda: SharedPage(1))
        records = WorkerRecords()
        records.forking(worker(11))
        records.forking(twelve := worker(12))
        assert records.meter(twelve) is None


class TestWrongStart:
    """The first worker ends it, the others wait for that."""

    def test_others_hear_of_it(self, clock: Clock) -> None:
        records, first, second = WorkerRecords(), worker(11), worker(12)
        records.forking(first)
        records.forking(second)
        records.end_start(first)
        assert clock.now == 1000.0  # All are forked.
        assert records.wait_for_end(second) is True
        assert clock.now == pytest.approx(1001.0, abs=0.1)

    def test_first_one_waits_until_all_are_forked(self, clock: Clock) -> None:
        records, first = WorkerRecords(), worker(11, workers=4)
        records.forking(first)
        records.end_start(first)
        assert clock.now == pytest.approx(1001.0, abs=0.1)

    def test_nobody_says_so(self, clock: Clock) -> None:
        records, first, second = WorkerRecords(), worker(11), worker(12)
        records.forking(first)
        records.forking(second)
        assert records.wait_for_end(second) is False
        assert clock.now == pytest.approx(1020.0, abs=0.1)

    def test_arbiter_ends_the_one_that_waits(self, clock: Clock) -> None:
        records, second = WorkerRecords(), worker(12)
        records.forking(second)
        second.notify = lambda: setattr(second, "alive", clock.now < 1003)
        assert records.wait_for_end(second) is True
        assert clock.now == pytest.approx(1003.0, abs=0.1)
