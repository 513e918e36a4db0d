"""The thread that is never there while the process forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest
from interruptions import Interruption
from patience import stretched

from gunicorn_autoconf.server.paused_thread import PausedThread

ENDLESS_SECONDS = 3600.0


@contextmanager
def running(thread: PausedThread) -> Iterator[None]:
    thread.start()
    try:
        yield
    finally:
        thread.stop()


class Steps:
    """Steps that take until they are told to stop."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.ended = 0

    def step(self, stopping: threading.Event) -> float:
        self.begun.release()
        stopping.wait(stretched(20))
        self.ended += 1
        return ENDLESS_SECONDS


def test_pause_waits_for_the_step_that_is_under_way() -> None:
    """What it looks at is not taken away from under it; afterwards it begins again."""
    steps = Steps()
    thread = PausedThread(steps.step, 0)
    with running(thread):
        assert steps.begun.acquire(timeout=stretched(20))
        thread.pause()
        assert steps.ended == 1
        thread.resume()
        assert steps.begun.acquire(timeout=stretched(20))
    assert steps.ended == 2


def test_a_fork_finds_no_thread_but_its_own() -> None:
    """And nothing in the child starts one."""
    steps = Steps()
    thread = PausedThread(steps.step, 0)
    with running(thread):
        assert steps.begun.acquire(timeout=stretched(20))
        before = steps.ended
        child = os.fork()
        if child == 0:
            thread.resume()
            os._exit(steps.ended * 10 + threading.active_count())
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == (before + 1) * 10 + 1
        assert steps.begun.acquire(timeout=stretched(20))


def test_step_that_is_due_outlasts_pauses() -> None:
    steps = Steps()
    thread = PausedThread(steps.step, 0.2)
    with running(thread):
        while not steps.begun.acquire(blocking=False):
            thread.pause()
            thread.resume()


@pytest.mark.parametrize("method", ["pause", "resume"])
def test_a_pair_between_any_two_lines_of_another_one(method: str) -> None:
    """
    As a signal handler of Gunicorn 23 does it: one thread runs, and only outside of pairs.

    The lines of the standard library count too: a lock of theirs is none to wait for.
    """
    active: list[str] = []
    most = 0
    begun = threading.Event()

    def step(stopping: threading.Event) -> float:
        nonlocal most
        active.append("")
        most = max(most, len(active))
        begun.set()
        stopping.wait(stretched(20))
        active.pop()
        return ENDLESS_SECONDS

    def pair() -> None:
        thread.pause()
        assert not active
        thread.resume()

    interruption = Interruption(getattr(PausedThread, method), pair)
    for line in range(1000):
        thread = PausedThread(step, 0)
        with running(thread):
            assert begun.wait(stretched(20))
            with interruption.at(line):
                thread.pause()
                assert not active
                begun.clear()
                thread.resume()
            assert begun.wait(stretched(20))
            assert most == 1
        assert not active
        begun.clear()
        if not interruption.has_come:
            break
    assert 20 < line < 1000


def test_none_ends_it_for_good() -> None:
    done = threading.Semaphore(0)

    def step(stopping: threading.Event) -> None:
        done.release()

    thread = PausedThread(step, 0)
    with running(thread):
        assert done.acquire(timeout=stretched(20))
        thread.pause()
        thread.resume()
        assert not done.acquire(timeout=0.2)


def test_nothing_runs_before_the_start_and_after_the_end() -> None:
    steps = Steps()
    thread = PausedThread(steps.step, 0)
    thread.resume()
    assert not steps.begun.acquire(timeout=0.1)
    with running(thread):
        assert steps.begun.acquire(timeout=stretched(20))
    thread.resume()
    assert not steps.begun.acquire(timeout=0.1)


WAITS = """
import signal
from gunicorn_autoconf.server.paused_thread import Stopping

signal.signal(signal.SIGUSR1, lambda number, frame: None)
stopping = Stopping()
while True:
    print("goes on", flush=True)
    stopping.wait(0.2)
"""


def test_a_wait_ends_though_the_process_was_stopped_in_it() -> None:
    """For longer than the wait was to last, and a signal came meanwhile, as SIGCHLD does."""
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout
        try:
            for _ in range(3):
                assert it.stdout.readline() == "goes on\n"
                it.send_signal(signal.SIGSTOP)
                it.send_signal(signal.SIGUSR1)
                time.sleep(0.4)  # Stopped for longer than the wait was to last.
                it.send_signal(signal.SIGCONT)
                # One may have been written before; two more were not.
                assert wait_for_lines(it.stdout, 2)
        finally:
            it.kill()


def wait_for_lines(stream: IO[str], count: int) -> bool:
    """Return whether *count* lines come in time."""
    reading = threading.Thread(
        target=lambda: [stream.readline() for _ in range(count)], daemon=True
    )
    reading.start()
    reading.join(stretched())
    return not reading.is_alive()
