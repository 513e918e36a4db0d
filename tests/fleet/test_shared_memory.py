"""The shared page as another process finds and reads it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gunicorn_autoconf.fleet import shared_memory, shared_page
from gunicorn_autoconf.fleet.shared_memory import UnreachableError
from gunicorn_autoconf.fleet.shared_page import BootReport, Region, SharedPage, open_page

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory has a name on Linux only")

ARBITER = """
import sys
from gunicorn_autoconf.fleet.shared_page import BootReport, Region, SharedPage
page = SharedPage(4)
page.take()
slot = page.take()
page.write(slot, BootReport(4711, 1.25, 83886080, 73400320, 62914560))
page.doubles(slot, Region.COUNTERS)[0] = 41.5
page.write_status(b"first")
page.write_status(b"second")
"""
# It ends by its own means once nobody asks any more, and says whether it still could write.
WAITS = """
print("ready", flush=True)
sys.stdin.read()
print(page.take())
"""
PLAIN = "import sys; print('ready', flush=True); sys.stdin.read()"


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has run *program* and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@pytest.fixture(scope="module")
def arbiter() -> Iterator[int]:
    """The pid of a process that has laid out a page."""
    with running(ARBITER + WAITS) as process:
        yield process.pid
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        # Whatever was tried, what was mapped before the seal may go on to write.
        assert process.stdout.read() == "2\n"


def descriptor_of(pid: int) -> Path:
    (found,) = (
        path
        for path in Path(f"/proc/{pid}/fd").iterdir()
        if os.readlink(path).startswith("/memfd:gunicorn-autoconf")
    )
    return found


def test_another_process_reads_and_cannot_write(arbiter: int) -> None:
    page = open_page(arbiter)

    assert page.taken_slots() == [0, 1]
    assert page.read(0) is None
    assert page.read(1) == BootReport(4711, 1.25, 83_886_080, 73_400_320, 62_914_560)
    assert page.doubles(1, Region.COUNTERS)[0] == 41.5
    assert page.read_status() == b"second"
    with pytest.raises(TypeError, match="read-only"):
        page.doubles(1, Region.COUNTERS)[0] = 1.0
    with pytest.raises(TypeError, match="read-only"):
        page.take()


@pytest.mark.parametrize(
    "change",
    [
        lambda descriptor: os.ftruncate(descriptor, 0),
        lambda descriptor: os.ftruncate(descriptor, 10_000_000),
        lambda descriptor: os.pwrite(descriptor, b"x", 0),
        lambda descriptor: mmap.mmap(descriptor, 4096),
    ],
    ids=["shrink", "grow", "write", "map"],
)
def test_nobody_takes_it_from_the_workers(arbiter: int, change: Callable[[int], object]) -> None:
    descriptor = os.open(descriptor_of(arbiter), os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            change(descriptor)
    finally:
        os.close(descriptor)


def test_an_exec_closes_it(arbiter: int) -> None:
    name = descriptor_of(arbiter).name
    rows = Path(f"/proc/{arbiter}/fdinfo/{name}").read_text(encoding="ascii")
    flags = next(line.split()[1] for line in rows.splitlines() if line.startswith("flags:"))

    assert int(flags, 8) & os.O_CLOEXEC


def test_what_is_not_ours_is_refused() -> None:
    with (
        running(PLAIN) as process,
        pytest.raises(UnreachableError, match="not started with gunicorn-autoconf"),
    ):
        open_page(process.pid)
    with pytest.raises(UnreachableError, match="it has ended"):
        open_page(2**22 + 1)


@pytest.mark.parametrize(
    ("name", "value"), [("_MAGIC", b"elsewhat"), ("LAYOUT", 1), ("_SLOT_BYTES", 64)]
)
def test_a_page_of_another_release_is_refused(
    monkeypatch: pytest.MonkeyPatch, arbiter: int, name: str, value: object
) -> None:
    monkeypatch.setattr(shared_page, name, value)

    with pytest.raises(UnreachableError, match="another release of gunicorn-autoconf runs it"):
        open_page(arbiter)


def test_memory_that_is_too_short_is_refused() -> None:
    short = "from gunicorn_autoconf.fleet.shared_memory import create_memory; m = create_memory(99)"
    with (
        running(f"{short}\n{PLAIN}") as process,
        pytest.raises(UnreachableError, match="another release"),
    ):
        open_page(process.pid)


@pytest.mark.parametrize("fails", ["is not there", "is forbidden"])
def test_without_a_name_there_is_a_page_all_the_same(
    monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError

    if fails == "is forbidden":
        monkeypatch.setattr(os, "memfd_create", forbidden)
    else:
        monkeypatch.delattr(os, "memfd_create")

    assert SharedPage(2).take() == 0
    assert shared_memory.create_memory(4096)[:] == bytes(4096)


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
