"""The page of shared memory on which workers tell the arbiter how they booted and ended.

Maps anonymous memory, which fork shares. Nothing else is touched.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gunicorn_autoconf.machine.facts import ProcessMemory

# State, pid, seconds from fork to report, bytes: RSS, PSS, USS. -1 stands for what is not known.
_BOOT = struct.Struct("=qqdqqq")
# Whether there is a report of the end, bytes: RSS, PSS, USS.
_EXIT = struct.Struct("=qqqq")
_SLOT_BYTES = _BOOT.size + _EXIT.size
_STATE = struct.Struct("=q")
_FREE, _TAKEN, _WRITTEN, _FAILED = 0, 1, 2, 3
SLOTS = 1024


class BootReport(NamedTuple):
    """What a worker said when it had booted."""

    pid: int
    boot_seconds: float
    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None


class StatusPage:
    """
    One slot for each worker, given out by the arbiter before a fork.

    The worker writes it when it has booted, and again when it ends. A slot counts as written when
    its state says so, which the worker sets last: one that dies in the middle leaves a slot that
    says nothing.

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
        """Fill *slot*, in the worker."""
        offset = slot * _SLOT_BYTES
        sizes = _encode(report[2:])
        _BOOT.pack_into(self._page, offset, _TAKEN, report.pid, report.boot_seconds, *sizes)
        _STATE.pack_into(self._page, offset, _WRITTEN)

    def write_exit(self, slot: int, memory: ProcessMemory) -> None:
        """Say in *slot*, in the worker, what it uses at its end."""
        offset = slot * _SLOT_BYTES + _BOOT.size
        _EXIT.pack_into(self._page, offset, 0, *_encode(memory))
        _STATE.pack_into(self._page, offset, 1)

    def fail(self, slot: int) -> None:
        """Say in *slot*, in the worker, that the start has failed."""
        _STATE.pack_into(self._page, slot * _SLOT_BYTES, _FAILED)

    @property
    def has_failed(self) -> bool:
        """Whether any worker has said that the start has failed."""
        return any(self._state(slot) == _FAILED for slot in range(self._slots))

    @property
    def taken(self) -> int:
        """How many slots are given out."""
        return sum(self._state(slot) != _FREE for slot in range(self._slots))

    def read(self, slot: int) -> BootReport | None:
        """Return what stands in *slot*; None until it is written in full."""
        state, pid, seconds, *sizes = _BOOT.unpack_from(self._page, slot * _SLOT_BYTES)
        return BootReport(pid, seconds, *_memory(sizes)) if state == _WRITTEN else None

    def read_exit(self, slot: int) -> ProcessMemory | None:
        """Return what the worker of *slot* used at its end; None where it did not tell."""
        is_there, *sizes = _EXIT.unpack_from(self._page, slot * _SLOT_BYTES + _BOOT.size)
        return _memory(sizes) if is_there else None

    def _state(self, slot: int) -> int:
        (state,) = _STATE.unpack_from(self._page, slot * _SLOT_BYTES)
        return int(state)


def _encode(sizes: Iterable[int | None]) -> Iterator[int]:
    return (-1 if size is None else size for size in sizes)


def _memory(sizes: Iterable[int]) -> ProcessMemory:
    rss, pss, uss = (None if size < 0 else size for size in sizes)
    return ProcessMemory(rss or 0, pss, uss)
