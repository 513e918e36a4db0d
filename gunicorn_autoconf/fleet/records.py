"""What the arbiter knows of its workers: their forks, boots and ends, what they use and have done.

Reads and writes the shared page; keeps its notes on Gunicorn's worker objects.

Theory of operation. `forking` and `ended` run in Gunicorn's main thread, `ready`, `meter` and
`exiting` in the worker, all else in the supervisor's thread. When a worker ends, its last counters
are kept before its slot is given back. `tally` takes these before it looks at the workers: one that
ends meanwhile is missing from that total, which is why a total is never less than the one before,
and no worker is in it twice. Several threads may ask for totals; the main thread must not, as it
may have been interrupted in the middle of that.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.fleet.counters import REJECTED, Counters, parse_counters
from gunicorn_autoconf.fleet.meter import Meter
from gunicorn_autoconf.fleet.peers import Peers
from gunicorn_autoconf.fleet.sample import WorkerSample
from gunicorn_autoconf.fleet.shared_page import BootReport, Region, SharedPage, copy_numbers
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.machine.process_cpu import read_cpu_seconds, read_reaped_cpu_seconds

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
    """What is kept on a worker object, in the arbiter and in the worker."""

    forked_at_seconds: float
    slot: int | None


class _Slot(NamedTuple):
    """A worker's place on the page."""

    page: SharedPage
    number: int


class WorkerRecord(NamedTuple):
    """A worker as the arbiter knows it."""

    forked_at_seconds: float
    report: BootReport | None
    counters: Counters | None = None
    """What it has done; None where its class does not count it."""
    cpu_seconds: float | None = None
    """The CPU time that it has used; None where requests are counted, or it is unknown."""


class Ended(NamedTuple):
    """What is known of a worker that is gone."""

    last: WorkerSample | None
    """What it used at its end, as it reported, or else when it was last seen."""
    is_orderly: bool | None
    """Whether it reported its end; None where it could not."""


class Tally(NamedTuple):
    """What workers have done until one moment."""

    total: Counters
    """All together, with those that have ended; it never falls."""
    workers: Mapping[int, Counters]
    """Each of those there are, by pid; those that do not count are left out."""


class WorkerRecords:
    """
    The records of one arbiter.

    Without shared memory the workers report nothing: no boots, no requests, no watchdog.
    """

    def __init__(self) -> None:
        try:
            self._page: SharedPage | None = SharedPage()
        except (OSError, ValueError):
            self._page = None
        self._last: dict[int, WorkerSample] = {}
        self._counted: dict[int, Counters] = {}
        self._ended: deque[Counters] = deque()
        self._total = Counters()
        self._counted_at = time.monotonic()
        self._reaped_seconds = read_reaped_cpu_seconds()
        self._reading = threading.Lock()  # The supervisor's thread and that of metrics.

    def forking(self, worker: Worker) -> None:
        """Give *worker* its slot; in the arbiter, before the fork."""
        slot = self._page.take() if self._page else None
        setattr(worker, _NOTE, _Note(time.monotonic(), slot))

    def ready(self, worker: Worker, memory: ProcessMemory) -> float | None:
        """Write in *worker* that it can serve; return the seconds since its fork, if known."""
        note: _Note | None = getattr(worker, _NOTE, None)
        if note is None:
            return None
        report = BootReport(worker.pid, time.monotonic() - note.forked_at_seconds, *memory)
        if slot := self._slot(worker):
            slot.page.write(slot.number, report)
        return report.boot_seconds

    def doubles(self, worker: Worker, region: Region) -> memoryview[float] | None:
        """Return the numbers of *region* in the slot of *worker*; None where it has no slot."""
        slot = self._slot(worker)
        return slot.page.doubles(slot.number, region) if slot else None

    def meter(self, worker: Worker) -> Meter | None:
        """Return what counts in *worker*, which begins now; None where it has no slot."""
        numbers = self.doubles(worker, Region.COUNTERS)
        return Meter(numbers) if numbers is not None else None

    def peers(self, worker: Worker) -> Peers | None:
        """Return what shows *worker* the others, and them it; None where it has no slot."""
        slot = self._slot(worker)
        return Peers(slot.page, slot.number) if slot else None

    def rejected(self, workers: Mapping[int, Worker]) -> int:
        """Return how many requests *workers* and all that have ended have refused."""
        slots = (self.doubles(worker, Region.COUNTERS) for worker in list(workers.values()))
        living = sum(int(numbers[REJECTED]) for numbers in slots if numbers is not None)
        return living + sum(counters.rejected for counters in self._ended.copy())

    def tally(self, workers: Mapping[int, Worker]) -> Tally:
        """Return what *workers* have done, each and with all that have ended."""
        with self._reading:
            ended = reduce(Counters.plus, self._ended.copy(), Counters())
            counted = self._count(workers)
            now = reduce(Counters.plus, counted.values(), ended)
            self._total = now.at_least(self._total)
            return Tally(self._total, counted)

    def numbers(self, workers: Mapping[int, Worker]) -> dict[int, int]:
        """Return the number of each worker's slot by its pid: small, and used again."""
        slots = {pid: self._slot(worker) for pid, worker in list(workers.items())}
        return {pid: slot.number for pid, slot in slots.items() if slot}

    def ready_pids(self, workers: Mapping[int, Worker]) -> set[int]:
        """Return those of *workers* that have reported that they can serve."""
        return {pid for pid, worker in list(workers.items()) if self._report(pid, worker)}

    def _count(self, workers: Mapping[int, Worker]) -> dict[int, Counters]:
        now = time.monotonic()
        read = {
            pid: self._counters_of(pid, worker, read_cpu_seconds(pid))
            for pid, worker in list(workers.items())
        }
        self._counted_at = now
        self._counted = {pid: counters for pid, counters in read.items() if counters}
        return dict(self._counted)

    def publish(self, status: Callable[[], bytes]) -> None:
        """Write on the page, for who looks from outside, what *status* returns."""
        if self._page:
            self._page.write_status(status())

    def raw(self, worker: Worker, region: Region) -> memoryview[int] | None:
        """Return the bytes of *region* in the slot of *worker*; None where it has no slot."""
        slot = self._slot(worker)
        return slot.page.raw(slot.number, region) if slot else None

    def end_start(self, worker: Worker) -> None:
        """
        Write in the first worker of a start that the start has failed, for the others to see.

        Only when all of them are forked: Gunicorn 23 misses a worker that exits while it forks
        another one.
        """
        slot = self._slot(worker)
        if slot is None:
            return
        ends = time.monotonic() + FORK_SECONDS * (worker.cfg.workers + 1)
        while len(slot.page.taken_slots()) < worker.cfg.workers and time.monotonic() < ends:
            time.sleep(POLL_SECONDS)
        slot.page.fail(slot.number)

    def wait_for_end(self, worker: Worker) -> bool:
        """
        Return, in another worker, when the start has failed; False where none reports that.

        The arbiter ends this worker when the first one has exited. Where our hooks around the fork
        are replaced, that signal may be lost: hence the time limits.
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

    def known(self, workers: Mapping[int, Worker]) -> dict[int, WorkerRecord]:
        """Return what is known of each of Gunicorn's *workers*, by pid."""
        with self._reading:
            counters = self._count(workers)
        return {
            pid: WorkerRecord(
                note.forked_at_seconds,
                self._report(pid, worker),
                counters.get(pid),
                None if pid in counters else read_cpu_seconds(pid),
            )
            for pid, worker in list(workers.items())
            if (note := getattr(worker, _NOTE, None))
        }

    def seen(self, sample: Sample, pids: Iterable[int]) -> None:
        """Keep the last sample of each worker in *pids*: a dead one cannot be measured."""
        last = self._last | {worker.pid: worker for worker in sample.workers}
        self._last = {pid: last[pid] for pid in pids if pid in last}

    def exiting(self, worker: Worker, memory: ProcessMemory) -> None:
        """Write in *worker* what it uses at its end."""
        if slot := self._slot(worker):
            slot.page.write_exit(slot.number, memory)

    def ended(self, worker: Worker) -> Ended:
        """Free the slot of a *worker* that is gone; return what is known of its end."""
        note: _Note | None = getattr(worker, _NOTE, None)
        last = self._last.pop(worker.pid, None)
        slot = self._slot(worker)
        if note is None or slot is None:
            return Ended(last, is_orderly=None)
        cpu_seconds = self._reaped(worker.pid)
        if counters := self._counters_of(worker.pid, worker, cpu_seconds):
            self._ended.append(counters._replace(in_flight=0))
            self._fold_ended()
        memory = slot.page.read_exit(slot.number)
        boot = self._report(worker.pid, worker)
        slot.page.free(slot.number)
        if memory and memory.uss_bytes is not None and memory.pss_bytes is not None:
            last = WorkerSample(
                pid=worker.pid,
                age_seconds=time.monotonic() - note.forked_at_seconds,
                uss_bytes=memory.uss_bytes,
                pss_bytes=memory.pss_bytes,
                boot_uss_bytes=last.boot_uss_bytes if last else boot and boot.uss_bytes,
            )
        return Ended(last, is_orderly=memory is not None)

    def _reaped(self, pid: int) -> float:
        """
        Return the CPU time of the worker that Gunicorn has waited for last.

        The kernel's sum holds that of the processes that the worker had waited for, and of other
        children of the arbiter: so it counts for no more than all cores can have given since the
        last look.
        """
        before, self._reaped_seconds = self._reaped_seconds, read_reaped_cpu_seconds()
        known = self._counted.get(pid, Counters()).cpu_seconds
        passed = time.monotonic() - self._counted_at
        return min(self._reaped_seconds - before, known + passed * (os.cpu_count() or 1))

    def _fold_ended(self) -> None:
        """
        Keep the sum of those that have ended, not each.

        Gunicorn 23 reaps in a signal handler: this may be interrupted by itself at any place.
        """
        while len(self._ended) > 1:
            first = self._ended.popleft()
            second = self._ended.popleft() if self._ended else Counters()
            self._ended.append(first.plus(second))

    def _slot(self, worker: Worker) -> _Slot | None:
        note: _Note | None = getattr(worker, _NOTE, None)
        if self._page is None or note is None or note.slot is None:
            return None
        return _Slot(self._page, note.slot)

    def _report(self, pid: int, worker: Worker) -> BootReport | None:
        slot = self._slot(worker)
        if slot is None:
            # No boot report: use the first sample instead.
            return BootReport(pid, 0.0, 0, None, None)
        report = slot.page.read(slot.number)
        return report if report and report.pid == pid else None

    def _counters_of(self, pid: int, worker: Worker, cpu_seconds: float | None) -> Counters | None:
        now = time.monotonic()
        numbers = self.doubles(worker, Region.COUNTERS)
        counters = parse_counters(copy_numbers(numbers), now) if numbers is not None else None
        if counters is None:
            return None
        for least in (Counters(cpu_seconds=cpu_seconds or 0.0), self._counted.get(pid)):
            counters = counters.at_least(least) if least else counters
        return counters
