"""Lines to a terminal or a picture, keys to an order. Touches the terminal; needs rich."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console, ConsoleDimensions
from rich.control import Control
from rich.screen import Screen
from rich.text import Text

from gunicorn_autoconf.cli.top.screen import Line, Style, draw_screen
from gunicorn_autoconf.cli.top.view import Order, View

_STYLES: dict[Style, str] = {
    "": "",
    "title": "bold",
    "dim": "dim",
    "head": "reverse",
    "server": "cyan",
    "others": "magenta",
    "free": "green",
    "low": "bold red",
    "grown": "bold yellow",
}

# A terminal that has become wider or narrower is drawn again after at most this long.
_RESIZE_SECONDS = 0.25

# What an arrow or a function key sends: its letters are not meant.
_WITHOUT_LETTER = re.compile(rb"\x1b(\[[\d;]*.?|O.?|.?)", re.DOTALL)

# What would end the process without a chance to give the terminal back.
_ENDS = (signal.SIGTERM, signal.SIGHUP)


def watch(look: Callable[[], View | None], interval_seconds: float) -> bool:
    """
    Show what *look* returns until somebody quits; return False where *look* came to return None.

    Keys come from standard input, the view goes to standard output; both must be a terminal. It is
    as it was before when this returns or raises.
    """
    console = Console(highlight=False)
    with _ended_by_exception(), _keys_at_once(sys.stdin.fileno()), console.screen():
        try:
            return _show(console, look, interval_seconds)
        except KeyboardInterrupt:
            return True


def _show(console: Console, look: Callable[[], View | None], interval_seconds: float) -> bool:
    order, due = Order(), time.monotonic()
    view = None
    while True:
        if time.monotonic() >= due:
            due = time.monotonic() + interval_seconds
            view = look()
        if view is None:
            return False
        size = _read_size()
        _paint(console, draw_screen(view, order, *size), size)
        keys = _await_keys(size, due)
        if keys is None or "q" in keys:
            return True
        for key in keys:
            order = order.press(key)


def render_svg(lines: Sequence[Line], width: int, title: str) -> str:
    """Return *lines* as a picture of a terminal *width* columns wide, the same on every machine."""
    console = Console(
        file=io.StringIO(),
        width=width,
        record=True,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        _environ={},
    )
    for line in lines:
        console.print(_text([line]))
    return export(console, title, "top")


def export(console: Console, title: str, unique_id: str) -> str:
    """Return what *console* has recorded as a picture; *unique_id* tells two on one page apart."""
    picture = console.export_svg(title=title, unique_id=unique_id)
    # A page shall not load its letters from elsewhere.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


def _read_size() -> ConsoleDimensions:
    """Return columns and lines, as they are now."""
    # rich would believe a COLUMNS or LINES that a shell has exported, whatever the size is now.
    size = os.get_terminal_size(sys.stdout.fileno())
    return ConsoleDimensions(size.columns or 80, size.lines or 24)  # a serial line tells 0


def _paint(console: Console, lines: Sequence[Line], size: ConsoleDimensions) -> None:
    console.size = size
    console.control(Control.home())
    console.print(Screen(_text(lines)), end="")


def _text(lines: Sequence[Line]) -> Text:
    text = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(lines):
        text.append("\n" * (number > 0))
        for span in line:
            text.append(span.text, _STYLES[span.style])
    return text


def _await_keys(size: ConsoleDimensions, due: float) -> str | None:
    """
    Return the keys that are pressed, or none once it is *due* or the terminal is not of *size*.

    None where nobody can press any more.
    """
    while True:
        # Also where it is due already: a look that takes long must not keep anybody from quitting.
        left = max(due - time.monotonic(), 0.0)
        if select.select([sys.stdin], [], [], min(left, _RESIZE_SECONDS))[0]:
            typed = os.read(sys.stdin.fileno(), 64)
            return _WITHOUT_LETTER.sub(b"", typed).decode("ascii", "replace") if typed else None
        if not left or _read_size() != size:
            return ""


@contextmanager
def _keys_at_once(descriptor: int) -> Iterator[None]:
    """Executor over each key as it is pressed and do not show it; undo that at the end."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        mode = termios.tcgetattr(descriptor)
        # Ctrl-Z would leave the shell with a terminal that shows nothing of what is typed.
        off = os.fpathconf(descriptor, "PC_VDISABLE")
        mode[6][termios.VSUSP] = bytes([off & 0xFF])
        termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _ended_by_exception() -> Iterator[None]:
    """Make the signals that would end the process at once raise SystemExit instead."""

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
