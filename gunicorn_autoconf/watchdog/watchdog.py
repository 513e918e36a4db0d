"""The worker's thread that sees a stall and says what is stuck. Starts a thread and logs.

Never raises into the server. The thread does not outlive a fork, and is not there while one is
made: a process with one thread forks without the risk, and from Python 3.12 on without a warning.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.watchdog.heartbeat import HeartbeatWatch
from gunicorn_autoconf.watchdog.tally import Tally
from gunicorn_autoconf.watchdog.threads import find_origins
from gunicorn_autoconf.watchdog.witnesses import OwnDelay
from gunicorn_autoconf.worker_classes import FAMILIES, UVICORN, Interface, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.watchdog.loop import LoopWatch

THREAD_NAME = "gunicorn-autoconf watchdog"

# How long an end or a fork waits for the thread, which may be writing to a slow log.
JOIN_SECONDS = 1.0
# With nothing to look at.
IDLE_SECONDS = 60.0


def start_watchdog(worker: Worker, stall_warning_seconds: float) -> Watchdog | None:
    """Watch *worker*, whose application is loaded; None where there is nothing to watch."""
    family = family_of(type(worker))
    is_wsgi = family is not None and family.interface is Interface.WSGI
    stall = 0.0 if is_wsgi else stall_warning_seconds
    if stall <= 0 and worker.cfg.timeout <= 0:
        return None
    if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
        # gevent's and eventlet's threads take turns in one thread: a stall would stop ours too.
        worker.log.info("gunicorn-autoconf: no watchdog in a worker whose threads are green")
        return None
    watchdog = Watchdog(worker, stall)
    watchdog.start()
    return watchdog


class Watchdog:
    """The watchdog of one worker; *stall_seconds* is 0 where it has no event loop."""

    def __init__(self, worker: Worker, stall_seconds: float) -> None:
        self._worker = worker
        self._stall_seconds = stall_seconds
        self._origins = find_origins(getattr(worker.app, "app_uri", None))
        self._own = OwnDelay()
        self._tally = Tally()
        self._told = self._closed = False
        self._ends_unheard = family_of(type(worker)) is not FAMILIES[UVICORN]
        self._loop: LoopWatch | None = None
        timeout = worker.cfg.timeout
        self._heartbeat = (
            HeartbeatWatch(
                worker,
                timeout_seconds=timeout,
                origins=self._origins,
                warn=self._warn,
                error=self._error,
            )
            if timeout > 0
            else None
        )
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._stopping = False
        # Open when there is something to do. An Event would cost three times as much to wait for.
        self._wake = threading.Lock()

    def start(self) -> None:
        """Start to watch; the event loop as soon as it runs."""
        if self._stall_seconds > 0:
            self._find_loop()
        self._start_thread()
        atexit.register(self.close)
        os.register_at_fork(before=self._stop_thread, after_in_parent=self._start_thread)

    def close(self) -> None:
        """End the thread and log what was counted; the first call counts."""
        if os.getpid() != self._pid or self._closed:
            return
        self._closed = self._stopping = True
        self._stop_thread()
        if self._loop:
            self._loop.close()
        self._tell()

    def _find_loop(self) -> None:
        """
        Watch the loop in which the worker first tells that it lives.

        UvicornWorker makes its loop after the last hook, in ways that change with versions. But
        each class of worker calls `notify`, and those with a loop do so inside of it.
        """
        worker, original = self._worker, self._worker.notify

        def notify() -> None:
            original()
            asyncio = sys.modules.get("asyncio")
            loop = asyncio._get_running_loop() if asyncio else None  # noqa: SLF001
            if loop is None or self._loop is not None:
                return
            if worker.__dict__.get("notify") is notify:
                del worker.notify
            self._watch(loop)

        worker.notify = notify

    def _watch(self, loop: Any) -> None:
        try:
            from gunicorn_autoconf.watchdog.loop import LoopWatch  # imports asyncio

            self._loop = LoopWatch(
                loop,
                threshold_seconds=self._stall_seconds,
                origins=self._origins,
                own=self._own,
                tally=self._tally,
                say=self._warn,
            )
            self._wake_up()
        except Exception as error:
            self._fail(error)

    # The thread

    def _start_thread(self) -> None:
        if self._stopping or os.getpid() != self._pid:
            return
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._thread = None

    def _stop_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None or os.getpid() != self._pid or thread is threading.current_thread():
            return
        self._wake_up()
        thread.join(JOIN_SECONDS)

    def _wake_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # It is open already.
            self._wake.release()

    def _run(self) -> None:
        # A thread that was not joined in time ends as soon as it sees another in its place.
        wake, me = self._wake, threading.current_thread()
        seconds = 0.0
        try:
            while self._thread is me:
                self._own.begin()
                due = time.monotonic() + seconds
                wake.acquire(timeout=seconds)
                now = time.monotonic()
                if self._thread is me:
                    seconds = self._check(now, now - due)
        except Exception as error:
            self._stopping = True
            self._fail(error)

    def _check(self, now: float, late_seconds: float) -> float:
        delay = self._own.end(late_seconds)
        seconds = IDLE_SECONDS
        if self._loop:
            seconds = min(seconds, self._loop.check(now, delay))
            if self._ends_unheard and _uvicorn_leaves():
                self._tell()
        if self._heartbeat:
            seconds = min(seconds, self._heartbeat.check(now, delay))
        return seconds

    # The log

    def _tell(self) -> None:
        """Log what was counted, once."""
        if self._told:
            return
        self._told = True
        counted = self._tally.render()
        if counted:
            self._warn(counted)

    def _warn(self, text: str) -> None:
        self._worker.log.warning("gunicorn-autoconf: %s", text)

    def _error(self, text: str) -> None:
        self._worker.log.error("gunicorn-autoconf: %s", text)

    def _fail(self, error: Exception) -> None:
        with contextlib.suppress(Exception):  # The log itself may be broken.
            self._worker.log.error(
                "gunicorn-autoconf: the watchdog failed and watches no more", exc_info=error
            )


def _uvicorn_leaves() -> bool:
    """
    Return whether uvicorn's server has been told to stop.

    It sends itself the signal again when it is done, and no hook and no exit handler runs: only
    our own worker class keeps that from happening.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))
