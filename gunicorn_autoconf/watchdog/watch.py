"""
How one worker does, as the arbiter sees it from outside. Reads /proc, asks by signals, logs.

Theory of operation. The patrol's thread calls `look` some times a second, and `close` is called
once the worker is gone and the thread is paused. A worker is *booting* until its application is
imported. From then on three things are looked at, each by itself. Its *loop*: a tick that is
overdue opens a stall; samples of the stack are taken; the stall is reported once, when the code is
to blame for more than the threshold, and the next tick closes it. Its *heartbeat*: one that is
about to reach `timeout` is reported with all threads, once for each silence. Its *end*: one that
takes long is reported once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_autoconf.watchdog.causes import (
    NO_LINE,
    Cause,
    Evidence,
    Suspect,
    find_suspect,
    render_end,
    render_excuse,
    render_stall,
)
from gunicorn_autoconf.watchdog.clocks import Clock, read_clock
from gunicorn_autoconf.watchdog.quota import Throttling, since
from gunicorn_autoconf.watchdog.sources import add_sources
from gunicorn_autoconf.watchdog.stacks import Origins, ThreadStack, join, render_threads
from gunicorn_autoconf.watchdog.stamps import Moment, Stamps, State, tick_seconds
from gunicorn_autoconf.watchdog.tally import Tally

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.watchdog.line import Line

# The share of the threshold at which a loop that is late is looked at.
LATE_FRACTION = 0.5
# Samples of one stall, and how many there have to be for a verdict.
MAX_SAMPLES, ENOUGH_SAMPLES = 4, 2
# The share of ``timeout`` after which the stacks are logged: what is left must suffice to write.
REPORT_FRACTION = 0.8
# After so long a start or an end is reported; an end earlier where `graceful_timeout` is short.
SLOW_SECONDS = 5.0
SLOW_FRACTION = 0.5
# How long all threads are waited for: a crowded machine lets a worker run only now and then.
PATIENCE_SECONDS, SHORTEST_SECONDS = 1.0, 0.1

INFO, WARNING, ERROR = "info", "warning", "error"
Say = Callable[[str, str, dict[str, object]], None]
"""Takes a level, a text and fields for the log record."""


class Settings(NamedTuple):
    """What a worker is measured by, in seconds; 0 turns a part off."""

    stall_seconds: float
    timeout_seconds: float
    graceful_seconds: float
    origins: Origins


class _Stall:
    """A loop whose tick is overdue: what was seen since *before*, the last tick."""

    def __init__(self, before: Moment, quota: dict[str, Throttling], clock: Clock | None) -> None:
        self.before = before
        self.quota = quota
        self.samples: list[ThreadStack] = []
        self.suspect: Suspect | None = None
        self.is_told = False
        self.stopped_seconds = 0.0
        self.queued_seconds = 0.0
        self.last_clock = clock
        self.last_look = 0.0


class WorkerWatch:
    """
    The watch over one worker.

    Args:
        worker: Gunicorn's object.
        stamps: What it writes on the shared page.
        line: How it is asked.
        settings: What it is measured by.
        read_quota: Reads what the CPU quotas have done.
        say: Logs under the worker's pid.
        now: When it is forked.
    """

    def __init__(  # noqa: PLR0913
        self,
        worker: Worker,
        stamps: Stamps,
        line: Line,
        settings: Settings,
        *,
        read_quota: Callable[[], dict[str, Throttling]],
        say: Say,
        now: float,
    ) -> None:
        self.worker = worker
        self.stamps = stamps
        self.line = line
        self.settings = settings
        self._read_quota = read_quota
        self._say = say
        self._forked_at = now
        self._tick_seconds = tick_seconds(settings.stall_seconds)
        self._tally = Tally()
        self._stall: _Stall | None = None
        self._quota = read_quota()
        self._quota_at = now
        self._beat = 0.0
        self._beat_clock: Clock | None = None
        self._told_beat: float | None = None
        self._is_end_told = False
        self.boot_told_seconds = 0.0

    @property
    def is_stalled(self) -> bool:
        """Whether the loop's tick is overdue."""
        return self._stall is not None

    def look(self, now: float, *, stopping_since: float | None) -> None:
        """Look at the worker; *stopping_since* is when the whole server began to stop."""
        moment = self.stamps.read()
        if now - self._quota_at >= 1.0 and not self._stall:
            self._quota, self._quota_at = self._read_quota(), now
        if moment.has(State.LOADED):
            if self.settings.stall_seconds > 0:
                self._look_at_loop(moment, now)
            if self.settings.timeout_seconds > 0:
                self._look_at_heartbeat(moment, now)
        ending_since = moment.ending_since or (moment.has(State.LOADED) and stopping_since)
        if ending_since and not moment.has(State.TICKING):
            self._look_at_end(moment, now - ending_since)

    def age_seconds(self, now: float) -> float:
        """Return since when the worker is there."""
        return now - self._forked_at

    def booting_seconds(self, now: float) -> float:
        """Return for how long the worker has been booting; 0 once it has."""
        return 0.0 if self.stamps.read().has(State.LOADED) else now - self._forked_at

    def close(self) -> None:
        """Log what was counted; the worker is gone."""
        stall, moment = self._stall, self.stamps.read()
        if stall and moment.tick != stall.before.tick:
            self._end(stall, self.line.forget(), moment, moment.tick)
        elif stall:  # It was killed.
            self._count(stall, Evidence(max(0.0, stall.last_look - self._due(stall.before))))
        self.line.close()
        if counted := self._tally.render():
            self._say(WARNING if self._tally.has_blocked else INFO, counted, {"event": "stalls"})

    # The event loop

    def _due(self, moment: Moment) -> float:
        return moment.tick + self._tick_seconds

    def _look_at_loop(self, moment: Moment, now: float) -> None:
        stall = self._stall
        if stall and moment.tick != stall.before.tick:
            self._stall = None
            self._end(stall, self.line.forget(), moment, now)
        late_seconds = now - self._due(moment)
        is_ticking = moment.has(State.TICKING)
        if not is_ticking or late_seconds < LATE_FRACTION * self.settings.stall_seconds:
            return
        clock = read_clock(self.worker.pid, self.worker.pid)
        if self._stall is None:
            self._stall = _Stall(moment, self._quota, clock)
        self._examine(self._stall, moment, clock, now)

    def _examine(self, stall: _Stall, moment: Moment, clock: Clock | None, now: float) -> None:
        self._follow(stall, clock, now)
        threads = self.line.read(self.worker.pid, listens=moment.has(State.LISTENING))
        stall.samples += threads[:1]
        if stall.suspect is not None:
            return
        is_frozen = clock is not None and clock.state in "Tt"
        if not self.line.is_waiting and len(stall.samples) < MAX_SAMPLES and not is_frozen:
            self.line.ask(self.worker.pid, clock, listens=moment.has(State.LISTENING))
        late_seconds = now - self._due(moment)
        is_seen = len(stall.samples) >= ENOUGH_SAMPLES
        if not is_seen and late_seconds < 2 * self.settings.stall_seconds + SLOW_FRACTION:
            return
        evidence = self._evidence(stall, late_seconds, clock or Clock(), moment, now)
        if evidence.cause(self.settings.stall_seconds) is Cause.CODE:
            self._report(stall, evidence, now)

    def _follow(self, stall: _Stall, clock: Clock | None, now: float) -> None:
        """Note what the kernel does not count before it is over."""
        last, last_look = stall.last_clock, stall.last_look or now
        stall.last_clock, stall.last_look = clock, now
        if clock is None or last is None:
            return
        if clock.state in "Tt":
            stall.stopped_seconds += now - last_look
        elif clock == last and clock.state == "R":
            stall.queued_seconds += now - last_look
        elif clock.queued_seconds != last.queued_seconds:
            stall.queued_seconds = 0.0  # It is over, and the kernel has counted it.

    def _evidence(
        self, stall: _Stall, blocked_seconds: float, clock: Clock, moment: Moment, now: float
    ) -> Evidence:
        before = stall.before
        throttling = since(stall.quota, self._read_quota())
        collecting = moment.collected_seconds - before.collected_seconds
        if moment.collecting_since:
            collecting += now - max(moment.collecting_since, before.tick)
        queued = clock.queued_seconds - before.queued_seconds + stall.queued_seconds
        return Evidence(
            blocked_seconds=blocked_seconds,
            computing_seconds=max(0.0, clock.computing_seconds - before.computing_seconds),
            collecting_seconds=max(0.0, collecting),
            queued_seconds=max(0.0, queued),
            throttled_seconds=throttling.seconds if throttling else 0.0,
            stopped_seconds=stall.stopped_seconds,
        )

    def _report(self, stall: _Stall, evidence: Evidence, now: float) -> None:
        """Report the line that blocks, where it is due, and the first time that it is."""
        stacks = [sample.stack for sample in stall.samples]
        suspect = find_suspect(stacks, self.settings.origins)
        if not self._tally.is_due(suspect.place, now, evidence.blocked_seconds):
            return
        stall.suspect, stall.is_told = suspect, True
        sample = stall.samples[suspect.number] if stall.samples else ThreadStack("", ())
        text = render_stall(
            evidence,
            suspect,
            add_sources(sample.stack),
            sample.request or self.stamps.request(),
            self.settings.origins,
            unreported=self._tally.report(suspect.place, Cause.CODE, now),
        )
        seconds = round(evidence.blocked_seconds, 3)
        fields = {"event": "stall", "place": suspect.place, "blocked_seconds": seconds}
        self._say(WARNING, text, fields)

    def _end(
        self, stall: _Stall, late: list[ThreadStack], moment: Moment, now: float
    ) -> None:
        """Report the end of a stall, or what it was; count it. *late* is an answer after it."""
        clock = Clock(moment.computing_seconds, moment.queued_seconds)
        stall.queued_seconds = 0.0
        blocked_seconds = max(0.0, moment.tick - self._due(stall.before))
        evidence = self._evidence(stall, blocked_seconds, clock, moment, now)
        cause = evidence.cause(self.settings.stall_seconds)
        if cause is Cause.CODE and stall.samples and not stall.is_told:
            self._report(stall, evidence, now)
        if stall.suspect:
            request = next((sample.request for sample in late if sample.request), None)
            text = render_end(blocked_seconds, stall.suspect.place, request)
            self._say(INFO, text, {"event": "resumed"})
        elif cause and cause is not Cause.CODE and self._tally.is_due(cause.value, now):
            self._tally.report(cause.value, cause, now)
            stall.is_told = True
            throttling = since(stall.quota, self._read_quota())
            path = throttling.path if throttling else None
            self._say(INFO, render_excuse(evidence, cause, path), {"event": "late"})
        self._count(stall, evidence)

    def _count(self, stall: _Stall, evidence: Evidence) -> None:
        cause = Cause.CODE if stall.suspect else evidence.cause(self.settings.stall_seconds)
        if stall.suspect:
            place = stall.suspect.place
        elif cause is Cause.CODE:
            stacks = [sample.stack for sample in stall.samples]
            place = find_suspect(stacks, self.settings.origins).place if stacks else NO_LINE
        else:
            place = cause.value if cause else ""
        if cause is None:
            return
        self._tally.count(place, cause, evidence.blocked_seconds, was_reported=stall.is_told)

    # The heartbeat

    def _look_at_heartbeat(self, moment: Moment, now: float) -> None:
        try:
            beat = self.worker.tmp.last_update()
        except (OSError, ValueError):  # closed: the worker is gone
            return
        timeout_seconds = self.settings.timeout_seconds
        if beat != self._beat:
            if self._told_beat == self._beat and self._told_beat is not None:
                seconds = beat - self._beat
                self._say(INFO, f"heartbeat resumed after {seconds:.1f} s", {"event": "resumed"})
            self._beat, self._beat_clock = beat, read_clock(self.worker.pid, self.worker.pid)
        # Before the first beat the file has the time of day, which is in the future.
        silent_seconds = now - beat
        if silent_seconds < REPORT_FRACTION * timeout_seconds or beat == self._told_beat:
            return
        self._told_beat = beat
        left_seconds = max(0.0, timeout_seconds - silent_seconds)
        ending = " while it stops" if moment.ending_since else ""
        lines = [
            f"no heartbeat from this worker for {silent_seconds:.1f} s{ending}: Gunicorn will kill "
            f"it in {left_seconds:.1f} s (timeout {timeout_seconds:g})",
            *self._render_clock(),
            *self._render_all(moment, patience_seconds=left_seconds / 2),
        ]
        self._say(ERROR, join(lines), {"event": "silent", "silent_seconds": silent_seconds})

    def _render_clock(self) -> list[str]:
        before, clock = self._beat_clock, read_clock(self.worker.pid, self.worker.pid)
        if before is None or clock is None:
            return []
        computing = clock.computing_seconds - before.computing_seconds
        queued = clock.queued_seconds - before.queued_seconds
        stopped = "; the process is stopped" if clock.state in "Tt" else ""
        return [
            f"  its main thread computed for {computing:.1f} s of this and waited for a CPU for "
            f"{queued:.1f} s{stopped}"
        ]

    def _render_all(
        self, moment: Moment, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> list[str]:
        """Return what every thread does, as lines."""
        threads = self.line.ask_all(
            self.worker.pid,
            listens=moment.has(State.LISTENING),
            patience_seconds=min(max(patience_seconds, SHORTEST_SECONDS), PATIENCE_SECONDS),
        )
        if not threads:
            return ["  no stack: the worker did not answer"]
        request = threads[0].request or self.stamps.request()
        threads[0] = threads[0]._replace(request=request)
        shown = [thread._replace(stack=add_sources(thread.stack)) for thread in threads]
        return ["  threads, innermost line first:", *render_threads(shown, self.settings.origins)]

    # The start and the end

    def report_boot(self, now: float, others: int, *, preloads: bool) -> None:
        """Report a start that takes long; *others* boot as well."""
        seconds = self.boot_told_seconds = now - self._forked_at
        clock = read_clock(self.worker.pid, self.worker.pid) or Clock()
        busy_seconds = clock.computing_seconds + clock.queued_seconds
        waits = busy_seconds < SLOW_FRACTION * seconds
        text = f"still booting after {seconds:.0f} s"
        text += f", as do {others} more workers" if others else ""
        text += "; importing the application waits" if waits else "; the import computes"
        if others and not waits and not preloads:
            text += ". Cure: preload_app imports the application once for all workers"
        level = WARNING if waits else INFO
        lines = [text, *self._render_all(self.stamps.read())]
        self._say(level, join(lines), {"event": "booting", "booting_seconds": seconds})

    def _look_at_end(self, moment: Moment, seconds: float) -> None:
        limit = min(SLOW_SECONDS, SLOW_FRACTION * self.settings.graceful_seconds)
        if self._is_end_told or seconds < limit:
            return
        self._is_end_told = True
        lines = [f"this worker has not ended after {seconds:.1f} s", *self._render_all(moment)]
        self._say(WARNING, join(lines), {"event": "ending", "ending_seconds": seconds})
