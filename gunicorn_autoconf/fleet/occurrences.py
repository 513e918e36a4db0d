"""
Counts what happens by name, from any thread and from signal handlers.

Theory of operation. Gunicorn 23 reaps its workers in a signal handler, so `add` may be interrupted
by `add` between any two steps, and no lock could be taken there. So a count is never read, changed
and written back: each `add` appends what it counts to a deque, and two entries of the deque are
taken out and put back as their sum. What is taken out is in nobody else's hands. A reader that
comes meanwhile misses it for that moment, which is why `counts` never returns less than before.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable


class Occurrences:
    """How often each thing has happened; those named at the start are there from the start."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._entries: deque[Counter[str]] = deque()
        self._lock = threading.Lock()
        self._seen: dict[str, int] = dict.fromkeys(names, 0)

    def add(self, name: str) -> None:
        """Count one more; from any thread, and in a signal handler too."""
        self._entries.append(Counter({name: 1}))
        while len(self._entries) > 1:
            try:
                first = self._entries.popleft()
            except IndexError:  # Another thread was faster.
                return
            try:
                second = self._entries.popleft()
            except IndexError:
                second = Counter()
            self._entries.append(first + second)

    def counts(self) -> dict[str, int]:
        """Return all counts; from any thread, not in a signal handler."""
        now = sum(self._entries.copy(), Counter())
        with self._lock:
            for name, count in now.items():
                self._seen[name] = max(count, self._seen.get(name, 0))
            return dict(self._seen)
