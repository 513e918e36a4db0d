"""Counts that come from threads and from signal handlers, in the middle of each other."""

from __future__ import annotations

import signal
import threading
from collections import deque
from types import FrameType
from typing import Any

from gunicorn_autoconf.fleet.occurrences import Occurrences


def test_named_ones_are_there_from_the_start() -> None:
    occurrences = Occurrences(["oom", "timeout"])
    occurrences.add("oom")
    occurrences.add("stall")

    assert occurrences.counts() == {"oom": 1, "timeout": 0, "stall": 1}


def test_signal_handlers_interrupt_each_other() -> None:
    """As Gunicorn 23 reaps: the handler runs between any two steps, also of itself."""
    occurrences = Occurrences(["oom"])
    handled = 0

    def reap(_number: int, _frame: FrameType | None) -> None:
        nonlocal handled
        handled += 1
        occurrences.add("oom")

    before = signal.signal(signal.SIGALRM, reap)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    added = 0
    try:
        while handled < 200:
            occurrences.add("oom")
            added += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert occurrences.counts() == {"oom": added + handled}


def test_threads_add_at_once() -> None:
    occurrences = Occurrences()

    def add() -> None:
        for _ in range(500):
            occurrences.add("stall")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert occurrences.counts() == {"stall": 2000}


def test_reader_in_the_middle_of_a_sum_never_goes_back() -> None:
    occurrences = Occurrences()
    occurrences.add("oom")
    assert occurrences.counts() == {"oom": 1}
    seen = []

    class Read(deque[Any]):
        def popleft(self) -> Any:
            entry = super().popleft()
            seen.append(occurrences.counts()["oom"])
            return entry

    occurrences._entries = Read(occurrences._entries)
    occurrences.add("oom")
    seen.append(occurrences.counts()["oom"])

    assert seen == sorted(seen)
    assert seen[-1] == 2
