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

from gunicorn_autoconf.watchdog.stacks import Origins
from gunicorn_autoconf.watchdog.stall import (
    Cause,
    Evidence,
    Stall,
    find_suspect,
    render_end,
    render_excuse,
    render_stall,
)
from gunicorn_autoconf.watchdog.tally import EXCUSED, Tally
from gunicorn_autoconf.watchdog.threads import add_sources, is_in_code, read_stack
from gunicorn_autoconf.watchdog.watched import Question, Reading, Sample, Samples, Watched
from gunicorn_autoconf.watchdog.witnesses import (
    CollectorWitness,
    Delay,
    OwnDelay,
    QuotaWitness,
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
# A loop that answers in time so often in a row is no longer blocked: between two pieces of work it
# may answer once.
ANSWERS_TO_END = 2
# How old the last look at the quotas' counters may be when a stall begins.
QUOTA_LOOK_SECONDS = 2.0

Say = Callable[[str], None]


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
        self._question: Question | None = None
        self._watched: Watched | None = None
        self._begin_turn()

    def close(self) -> None:
        """Watch no more."""
        self._finish(time.monotonic())
        self._collector.close()
        self._thread.close()

    def check(self, now: float, delay: Delay) -> float:
        """Look at the loop; return after how many seconds to look again."""
        question = self._question
        if not self._loop.is_running():  # not yet, or no more
            self._finish(now)
            return self._period
        if question and question.answered is None:
            self._examine(now, now - question.asked)
            return self._fine_period
        answer = question.answered - question.asked if question and question.answered else 0.0
        late = delay.away_seconds + delay.native_seconds
        if not self._watched and answer < self._threshold <= late:
            # Nobody had asked: nothing ran between the last look and this one.
            answer = late
        is_late = answer >= LATE_FRACTION * self._threshold
        if is_late:
            self._count(now, answer)
        elif self._watched:
            self._watched.in_time += 1
            if self._watched.in_time >= ANSWERS_TO_END:
                self._end(self._watched, now)
                self._watched = None
        if self._watched or is_late or (question is None and is_in_code(self._thread_ident)):
            self._ask(now)
            return self._fine_period
        self._rest(now)  # It waits, and an idle loop is not woken; or it has answered in time.
        return self._period

    def _rest(self, now: float) -> None:
        self._question = None
        if now - self._quota_seen > QUOTA_LOOK_SECONDS:
            self._quota.look()
            self._quota_seen = now
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._before = self._read()
        self._turn = Samples()

    def _ask(self, now: float) -> None:
        if self._watched:
            self._begin_turn()
        else:
            self._rest(now)
        question = Question()
        try:
            self._loop.call_soon_threadsafe(question.answer)
        except RuntimeError:  # closed
            self._question = None
        else:
            self._question = question

    def _read(self) -> Reading:
        return Reading(self._thread.read(), self._own.total, self._collector.total_seconds)

    def _watch(self, now: float) -> Watched:
        self._watched = self._watched or Watched(self._before, now, Samples())
        self._watched.in_time = 0
        return self._watched

    def _examine(self, now: float, outstanding_seconds: float) -> None:
        """See what a loop does that has not answered yet."""
        if not self._watched and outstanding_seconds < LATE_FRACTION * self._threshold:
            return
        watched = self._watch(now)
        self._sample(watched)
        if outstanding_seconds >= self._threshold:
            watched = self._part(watched, now)
        if watched.suspect is None:
            self._judge(watched, watched.stall.plus(outstanding_seconds), now)

    def _count(self, now: float, late_seconds: float) -> None:
        """Take note of an answer that came late."""
        watched = self._watch(now)
        is_long = late_seconds >= self._threshold
        if not watched.samples.kept or (is_long and not self._turn.kept):
            self._sample(watched)  # The GIL was held: this is where it was given away.
        if is_long:
            watched = self._part(watched, now)
        watched.stall = watched.stall.plus(late_seconds)
        if watched.suspect is None:
            self._judge(watched, watched.stall, now)
        if watched.suspect is None:
            return
        # Under a load that lasts, a loop never answers in time: each long turn is a stall of its
        # own, and many short ones are one stall until they may be reported again.
        if is_long or self._tally.is_due(watched.suspect.place, now):
            self._end(watched, now, goes_on=not is_long)
            self._watched = None

    def _part(self, watched: Watched, now: float) -> Watched:
        """Make a stall of its own of the present turn where another line is to blame for it."""
        if watched.suspect is None:
            return watched
        suspect = find_suspect(self._turn.stacks, self._origins)
        if suspect.function in {None, watched.suspect.function}:
            return watched
        if watched.stall.turns:
            self._end(watched, now)
        self._watched = Watched(self._before, now, self._turn)
        return self._watched

    def _finish(self, now: float) -> None:
        """End a stall with which the loop itself has ended."""
        question, watched = self._question, self._watched
        self._question = self._watched = None
        if watched is None:
            return
        seconds = (question.answered or now) - question.asked if question else 0.0
        if seconds >= LATE_FRACTION * self._threshold:
            watched.stall = watched.stall.plus(seconds)
        self._end(watched, now)

    def _judge(self, watched: Watched, stall: Stall, now: float) -> None:
        """Report the line that blocks, once the code is to blame for it."""
        evidence = self._evidence(watched, stall, now)
        if evidence.cause(self._threshold) is not Cause.CODE:
            return
        samples = watched.samples.kept
        suspect = find_suspect(watched.samples.stacks, self._origins)
        watched.suspect = suspect
        if not self._tally.is_due(suspect.place, now):
            return
        sample = samples[suspect.number] if suspect.number is not None else Sample((), None)
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

    def _sample(self, watched: Watched) -> None:
        sample = Sample(*read_stack(self._thread_ident))
        watched.samples.add(sample)
        if watched.samples is not self._turn:
            self._turn.add(sample)

    def _evidence(self, watched: Watched, stall: Stall, now: float) -> Evidence:
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

    def _end(self, watched: Watched, now: float, *, goes_on: bool = False) -> None:
        """Count a stall that is over, and report what was not the code's."""
        stall = watched.stall
        if watched.suspect:
            if watched.reported:
                self._say(render_end(stall, watched.suspect.place, goes_on=goes_on))
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
