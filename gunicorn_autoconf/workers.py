"""UvicornWorker: the worker class that the plan names for ASGI. It runs uvicorn in the worker.

`uvicorn_worker.UvicornWorker` hands few of Gunicorn's settings to uvicorn, sends no heartbeat while
it drains, and is ended by the signal that it was sent before Gunicorn's hooks have run. This is
that class with Gunicorn's promises kept. It works without the rest of this package:
``gunicorn -k gunicorn_autoconf.workers.UvicornWorker app:app``.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import math
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
import uvicorn_worker
from gunicorn.arbiter import Arbiter

from gunicorn_autoconf.events import complete_log
from gunicorn_autoconf.server.leftovers import (
    describe_thread,
    end_children,
    end_children_at_exit,
    lasting_threads,
    log_tasks,
)

HEARTBEAT_SECONDS = 1.0

# What is given to cancelled tasks, and to threads after their requests: time to end, not to work.
END_SECONDS = 1.0

# How long connections without a request stay open when the worker begins to drain: longer than a
# busy client needs from connect() to its request. As long as under Gunicorn's gthread, where it is
# called STOP_KEEPALIVE_LINGER.
LINGER_SECONDS = 2.0

# Settings that have another name, and the same values, in uvicorn.
_SAME = {
    "root_path": "root_path",
    "asgi_loop": "loop",
    "asgi_lifespan": "lifespan",
    "websocket_max_message_size": "ws_max_size",
}
_HEAD_LIMITS = ("limit_request_line", "limit_request_fields", "limit_request_field_size")


def uvicorn_options(cfg: Any) -> dict[str, Any]:
    """
    Return what Gunicorn's configuration *cfg* means to uvicorn, beside what uvicorn-worker says.

    Where Gunicorn's default is a limit that uvicorn does not have, only another value counts.
    """
    settings = cfg.settings
    names = {*_SAME, *_HEAD_LIMITS, "worker_connections"}.intersection(settings)
    changed = {name for name in names if settings[name].get() != settings[name].default}
    options = {ours: settings[name].get() for name, ours in _SAME.items() if name in changed}
    # The arbiter, where the whole server stops, kills at `graceful_timeout`: what is cut then is
    # neither logged nor followed by the application's shutdown. So requests are cut just before.
    kept_seconds = min(END_SECONDS, cfg.graceful_timeout / 10)
    options["timeout_graceful_shutdown"] = cfg.graceful_timeout - kept_seconds
    options["callback_notify"] = None  # See _Server.
    if "worker_connections" in changed:
        # uvicorn refuses the connection that reaches its limit, itself counted.
        options["limit_concurrency"] = cfg.worker_connections + 1
    if changed.intersection(_HEAD_LIMITS):
        line, fields, size = (settings[name].get() for name in _HEAD_LIMITS)
        # One limit for the whole head, which only the parser h11 has. In Gunicorn 0 is "none".
        whole = sys.maxsize if 0 in (line, fields, size) else line + fields * size
        options["h11_max_incomplete_event_size"] = whole
    return options


class UvicornWorker(uvicorn_worker.UvicornWorker):  # type: ignore[misc]
    """
    Serves ASGI applications by uvicorn and keeps what Gunicorn promises of its settings and hooks.

    A subclass whose ``CONFIG_KWARGS`` holds options of `uvicorn.Config` has the last word on them.
    """

    CONFIG_KWARGS: dict[str, Any] = {}  # noqa: RUF012 - as the subclasses that exist declare it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cfg = kwargs["cfg"] if "cfg" in kwargs else args[5]
        complete_log(kwargs["log"] if "log" in kwargs else args[6])
        self.CONFIG_KWARGS = {**uvicorn_options(cfg), **self.CONFIG_KWARGS}
        super().__init__(*args, **kwargs)
        self.server: _Server | None = None
        self._status = 0

    def init_signals(self) -> None:
        """Handle signals as Gunicorn's other workers do; uvicorn takes over SIGTERM and SIGINT."""
        super().init_signals()
        faulthandler.disable()  # It hands on to the handler that it finds when it is enabled.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_quit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGABRT, self.handle_abort)
        self._print_stacks()

    def _print_stacks(self) -> None:
        """Have every thread's Python stack printed on SIGABRT, and where the process crashes."""
        streams = [getattr(handler, "stream", None) for handler in self.log.error_log.handlers]
        for stream in filter(None, (*streams, sys.stderr)):
            # A stream of somebody's own may be no file.
            with contextlib.suppress(AttributeError, OSError, RuntimeError, TypeError, ValueError):
                faulthandler.enable(stream)
                break

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """Reopen the logs, the one for the stacks too."""
        super().handle_usr1(sig, frame)
        self._print_stacks()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End (SIGTERM): at once while the application loads; uvicorn does it while it serves."""
        self.alive = False
        if self.server is None:
            sys.exit(0)
        self.server.should_exit = True

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """End without draining (SIGQUIT, and a SIGINT that uvicorn has drained for)."""
        if self.server is None:
            super().handle_quit(sig, frame)
        elif self.alive:
            self.alive = False
            self.cfg.worker_int(self)
            self.server.give_up()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """End a loop that was blocked for `timeout`, now that the stacks are printed (SIGABRT)."""
        self.aborted = True
        if self.server is not None:
            self.server.give_up()  # uvicorn takes what the next line raises for a failed request.
        super().handle_abort(sig, frame)

    def run(self) -> None:
        """Serve until told to end. What then still runs holds up the end for a moment only."""
        if not self.alive:
            sys.exit(0)  # SIGTERM came while something caught the exit: a callback of an import.
        self.server = _Server(self)
        new_loop = self.config.get_loop_factory() or asyncio.new_event_loop
        loop = new_loop()
        # Gunicorn's wrappers would be closed twice by uvloop, which knows sockets only.
        sockets = [getattr(listener, "sock", listener) for listener in self.sockets]
        try:
            loop.run_until_complete(self.server.serve(sockets))
            started = self.server.started
            self._status = int(self.aborted) if started else Arbiter.WORKER_BOOT_ERROR
        except asyncio.CancelledError:
            pass  # It was told to end before it had started.
        except SystemExit as end:  # uvicorn's, where the start failed; Gunicorn's on SIGABRT
            self._status = int(end.code or 0)
        finally:
            self._limit_the_end()
            # A start that failed leaves our own task in the loop.
            log_tasks(self, asyncio.all_tasks(loop) - {self.server.heart})
            _close(loop)
        sys.exit(self._status)

    def _limit_the_end(self) -> None:
        """Once Gunicorn's last hook has run, do not wait for threads: the requests are over."""
        hook = self.cfg.worker_exit

        def worker_exit(server: Arbiter, worker: UvicornWorker) -> None:
            try:
                hook(server, worker)
            finally:
                end_children_at_exit(self)
                threading.Thread(target=self._end_without_threads, daemon=True).start()

        self.cfg.set("worker_exit", worker_exit)

    def _end_without_threads(self) -> None:
        """End the process where a thread goes on, for which Python would wait without a limit."""
        time.sleep(END_SECONDS)
        end_children(self)  # A pool's thread goes on as long as its processes do.
        if threads := lasting_threads():
            names = [describe_thread(thread) for thread in threads]
            self.log.warning("Worker (pid:%s) does not wait for its threads: %s", self.pid, names)
            end_children(self)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    stream.flush()
            os._exit(self._status)


class _Server(uvicorn.Server):
    """uvicorn's server with Gunicorn's heartbeat, which uvicorn stops where it begins to drain."""

    def __init__(self, worker: UvicornWorker) -> None:
        worker.config.app = worker.wsgi
        super().__init__(worker.config)
        self.worker = worker
        self.drained_by = math.inf
        self.serving: asyncio.Task[None] | None = None
        self.heart: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, with heartbeats from before the application's start-up to after its shutdown."""
        self.serving = asyncio.current_task()
        self.heart = asyncio.ensure_future(self._beat())
        self._size_thread_pools()
        await super().serve(sockets)
        self.heart.cancel()

    async def _beat(self) -> None:
        """
        Tell the arbiter that the loop runs; end where Gunicorn's reloader says so or it died.

        uvicorn does not end while the application starts. With these heartbeats nobody would.
        """
        worker = self.worker
        # worker.timeout is half of the setting, or 0 where that is off.
        interval_seconds = min(HEARTBEAT_SECONDS, worker.timeout or HEARTBEAT_SECONDS)
        while time.monotonic() < self.drained_by:
            worker.notify()
            if worker.alive and worker.ppid != os.getppid():
                worker.log.info("Parent changed, shutting down: %s", worker)
                worker.alive = False
            if not worker.alive:
                self.should_exit = True
            if self.should_exit and not self.started and self.serving:
                self.serving.cancel()
            await asyncio.sleep(interval_seconds)

    def _size_thread_pools(self) -> None:
        """Let `threads` of the setting run synchronous code at once, where that is more than 1."""
        threads = self.worker.cfg.threads
        if threads <= 1:
            return
        from concurrent.futures import ThreadPoolExecutor  # Not for an arbiter without threads.

        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="asyncio"))
        if "anyio" in sys.modules:  # The application is loaded: Starlette or FastAPI, or neither.
            from anyio.to_thread import current_default_thread_limiter

            current_default_thread_limiter().total_tokens = threads

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Drain. Who has not ended by then is killed by the arbiter, for want of a heartbeat.

        uvicorn closes every connection that has no request at this moment, also those which have
        just been accepted, and those on which the head of one arrives slowly. These get their first
        answer, and kept ones are told to close.
        """
        began = time.monotonic()
        self.drained_by = began + self.worker.cfg.graceful_timeout
        for server in self.servers:
            server.close()
        state, limit = self.server_state, self.config.timeout_graceful_shutdown
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        # The other half is for what they ask.
        longest_until = began + self.worker.cfg.graceful_timeout / 2
        linger_until = min(began + LINGER_SECONDS, longest_until)
        while time.monotonic() < longest_until and not self.force_exit:
            await asyncio.sleep(0.05)  # What was accepted becomes a connection.
            # A TLS handshake that goes on is none of uvicorn's connections yet.
            is_over = not (state.connections or self.config.is_ssl)
            is_late = time.monotonic() >= linger_until
            if is_over or (is_late and not any(map(_receives_head, state.connections))):
                break
        if limit:
            left_seconds = max(began + limit - time.monotonic(), 0)
            self.config.timeout_graceful_shutdown = left_seconds  # type: ignore[assignment]
        await super().shutdown(sockets)

    def give_up(self) -> None:
        """End now: cancel what runs, and leave to the other workers what nobody has accepted."""
        for server in getattr(self, "servers", ()):  # uvicorn makes them when it starts.
            server.close()
        if self.server_state.tasks:  # Else uvicorn would log an error about none.
            self.config.timeout_graceful_shutdown = 0
        self.should_exit = self.force_exit = True


def _receives_head(connection: Any) -> bool:
    """Whether the head of a request has arrived on *connection* in part."""
    parser: Any = getattr(connection, "conn", None)
    if hasattr(parser, "their_state"):  # h11, which keeps what it cannot parse yet.
        return bool(parser.trailing_data[0])
    scope = getattr(connection, "scope", None) or {}  # httptools, which fills it piece by piece.
    return scope.get("type") == "http" and "method" not in scope


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left in *loop* and close it; do not wait for what will not be cancelled."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = loop.run_until_complete(asyncio.wait(tasks, timeout=END_SECONDS))
    if not tasks:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
