"""The time that a run has left, as a column of rich's progress bar. Needs rich."""

from __future__ import annotations

import time

from rich.progress import ProgressColumn, Task
from rich.text import Text


class Countdown(ProgressColumn):
    """At most so long: a run may end before its time."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = (0.0, 0.0)

    def render(self, task: Task) -> Text:
        """Return the minutes and seconds that are left."""
        # The bar moves with each block; the clock goes on in between.
        completed, seen_at = self._seen
        if task.completed != completed or not seen_at:
            self._seen = (task.completed, time.monotonic())
        spent = task.completed + time.monotonic() - self._seen[1]
        left = max(int((task.total or 0.0) - spent), 0)
        return Text(f"at most {left // 60}:{left % 60:02} left")
