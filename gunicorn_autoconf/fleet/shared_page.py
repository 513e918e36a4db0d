"""The page of shared memory on which workers write and the arbiter, and other workers, read.

Maps memory that a fork shares (`shared_memory`). Nothing else is touched.

Theory of operation. The page has one slot for each worker. The arbiter gives a slot out before it
forks the worker, and zeroes it then; it takes the slot back once the worker is gone. From the fork
to its end the worker alone writes its slot; the arbiter and the other workers only read it. There
are no locks: a report counts once its state is set, which the worker does last, and a counter or a
time stamp is one aligned 8-byte store, so that a reader sees the old value or the new one and
nothing between. A worker that is killed in the middle of a report leaves a report that does not
count; its counters keep their last values until the slot is given out again.

Before the slots is a header, by which a process that looks from outside knows what it reads, and
behind them a status that the arbiter writes for such readers. There are two places for it: the
arbiter writes the one that is not current and then makes it so, by one store. A status has its
length and its checksum before it; a reader that finds them not to agree was slower than that twice,
and reads again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.fleet.counters import WEBSOCKETS
from gunicorn_autoconf.fleet.shared_memory import UnreachableError, create_memory, open_memory
from gunicorn_autoconf.machine.facts import ProcessMemory

# Pid, seconds from fork to report, bytes: RSS, PSS, USS. -1 stands for what is not known.
_REPORT = struct.Struct("=qdqqq")
# Bytes: RSS, PSS, USS.
_SIZES = struct.Struct("=qqq")
_FREE, _TAKEN, _WRITTEN, _FAILED = 0, 1, 2, 3
SLOTS = 1024

# What is at the beginning: the magic, the layout, bytes of a slot, slots, bytes of the status.
_HEADER = struct.Struct("=8sIIII")
_MAGIC = b"gunicorn"
# To be raised whenever a slot, its counters or its stamps are laid out otherwise.
LAYOUT = 2
_SLOTS_AT = 4096
# Room for the plan and for the sizes of all workers, twice; only what is written takes memory.
STATUS_BYTES = 2 * 65536
# Length and checksum. Which of the two is current is told at the end of the header.
_STATUS = struct.Struct("=II")
_CURRENT_AT = 64

# How often a reader tries again that a request has come between: a copy takes less than 1 µs.
COPIES = 10

# Where each part of a slot begins, in bytes. Each report begins with its state, which is set by
# itself: `struct` sets what it writes to 0 first, and a state of 0 is a free slot.
_WORD_BYTES = 8
_SLOT_AT = 0
_REPORT_AT = 8
_EXIT_AT = 56
# What workers write for each request has cache lines (64 bytes) of its own: two workers that share
# one take it from each other at every store.
_COUNTERS_AT = 128
_STAMPS_AT = 320
_REQUEST_LINE_AT = 384
_ACCEPTING_AT = 640
_SLOT_BYTES = 704


class Region(Enum):
    """The parts of a slot that hold plain numbers, by where they begin and how many bytes."""

    COUNTERS = (_COUNTERS_AT, _STAMPS_AT - _COUNTERS_AT)
    STAMPS = (_STAMPS_AT, _REQUEST_LINE_AT - _STAMPS_AT)
    REQUEST_LINE = (_REQUEST_LINE_AT, _ACCEPTING_AT - _REQUEST_LINE_AT)
    ACCEPTING = (_ACCEPTING_AT, _SLOT_BYTES - _ACCEPTING_AT)


class BootReport(NamedTuple):
    """What a worker wrote when it could serve."""

    pid: int
    boot_seconds: float
    """From its fork."""
    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None


class SharedPage:
    """
    One slot for each worker, given out by the arbiter before a fork.

    Raises:
        OSError: The memory cannot be had.
    """

    def __init__(self, slots: int = SLOTS, memory: memoryview[int] | None = None) -> None:
        """Take *memory*, which another arbiter has laid out, or else lay out new one."""
        if memory is None:
            memory = memoryview(create_memory(_size(slots, STATUS_BYTES)))
            _HEADER.pack_into(memory, 0, _MAGIC, LAYOUT, _SLOT_BYTES, slots, STATUS_BYTES)
        self._slots = slots
        end = _SLOTS_AT + slots * _SLOT_BYTES
        self._page = memory[_SLOTS_AT:end]
        self._words = self._page.cast("q")
        half = len(memory[end:]) // 2
        self._statuses = (memory[end : end + half], memory[end + half :])
        self._current = memory[_CURRENT_AT : _CURRENT_AT + _WORD_BYTES].cast("q")

    def write_status(self, status: bytes) -> bool:
        """Write, in the arbiter, what others may know of it; return False where it is too long."""
        other = 1 - self._current[0]
        place = self._statuses[other]
        if len(status) > len(place) - _STATUS.size:
            return False
        place[_STATUS.size : _STATUS.size + len(status)] = status
        _STATUS.pack_into(place, 0, len(status), zlib.crc32(status))
        self._current[0] = other
        return True

    def read_status(self) -> bytes | None:
        """Return what the arbiter has written of itself; None as long as it has not."""
        for _ in range(COPIES):
            place = self._statuses[self._current[0] & 1]
            length, checksum = _STATUS.unpack_from(place)
            status = bytes(place[_STATUS.size : _STATUS.size + length])
            if length and zlib.crc32(status) == checksum:
                return status
        return None

    def take(self) -> int | None:
        """Return a slot of one's own, empty; None where all are taken."""
        for slot in range(self._slots):
            if self._state(slot, _SLOT_AT) == _FREE:
                self._page[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] = bytes(_SLOT_BYTES)
                self._set_state(slot, _SLOT_AT, _TAKEN)
                return slot
        return None

    def free(self, slot: int) -> None:
        """Give *slot* back; its worker has ended."""
        self._set_state(slot, _REPORT_AT, _FREE)
        self._set_state(slot, _SLOT_AT, _FREE)

    def write(self, slot: int, report: BootReport) -> None:
        """Write in *slot*, in the worker, that it can serve."""
        offset = slot * _SLOT_BYTES + _REPORT_AT + _WORD_BYTES
        _REPORT.pack_into(self._page, offset, *report[:2], *_encode(report[2:]))
        self._set_state(slot, _REPORT_AT, _WRITTEN)

    def write_exit(self, slot: int, memory: ProcessMemory) -> None:
        """Write in *slot*, in the worker, what it uses at its end."""
        offset = slot * _SLOT_BYTES + _EXIT_AT + _WORD_BYTES
        _SIZES.pack_into(self._page, offset, *_encode(memory))
        self._set_state(slot, _EXIT_AT, _WRITTEN)

    def fail(self, slot: int) -> None:
        """Write in *slot*, in the worker, that the start has failed."""
        self._set_state(slot, _SLOT_AT, _FAILED)

    @property
    def has_failed(self) -> bool:
        """Whether any worker has written that the start has failed."""
        return any(self._state(slot, _SLOT_AT) == _FAILED for slot in range(self._slots))

    def taken_slots(self) -> list[int]:
        """Return the slots that are given out, also to workers that boot or have just ended."""
        states = self._words[_SLOT_AT :: _SLOT_BYTES // _WORD_BYTES].tolist()
        return [slot for slot, state in enumerate(states) if state != _FREE]

    def read(self, slot: int) -> BootReport | None:
        """Return what the worker of *slot* wrote when it could serve; None until then."""
        if self._state(slot, _REPORT_AT) != _WRITTEN:
            return None
        offset = slot * _SLOT_BYTES + _REPORT_AT + _WORD_BYTES
        pid, seconds, *sizes = _REPORT.unpack_from(self._page, offset)
        return BootReport(pid, seconds, *_memory(sizes))

    def read_exit(self, slot: int) -> ProcessMemory | None:
        """Return what the worker of *slot* used at its end; None where it did not tell."""
        if self._state(slot, _EXIT_AT) != _WRITTEN:
            return None
        return _memory(_SIZES.unpack_from(self._page, slot * _SLOT_BYTES + _EXIT_AT + _WORD_BYTES))

    def doubles(self, slot: int, region: Region) -> memoryview[float]:
        """
        Return the numbers of *region* in *slot*, to read and, in its worker, to set one by one.

        To set one is one 8-byte store; nothing is allocated but the float. A reader that needs
        several of one moment copies them with ``tolist()``.
        """
        return self.raw(slot, region).cast("d")

    def raw(self, slot: int, region: Region) -> memoryview[int]:
        """Return the bytes of *region* in *slot*, to read and, in its worker, to set."""
        at, length = region.value
        begin = slot * _SLOT_BYTES + at
        return self._page[begin : begin + length]

    def _state(self, slot: int, at: int) -> int:
        return self._words[(slot * _SLOT_BYTES + at) // _WORD_BYTES]

    def _set_state(self, slot: int, at: int, state: int) -> None:
        self._words[(slot * _SLOT_BYTES + at) // _WORD_BYTES] = state


def open_page(pid: int) -> SharedPage:
    """
    Return the page of the arbiter *pid*, another process, to read.

    Raises:
        UnreachableError: There is none, or another release has laid it out.
    """
    memory = memoryview(open_memory(pid))
    if len(memory) >= _SLOTS_AT:
        *known, slots, status_bytes = _HEADER.unpack_from(memory)
        is_whole = len(memory) == _size(slots, status_bytes)
        if is_whole and known == [_MAGIC, LAYOUT, _SLOT_BYTES]:
            return SharedPage(slots, memory)
    raise UnreachableError("another release of gunicorn-autoconf runs it")


def _size(slots: int, status_bytes: int) -> int:
    return _SLOTS_AT + slots * _SLOT_BYTES + status_bytes


def copy_numbers(numbers: memoryview[float]) -> list[float]:
    """Return a worker's counters as they were at one moment; it goes on to count meanwhile."""
    first: list[float] = list(numbers)
    for _ in range(COPIES):
        second: list[float] = list(numbers)
        # None of the stores that go with a begin or an end is in the first copy without it.
        if first[:WEBSOCKETS] == second[:WEBSOCKETS]:
            break
        first = second
    return first


def _encode(sizes: Iterable[int | None]) -> Iterator[int]:
    return (-1 if size is None else size for size in sizes)


def _memory(sizes: Iterable[int]) -> ProcessMemory:
    rss, pss, uss = (None if size < 0 else size for size in sizes)
    return ProcessMemory(rss or 0, pss, uss)
