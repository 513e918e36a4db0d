"""Ends a command by an exception where a signal would end it at once. Sets signal handlers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

# Unhandled, these end a process at once: no terminal is restored, no server is stopped.
_END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def end_signals_raise() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise SystemExit until the end of the block."""

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    # What is ignored stays so: under nohup a command goes on when its terminal closes.
    taken = [each for each in _END_SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
