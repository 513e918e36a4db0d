"""What made an event loop late in a worker's life, and what was said of it when. Pure."""

from __future__ import annotations

from collections import Counter

from gunicorn_autoconf.watchdog.stacks import join
from gunicorn_autoconf.watchdog.stall import NOT_THE_CODE, Cause

# One report for each place in this time: a view that blocks under load would fill the log.
REPORT_INTERVAL_SECONDS = 60.0
# A program has few places that block. The rest is counted as one.
MAX_PLACES = 100
ELSEWHERE = "other places"
# What the exit names one by one.
MAX_PLACES_AT_EXIT = 10
# What is counted where no line is to blame.
EXCUSED = {
    Cause.KERNEL: "the kernel gave no CPU",
    Cause.COLLECTOR: "garbage collection",
}


class Tally:
    """How often and how long the loop was blocked, by place, and what was reported when."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._longest: dict[str, float] = {}
        self._reported: dict[str, tuple[float, int]] = {}

    def is_due(self, place: str, now: float) -> bool:
        """Return whether *place* may be reported now."""
        last = self._reported.get(self._key(place))
        return last is None or now - last[0] >= REPORT_INTERVAL_SECONDS

    def report(self, place: str, now: float) -> int:
        """Note that *place* is reported; return how many stalls there were not since the last."""
        key = self._key(place)
        _, counted = self._reported.get(key, (0.0, 0))
        # The one that is reported now is counted when it ends.
        self._reported[key] = now, self._counts[key] + 1
        return max(0, self._counts[key] - counted)

    def count(self, place: str, seconds: float) -> None:
        """Count one stall that has ended."""
        key = self._key(place)
        self._counts[key] += 1
        self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        self._longest[key] = max(self._longest.get(key, 0.0), seconds)

    def _key(self, place: str) -> str:
        known = place in self._reported or place in self._counts or _is_excused(place)
        return place if known or len(self._counts) < MAX_PLACES else ELSEWHERE

    def render(self) -> str | None:
        """Return everything that was counted, the longest first; None where nothing was."""
        if not self._counts:
            return None
        places = sorted(self._counts, key=lambda place: -self._seconds[place])
        rows = [self._row(place) for place in places[:MAX_PLACES_AT_EXIT]]
        if len(places) > MAX_PLACES_AT_EXIT:
            rows.append(f"  and {len(places) - MAX_PLACES_AT_EXIT} more places")
        late = sum(self._counts[place] for place in places if _is_excused(place))
        blocked = sum(self._counts.values()) - late
        if not blocked:
            head = f"the event loop was late {_times(late)} in the life of this worker"
            return join([f"{head}, {NOT_THE_CODE}", *rows])
        head = f"the event loop was blocked {_times(blocked)} in the life of this worker"
        if late:
            head += f", and late {_times(late)} {NOT_THE_CODE}"
        return join([head, *rows])

    def _row(self, place: str) -> str:
        where = f"late, {place}" if _is_excused(place) else f"at {place}"
        total, longest = self._seconds[place], self._longest[place]
        return f"  {self._counts[place]} {where}: {total:.2f} s, the longest {longest:.2f} s"


def _is_excused(place: str) -> bool:
    """Whether stalls at *place* were not the code's."""
    return place in EXCUSED.values()


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
