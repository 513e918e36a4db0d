"""
How one worker does, as the arbiter sees it from outside. Reads /proc, asks by signals, logs.

Theory of operation. The patrol's thread calls `look` some times a second; `close` is called once
the worker is gone and the thread is paused. A worker is *booting* until its application is
imported. From then on three things are looked at, each by itself: its *loop* (`LoopWatch`); its
*heartbeat*, of which a silence that is about to reach `timeout` is reported with all threads, once;
its *end*, which is reported once where it takes long. A sync worker whose request runs for longer
than `GUNICORN_REQUEST_TIMEOUT` is ended as Gunicorn does it after `timeout`: by SIGABRT, and by
SIGKILL where it does not heed that.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from gunicorn_autoconf.watchdog.clocks import Clock, read_clock
from gunicorn_autoconf.watchdog.loop import LoopWatch, Thresholds
from gunicorn_autoconf.watchdog.sources import add_sources
from gunicorn_autoconf.watchdog.stacks import Say, join, render_threads
from gunicorn_autoconf.watchdog.stamps import Moment, Stamps, State, slow_end_seconds

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.watchdog.quota import Throttling
    from gunicorn_autoconf.watchdog.stack_pipe import StackPipe

# The share of ``timeout`` after which the stacks are logged: what is left must suffice to write.
REPORT_FRACTION = 0.8
# A start of which so much is computing or waiting for a CPU computes.
BUSY_FRACTION = 0.5
# How long a worker has to end after SIGABRT, as long as Gunicorn's arbiter gives it.
ABORT_SECONDS = 1.0
# How long all threads are waited for: a crowded machine lets a worker run only now and then.
PATIENCE_SECONDS, SHORTEST_SECONDS = 1.0, 0.1

_NOTE = "autoconf_request_timeout"


def was_ended_for_request(worker: Worker) -> bool:
    """Return whether *worker* was killed because its request ran too long."""
    return getattr(worker, _NOTE, False)


class WorkerWatch:
    """
    The watch over one worker, by a clock that leaves out the time in which the server stood still.

    It was forked at *now*. *read_beat* returns when the last heartbeat came, and for how long none
    has, and is None where there is no `timeout`; *read_quota* what the CPU quotas have done;
    *read_waited* for how many seconds threads of the cgroup have waited for memory. *say* logs
    under the worker's pid. *stalled* is called once for each time that code has blocked the loop.
    """

    def __init__(  # noqa: PLR0913
        self,
        worker: Worker,
        stamps: Stamps,
        pipe: StackPipe,
        thresholds: Thresholds,
        *,
        read_quota: Callable[[], dict[str, Throttling]],
        say: Say,
        stalled: Callable[[], None] = lambda: None,
        read_waited: Callable[[], float] = lambda: 0.0,
        read_beat: Callable[[], tuple[float, float]] | None,
        now: float,
    ) -> None:
        self.worker = worker
        self.stamps = stamps
        self.pipe = pipe
        self.thresholds = thresholds
        self._say = say
        self._read_beat = read_beat
        self._forked_at = now
        self._loop = LoopWatch(stamps, pipe, thresholds, read_quota, say, stalled, read_waited)
        self._beat = 0.0
        self._beat_clock: Clock | None = None
        self._reported_beat: float | None = None
        self._has_reported_end = False
        self.is_ticking = False
        """Whether its event loop ran at the last look."""
        self.boot_reported_seconds = 0.0
        self._aborted_at = 0.0

    def look(self, now: float, *, stopping_since: float | None) -> None:
        """Look at the worker; *stopping_since* is when the whole server began to stop."""
        moment = self.stamps.read()
        self.is_ticking = moment.has(State.TICKING)
        if moment.has(State.LOADED):
            if self.thresholds.stall_seconds > 0:
                self._loop.look(self.worker.pid, moment, now)
            if self._read_beat:
                self._look_at_heartbeat(moment, self._read_beat)
            if self.thresholds.request_seconds > 0:
                self._look_at_request(moment, now)
        ending_since = moment.ending_since or (moment.has(State.LOADED) and stopping_since)
        if ending_since and not self.is_ticking:
            self._look_at_end(moment, now - ending_since)

    def age_seconds(self, now: float) -> float:
        """Return since when the worker is there."""
        return now - self._forked_at

    @property
    def spare_seconds(self) -> float:
        """How far looks may be apart that find what is about to reach a limit, but for a loop's."""
        silent_seconds = (1 - REPORT_FRACTION) * self.thresholds.timeout_seconds or math.inf
        return min(silent_seconds, self.thresholds.request_seconds or math.inf) / 2

    def booting_seconds(self, now: float) -> float:
        """Return for how long the worker has been booting; 0 once it has."""
        return 0.0 if self.stamps.read().has(State.LOADED) else now - self._forked_at

    def close(self) -> None:
        """Log what was counted; the worker is gone."""
        self._loop.close()
        self.pipe.close()

    # The heartbeat

    def _look_at_heartbeat(
        self, moment: Moment, read_beat: Callable[[], tuple[float, float]]
    ) -> None:
        try:
            beat, silent_seconds = read_beat()
        except (OSError, ValueError):  # closed: the worker is gone
            return
        timeout_seconds = self.thresholds.timeout_seconds
        if beat != self._beat:
            seconds = beat - self._beat
            was_reported = self._reported_beat == self._beat and self._reported_beat is not None
            if was_reported and seconds < timeout_seconds:  # Beyond it, the worker is being ended.
                self._say("info", "resumed", f"heartbeat resumed after {seconds:.1f} s")
            self._beat, self._beat_clock = beat, read_clock(self.worker.pid, self.worker.pid)
        # Before the first beat the file has the time of day, which is in the future.
        if silent_seconds < REPORT_FRACTION * timeout_seconds or beat == self._reported_beat:
            return
        self._reported_beat = beat
        left_seconds = max(0.0, timeout_seconds - silent_seconds)
        ending = " while it stops" if moment.ending_since else ""
        head = (
            f"no heartbeat from this worker for {silent_seconds:.1f} s{ending}: Gunicorn will kill "
            f"it in {left_seconds:.1f} s (timeout {timeout_seconds:g})"
        )
        threads = self._render_all(moment, patience_seconds=left_seconds / 2)
        lines = [head, *self._render_clock(), *threads]
        self._say("error", "silent", join(lines), silent_seconds=silent_seconds)

    # The request of a sync worker

    def _look_at_request(self, moment: Moment, now: float) -> None:
        limit_seconds, since = self.thresholds.request_seconds, moment.busy_since
        if self._aborted_at:
            if now - self._aborted_at > ABORT_SECONDS:
                self._send(signal.SIGKILL)
            return
        if not since or now - since < limit_seconds:
            return
        request = self.stamps.request() or "a request"
        threads = self._render_all(moment)
        if self.stamps.read().busy_since != since:
            return  # It is over.
        head = (
            f"{request} has run for {now - since:.1f} s, longer than GUNICORN_REQUEST_TIMEOUT "
            f"({limit_seconds:g} s): this worker is killed and replaced"
        )
        self._say("error", "request_timeout", join([head, *threads]))
        # So Gunicorn's own `timeout` takes it for aborted, too.
        self.worker.aborted = True
        setattr(self.worker, _NOTE, True)
        self._aborted_at = now
        self._send(signal.SIGABRT)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.worker.pid, number)

    def _render_clock(self) -> list[str]:
        before, clock = self._beat_clock, read_clock(self.worker.pid, self.worker.pid)
        if before is None or clock is None:
            return []
        computing = clock.computing_seconds - before.computing_seconds
        queued = clock.queued_seconds - before.queued_seconds
        stopped = "; the process is stopped" if clock.state in "Tt" else ""
        line = f"  its main thread computed for {computing:.1f} s of this and waited for a CPU for "
        return [f"{line}{queued:.1f} s{stopped}"]

    def _render_all(
        self, moment: Moment, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> list[str]:
        """Return what every thread does, as lines."""
        threads = self.pipe.ask_all(
            self.worker.pid,
            listens=moment.has(State.LISTENING),
            patience_seconds=min(max(patience_seconds, SHORTEST_SECONDS), PATIENCE_SECONDS),
        )
        if not threads:
            return ["  no stack: the worker did not answer"]
        request = threads[0].request or self.stamps.request()
        threads[0] = threads[0]._replace(request=request)
        shown = [thread._replace(stack=add_sources(thread.stack)) for thread in threads]
        return ["  threads, innermost line first:", *render_threads(shown, self.thresholds.origins)]

    # The start and the end

    def report_boot(self, now: float, others: int, *, preloads: bool) -> None:
        """Report a start that takes long; *others* boot as well."""
        seconds = self.boot_reported_seconds = now - self._forked_at
        clock = read_clock(self.worker.pid, self.worker.pid) or Clock()
        busy_seconds = clock.computing_seconds + clock.queued_seconds
        waits = busy_seconds < BUSY_FRACTION * seconds
        text = f"still booting after {seconds:.0f} s"
        if others:
            text += ", as does 1 more worker" if others == 1 else f", as do {others} more workers"
        text += "; importing the application waits" if waits else "; the import computes"
        if others and not waits and not preloads:
            text += ". Cure: preload_app imports the application once for all workers"
        level = "warning" if waits else "info"
        lines = [text, *self._render_all(self.stamps.read())]
        self._say(level, "booting", join(lines), booting_seconds=seconds)

    def _look_at_end(self, moment: Moment, seconds: float) -> None:
        if self._has_reported_end or seconds < slow_end_seconds(self.thresholds.graceful_seconds):
            return
        self._has_reported_end = True
        lines = [f"this worker has not exited after {seconds:.1f} s", *self._render_all(moment)]
        self._say("warning", "ending", join(lines), ending_seconds=seconds)
