"""What the arbiter knows of its workers: when they were forked, how they booted, what they use.

Reads and writes the shared page; keeps its notes on Gunicorn's worker objects.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.fleet.sample import WorkerSample
from gunicorn_autoconf.fleet.sampler import WorkerRecord
from gunicorn_autoconf.fleet.shared_page import BootReport, Region, SharedPage
from gunicorn_autoconf.machine.facts import ProcessMemory

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.sample import Sample

_NOTE = "autoconf_note"

# Gunicorn waits up to 0.1 s between two forks of a start.
FORK_SECONDS = 0.2
# How long the other workers of a start wait for the first one to end it.
FIRST_WORKER_SECONDS = 20.0
# How long they wait for the arbiter after that.
ARBITER_SECONDS = 1.0
POLL_SECONDS = 0.02


class _Note(NamedTuple):
    """What stands on a worker object, on both sides of the fork."""

    forked_at_seconds: float
    slot: int | None


class Ended(NamedTuple):
    """What is known of a worker that is gone."""

    last: WorkerSample | None
    """What it used when it told of its end, or else when it was last seen."""
    is_orderly: bool | None
    """Whether it told of its end; None where it could not."""


class WorkerRecords:
    """The notes of one arbiter. A page that cannot be had leaves the boots untold, no more."""

    def __init__(self) -> None:
        try:
            self._page: SharedPage | None = SharedPage()
        except (OSError, ValueError):
            self._page = None
        self._last: dict[int, WorkerSample] = {}

    def forking(self, worker: Worker) -> None:
        """Give *worker* its slot; in the arbiter, before the fork."""
        slot = self._page.take() if self._page else None
        setattr(worker, _NOTE, _Note(time.monotonic(), slot))

    def booted(self, worker: Worker, memory: ProcessMemory) -> float | None:
        """Write in *worker* that it has booted; return the seconds since its fork, if known."""
        note: _Note | None = getattr(worker, _NOTE, None)
        if note is None:
            return None
        seconds = time.monotonic() - note.forked_at_seconds
        if self._page and note.slot is not None:
            self._page.write(note.slot, BootReport(worker.pid, seconds, *memory))
        return seconds

    def doubles(self, worker: Worker, region: Region) -> memoryview[float] | None:
        """Return the numbers of *region* in the slot of *worker*; None where it has no slot."""
        note: _Note | None = getattr(worker, _NOTE, None)
        if self._page is None or note is None or note.slot is None:
            return None
        return self._page.doubles(note.slot, region)

    def raw(self, worker: Worker, region: Region) -> memoryview[int] | None:
        """Return the bytes of *region* in the slot of *worker*; None where it has no slot."""
        note: _Note | None = getattr(worker, _NOTE, None)
        if self._page is None or note is None or note.slot is None:
            return None
        return self._page.raw(note.slot, region)

    def end_start(self, worker: Worker) -> None:
        """
        Tell the other workers of a start from the first one that it has failed.

        Only when all of them are forked: Gunicorn 23 loses the news of a worker that gives up
        while it forks another one.
        """
        note: _Note | None = getattr(worker, _NOTE, None)
        if self._page is None or note is None or note.slot is None:
            return
        ends = time.monotonic() + FORK_SECONDS * (worker.cfg.workers + 1)
        while self._page.taken < worker.cfg.workers and time.monotonic() < ends:
            time.sleep(POLL_SECONDS)
        self._page.fail(note.slot)

    def wait_for_end(self, worker: Worker) -> bool:
        """
        Return in another worker when the start has failed; False where nobody said so.

        The arbiter ends it when it hears of the first. Where our hooks around the fork are
        replaced that signal may be lost, hence the patience with an end.
        """
        ends = time.monotonic() + FIRST_WORKER_SECONDS
        has_failed = False
        while self._page and worker.alive and time.monotonic() < ends:
            if not has_failed and self._page.has_failed:
                has_failed = True
                ends = time.monotonic() + ARBITER_SECONDS
            time.sleep(POLL_SECONDS)
            worker.notify()
        return has_failed or not worker.alive

    def forks(self, workers: Mapping[int, Worker]) -> dict[int, WorkerRecord]:
        """Return what is known of each of Gunicorn's *workers*, by pid."""
        return {
            pid: WorkerRecord(note.forked_at_seconds, self._report(pid, note))
            for pid, worker in list(workers.items())
            if (note := getattr(worker, _NOTE, None))
        }

    def seen(self, sample: Sample, pids: Iterable[int]) -> None:
        """Keep what was measured last of each worker in *pids*; one that dies measures nothing."""
        last = self._last | {worker.pid: worker for worker in sample.workers}
        self._last = {pid: last[pid] for pid in pids if pid in last}

    def exiting(self, worker: Worker, memory: ProcessMemory) -> None:
        """Write in *worker* what it uses at its end."""
        note: _Note | None = getattr(worker, _NOTE, None)
        if self._page and note and note.slot is not None:
            self._page.write_exit(note.slot, memory)

    def ended(self, worker: Worker) -> Ended:
        """Take the slot back of a *worker* that is gone; return what is known of its end."""
        note: _Note | None = getattr(worker, _NOTE, None)
        last = self._last.pop(worker.pid, None)
        if self._page is None or note is None or note.slot is None:
            return Ended(last, is_orderly=None)
        memory = self._page.read_exit(note.slot)
        boot = self._report(worker.pid, note)
        self._page.free(note.slot)
        if memory and memory.uss_bytes is not None and memory.pss_bytes is not None:
            last = WorkerSample(
                pid=worker.pid,
                age_seconds=time.monotonic() - note.forked_at_seconds,
                uss_bytes=memory.uss_bytes,
                pss_bytes=memory.pss_bytes,
                boot_uss_bytes=last.boot_uss_bytes if last else boot and boot.uss_bytes,
            )
        return Ended(last, is_orderly=memory is not None)

    def _report(self, pid: int, note: _Note) -> BootReport | None:
        if self._page is None or note.slot is None:
            # Nobody tells: what is seen first has to stand for the boot.
            return BootReport(pid, 0.0, 0, None, None)
        report = self._page.read(note.slot)
        return report if report and report.pid == pid else None
