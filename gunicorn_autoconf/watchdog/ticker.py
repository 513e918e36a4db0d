"""
What a worker does for the watchdog while it serves: stamp the time. Starts no thread.

Theory of operation. An event loop runs `Ticker._tick` by ``call_later``, some 20 times a second; a
tick stamps the time and the main thread's clocks on the shared page, which the arbiter reads. Once
a second the tick also runs the watchers: what needs the interpreter and finds it running, such as
full thread pools or what a start awaits, is seen from inside, at hardly any cost. Workers without
a loop have their watchers run by their heartbeat, `notify`, in the main thread as well. Nothing
here raises into the worker.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.watchdog.clocks import parse_schedstat

if TYPE_CHECKING:
    import asyncio  # A worker without a loop has no use for it.

    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.watchdog.listener import Listener
    from gunicorn_autoconf.watchdog.stamps import Stamps

WATCHERS_SECONDS = 1.0

Watcher = Callable[[float], None]


class Ticker:
    """
    Stamps the time in one worker.

    Args:
        worker: The worker, whose application is loaded.
        stamps: Where to.
        listener: What answers the arbiter.
        tick_seconds: How often an event loop stamps; 0 for never.
        watchers: Run about once a second, with the time.
    """

    def __init__(
        self,
        worker: Worker,
        stamps: Stamps,
        listener: Listener,
        *,
        tick_seconds: float,
        watchers: Sequence[Watcher],
    ) -> None:
        self._worker = worker
        self._stamps = stamps
        self._listener = listener
        self._tick_seconds = tick_seconds
        self._watchers = list(watchers)
        self._watched_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._schedstat = _open_schedstat()
        self._collecting_from: float | None = None

    def start(self) -> None:
        """Begin: with the loop, as soon as it runs, or with the heartbeat."""
        gc.callbacks.append(self._collect)
        os.register_at_fork(after_in_child=self._forget)
        loop = getattr(self._worker, "loop", None)  # Gunicorn's own ASGI worker has one already.
        if hasattr(loop, "call_soon"):
            loop.call_soon(self._begin, loop)
        else:
            self._follow_heartbeat()

    def stop(self) -> None:
        """Expect no tick any more; the worker ends."""
        self._loop = None
        self._stamps.stop_ticking()

    def _follow_heartbeat(self) -> None:
        """
        Find the loop in which the worker first sends its heartbeat, or go by the heartbeat itself.

        UvicornWorker makes its loop after the last hook, in ways that change with versions. But
        each class of worker calls `notify`, and those with a loop do so inside of it.
        """
        worker, original = self._worker, self._worker.notify

        def notify() -> None:
            original()
            asyncio = sys.modules.get("asyncio")
            loop = asyncio._get_running_loop() if asyncio else None  # noqa: SLF001
            if loop is None:
                self._watch(time.monotonic())
            elif worker.__dict__.get("notify") is notify:
                del worker.notify
                self._begin(loop)

        worker.notify = notify

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._tick_seconds > 0:
            self._tick()
        else:
            loop.call_later(WATCHERS_SECONDS, self._watch_only)

    def _tick(self) -> None:
        if self._loop is None:
            return
        self._loop.call_later(self._tick_seconds, self._tick)
        now = time.monotonic()
        if now - self._watched_at >= WATCHERS_SECONDS:
            self._watch(now)
        self._stamps.tick(now, *self._read_clocks())

    def _watch_only(self) -> None:
        if self._loop is None:
            return
        self._loop.call_later(WATCHERS_SECONDS, self._watch_only)
        self._watch(time.monotonic())

    def _watch(self, now: float) -> None:
        self._watched_at = now
        self._listener.check()
        for watcher in self._watchers:
            try:
                watcher(now)
            except Exception:
                self._watchers = [other for other in self._watchers if other is not watcher]
                self._worker.log.exception("gunicorn-autoconf: part of the watchdog crashed")

    def _read_clocks(self) -> tuple[float, float]:
        if self._schedstat is None:
            return time.thread_time(), 0.0
        return parse_schedstat(os.pread(self._schedstat, 100, 0).decode())

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
        gc.callbacks.remove(self._collect)


def _open_schedstat() -> int | None:
    try:
        return os.open(f"/proc/self/task/{os.getpid()}/schedstat", os.O_RDONLY)
    except OSError:
        return None
