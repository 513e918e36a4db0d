"""
What a worker does for the watchdog while it serves: stamp the time. Starts no thread.

Theory of operation. An event loop runs `Ticker._tick` by ``call_later``, some 20 times a second; a
tick stamps the time and the main thread's clocks on the shared page, which the arbiter reads. Once
a second the tick also runs the watchers: what needs the interpreter and finds it running, such as
full thread pools or what a start awaits, is seen from inside, at hardly any cost. Workers without
a loop have their watchers run by their heartbeat, `notify`, in the main thread as well. Nothing
here raises into the worker.

Several requests that block for a short time each, one after the other, make a loop wait as one
long one does, though a tick comes in between. So a tick that code has made late is not stamped: the
page shows when the loop was last well, up to `MAX_RUN` thresholds ago, and the arbiter sees one
stall. A tick that is late for want of a CPU is: what the code computes between two such waits is
no stall.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.fleet.standstill import Looks
from gunicorn_autoconf.machine.process_cpu import parse_schedstat
from gunicorn_autoconf.watchdog.stamps import State, tick_seconds

if TYPE_CHECKING:
    import asyncio  # A worker without a loop has no use for it.

    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.watchdog.listener import Listener
    from gunicorn_autoconf.watchdog.stamps import Stamps

WATCHERS_SECONDS = 1.0
# A tick is late from this share of the threshold on.
LATE_FRACTION = 0.2
# A timer comes so late by itself: event loops wait in whole milliseconds.
TIMER_SECONDS = 0.003
# By how much a tick may come sooner, and the step through that which repeats itself least.
JITTER_FRACTION, GOLDEN_FRACTION = 0.4, 0.618
# For so many thresholds late ticks are one stall.
MAX_RUN = 4.0

Watcher = Callable[[float], None]


class Ticker:
    """
    Stamps the time in one worker, whose application is loaded.

    With a *stall_seconds* of 0 there are no ticks. Each of *watchers* is called about once a second
    with the time by *clock*, which leaves out what the server stood still.
    """

    def __init__(  # noqa: PLR0913
        self,
        worker: Worker,
        stamps: Stamps,
        listener: Listener,
        *,
        stall_seconds: float,
        watchers: Sequence[Watcher],
        clock: Callable[[], float],
    ) -> None:
        self._worker = worker
        self._stamps = stamps
        self._listener = listener
        self._stall_seconds = stall_seconds
        self._tick_seconds = tick_seconds(stall_seconds)
        self.count_busy: Callable[[float], None] = lambda seconds: None
        """Called with the seconds for which a tick has found the event loop busy."""
        self._due = self._stamped_at = self._ticked_at = 0.0
        self._queued_seconds = 0.0
        self._phase = 0.0
        self._watchers = list(watchers)
        self._watched_at = 0.0
        self._clock = clock
        self._looks = Looks(WATCHERS_SECONDS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._schedstat = _open_schedstat()
        self._collecting_from: float | None = None

    def start(self) -> None:
        """Begin: with the loop, as soon as it runs, or with the heartbeat."""
        gc.callbacks.append(self._collect)
        os.register_at_fork(after_in_child=self._forget)
        loop: Any = getattr(
            self._worker, "loop", None
        )  # Gunicorn's own ASGI worker has one already.
        if hasattr(loop, "call_soon"):
            loop.call_soon(self._begin, loop)
        else:
            self._follow_heartbeat()
        self._stamps.reach(State.LOADED)

    def stop(self) -> None:
        """Stamp a last tick, and that the worker ends: it has served."""
        if self._loop is not None and self._stall_seconds > 0:
            self._stamps.tick(time.monotonic(), *self._read_clocks())
        self._loop = None
        self._stamps.leave(State.TICKING)
        self._stamps.end(time.monotonic())

    def _follow_heartbeat(self) -> None:
        """
        Find the loop in which the worker first sends its heartbeat, or go by the heartbeat itself.

        UvicornWorker makes its loop after the last hook, in ways that change with versions. But
        each class of worker calls `notify`, and those with a loop do so inside of it.
        """
        worker, original = self._worker, self._worker.notify

        def notify() -> None:
            original()
            now = time.monotonic()
            is_due = now - self._watched_at >= WATCHERS_SECONDS
            if not (is_due or self._stall_seconds):
                return  # Sync beats with each request.
            asyncio = sys.modules.get("asyncio")
            loop = asyncio._get_running_loop() if asyncio else None  # noqa: SLF001
            if loop is None:
                if is_due:
                    self._watch(now)
            elif worker.__dict__.get("notify") is notify:
                del worker.notify
                self._begin(loop)

        worker.notify = notify

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._stall_seconds > 0:
            self._due = self._ticked_at = time.monotonic()
            self._tick()
            self._stamps.reach(State.TICKING)
        else:
            loop.call_later(WATCHERS_SECONDS, self._watch_only)

    def _tick(self) -> None:
        if self._loop is None:
            return
        # Never in step with a loop that is blocked for the same time again and again.
        self._phase = (self._phase + GOLDEN_FRACTION) % 1.0
        seconds = self._tick_seconds * (1.0 - JITTER_FRACTION * self._phase)
        self._loop.call_later(seconds, self._tick)
        now = time.monotonic()
        if now - self._watched_at >= WATCHERS_SECONDS:
            self._watch(now)
        clocks = self._read_clocks()
        late_seconds, self._due = now - self._due, now + seconds
        queued_seconds, self._queued_seconds = clocks[1] - self._queued_seconds, clocks[1]
        # Ticks that come at any time find the loop busy as often as it is.
        code_seconds = late_seconds - queued_seconds
        if code_seconds > TIMER_SECONDS:
            self.count_busy(now - self._ticked_at)
        self._ticked_at = now
        is_late = late_seconds < self._stall_seconds
        is_late = is_late and code_seconds >= LATE_FRACTION * self._stall_seconds
        if not is_late or now - self._stamped_at > MAX_RUN * self._stall_seconds:
            self._stamped_at = now
            self._stamps.tick(now, *clocks)

    def _watch_only(self) -> None:
        if self._loop is None:
            return
        self._loop.call_later(WATCHERS_SECONDS, self._watch_only)
        self._watch(time.monotonic())

    def _watch(self, now: float) -> None:
        self._watched_at = now
        self._listener.check()
        now = self._clock()
        if not self._looks.may_judge(now):
            return
        for watcher in self._watchers:
            try:
                watcher(now)
            except Exception:
                self._watchers = [other for other in self._watchers if other is not watcher]
                self._worker.log.exception("gunicorn-autoconf: part of the watchdog crashed")

    def _read_clocks(self) -> tuple[float, float]:
        if self._schedstat is None:
            return time.thread_time(), 0.0
        return parse_schedstat(os.pread(self._schedstat, 100, 0).decode())[:2]

    def _collect(self, phase: str, info: dict[str, Any]) -> None:
        """Stamp a garbage collection; the collector calls it twice for each, in any thread."""
        if info["generation"] < 1:
            return  # Those of the young take microseconds.
        if phase == "start":
            self._collecting_from = time.thread_time()
            self._stamps.collecting(time.monotonic())
        elif self._collecting_from is not None:
            self._stamps.collected(time.thread_time() - self._collecting_from)
            self._collecting_from = None

    def _forget(self) -> None:
        """Leave the page alone in a child of the worker."""
        self._loop = None
        self._watchers = []
        with contextlib.suppress(ValueError):  # A child of a child has none.
            gc.callbacks.remove(self._collect)


def _open_schedstat() -> int | None:
    try:
        return os.open(f"/proc/self/task/{os.getpid()}/schedstat", os.O_RDONLY)
    except OSError:
        return None
