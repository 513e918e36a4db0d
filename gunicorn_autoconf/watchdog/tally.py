"""What made an event loop late in a worker's life, and what was reported when. Pure."""

from __future__ import annotations

from gunicorn_autoconf.watchdog.causes import Cause
from gunicorn_autoconf.watchdog.stacks import join

# One report for each place in this time: a view that blocks under load would fill the log.
REPORT_INTERVAL_SECONDS = 60.0
# A stall that is so many times as long as all that were seen at its place is news.
NEWS_FACTOR = 4.0
# A program has few places that block. The rest is counted as one.
MAX_PLACES = 100
ELSEWHERE = "other places"
# What the summary names one by one.
MAX_PLACES_AT_EXIT = 10


class _Place:
    """One line of code, or one cause that is not the code."""

    def __init__(self, cause: Cause) -> None:
        self.cause = cause
        self.count = 0
        self.seconds = 0.0
        self.longest_seconds = 0.0
        self.reported_at_seconds: float | None = None
        self.unreported = 0


class Tally:
    """How often and how long the loop was blocked, by place, and what was reported when."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def is_due(self, place: str, now: float, seconds: float = 0.0) -> bool:
        """Return whether a stall of *seconds* at *place* may be reported now."""
        known = self._places.get(place)
        if known is None or known.reported_at_seconds is None:
            return True
        is_news = known.count > 0 and seconds >= NEWS_FACTOR * known.longest_seconds
        return is_news or now - known.reported_at_seconds >= REPORT_INTERVAL_SECONDS

    def report(self, place: str, cause: Cause, now: float) -> int:
        """Note that *place* is reported; return how many stalls were not since the last report."""
        known = self._find(place, cause)
        known.reported_at_seconds = now
        unreported, known.unreported = known.unreported, 0
        return unreported

    def count(self, place: str, cause: Cause, seconds: float, *, was_reported: bool) -> None:
        """Count one stall that has ended."""
        known = self._find(place, cause)
        known.count += 1
        known.seconds += seconds
        known.longest_seconds = max(known.longest_seconds, seconds)
        known.unreported += not was_reported

    def _find(self, place: str, cause: Cause) -> _Place:
        codes = sum(known.cause is Cause.CODE for known in self._places.values())
        if cause is Cause.CODE and place not in self._places and codes >= MAX_PLACES:
            place = ELSEWHERE
        return self._places.setdefault(place, _Place(cause))

    @property
    def has_blocked(self) -> bool:
        """Whether the code has blocked the loop."""
        return any(p.cause is Cause.CODE and p.count for p in self._places.values())

    def render(self) -> str | None:
        """Return everything that was counted, the longest first; None where nothing was."""
        counted = [(name, place) for name, place in self._places.items() if place.count]
        if not counted:
            return None
        counted.sort(key=lambda row: -row[1].seconds)
        rows = [_row(name, place) for name, place in counted[:MAX_PLACES_AT_EXIT]]
        if len(counted) > MAX_PLACES_AT_EXIT:
            rows.append(f"  and {len(counted) - MAX_PLACES_AT_EXIT} more places")
        blocked = sum(place.count for _, place in counted if place.cause is Cause.CODE)
        late = sum(place.count for _, place in counted) - blocked
        parts = [f"blocked {_times(blocked)}"] if blocked else []
        parts += [f"late {_times(late)} not because of your code"] if late else []
        return join([f"in the life of this worker its event loop was {', '.join(parts)}", *rows])


def _row(name: str, place: _Place) -> str:
    where = f"at {name}" if place.cause is Cause.CODE else f"late, {name}"
    total, longest = place.seconds, place.longest_seconds
    return f"  {place.count} {where}: {total:.2f} s, the longest {longest:.2f} s"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
