"""
A signal handler that runs between any two lines, as that of Gunicorn 23 does when a worker ends.

A test goes through the lines from 0 on, each time with new objects, until `has_come` is False.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interruption:
    """Calls *handler* once, in the middle of *function*, of which each call is a method's."""

    def __init__(self, function: Callable[..., Any], handler: Callable[[], None]) -> None:
        self._code = function.__code__
        self._handler = handler
        self._left = 0
        self.has_come = False
        """Whether there was such a line the last time."""

    @contextmanager
    def at(self, line: int, *, file: str = "") -> Iterator[None]:
        """Come before the *line* that is so many lines after the first; counts those of *file*."""
        self._left, self.has_come, self._file = line, False, file
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        is_counted = self._file in frame.f_code.co_filename and self._is_below(frame)
        return self._trace if is_counted else None

    def _is_below(self, frame: FrameType | None) -> bool:
        while frame and frame.f_code is not self._code:
            frame = frame.f_back
        return frame is not None

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line" and not self.has_come:
            self._left -= 1
            if self._left < 0:
                self.has_come = True
                sys.settrace(None)
                self._handler()
        return self._trace
