"""
Whether one event loop runs, and if not, what keeps it. Reads /proc, asks by signals, logs.

Theory of operation. `look` is called by the patrol's thread some times a second. A tick that is
overdue by half of the threshold opens a stall: the stack is asked for some times. Once the code is
to blame for more than the threshold, the stall is reported, once. The next tick on the page closes
it: what was reported runs again, what was not the code's is reported now, and both are counted. A
verdict once reported stays, in the summary too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gunicorn_autoconf.watchdog.causes import (
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
from gunicorn_autoconf.watchdog.stack_pipe import StackPipe
from gunicorn_autoconf.watchdog.stacks import Origins, Say, ThreadStack
from gunicorn_autoconf.watchdog.stamps import Moment, Stamps, State, tick_seconds
from gunicorn_autoconf.watchdog.tally import Place, Tally

# The share of the threshold at which a loop that is late is looked at.
LATE_FRACTION = 0.5
# Samples of one stall, and how many there have to be for a verdict, unless they do not come.
MAX_SAMPLES, ENOUGH_SAMPLES = 4, 2
UNSEEN_SECONDS = 1.0
# By how much longer a stall is judged again that was not due to be reported.
AGAIN_FACTOR = 1.25
# How old the counters of the quotas may be when a stall begins.
QUOTA_SECONDS = 1.0


class Thresholds(NamedTuple):
    """What a worker is measured by, in seconds; 0 turns a part off."""

    stall_seconds: float
    timeout_seconds: float
    graceful_seconds: float
    origins: Origins
    request_seconds: float = 0.0


class _Stall:
    """A loop whose tick is overdue: what was seen since *before*, the last tick."""

    def __init__(
        self,
        before: Moment,
        quota: dict[str, Throttling],
        waited_seconds: float,
        clock: Clock | None,
    ) -> None:
        self.before = before
        self.quota = quota
        self.waited_seconds = waited_seconds
        self.samples: list[ThreadStack] = []
        self.suspect: Suspect | None = None
        self.is_reported = self.names_request = False
        self.judge_again_seconds = 0.0
        self.stopped_seconds = 0.0
        self.asleep_seconds = 0.0
        self.queued_seconds = 0.0
        self.last_clock = clock
        self.last_look = 0.0


class LoopWatch:
    """The watch over the event loop of one worker; see `WorkerWatch` for what it is given."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        stamps: Stamps,
        pipe: StackPipe,
        thresholds: Thresholds,
        read_quota: Callable[[], dict[str, Throttling]],
        say: Say,
        stalled: Callable[[], None] = lambda: None,
        read_waited: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._stamps = stamps
        self._pipe = pipe
        self._threshold_seconds = thresholds.stall_seconds
        self._origins = thresholds.origins
        self._read_quota = read_quota
        self._read_waited = read_waited
        self._say = say
        self._stalled = stalled
        self._tick_seconds = tick_seconds(thresholds.stall_seconds)
        self._tally = Tally()
        self._stall: _Stall | None = None
        self._last = Moment()
        self._quota, self._waited_seconds = read_quota(), read_waited()
        self._quota_at = 0.0

    def close(self) -> None:
        """Log what was counted; the worker is gone."""
        stall, moment = self._stall, self._stamps.read()
        if stall and moment.tick != stall.before.tick:
            self._end(stall, [], moment, moment.tick)
        elif stall:  # It was killed.
            clock, now = stall.last_clock or Clock(), stall.last_look
            blocked_seconds = max(0.0, now - self._due(stall.before))
            self._count(stall, self._evidence(stall, blocked_seconds, clock, moment, now))
        if counted := self._tally.render():
            self._say("warning" if self._tally.has_blocked else "info", "stalls", counted)

    def _due(self, moment: Moment) -> float:
        return moment.tick + self._tick_seconds

    def look(self, pid: int, moment: Moment, now: float) -> None:
        """Look at the loop of process *pid*, whose stamps are *moment*."""
        stall = self._stall
        if stall is None and now - self._quota_at >= QUOTA_SECONDS:
            self._quota, self._waited_seconds = self._read_quota(), self._read_waited()
            self._quota_at = now
        if stall and moment.tick != stall.before.tick:
            self._stall = None
            self._end(stall, self._pipe.forget(), moment, now)
        if moment.tick != self._last.tick:
            self._last = moment
        late_seconds = now - self._due(moment)
        is_ticking = moment.has(State.TICKING)
        if not is_ticking or late_seconds < LATE_FRACTION * self._threshold_seconds:
            return
        clock = read_clock(pid, pid)
        if self._stall is None:
            self._stall = _Stall(self._last, self._quota, self._waited_seconds, clock)
        self._examine(self._stall, pid, moment, clock, now)

    def _examine(
        self, stall: _Stall, pid: int, moment: Moment, clock: Clock | None, now: float
    ) -> None:
        self._follow(stall, clock, now)
        threads = self._pipe.read(pid, listens=moment.has(State.LISTENING))
        stall.samples += threads[:1]
        if stall.suspect is not None:
            return
        is_frozen = clock is not None and clock.state in "Tt"
        if not self._pipe.is_waiting and len(stall.samples) < MAX_SAMPLES and not is_frozen:
            self._pipe.ask(pid, listens=moment.has(State.LISTENING))
        late_seconds = now - self._due(moment)
        is_seen = len(stall.samples) >= ENOUGH_SAMPLES
        wanted_seconds = self._threshold_seconds + (0.0 if is_seen else UNSEEN_SECONDS)
        if late_seconds < max(wanted_seconds, stall.judge_again_seconds):
            return
        evidence = self._evidence(stall, late_seconds, clock or Clock(), moment, now)
        if evidence.cause(self._threshold_seconds) is Cause.CODE:
            self._report(stall, evidence, now)
            # Where it was not due: a verdict reads files, and a muted stall may go on for long.
            stall.judge_again_seconds = AGAIN_FACTOR * late_seconds

    def _follow(self, stall: _Stall, clock: Clock | None, now: float) -> None:
        """Note what the kernel does not count before it is over."""
        last, seconds = stall.last_clock, now - (stall.last_look or now)
        stall.last_clock, stall.last_look = clock, now
        if clock is None or last is None:
            return
        if clock.state == last.state == "S":  # Who waits for memory is in D.
            stall.asleep_seconds += seconds
        if clock.state in "Tt":
            stall.stopped_seconds += seconds
        elif clock.state == last.state == "R":  # Where it does not compute it waits for a CPU.
            computed = clock.computing_seconds - last.computing_seconds
            stall.queued_seconds += seconds - computed
            stall.queued_seconds -= clock.queued_seconds - last.queued_seconds
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
            collecting_seconds=min(max(0.0, collecting), blocked_seconds),
            queued_seconds=max(0.0, queued),
            throttled_seconds=throttling.seconds if throttling else 0.0,
            stopped_seconds=stall.stopped_seconds,
            pressure_seconds=max(0.0, self._read_waited() - stall.waited_seconds),
            asleep_seconds=stall.asleep_seconds,
        )

    def _report(self, stall: _Stall, evidence: Evidence, now: float) -> None:
        """Report the line that blocks, where it is due, and the first time that it is."""
        stacks = [sample.stack for sample in stall.samples]
        suspect = find_suspect(stacks, self._origins)
        if not self._tally.is_due(suspect.frame, now, evidence.blocked_seconds):
            return
        stall.suspect, stall.is_reported = suspect, True
        sample = stall.samples[suspect.number] if stall.samples else ThreadStack("", ())
        request = sample.request or self._stamps.request()
        stall.names_request = bool(request)
        text = render_stall(
            evidence,
            suspect,
            add_sources(sample.stack),
            request,
            self._origins,
            unreported=self._tally.report(suspect.frame, now),
        )
        seconds = round(evidence.blocked_seconds, 3)
        self._say("warning", "stall", text, place=suspect.place, blocked_seconds=seconds)

    def _end(self, stall: _Stall, late: list[ThreadStack], moment: Moment, now: float) -> None:
        """Report the end of a stall, or what it was; count it. *late* is an answer after it."""
        clock = Clock(moment.computing_seconds, moment.queued_seconds)
        stall.queued_seconds = 0.0
        blocked_seconds = max(0.0, moment.tick - self._due(stall.before))
        evidence = self._evidence(stall, blocked_seconds, clock, moment, now)
        cause = evidence.cause(self._threshold_seconds)
        if cause is Cause.CODE and stall.samples and not stall.is_reported:
            self._report(stall, evidence, now)
        if stall.suspect:
            requests = [] if stall.names_request else [sample.request for sample in late]
            request = next(filter(None, requests), None)
            text = render_end(evidence, stall.suspect.place, request)
            self._say("info", "resumed", text)
        elif cause and cause is not Cause.CODE and self._tally.is_due(cause, now):
            self._tally.report(cause, now)
            stall.is_reported = True
            throttling = since(stall.quota, self._read_quota())
            path = throttling.path if throttling else None
            self._say("info", "late", render_excuse(evidence, cause, path))
        self._count(stall, evidence)

    def _count(self, stall: _Stall, evidence: Evidence) -> None:
        cause = Cause.CODE if stall.suspect else evidence.cause(self._threshold_seconds)
        if cause is None:
            return
        place: Place = cause
        if cause is Cause.CODE:
            self._stalled()
            stacks = [sample.stack for sample in stall.samples]
            place = (stall.suspect or find_suspect(stacks, self._origins)).frame
        self._tally.count(place, evidence.blocked_seconds, was_reported=stall.is_reported)
