"""The shared page as another process finds and reads it."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys

import pytest

from gunicorn_autoconf.fleet import shared_memory, shared_page
from gunicorn_autoconf.fleet.shared_memory import UnreachableError
from gunicorn_autoconf.fleet.shared_page import BootReport, SharedPage, open_page

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory has a name on Linux only")

REPORT = BootReport(4711, 1.25, 83_886_080, 73_400_320, 62_914_560)


def links() -> list[str]:
    """The names of our own descriptors that are such memory."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # The one that listed them.
        if "gunicorn-autoconf" in link:
            found.append(name)
    return found


@pytest.fixture
def page() -> SharedPage:
    """The one page of this process: what is found is the first one."""
    assert links() == []
    return SharedPage(4)


def ask(program: str) -> str:
    """What another process prints that knows our pid."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
        close_fds=False,
    )
    return done.stdout


READ = """
import sys
from gunicorn_autoconf.fleet.shared_page import Region, open_page
page = open_page(int(sys.argv[1]))
print(list(page.slots), page.read(1), page.read_status())
print(page.doubles(1, Region.COUNTERS)[0])
try:
    page.doubles(1, Region.COUNTERS)[0] = 1.0
except TypeError as error:
    print(error)
"""


def test_another_process_reads_and_cannot_write(page: SharedPage) -> None:
    page.take()
    slot = page.take()
    assert slot == 1
    page.write(slot, REPORT)
    page.doubles(slot, shared_page.Region.COUNTERS)[0] = 41.5
    page.write_status(b"first")
    page.write_status(b"second")

    assert ask(READ) == (f"[0, 1] {REPORT} b'second'\n41.5\ncannot modify read-only memory\n")


def test_nobody_can_take_it_from_the_workers(page: SharedPage) -> None:
    """Neither by writing nor by cutting it off, whatever it is opened for."""
    (name,) = links()
    descriptor = os.open(f"/proc/self/fd/{name}", os.O_RDWR)
    try:
        size = os.fstat(descriptor).st_size
        for change in (
            lambda: os.ftruncate(descriptor, 0),
            lambda: os.ftruncate(descriptor, size * 2),
            lambda: os.pwrite(descriptor, b"x", 0),
            lambda: mmap.mmap(descriptor, size),
        ):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(descriptor)
    # What was mapped before may go on.
    assert page.take() == 0


def test_an_exec_closes_it(page: SharedPage) -> None:
    (name,) = links()

    assert fcntl.fcntl(int(name), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert "gunicorn-autoconf" not in ask("import os; os.system('ls -l /proc/self/fd')")


def test_it_ends_with_its_page() -> None:
    page = SharedPage(4)
    assert len(links()) == 1
    del page
    assert links() == []


def test_what_is_not_ours_is_refused() -> None:
    with pytest.raises(UnreachableError, match="not started with gunicorn-autoconf"):
        open_page(os.getpid())
    with pytest.raises(UnreachableError, match="it has ended"):
        open_page(2**22 + 1)


@pytest.mark.parametrize(
    ("name", "value"), [("_MAGIC", b"elsewhat"), ("LAYOUT", 2), ("_SLOT_BYTES", 64)]
)
def test_a_page_of_another_release_is_refused(
    monkeypatch: pytest.MonkeyPatch, page: SharedPage, name: str, value: object
) -> None:
    open_page(os.getpid())
    monkeypatch.setattr(shared_page, name, value)

    with pytest.raises(UnreachableError, match="another release of gunicorn-autoconf runs it"):
        open_page(os.getpid())


def test_memory_that_is_too_short_is_refused() -> None:
    memory = shared_memory.create_memory(100)
    with pytest.raises(UnreachableError, match="another release"):
        open_page(os.getpid())
    memory.close()


def test_without_a_name_there_is_a_page_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")

    assert SharedPage(2).take() == 0
    assert links() == []


class TestStatus:
    """A reader has the status of one moment, or that of the moment before."""

    def test_none_is_written(self) -> None:
        assert SharedPage(1).read_status() is None

    def test_what_is_too_long_leaves_the_last_one(self) -> None:
        page = SharedPage(1)
        assert page.write_status(b"x" * 65_528)
        assert page.write_status(b"y" * 65_529) is False
        assert page.read_status() == b"x" * 65_528

    def test_what_is_being_written_does_not_count(self) -> None:
        page = SharedPage(1)
        page.write_status(b"one")
        page.write_status(b"two")
        # An arbiter that is stopped in the middle of the third.
        page._statuses[1][8:13] = b"three"
        assert page.read_status() == b"two"
        page._statuses[0][8:13] = b"three"
        assert page.read_status() is None
