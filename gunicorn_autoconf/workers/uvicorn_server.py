"""uvicorn's server inside a Gunicorn worker: its heartbeat, its thread pools, its drain."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from gunicorn_autoconf.workers.acceptor import Acceptor, Connections
from gunicorn_autoconf.workers.listening import (
    HANDSHAKE_SECONDS,
    has_own_listeners,
    refuse_new,
    waiting_connections,
)

if TYPE_CHECKING:
    import socket

HEARTBEAT_SECONDS = 1.0

# How long connections without a request stay open when the worker begins to drain: longer than a
# busy client needs from connect() to its request. As long as under Gunicorn's gthread, where it is
# called STOP_KEEPALIVE_LINGER.
LINGER_SECONDS = 2.0


class Server(uvicorn.Server):
    """uvicorn's server with Gunicorn's heartbeat, which uvicorn stops where it begins to drain."""

    def __init__(self, worker: Any) -> None:
        worker.config.app = worker.wsgi
        super().__init__(worker.config)
        self.worker = worker
        self.drained_by = math.inf
        self.serving: asyncio.Task[None] | None = None
        self.heart: asyncio.Task[None] | None = None
        self.connections: Connections | None = None
        # With `reuse_port` no other worker accepts what waits here.
        if (peers := worker.peers) and not worker.cfg.reuse_port:
            self.connections = self.server_state.connections = Connections(peers)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, with heartbeats from before the application's start-up to after its shutdown."""
        self.serving = asyncio.current_task()
        self.heart = asyncio.ensure_future(self._beat())
        self._size_thread_pools()
        await super().serve(sockets)
        self.heart.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept: by ourselves where other workers can be seen."""
        if type(asyncio.get_running_loop()).__module__ == "uvloop":
            self.config.loaded_app = _in_order(self.config.loaded_app, self.server_state)
        if self.connections is None:
            await super().startup(sockets)
            return
        await super().startup([])
        if not self.started:
            return  # The application's start-up has failed.
        config, connections = self.config, self.connections

        def make_protocol() -> asyncio.Protocol:
            # As uvicorn's own `startup` does.
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        for listener in sockets or ():
            listener.setblocking(False)
            server: Any = Acceptor(listener, make_protocol, config.ssl, connections)
            self.servers.append(server)
        connections.peers.accept()

    async def _beat(self) -> None:
        """
        Tell the arbiter that the loop runs; end where Gunicorn's reloader says so or it died.

        uvicorn does not end while the application starts. With these heartbeats the arbiter would
        not end it either.
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
        if self.connections is not None:
            self.connections.peers.stop()
        if has_own_listeners(self.worker.cfg) and refuse_new(sockets or ()):
            # What waits or is about to is accepted meanwhile.
            await asyncio.sleep(HANDSHAKE_SECONDS)
            is_empty = False
            while not is_empty and time.monotonic() < self.drained_by:
                await asyncio.sleep(0.01)
                is_empty = not any(map(waiting_connections, sockets or ()))
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
        """End now: cancel what runs, and leave to the other workers what is not accepted yet."""
        for server in getattr(self, "servers", ()):  # uvicorn makes them when it starts.
            server.close()
        if self.server_state.tasks:  # Else uvicorn would log an error about none.
            self.config.timeout_graceful_shutdown = 0
        self.should_exit = self.force_exit = True


def _in_order(app: Any, state: Any) -> Any:
    """
    Return *app*, with its requests in the order in which they arrived; uvloop's own is another.

    uvloop reads from all connections that have sent something, then runs all these requests. Until
    it asks the kernel again, epoll keeps the connections that it has reported in their old order,
    ahead of any that sends meanwhile. So a connection that has just missed one round is the last
    of the next: with 16 that compute 10 ms each, p99 was 313 ms and the median 162. To ask once
    between reading and running ends that, for 0.5 us; asyncio's own loop does.
    """

    async def call(scope: Any, receive: Any, send: Any) -> Any:
        if len(state.tasks) > 1:
            await asyncio.sleep(0)
        return await app(scope, receive, send)

    return call


def _receives_head(connection: Any) -> bool:
    """Whether the head of a request has arrived on *connection* in part."""
    parser: Any = getattr(connection, "conn", None)
    if hasattr(parser, "their_state"):  # h11, which keeps what it cannot parse yet.
        return bool(parser.trailing_data[0])
    scope = getattr(connection, "scope", None) or {}  # httptools, which fills it piece by piece.
    return scope.get("type") == "http" and "method" not in scope
