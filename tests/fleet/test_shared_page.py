"""The page on which workers tell how they booted."""

from __future__ import annotations

import mmap
import os
import signal
import warnings
from collections.abc import Callable

import pytest

from gunicorn_autoconf.fleet import shared_page
from gunicorn_autoconf.fleet.shared_page import BootReport, StatusPage
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
    page = StatusPage(4)
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
    page = StatusPage(4)
    slot = page.take()
    assert slot is not None
    page.write(slot, report)
    assert page.read(slot) == report


@pytest.mark.parametrize(
    "memory", [ProcessMemory(83_886_080, 73_400_320, 62_914_560), ProcessMemory(4096, None, None)]
)
def test_what_a_worker_used_at_its_end_is_read(memory: ProcessMemory) -> None:
    page = StatusPage(4)
    slot = page.take()
    assert slot is not None
    page.write(slot, REPORT)
    assert page.read_exit(slot) is None

    in_a_fork(lambda: page.write_exit(slot, memory))

    assert page.read_exit(slot) == memory
    assert page.read(slot) == REPORT


def test_a_slot_that_is_given_out_again_tells_of_no_end() -> None:
    page = StatusPage(1)
    slot = page.take()
    assert slot is not None
    page.write_exit(slot, ProcessMemory(4096, 4096, 4096))
    page.free(slot)
    assert page.take() == slot
    assert page.read_exit(slot) is None


def test_a_worker_writes_and_the_arbiter_reads() -> None:
    page = StatusPage(4)
    first, second = page.take(), page.take()
    assert first is not None
    assert second is not None
    in_a_fork(lambda: page.write(second, REPORT))
    assert page.read(first) is None
    assert page.read(second) == REPORT


def test_each_slot_is_given_out_once() -> None:
    page = StatusPage(4)
    assert sorted(slot for slot in (page.take() for _ in range(4)) if slot is not None) == [
        0,
        1,
        2,
        3,
    ]
    assert page.taken == 4


def test_all_slots_are_taken() -> None:
    page = StatusPage(2)
    page.take()
    page.take()
    assert page.take() is None
    assert page.taken == 2


def test_holds_more_workers_than_one_arbiter_has() -> None:
    page = StatusPage()
    slots = {page.take() for _ in range(1024)}
    assert len(slots) == 1024
    assert None not in slots


def test_slots_do_not_overlap() -> None:
    page = StatusPage(3)
    reports = {}
    for pid in (11, 12, 13):
        slot = page.take()
        assert slot is not None
        reports[slot] = BootReport(pid, pid / 10, pid * 1000, pid * 100, pid * 10)
        page.write(slot, reports[slot])
    assert len(reports) == 3
    assert {slot: page.read(slot) for slot in reports} == reports


def test_a_slot_is_used_again() -> None:
    page = StatusPage(2)
    page.take()
    slot = page.take()
    assert slot is not None
    page.write(slot, REPORT)
    page.free(slot)
    assert page.read(slot) is None
    assert page.taken == 1

    assert page.take() == slot
    assert page.read(slot) is None


def test_a_thousand_lives_on_two_slots() -> None:
    page = StatusPage(2)
    page.take()
    for pid in range(1000):
        slot = page.take()
        assert slot is not None
        page.write(slot, REPORT._replace(pid=pid))
        report = page.read(slot)
        assert report is not None
        assert report.pid == pid
        page.free(slot)
    assert page.taken == 1


class TestHalfWritten:
    """A worker that is killed while it writes leaves a slot that says nothing."""

    @pytest.fixture
    def page(self, monkeypatch: pytest.MonkeyPatch) -> StatusPage:
        """A page on which the state of a slot can no longer be set."""

        class Struct:
            size = shared_page._STATE.size
            unpack_from = staticmethod(shared_page._STATE.unpack_from)

            def pack_into(self, page: mmap.mmap, offset: int, state: int) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

        page = StatusPage(2)
        page.take()
        monkeypatch.setattr(shared_page, "_STATE", Struct())
        return page

    def test_says_nothing(self, page: StatusPage, monkeypatch: pytest.MonkeyPatch) -> None:
        assert in_a_fork(lambda: page.write(0, REPORT)) == signal.SIGKILL
        assert page.read(0) is None

        monkeypatch.undo()
        page.free(0)
        assert page.take() == 0
        assert page.read(0) is None
        page.write(0, REPORT)
        assert page.read(0) == REPORT


def failed(page: StatusPage) -> bool:
    return page.has_failed


def test_failure_of_a_start_is_seen_by_the_others() -> None:
    page = StatusPage(2)
    page.take()
    slot = page.take()
    assert slot is not None
    assert not failed(page)
    in_a_fork(lambda: page.fail(slot))
    assert failed(page)
    assert page.read(slot) is None
    page.free(slot)
    assert not failed(page)
