"""
A worker that writes its stacks into a pipe when the arbiter asks. Sets handlers of two signals.

Theory of operation. The arbiter asks by SIGURG, whose default is to be ignored: one that comes too
early, or to a process that does not listen, harms nothing. Its handler is Python's, so it runs
between two steps of the interpreter, and may read frames and their variables.

A worker that is inside native code never gets there. It is asked by a second signal, whose handler
is faulthandler's, in C: it needs neither the GIL nor the interpreter. Reading frames that change
crashes the process, however (SIGSEGV once in 26 to 8,000 times in a thread that runs Python code,
on 3.10 to 3.13; with ``all_threads=True``, once in 11 to 64 as soon as other threads run). So the
arbiter sends it only to a thread that provably runs no Python code (see `stack_pipe`).

Both handlers have SA_RESTART, as Gunicorn's own have: no system call of the application fails. A
`os.write` or `send` that waits with a part already written returns early with the length of that
part, as for any signal; Python's files and `sendall` go on with the rest.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from types import FrameType

from gunicorn_autoconf.watchdog.answer import render_answer
from gunicorn_autoconf.watchdog.frames import read_threads
from gunicorn_autoconf.watchdog.stamps import Stamps, State

ASKING = signal.SIGURG
# One that programs hardly use. Its default ends a process: it is sent to none that has no handler
# for it, which only Linux' /proc tells. macOS has no such signals.
NATIVE: int | None = signal.SIGRTMIN + 11 if hasattr(signal, "SIGRTMIN") else None


class Listener:
    """One worker's side of its pipe; made and used in the worker alone."""

    def __init__(self, stamps: Stamps, write_fd: int) -> None:
        self._stamps = stamps
        self._write_fd = write_fd
        self._pid = os.getpid()

    def listen(self) -> None:
        """Answer from now on; not where the application has a handler of its own."""
        if signal.getsignal(ASKING) is signal.SIG_DFL:
            signal.signal(ASKING, self._answer)
            signal.siginterrupt(ASKING, False)
            self._stamps.reach(State.LISTENING)
        if NATIVE is not None and signal.getsignal(NATIVE) is signal.SIG_DFL:
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                faulthandler.register(NATIVE, self._write_fd, all_threads=False, chain=False)

    def check(self) -> None:
        """See whether the application has taken SIGURG since."""
        if signal.getsignal(ASKING) != self._answer:
            self._stamps.leave(State.LISTENING)

    def _answer(self, _number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # A child of the worker.
        # An exception would come up in whatever the application does at this moment.
        with contextlib.suppress(Exception):
            os.write(self._write_fd, render_answer(read_threads(frame)))
