"""
The arbiter's end of the pipe through which one worker's stacks come. Sends signals, reads the pipe.

Theory of operation. `ask` sends SIGURG, and `read` takes what has come. A worker that has not
answered after `PATIENCE_SECONDS` is inside native code, or its main thread waits: that is certain
once the thread has either used no CPU since it was asked, or so much that its interpreter would
have come by. Only then is it asked by the second signal: the frames that its handler reads stand
still. The patrol's thread alone uses a pipe; the main thread makes it and closes it.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Mapping
from typing import NamedTuple

from gunicorn_autoconf.watchdog.answer import parse_answer
from gunicorn_autoconf.watchdog.clocks import Clock, catches, list_threads, read_clock
from gunicorn_autoconf.watchdog.listener import ASKING, NATIVE
from gunicorn_autoconf.watchdog.stacks import ThreadStack

# An interpreter that runs looks for signals at each call and each turn of a loop.
PATIENCE_SECONDS = 0.04
# CPU time after which an interpreter would have answered.
ENOUGH_SECONDS = 0.02
# Less than this is the handling of the signal itself.
NOTHING_SECONDS = 0.002
# So often a thread runs in 0.1 s that does nothing but ask for the GIL.
MANY_RUNS = 8
ALONE_FRACTION = 0.8
# How long an answer that has begun may take to end.
SETTLE_SECONDS = 0.005
MAX_THREADS = 40
BUFFER_BYTES = 1 << 20


class Asked(NamedTuple):
    """The clock of one thread when it was asked, and now that it has not answered."""

    before: Clock
    now: Clock

    @property
    def ran_seconds(self) -> float:
        """CPU time since it was asked."""
        return self.now.computing_seconds - self.before.computing_seconds


def stands_still(pid: int, tid: int, asked: Mapping[int, Asked]) -> bool:
    """
    Return whether the frames of thread *tid* cannot change while they are read.

    *asked* has its process's threads, the main one under *pid*, which has not answered.
    """
    thread, main = asked[tid], asked[pid]
    if thread.now.state in "SD" and thread.ran_seconds < NOTHING_SECONDS:
        return True  # It waits.
    if thread.ran_seconds < ENOUGH_SECONDS:
        return False
    if tid == pid:
        return True  # An interpreter would have answered.
    # The main thread wakes every 5 ms to ask for the GIL (CPython, take_gil), and one other alone
    # computes and does not give it.
    others = sum(other.ran_seconds for other in asked.values())
    is_asking = main.now.runs - main.before.runs >= MANY_RUNS
    return is_asking and thread.ran_seconds > ALONE_FRACTION * others


class _Question(NamedTuple):
    at_seconds: float
    clock: Clock | None


class StackPipe:
    """
    The pipe of one worker, and the questions put to it.

    Raises:
        OSError: There are too many open files.
    """

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self.write_fd, False)
        self._question: _Question | None = None

    def forked(self) -> None:
        """Close the worker's end, in the arbiter."""
        self.write_fd = _close(self.write_fd)

    def close(self) -> None:
        """Close what is open here."""
        self.read_fd, self.write_fd = _close(self.read_fd), _close(self.write_fd)

    @property
    def is_waiting(self) -> bool:
        """Whether a question is not answered yet."""
        return self._question is not None

    def ask(self, pid: int, *, listens: bool) -> None:
        """
        Ask process *pid* for its stacks.

        Where it does not listen, as SIGURG is the application's, nothing is sent but later.

        Raises:
            PermissionError: The worker runs as another user.
        """
        self._take()  # A late answer to an earlier question.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, ASKING if listens else 0)
        # In this order: what the thread has run before it was asked does not count.
        self._question = _Question(time.monotonic(), read_clock(pid, pid))

    def read(self, pid: int, *, listens: bool) -> list[ThreadStack]:
        """Return the answer, if it is there; ask again, by the second signal, if that is due."""
        question = self._question
        if question is None:
            return []
        is_late = time.monotonic() - question.at_seconds > PATIENCE_SECONDS
        now = read_clock(pid, pid)
        text = self._take()  # After the clock: what it has not answered by then it will not.
        if not text and question.clock and now and (is_late or not listens):
            asked = {pid: Asked(question.clock, now)}
            text = self._ask_native(pid, pid) if stands_still(pid, pid, asked) else ""
        if not text:
            return []
        self._question = None
        return parse_answer(text)

    def forget(self) -> list[ThreadStack]:
        """Expect no answer any more; return one that has come late: the native code is over."""
        self._question = None
        return parse_answer(self._take())

    def ask_all(self, pid: int, *, listens: bool, patience_seconds: float) -> list[ThreadStack]:
        """
        Return the stack of each thread, the main thread first; waits for the answers.

        Raises:
            PermissionError: As `ask`.
        """
        self.ask(pid, listens=listens)
        self._question = None
        before = {tid: read_clock(pid, tid) for tid in list_threads(pid)[:MAX_THREADS]}
        ends = time.monotonic() + patience_seconds
        asked: dict[int, Asked] = {}
        while time.monotonic() < ends:
            time.sleep(PATIENCE_SECONDS)
            asked = {
                tid: Asked(clock, now)
                for tid, clock in before.items()
                if clock and (now := read_clock(pid, tid))
            }
            # After the clocks, as in `read`. What has no name is late: the native answer to a
            # question before this one.
            if threads := [thread for thread in parse_answer(self._take()) if thread.name]:
                return threads
            if pid not in asked:
                return []
            if not listens or all(stands_still(pid, tid, asked) for tid in asked):
                break
        found = []
        for tid in asked:
            text = self._ask_native(pid, tid) if stands_still(pid, tid, asked) else ""
            name = "MainThread" if tid == pid else f"{tid}"
            found += [thread._replace(name=name) for thread in parse_answer(text)]
        return found

    def _ask_native(self, pid: int, tid: int) -> str:
        if NATIVE is None or not catches(pid, NATIVE):
            return ""
        with contextlib.suppress(ProcessLookupError):
            # Linux gives a signal to the process *tid* to that thread, where it may have it.
            os.kill(tid, NATIVE)
        return self._take(PATIENCE_SECONDS)

    def _take(self, wait_seconds: float = 0.0) -> str:
        """Return everything that is in the pipe, until nothing more comes."""
        parts: list[bytes] = []
        while self.read_fd >= 0:
            poll = select.poll()
            poll.register(self.read_fd, select.POLLIN)
            part = os.read(self.read_fd, BUFFER_BYTES) if poll.poll(wait_seconds * 1000) else b""
            if not part:
                break
            parts.append(part)
            wait_seconds = SETTLE_SECONDS
        return b"".join(parts).decode(errors="replace")


def _close(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1
