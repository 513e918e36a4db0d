"""
Whether recycles come so often that they are in vain. Pure.

Theory of operation. `Churn` notes the last recycles of young workers. Three within four minutes
suspend recycling. From then on each worker that would be recycled is *spared*, and the suspension
lasts until no worker had to be spared for four minutes. A step downwards and a reload begin anew.
Only the supervisor's thread uses it.
"""

from __future__ import annotations

from collections import deque

# Where so many workers were recycled in this time, all younger than this, recycling does not help.
CHURN_COUNT = 3
CHURN_SECONDS = 240.0
CHURN_AGE_SECONDS = 120.0


class Churn:
    """The last recycles of young workers. Times are seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self._early: deque[float] = deque(maxlen=CHURN_COUNT)
        self._spared_at: float | None = None

    def recycled(self, age_seconds: float, now: float) -> None:
        """Note that a worker of this age had to go."""
        if age_seconds < CHURN_AGE_SECONDS:
            self._early.append(now)

    def spared(self, now: float) -> bool:
        """Note that one would go if it were not for the churn; return whether that is new."""
        is_new = not self._is_sparing(now)
        self._spared_at = now
        return is_new

    def is_on(self, now: float) -> bool:
        """Whether recycling is suspended: too many recent ones, or a worker was kept recently."""
        recent = [at for at in self._early if now - at < CHURN_SECONDS]
        return len(recent) >= CHURN_COUNT or self._is_sparing(now)

    def _is_sparing(self, now: float) -> bool:
        return self._spared_at is not None and now - self._spared_at < CHURN_SECONDS
