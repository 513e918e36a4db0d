"""The page of shared memory on which workers write and the arbiter reads.

Maps anonymous memory, which fork shares. Nothing else is touched.

Theory of operation. The page has one slot for each worker. The arbiter gives a slot out before it
forks the worker, and zeroes it then; it takes the slot back once the worker is gone. From the fork
to its end the worker alone writes its slot, and the arbiter only reads it. There are no locks: a
report counts once its state is set, which the worker does last, and a counter or a time stamp is
one aligned 8-byte store, so that a reader sees the old value or the new one and nothing between.
A worker that is killed in the middle of a report leaves a report that does not count; its counters
keep their last values until the slot is given out again.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.machine.facts import ProcessMemory

# State, pid, seconds from fork to report, bytes: RSS, PSS, USS. -1 stands for what is not known.
_BOOT = struct.Struct("=qqdqqq")
# Whether there is a report, seconds from fork to report, bytes: RSS, PSS, USS.
_READY = struct.Struct("=qdqqq")
# Whether there is a report of the end, bytes: RSS, PSS, USS.
_EXIT = struct.Struct("=qqqq")
_STATE = struct.Struct("=q")
_FREE, _TAKEN, _WRITTEN, _FAILED = 0, 1, 2, 3
SLOTS = 1024

# Where each part of a slot begins, in bytes. What workers write for each request has cache lines
# (64 bytes) of its own: two workers that share one take it from each other at every store.
_BOOT_AT = 0
_READY_AT = 48
_EXIT_AT = 88
_COUNTERS_AT = 128
_STAMPS_AT = 256
_REQUEST_LINE_AT = 320
_SLOT_BYTES = 576


class Region(Enum):
    """The parts of a slot that hold plain numbers, by where they begin and how many bytes."""

    COUNTERS = (_COUNTERS_AT, _STAMPS_AT - _COUNTERS_AT)
    STAMPS = (_STAMPS_AT, _REQUEST_LINE_AT - _STAMPS_AT)
    REQUEST_LINE = (_REQUEST_LINE_AT, _SLOT_BYTES - _REQUEST_LINE_AT)


class BootReport(NamedTuple):
    """What a worker said when it had booted."""

    pid: int
    boot_seconds: float
    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None


class ReadyReport(NamedTuple):
    """What a worker said when it could serve."""

    ready_seconds: float
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

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        self._page = mmap.mmap(-1, slots * _SLOT_BYTES)

    def take(self) -> int | None:
        """Return a slot of one's own, empty; None where all are taken."""
        for slot in range(self._slots):
            if self._state(slot) == _FREE:
                self._page[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] = bytes(_SLOT_BYTES)
                _STATE.pack_into(self._page, slot * _SLOT_BYTES, _TAKEN)
                return slot
        return None

    def free(self, slot: int) -> None:
        """Give *slot* back; its worker has ended."""
        _STATE.pack_into(self._page, slot * _SLOT_BYTES, _FREE)

    def write(self, slot: int, report: BootReport) -> None:
        """Write in *slot*, in the worker, that it has booted."""
        offset = slot * _SLOT_BYTES + _BOOT_AT
        sizes = _encode(report[2:])
        _BOOT.pack_into(self._page, offset, _TAKEN, report.pid, report.boot_seconds, *sizes)
        _STATE.pack_into(self._page, offset, _WRITTEN)

    def write_ready(self, slot: int, report: ReadyReport) -> None:
        """Write in *slot*, in the worker, that it can serve."""
        offset = slot * _SLOT_BYTES + _READY_AT
        _READY.pack_into(self._page, offset, 0, report.ready_seconds, *_encode(report[1:]))
        _STATE.pack_into(self._page, offset, 1)

    def write_exit(self, slot: int, memory: ProcessMemory) -> None:
        """Write in *slot*, in the worker, what it uses at its end."""
        offset = slot * _SLOT_BYTES + _EXIT_AT
        _EXIT.pack_into(self._page, offset, 0, *_encode(memory))
        _STATE.pack_into(self._page, offset, 1)

    def fail(self, slot: int) -> None:
        """Write in *slot*, in the worker, that the start has failed."""
        _STATE.pack_into(self._page, slot * _SLOT_BYTES, _FAILED)

    @property
    def has_failed(self) -> bool:
        """Whether any worker has written that the start has failed."""
        return any(self._state(slot) == _FAILED for slot in range(self._slots))

    @property
    def taken(self) -> int:
        """How many slots are given out."""
        return sum(self._state(slot) != _FREE for slot in range(self._slots))

    def read(self, slot: int) -> BootReport | None:
        """Return the boot report in *slot*; None until it is written in full."""
        offset = slot * _SLOT_BYTES + _BOOT_AT
        state, pid, seconds, *sizes = _BOOT.unpack_from(self._page, offset)
        return BootReport(pid, seconds, *_memory(sizes)) if state == _WRITTEN else None

    def read_ready(self, slot: int) -> ReadyReport | None:
        """Return what the worker of *slot* wrote when it could serve; None until then."""
        is_there, seconds, *sizes = _READY.unpack_from(self._page, slot * _SLOT_BYTES + _READY_AT)
        return ReadyReport(seconds, *_memory(sizes)) if is_there else None

    def read_exit(self, slot: int) -> ProcessMemory | None:
        """Return what the worker of *slot* used at its end; None where it did not tell."""
        is_there, *sizes = _EXIT.unpack_from(self._page, slot * _SLOT_BYTES + _EXIT_AT)
        return _memory(sizes) if is_there else None

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
        return memoryview(self._page)[begin : begin + length]

    def _state(self, slot: int) -> int:
        (state,) = _STATE.unpack_from(self._page, slot * _SLOT_BYTES)
        return int(state)


def _encode(sizes: Iterable[int | None]) -> Iterator[int]:
    return (-1 if size is None else size for size in sizes)


def _memory(sizes: Iterable[int]) -> ProcessMemory:
    rss, pss, uss = (None if size < 0 else size for size in sizes)
    return ProcessMemory(rss or 0, pss, uss)
