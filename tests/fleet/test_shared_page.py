"""The page of shared memory on which workers write and the arbiter reads."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

import pytest

from gunicorn_autoconf.fleet import shared_page
from gunicorn_autoconf.fleet.shared_page import BootReport, Region, SharedPage
from gunicorn_autoconf.machine.facts import ProcessMemory

REPORT = BootReport(4711, 1.25, 83_886_080, 73_400_320, 62_914_560)


def in_a_fork(do: Callable[[], object]) -> int:
    """Run *do* in a forked process; return how that ended."""
    with warnings.catch_warnings():
        # The runner of the tests may have threads; the fork does nothing that could meet them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            do()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_nothing_is_read_before_it_is_written() -> None:
    page = SharedPage(4)
    slot = page.take()
    assert slot is not None
    assert page.read(slot) is None


@pytest.mark.parametrize(
    "report",
    [
        REPORT,
        BootReport(1, 0.0, 4096, None, None),
        BootReport(2**22, 3600.5, 2**40, 2**39, None),
        BootReport(7, 0.1, 1, None, 1),
    ],
)
def test_what_was_written_is_read(report: BootReport) -> None:
    page = SharedPage(4)
    slot = page.take()
    assert slot is not None
    page.write(slot, report)
    assert page.read(slot) == report


@pytest.mark.parametrize(
    "memory", [ProcessMemory(83_886_080, 73_400_320, 62_914_560), ProcessMemory(4096, None, None)]
)
def test_what_a_worker_used_at_its_end_is_read(memory: ProcessMemory) -> None:
    page = SharedPage(4)
    slot = page.take()
    assert slot is not None
    page.write(slot, REPORT)
    assert page.read_exit(slot) is None

    in_a_fork(lambda: page.write_exit(slot, memory))

    assert page.read_exit(slot) == memory
    assert page.read(slot) == REPORT


def test_a_slot_that_is_given_out_again_tells_of_no_end() -> None:
    page = SharedPage(1)
    slot = page.take()
    assert slot is not None
    page.write_exit(slot, ProcessMemory(4096, 4096, 4096))
    page.free(slot)
    assert page.take() == slot
    assert page.read_exit(slot) is None


def test_a_worker_writes_and_the_arbiter_reads() -> None:
    page = SharedPage(4)
    first, second = page.take(), page.take()
    assert first is not None
    assert second is not None
    in_a_fork(lambda: page.write(second, REPORT))
    assert page.read(first) is None
    assert page.read(second) == REPORT


def test_each_slot_is_given_out_once() -> None:
    page = SharedPage(4)
    assert sorted(slot for slot in (page.take() for _ in range(4)) if slot is not None) == [
        0,
        1,
        2,
        3,
    ]
    assert len(page.taken_slots()) == 4


def test_all_slots_are_taken() -> None:
    page = SharedPage(2)
    page.take()
    page.take()
    assert page.take() is None
    assert len(page.taken_slots()) == 2


def test_holds_more_workers_than_one_arbiter_has() -> None:
    page = SharedPage()
    slots = {page.take() for _ in range(1024)}
    assert len(slots) == 1024
    assert None not in slots


def test_slots_do_not_overlap() -> None:
    page = SharedPage(3)
    reports = {}
    for pid in (11, 12, 13):
        slot = page.take()
        assert slot is not None
        reports[slot] = BootReport(pid, pid / 10, pid * 1000, pid * 100, pid * 10)
        page.write(slot, reports[slot])
    assert len(reports) == 3
    assert {slot: page.read(slot) for slot in reports} == reports


def test_a_slot_is_used_again() -> None:
    page = SharedPage(2)
    page.take()
    slot = page.take()
    assert slot is not None
    page.write(slot, REPORT)
    page.free(slot)
    assert page.read(slot) is None
    assert len(page.taken_slots()) == 1

    assert page.take() == slot
    assert page.read(slot) is None


def test_a_thousand_lives_on_two_slots() -> None:
    page = SharedPage(2)
    page.take()
    for pid in range(1000):
        slot = page.take()
        assert slot is not None
        page.write(slot, REPORT._replace(pid=pid))
        report = page.read(slot)
        assert report is not None
        assert report.pid == pid
        page.free(slot)
    assert len(page.taken_slots()) == 1


class TestHalfWritten:
    """A worker that is killed while it writes leaves a slot that says nothing."""

    @pytest.fixture
    def page(self, monkeypatch: pytest.MonkeyPatch) -> SharedPage:
        """A page on which the state of a slot can no longer be set."""

        class Words:
            def __setitem__(self, index: int, state: int) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            def __getitem__(self, index: int) -> int:
                return words[index]

        page = SharedPage(2)
        page.take()
        words = page._words
        monkeypatch.setattr(page, "_words", Words())
        return page

    def test_says_nothing(self, page: SharedPage, monkeypatch: pytest.MonkeyPatch) -> None:
        assert in_a_fork(lambda: page.write(0, REPORT)) == signal.SIGKILL
        assert page.read(0) is None

        monkeypatch.undo()
        page.free(0)
        assert page.take() == 0
        assert page.read(0) is None
        page.write(0, REPORT)
        assert page.read(0) == REPORT


def failed(page: SharedPage) -> bool:
    return page.has_failed


def test_failure_of_a_start_is_seen_by_the_others() -> None:
    page = SharedPage(2)
    page.take()
    slot = page.take()
    assert slot is not None
    assert not failed(page)
    in_a_fork(lambda: page.fail(slot))
    assert failed(page)
    assert page.read(slot) is None
    page.free(slot)
    assert not failed(page)


def test_layout() -> None:
    """Numbers lie on multiples of their size, counters and stamps on cache lines of their own."""
    sizes = {region.name: region.value for region in Region}
    assert sizes == {
        "COUNTERS": (128, 192),
        "STAMPS": (320, 64),
        "REQUEST_LINE": (384, 256),
        "ACCEPTING": (640, 64),
    }
    assert shared_page._SLOT_BYTES == 704
    assert (shared_page._SLOT_AT, shared_page._REPORT_AT, shared_page._EXIT_AT) == (0, 8, 56)
    assert (8 + shared_page._REPORT.size, 8 + shared_page._SIZES.size) == (48, 32)
    assert all(begin % 64 == 0 for begin in (128, 320, 384, 640, 704))
    page = SharedPage(2)
    assert len(page.doubles(1, Region.COUNTERS)) == 24
    assert len(page.doubles(1, Region.STAMPS)) == 8
    assert len(page.raw(1, Region.REQUEST_LINE)) == 256


def test_numbers_set_in_a_worker_are_read_by_the_arbiter() -> None:
    page = SharedPage(3)
    for _ in range(3):
        page.take()

    def count() -> None:
        counters = page.doubles(1, Region.COUNTERS)
        for each in range(24):
            counters[each] = each + 0.5

    in_a_fork(count)

    expected = [
        0.5,
        1.5,
        2.5,
        3.5,
        4.5,
        5.5,
        6.5,
        7.5,
        8.5,
        9.5,
        10.5,
        11.5,
        12.5,
        13.5,
        14.5,
        15.5,
        16.5,
        17.5,
        18.5,
        19.5,
        20.5,
        21.5,
        22.5,
        23.5,
    ]
    assert page.doubles(1, Region.COUNTERS).tolist() == expected
    assert page.doubles(0, Region.COUNTERS).tolist() == [0.0] * 24
    assert page.doubles(1, Region.STAMPS).tolist() == [0.0] * 8
    assert page.doubles(2, Region.COUNTERS).tolist() == [0.0] * 24
    assert page.read(1) is None
    assert page.read_exit(1) is None
    assert page.read(2) is None


def test_numbers_outlive_a_worker_that_is_killed() -> None:
    page = SharedPage(1)
    page.take()

    def count_and_die() -> None:
        page.doubles(0, Region.COUNTERS)[0] = 41.0
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_fork(count_and_die) == signal.SIGKILL
    assert page.doubles(0, Region.COUNTERS)[0] == 41.0


def test_slot_that_is_given_out_again_is_empty() -> None:
    page = SharedPage(1)
    slot = page.take()
    assert slot is not None
    page.write(slot, REPORT)
    for region in Region:
        view = page.raw(slot, region)
        view[:] = b"x" * len(view)
    page.free(slot)

    assert page.take() == slot
    assert page.read(slot) is None
    assert not any(any(page.raw(slot, region)) for region in Region)
