"""A thread that repeats one step and never runs while the process forks. Starts threads.

Theory of operation. A fork copies locks as they are, also one that another thread holds: a worker
forked in the middle of a step might wait for such a lock for ever. So the thread ends before each
fork, and another one starts after it.

States, and who changes them: *new* until `start`; then *running* or *paused*, by `pause` and
`resume`, which the main thread calls in pairs around each fork and each reload; *over* for good
after `stop`, or when a step returns None, which is the one change that the thread itself makes. In
a forked child all methods do nothing.

A pair may come between any two lines of another one: Gunicorn 23 reaps its workers in the handler
of SIGCHLD. So pauses are counted, the thread runs while there is none, and the dictionary with the
one thread changes by calls that no signal divides. Nor does a pause take a lock that the line below
it may hold: `threading.Event` has such a lock, and would wait for itself.

At most one thread repeats the step, with one exception: a fork waits `PAUSE_SECONDS` for a step to
end, no longer. A step that takes longer finds its event set; it must do nothing more and return.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gunicorn_autoconf.server.at_fork import around_forks

# How long a fork waits for a step to end. Taking a sample takes milliseconds.
PAUSE_SECONDS = 1.0

# Gets an event that is set when it is to return soon; returns the seconds until the next step, or
# None to end the thread for good. It raises nothing.
Step = Callable[["Stopping"], float | None]


class PausedThread:
    """Repeats a step in a thread that ends before each fork and starts again after it."""

    def __init__(
        self, step: Step, first_seconds: float, wake: Callable[[], None] = lambda: None
    ) -> None:
        """
        Prepare to repeat *step*, for the first time after so many seconds.

        *wake* ends the wait of a step for something else than its event; it runs in pauses, that
        is, in signal handlers too.
        """
        self._step = step
        self._wake = wake
        # It outlasts forks, so that many forks do not put a step off for ever.
        self._due = time.monotonic() + first_seconds
        self._pid: int | None = None
        self._pauses = 1
        self._running: dict[str, _Repeater] = {}

    def start(self) -> None:
        """Start the thread, once; from here on it pauses for each fork."""
        self._pid = os.getpid()
        around_forks(self.pause, self.resume)
        self.resume()

    def pause(self) -> None:
        """Wait for the thread to end its step; as many calls of `resume` start it again."""
        if os.getpid() != self._pid:
            return
        self._pauses += 1
        # It stays there until it has ended: who pauses meanwhile waits for it too.
        thread = self._running.get("thread")
        if thread:
            thread.stopping.set()
            self._wake()
            # One that `resume` is about to start, further up the stack, ends as soon as it begins.
            if thread.is_alive():
                # Not for ever: a step that is held up ends by itself, and another thread goes on.
                thread.join(PAUSE_SECONDS)
            self._running.pop("thread", None)

    def resume(self) -> None:
        """Go on after a pause; before `start` and after `stop` do nothing."""
        if os.getpid() != self._pid:
            return
        self._pauses -= 1
        if not self._pauses:
            thread = _Repeater(self._repeat)
            if self._running.setdefault("thread", thread) is thread:
                thread.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause, and resume at the end."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def stop(self) -> None:
        """End the thread for good."""
        self.pause()
        self._pid = None

    def _repeat(self, stopping: Stopping) -> None:
        while not stopping.wait(max(self._due - time.monotonic(), 0)):
            seconds = self._step(stopping)
            if seconds is None:
                self._pid = None
                return
            if stopping.is_set():
                return  # A step that was cut short stays due.
            self._due = time.monotonic() + seconds


class Stopping(threading.Event):
    """
    An event that a signal handler may set while the code below it sets it. It stays set.

    One thread waits, for a lock that is held until then. A wait of `SimpleQueue.get` never ended
    where the process was stopped in it for longer than its timeout and got a signal (6 of 6 times).

    Source:
        CPython 3.11, Modules/_queuemodule.c: after EINTR a timeout that is over is negative, which
        is no timeout; Modules/_threadmodule.c, acquire_timed, has a case for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.began_at = time.monotonic()
        """When the thread was started that it ends; until then there was none."""
        self._is_told = False
        self._untold = threading.Lock()
        self._untold.acquire()

    def is_set(self) -> bool:
        """Return whether it was set."""
        return self._is_told

    def set(self) -> None:
        """Set it, and end the wait."""
        self._is_told = True
        with suppress(RuntimeError):  # It is released already.
            self._untold.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most for *timeout* seconds; return whether it was."""
        if not self._is_told:
            self._untold.acquire(timeout=-1 if timeout is None else timeout)
        return self._is_told


class _Repeater(threading.Thread):
    """The thread between two pauses."""

    def __init__(self, repeat: Callable[[Stopping], None]) -> None:
        self.stopping = Stopping()
        super().__init__(
            target=repeat, args=(self.stopping,), name="gunicorn-autoconf", daemon=True
        )
