"""
Is the event loop alive, and if not, who keeps it? Reads clocks and frames; runs in the watchdog.

Some times in each interval that may be lost the thread looks where the loop is. One that is not
idle is asked to write down the time (``call_soon_threadsafe``); one that does not answer is
blocked. This costs nothing for each request, wakes no idle loop, and works for every loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from gunicorn_autoconf._watchdog._stack import Origins, Stack
from gunicorn_autoconf._watchdog._stall import (
    Cause,
    Evidence,
    Stall,
    Suspect,
    Tally,
    find_suspect,
    render_end,
    render_excuse,
    render_stall,
)
from gunicorn_autoconf._watchdog._threads import add_sources, is_in_code, read_stack
from gunicorn_autoconf._watchdog._witness import (
    CollectorWitness,
    Delay,
    OwnDelay,
    QuotaWitness,
    ThreadTimes,
    ThreadWitness,
)

# How often an idle loop is looked at: a stall is seen for certain when it is longer than the
# threshold by one of these parts. At the default of 0.25 s these are 10 looks a second. They cost
# an idle worker 0.2 % of a core (measured), nearly all of it for the wake-up itself.
LOOKS_PER_THRESHOLD = 2.5
# How often a loop that does not answer is looked at.
SAMPLES_PER_THRESHOLD = 12
# The part of the threshold from which on an answer is late.
LATE_FRACTION = 0.2
MIN_WAIT_SECONDS = 0.005
MAX_SAMPLES = 16
# A loop that answers in time so often in a row is no longer blocked: between two pieces of work it
# may answer once.
ANSWERS_TO_END = 2
# How old the last look at the quotas' counters may be when a stall begins.
QUOTA_LOOK_SECONDS = 2.0

# What is counted where no line is to blame.
EXCUSED = {
    Cause.KERNEL: "no line: the kernel gave no CPU",
    Cause.COLLECTOR: "no line: garbage collection",
}

Say = Callable[[str], None]


class _Sample(NamedTuple):
    """Where the loop's thread was, and the request it served."""

    stack: Stack
    request: str | None


class _Reading(NamedTuple):
    """All witnesses at one moment; two of them make an `Evidence`."""

    times: ThreadTimes
    own: Delay
    collecting_seconds: float


class _Question:
    """What was asked of the loop, and when it answered."""

    def __init__(self) -> None:
        self.asked = time.monotonic()
        self.answered: float | None = None

    def answer(self) -> None:
        """Write down the time; the one thing that runs in the loop."""
        self.answered = time.monotonic()


class _Watched:
    """A loop that answers late: what was seen of it since."""

    def __init__(self, before: _Reading, now: float) -> None:
        self.before = before
        self.samples: list[_Sample] = []
        self.late: list[float] = []
        self.in_time = 0
        self.suspect: Suspect | None = None
        self.reported = False
        self.queued_since = now
        self.last_times = before.times

    def stall(self, outstanding_seconds: float | None = None) -> Stall:
        late = self.late if outstanding_seconds is None else [*self.late, outstanding_seconds]
        return Stall(sum(late), len(late), max(late, default=0.0))


class LoopWatch:
    """
    Watches the loop of the thread in which it is made.

    Args:
        loop: The running loop.
        threshold_seconds: How long it may be blocked.
        origins: Which code is the user's.
        own: The watchdog's own delays.
        tally: Where stalls are counted.
        say: Takes a warning.
    """

    def __init__(  # noqa: PLR0913
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        threshold_seconds: float,
        origins: Origins,
        own: OwnDelay,
        tally: Tally,
        say: Say,
    ) -> None:
        self._loop = loop
        self._thread_ident = threading.get_ident()
        self._thread = ThreadWitness(threading.get_native_id(), self._thread_ident)
        self._threshold = threshold_seconds
        self._period = max(MIN_WAIT_SECONDS, threshold_seconds / LOOKS_PER_THRESHOLD)
        self._fine_period = max(MIN_WAIT_SECONDS, threshold_seconds / SAMPLES_PER_THRESHOLD)
        self._origins = origins
        self._own = own
        self._tally = tally
        self._say = say
        self._collector = CollectorWitness()
        self._quota = QuotaWitness()
        self._quota_seen = time.monotonic()
        self._question: _Question | None = None
        self._watched: _Watched | None = None
        self._before = self._read()

    def close(self) -> None:
        """Watch no more."""
        self._question = self._watched = None
        self._collector.close()
        self._thread.close()

    def check(self, now: float, delay: Delay) -> float:
        """Look at the loop; return after how many seconds to look again."""
        question = self._question
        if not self._loop.is_running():  # not yet, or no more
            self._question = self._watched = None
            return self._period
        if question and question.answered is None:
            self._examine(now, now - question.asked)
            return self._fine_period
        answer = question.answered - question.asked if question and question.answered else 0.0
        late = delay.away_seconds + delay.native_seconds
        if not self._watched and answer < self._threshold <= late:
            # Nobody had asked: nothing ran between the last look and this one.
            answer = late
        if answer >= LATE_FRACTION * self._threshold:
            self._count(now, answer)
        elif self._watched:
            self._watched.in_time += 1
            if self._watched.in_time >= ANSWERS_TO_END:
                self._end(self._watched, now)
                self._watched = None
        if self._watched or (question is None and is_in_code(self._thread_ident)):
            self._ask(now)
            return self._fine_period
        self._rest(now)  # It waits, and an idle loop is not woken; or it has answered in time.
        return self._period

    def _rest(self, now: float) -> None:
        self._question = None
        if now - self._quota_seen > QUOTA_LOOK_SECONDS:
            self._quota.look()
            self._quota_seen = now
        self._before = self._read()

    def _ask(self, now: float) -> None:
        if not self._watched:
            self._rest(now)
        question = _Question()
        try:
            self._loop.call_soon_threadsafe(question.answer)
        except RuntimeError:  # closed
            self._question = None
        else:
            self._question = question

    def _read(self) -> _Reading:
        return _Reading(self._thread.read(), self._own.total, self._collector.total_seconds)

    def _watch(self, now: float) -> _Watched:
        self._watched = self._watched or _Watched(self._before, now)
        self._watched.in_time = 0
        return self._watched

    def _examine(self, now: float, outstanding_seconds: float) -> None:
        """See what a loop does that has not answered yet."""
        if not self._watched and outstanding_seconds < LATE_FRACTION * self._threshold:
            return
        watched = self._watch(now)
        if watched.suspect is None:
            self._sample(watched)
            stall = watched.stall(outstanding_seconds)
            self._judge(watched, stall, now)

    def _count(self, now: float, late_seconds: float) -> None:
        """Take note of an answer that came late."""
        watched = self._watch(now)
        if not watched.samples:  # The GIL was held: this is where it was given away.
            self._sample(watched)
        watched.late.append(late_seconds)
        if watched.suspect is None:
            self._judge(watched, watched.stall(), now)

    def _judge(self, watched: _Watched, stall: Stall, now: float) -> None:
        """Report the line that blocks, once the code is to blame for it."""
        evidence = self._evidence(watched, stall, now)
        if evidence.cause(self._threshold) is not Cause.CODE:
            return
        samples = watched.samples
        suspect = find_suspect([sample.stack for sample in samples], self._origins)
        watched.suspect = suspect
        if not self._tally.is_due(suspect.place, now):
            return
        sample = samples[suspect.number] if suspect.number is not None else _Sample((), None)
        watched.reported = True
        self._say(
            render_stall(
                stall,
                evidence,
                suspect,
                add_sources(sample.stack),
                sample.request,
                self._origins,
                unreported=self._tally.report(suspect.place, now),
            )
        )

    def _sample(self, watched: _Watched) -> None:
        if len(watched.samples) < MAX_SAMPLES:
            watched.samples.append(_Sample(*read_stack(self._thread_ident)))

    def _evidence(self, watched: _Watched, stall: Stall, now: float) -> Evidence:
        before, after = watched.before, self._read()
        queued = after.times.queued_seconds - before.times.queued_seconds
        # The kernel counts a wait when it is over. One that lasts shows as a thread that may run,
        # has not run and has not stopped waiting since we looked last.
        if after.times == watched.last_times and self._thread.is_runnable():
            queued += max(0.0, now - watched.queued_since)
        else:
            watched.last_times, watched.queued_since = after.times, now
        return Evidence(
            blocked_seconds=stall.seconds,
            queued_seconds=queued,
            away_seconds=after.own.away_seconds - before.own.away_seconds,
            collecting_seconds=after.collecting_seconds - before.collecting_seconds,
            computing_seconds=after.times.computing_seconds - before.times.computing_seconds,
            native_seconds=after.own.native_seconds - before.own.native_seconds,
        )

    def _end(self, watched: _Watched, now: float) -> None:
        """Count a stall that is over, and report what was not the code's."""
        stall = watched.stall()
        if watched.suspect:
            if watched.reported:
                self._say(render_end(stall, watched.suspect.place))
            self._tally.count(watched.suspect.place, stall.seconds)
            return
        evidence = self._evidence(watched, stall, now)
        cause = evidence.cause(self._threshold)
        if cause is None or cause is Cause.CODE:
            return
        place = EXCUSED[cause]
        if self._tally.is_due(place, now):
            self._tally.report(place, now)
            throttling = self._quota.look() if cause is Cause.KERNEL else None
            self._say(render_excuse(evidence, cause, throttling))
        self._tally.count(place, stall.seconds)
