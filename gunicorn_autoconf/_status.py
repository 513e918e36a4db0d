"""The page of shared memory on which workers tell the arbiter how they booted.

Maps anonymous memory, which fork shares. Nothing else is touched.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

# State, pid, seconds from fork to report, bytes: RSS, PSS, USS. -1 stands for what is not known.
_SLOT = struct.Struct("=qqdqqq")
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
    One slot for each worker: given out by the arbiter before a fork, written once by the worker.

    A slot counts as written when its state says so, which the worker sets last: one that dies in
    the middle leaves a slot that says nothing.

    Raises:
        OSError: The memory cannot be had.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        self._page = mmap.mmap(-1, slots * _SLOT.size)

    def take(self) -> int | None:
        """Return a slot of one's own, empty; None where all are taken."""
        for slot in range(self._slots):
            if self._state(slot) == _FREE:
                self._page[slot * _SLOT.size : (slot + 1) * _SLOT.size] = bytes(_SLOT.size)
                _STATE.pack_into(self._page, slot * _SLOT.size, _TAKEN)
                return slot
        return None

    def free(self, slot: int) -> None:
        """Give *slot* back; its worker has ended."""
        _STATE.pack_into(self._page, slot * _SLOT.size, _FREE)

    def write(self, slot: int, report: BootReport) -> None:
        """Fill *slot*, in the worker."""
        sizes = (-1 if size is None else size for size in report[2:])
        offset = slot * _SLOT.size
        _SLOT.pack_into(self._page, offset, _TAKEN, report.pid, report.boot_seconds, *sizes)
        _STATE.pack_into(self._page, offset, _WRITTEN)

    def fail(self, slot: int) -> None:
        """Say in *slot*, in the worker, that the start has failed."""
        _STATE.pack_into(self._page, slot * _SLOT.size, _FAILED)

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
        state, pid, seconds, *sizes = _SLOT.unpack_from(self._page, slot * _SLOT.size)
        if state != _WRITTEN:
            return None
        rss, pss, uss = (None if size < 0 else int(size) for size in sizes)
        return BootReport(pid, seconds, rss or 0, pss, uss)

    def _state(self, slot: int) -> int:
        (state,) = _STATE.unpack_from(self._page, slot * _SLOT.size)
        return int(state)
