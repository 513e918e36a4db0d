"""The live view of `top`: draws on the terminal and reads keys from it. Needs rich."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, ConsoleDimensions
from rich.control import Control
from rich.screen import Screen

from gunicorn_autoconf.cli.end_signals import end_signals_raise
from gunicorn_autoconf.cli.top.order import Order
from gunicorn_autoconf.cli.top.screen import draw_screen
from gunicorn_autoconf.cli.top.view import ServerSample, follow

# A terminal that was resized is drawn again after at most this long.
_RESIZE_SECONDS = 0.25

# What arrows and function keys send contains letters that are no commands.
_ESCAPE_SEQUENCE = re.compile(rb"\x1b(\[[\d;]*.?|O.?|.?)", re.DOTALL)


def watch(look: Callable[[], ServerSample | None], interval_seconds: float) -> bool:
    """
    Show each sample of *look* until the user quits; return False when *look* returned None.

    Standard input and output must be a terminal. It is restored when this returns or raises.
    """
    view, order, due, shows_help = None, Order(), time.monotonic(), False
    console = Console(highlight=False)
    with (
        end_signals_raise(),
        _unbuffered_keys(sys.stdin.fileno()),
        console.screen(),
        suppress(KeyboardInterrupt),
    ):
        while True:
            if view is None or time.monotonic() >= due:
                due = time.monotonic() + interval_seconds
                sample = look()
                if sample is None:
                    return False
                view = follow(view, sample)
            console.size = size = _read_size()
            console.control(Control.home())
            console.print(Screen(draw_screen(view, order, *size, shows_help=shows_help)), end="")
            keys = _await_keys(size, due)
            if keys is None or "q" in keys:
                break
            for key in keys:
                order = order.press(key)
                shows_help = key == "?" and not shows_help
    return True


def _read_size() -> ConsoleDimensions:
    """Return the columns and lines of the terminal as they are now."""
    # rich prefers COLUMNS and LINES, which a shell may have exported before the last resize.
    size = os.get_terminal_size(sys.stdout.fileno())
    return ConsoleDimensions(size.columns or 80, size.lines or 24)  # a serial line reports 0


def _await_keys(size: ConsoleDimensions, due: float) -> str | None:
    """
    Return the keys pressed; none when it is *due* or the terminal no longer has *size*.

    None means that standard input was closed.
    """
    while True:
        # Read keys even when it is due already: slow samples must not keep the user from quitting.
        left = max(due - time.monotonic(), 0.0)
        if select.select([sys.stdin], [], [], min(left, _RESIZE_SECONDS))[0]:
            typed = os.read(sys.stdin.fileno(), 64)
            return _ESCAPE_SEQUENCE.sub(b"", typed).decode("ascii", "replace") if typed else None
        if not left or _read_size() != size:
            return ""


@contextmanager
def _unbuffered_keys(descriptor: int) -> Iterator[None]:
    """Deliver each key when it is pressed, without echo; restore the terminal's mode at the end."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        mode = termios.tcgetattr(descriptor)
        # Ctrl-Z would leave the shell with a terminal that does not echo.
        off = os.fpathconf(descriptor, "PC_VDISABLE")
        mode[6][termios.VSUSP] = bytes([off & 0xFF])
        termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
