"""What made an event loop late in a worker's life, and what was reported when. Pure."""

from __future__ import annotations

from gunicorn_autoconf.watchdog.causes import Cause, place_of
from gunicorn_autoconf.watchdog.stacks import Frame, join

# One report for each place in this time: a view that blocks under load would fill the log.
REPORT_INTERVAL_SECONDS = 60.0
# A stall that is so many times as long as all that were seen at its place is news.
NEWS_FACTOR = 4.0
# A program has few places that block. The rest is counted as one.
MAX_PLACES = 100
ELSEWHERE = Frame("", 0, "")
# What the summary names one by one.
MAX_PLACES_AT_EXIT = 10


# What a stall is counted under: the line to blame, None for code of which no line is, or a cause
# that is not the code.
Place = Frame | Cause | None


class _Count:
    """The stalls of one place."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.longest_seconds = 0.0
        self.reported_at_seconds: float | None = None
        self.unreported = 0


class Tally:
    """How often and how long the loop was blocked, by place, and what was reported when."""

    def __init__(self) -> None:
        self._counts: dict[Place, _Count] = {}

    def is_due(self, place: Place, now: float, seconds: float = 0.0) -> bool:
        """Return whether a stall of *seconds* at *place* may be reported now."""
        known = self._counts.get(place)
        if known is None or known.reported_at_seconds is None:
            return True
        is_news = known.count > 0 and seconds >= NEWS_FACTOR * known.longest_seconds
        return is_news or now - known.reported_at_seconds >= REPORT_INTERVAL_SECONDS

    def report(self, place: Place, now: float) -> int:
        """Note that *place* is reported; return how many stalls were not since the last report."""
        known = self._find(place)
        known.reported_at_seconds = now
        unreported, known.unreported = known.unreported, 0
        return unreported

    def count(self, place: Place, seconds: float, *, was_reported: bool) -> None:
        """Count one stall that has ended."""
        known = self._find(place)
        known.count += 1
        known.seconds += seconds
        known.longest_seconds = max(known.longest_seconds, seconds)
        known.unreported += not was_reported

    def add(self, place: Place, now: float, seconds: float) -> int | None:
        """
        Count one of *seconds*.

        Return None where it may not be reported now, else how many were not since the last report.
        """
        is_due = self.is_due(place, now)
        unreported = self.report(place, now) if is_due else None
        self.count(place, seconds, was_reported=is_due)
        return unreported

    def _find(self, place: Place) -> _Count:
        is_new = place not in self._counts
        if is_new and _is_code(place) and sum(map(_is_code, self._counts)) >= MAX_PLACES:
            place = ELSEWHERE
        return self._counts.setdefault(place, _Count())

    @property
    def has_blocked(self) -> bool:
        """Whether the code has blocked the loop."""
        return any(_is_code(place) and known.count for place, known in self._counts.items())

    def render(self) -> str | None:
        """Return everything that was counted, the longest first; None where nothing was."""
        counted = [(place, known) for place, known in self._counts.items() if known.count]
        if not counted:
            return None
        counted.sort(key=lambda row: -row[1].seconds)
        rows = [_row(place, known) for place, known in counted[:MAX_PLACES_AT_EXIT]]
        if len(counted) > MAX_PLACES_AT_EXIT:
            rows.append(f"  and {len(counted) - MAX_PLACES_AT_EXIT} more places")
        blocked = sum(known.count for place, known in counted if _is_code(place))
        late = sum(known.count for _, known in counted) - blocked
        parts = [f"blocked {_times(blocked)}"] if blocked else []
        parts += [f"late {_times(late)}, not because of your code"] if late else []
        return join([f"in the life of this worker its event loop was {', '.join(parts)}", *rows])


def _is_code(place: Place) -> bool:
    return not isinstance(place, Cause)


def _row(place: Place, known: _Count) -> str:
    if isinstance(place, Cause):
        where = f"late, {place.value}"
    else:
        where = f"at {'other places' if place is ELSEWHERE else place_of(place)}"
    seconds, longest = known.seconds, known.longest_seconds
    of_many = f", the longest {longest:.2f} s" if known.count > 1 else ""
    return f"  {known.count} {where}: {seconds:.2f} s{of_many}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
