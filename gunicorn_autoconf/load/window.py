"""The readings of the last minutes, and the load in parts of that time. Pure."""

from __future__ import annotations

from collections import deque

from gunicorn_autoconf.load.capacity import Load, Reading, Supply, measure

MINUTE_SECONDS = 60.0
# A line of the log is of so long at most.
LONGEST_SECONDS = 300.0


class Window:
    """Readings in the order of their time; only the supervisor's thread uses it."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Keep *reading*, and one reading that is older than what a load is asked of."""
        self._readings.append(reading)
        oldest_seconds = reading.at_seconds - LONGEST_SECONDS
        while len(self._readings) > 2 and self._readings[1].at_seconds <= oldest_seconds:
            self._readings.popleft()

    @property
    def at_seconds(self) -> float | None:
        """When the last reading was taken; None before the first."""
        return self._readings[-1].at_seconds if self._readings else None

    def last(self, seconds: float, supply: Supply) -> Load | None:
        """Return the load of the last *seconds*, or a little more; None where none is counted."""
        if not self._readings:
            return None
        since_seconds = self._readings[-1].at_seconds - seconds
        readings = list(self._readings)
        while len(readings) > 2 and readings[1].at_seconds <= since_seconds:
            del readings[0]
        return measure(readings, supply)
