"""A thread that repeats one step and never runs while the process forks. Starts threads.

Theory of operation. A fork copies locks as they are, also one that another thread holds: a worker
forked in the middle of a step might wait for such a lock for ever. So the thread ends before each
fork, and another one starts after it.

States, and who changes them: *new* until `start`; then *running* or *paused*, by `pause` and
`resume`, which the main thread calls around each fork and each reload; *over* for good after
`stop`, or when a step returns None, which is the one change that the thread itself makes. In a
forked child all methods do nothing.

At most one thread repeats the step, with one exception: a fork waits `PAUSE_SECONDS` for a step to
end, no longer. A step that takes longer finds its event set; it must do nothing more and return.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

# How long a fork waits for a step to end. Taking a sample takes milliseconds.
PAUSE_SECONDS = 1.0

# Gets an event that is set when it is to return soon; returns the seconds until the next step, or
# None to end the thread for good. It raises nothing.
Step = Callable[[threading.Event], float | None]


class PausedThread:
    """Repeats a step in a thread that ends before each fork and starts again after it."""

    def __init__(self, step: Step, first_seconds: float) -> None:
        """Prepare to repeat *step*, for the first time after so many seconds."""
        self._step = step
        # It outlasts forks, so that many forks do not put a step off for ever.
        self._due = time.monotonic() + first_seconds
        self._pid: int | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once; from here on it pauses for each fork."""
        self._pid = os.getpid()
        os.register_at_fork(before=self.pause, after_in_parent=self.resume)
        self.resume()

    def pause(self) -> None:
        """Wait for the thread to end its step; `resume` starts it again."""
        if os.getpid() == self._pid and self._thread:
            self._stopping.set()
            # Not for ever: a step that is held up ends by itself, and another thread goes on.
            self._thread.join(PAUSE_SECONDS)
            self._thread = None

    def resume(self) -> None:
        """Go on after a pause; before `start` and after `stop` do nothing."""
        if os.getpid() == self._pid and self._thread is None:
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stopping,), name="gunicorn-autoconf", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread for good."""
        self.pause()
        self._pid = None

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(max(self._due - time.monotonic(), 0)):
            seconds = self._step(stopping)
            if seconds is None:
                self._pid = None
                return
            if stopping.is_set():
                return  # A step that was cut short stays due.
            self._due = time.monotonic() + seconds
