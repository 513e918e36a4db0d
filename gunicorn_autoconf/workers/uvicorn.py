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
import signal
import sys
from types import FrameType
from typing import Any

import uvicorn_worker
from gunicorn.arbiter import Arbiter

from gunicorn_autoconf.events import complete_log
from gunicorn_autoconf.fleet.peers import Peers
from gunicorn_autoconf.server.leftovers import log_tasks
from gunicorn_autoconf.workers.ending import END_SECONDS, limit_the_end
from gunicorn_autoconf.workers.joined_writes import join_writes
from gunicorn_autoconf.workers.uvicorn_server import Server

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
    options["callback_notify"] = None  # See uvicorn_server.py.
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

    __module__ = "gunicorn_autoconf.workers"  # Where users find it.

    CONFIG_KWARGS: dict[str, Any] = {}  # noqa: RUF012 - as the subclasses that exist declare it

    # The other workers, where our hooks know them.
    peers: Peers | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cfg = kwargs["cfg"] if "cfg" in kwargs else args[5]
        complete_log(kwargs["log"] if "log" in kwargs else args[6])
        self.CONFIG_KWARGS = {**uvicorn_options(cfg), **self.CONFIG_KWARGS}
        super().__init__(*args, **kwargs)
        join_writes(self.config)
        self.server: Server | None = None
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
            # A stream that the application made may be no file.
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
        self.server = Server(self)
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
            limit_the_end(self, self._status)
            # A start that failed leaves our own task in the loop.
            log_tasks(self, asyncio.all_tasks(loop) - {self.server.heart})
            _close(loop)
        sys.exit(self._status)


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
