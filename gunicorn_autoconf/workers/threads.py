"""ThreadWorker: Gunicorn's gthread that leaves connections to less busy workers.

It works without the rest of this package:
``gunicorn -k gunicorn_autoconf.workers.ThreadWorker --threads 8 app:app``.

Theory of operation. Everything here runs in the main thread, which accepts while the threads of the
pool serve. A worker that has more than its share of the connections *pauses*: it takes its
listeners out of the poller and puts them back when the delay is over, or as soon as it has no more
connections than the others had. A connection is *given up* whose request does not end: the worker
counts it no longer, finishes the others and ends.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from gunicorn.workers import gthread

from gunicorn_autoconf.fleet.peers import Peers
from gunicorn_autoconf.workers.ending import limit_the_end
from gunicorn_autoconf.workers.listening import (
    HANDSHAKE_SECONDS,
    has_own_listeners,
    refuse_new,
    waiting_connections,
)
from gunicorn_autoconf.workers.share import BATCH, Patience, share_of

# Gunicorn 23 and 24 have another loop, whose listeners cannot be taken out.
CAN_PAUSE = hasattr(gthread.ThreadWorker, "set_accept_enabled")


class ThreadWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """Serves WSGI applications by threads, as Gunicorn's class of that name does."""

    __module__ = "gunicorn_autoconf.workers"  # Where users find it.

    # The other workers, where our hooks know them.
    peers: Peers | None = None
    sockets: list[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = Patience()
        self._paused_until = 0.0
        self._paused_above = math.inf
        self._given_up: set[Any] = set()

    def run(self) -> None:
        """Serve until told to end. A thread whose request was given up is not waited for."""
        if self.cfg.reuse_port:
            self.peers = None  # No other worker accepts what waits here.
        if self.peers:
            self.peers.accept()
        super().run()
        if self._given_up:
            limit_the_end(self)

    def accept(self, *args: Any) -> None:
        """Accept this worker's share of what waits at a listener."""
        listener, connections = args[-1], self.nr_conns
        if self.peers is None or not CAN_PAUSE:
            super().accept(*args)
            return
        others = self.peers.connections()
        share = share_of(connections, others, waiting_connections(listener.sock) or 1)
        if share == 0:
            now = time.monotonic()
            delay_seconds = self._patience.next_delay(now)
            if delay_seconds is not None:
                self._paused_until, self._paused_above = now + delay_seconds, min(others)
                self.set_accept_enabled(False)
                return
        for _ in range(min(max(share, 1), BATCH, self.worker_connections - connections)):
            before = self.nr_conns
            super().accept(*args)
            if self.nr_conns == before:
                break  # Another worker came first.
        self.peers.open(self.nr_conns)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept or not, as the loop asks in each of its turns; not in a pause."""
        is_paused = time.monotonic() < self._paused_until and self.nr_conns > self._paused_above
        is_over = not enabled and not self.alive and self._accepting
        if is_over and has_own_listeners(self.cfg):
            self._empty_queues()
        if not (enabled and is_paused):
            super().set_accept_enabled(enabled)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, at most until a pause is over."""
        if self.peers:
            self.peers.open(self.nr_conns)
            left_seconds = self._paused_until - time.monotonic()
            if left_seconds > 0:
                timeout = min(timeout, left_seconds)
        super().wait_for_and_dispatch_events(timeout)

    def watch_queue(self) -> Callable[[], float]:
        """
        Have each request noted that waits for a thread.

        Return what tells, in a thread that serves one, for how many seconds it has waited.
        """
        local = threading.local()
        enqueue, handle = super().enqueue_req, super().handle

        def enqueue_req(conn: Any) -> None:
            conn.queued_at = time.monotonic()
            enqueue(conn)

        def handle_queued(conn: Any) -> Any:
            local.since = conn.queued_at
            return handle(conn)

        self.__dict__.update(enqueue_req=enqueue_req, handle=handle_queued)
        return lambda: time.monotonic() - local.since

    def give_up(self, conn: Any) -> None:
        """End without waiting for the request on *conn*; finish the others."""
        if conn in self._given_up:
            return
        self._given_up.add(conn)
        if CAN_PAUSE:
            self.nr_conns -= 1
            self.method_queue.defer(lambda: None)  # The loop is to look.
        else:
            for future in [each for each in self.futures if each.conn is conn]:
                self.futures.remove(future)
        self.alive = False

    def finish_request(self, *args: Any) -> None:
        """Take a connection back whose request is over, also one that was given up."""
        if CAN_PAUSE and args[0] in self._given_up:
            self._given_up.discard(args[0])
            self.nr_conns += 1
        super().finish_request(*args)

    def _empty_queues(self) -> None:
        """Accept what waits at this worker's own listeners, and close them: none else would."""
        if not refuse_new(listener.sock for listener in self.sockets):
            return
        until = time.monotonic() + HANDSHAKE_SECONDS
        while (left_seconds := until - time.monotonic()) > 0:
            self.notify()
            super().wait_for_and_dispatch_events(left_seconds)
        for listener in self.sockets:
            while waiting_connections(listener.sock):
                super().accept(listener)
        super().set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        self.sockets = []
