"""
Accepts the connections of one listener for an event loop: this worker's share, and no more.

Theory of operation. Everything runs in the loop. While the acceptor *listens*, the loop calls
`_readable` when connections wait. It accepts as many as `share_of` says, at once; where that is
none, it *pauses*: it listens again when the delay is over, or as soon as so many of the worker's
connections are closed that it is no busier than the others were. After `close` it does neither.

uvicorn's own way is the server of the loop: asyncio's takes all that wait, uvloop's one in each
turn of the loop, and neither can pause.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gunicorn_autoconf.fleet.peers import Peers
from gunicorn_autoconf.workers.listening import waiting_connections
from gunicorn_autoconf.workers.share import BATCH, Patience, share_of

# Nothing is left to accept with; asyncio waits as long (selector_events.ACCEPT_RETRY_DELAY).
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_SECONDS = 1.0


class Connections(set[Any]):
    """The open connections of a worker, as uvicorn keeps them, counted on the shared page."""

    def __init__(self, peers: Peers) -> None:
        super().__init__()
        self.peers = peers
        self.opening: set[asyncio.Protocol] = set()
        """Accepted, but not uvicorn's yet: a TLS handshake goes on, or the loop is about to."""
        self.waiting: dict[Acceptor, int] = {}
        """Who wants to hear that there are so few connections."""

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self) + len(self.opening)

    def add(self, connection: Any) -> None:
        """Take a connection in. It opens no longer: counted twice, it kept others away."""
        self.opening.discard(connection)
        super().add(connection)
        self.peers.open(self.count)

    def discard(self, connection: Any) -> None:
        """Let a connection go that is closed, or is now a WebSocket's."""
        super().discard(connection)
        count = self.count
        self.peers.open(count)
        if self.waiting:
            for acceptor, most in list(self.waiting.items()):
                if count <= most:
                    acceptor.resume()

    def remove(self, connection: Any) -> None:
        """Do the same for a WebSocket that is closed."""
        self.discard(connection)


class Acceptor:
    """Accepts the worker's *connections* at *listener*, in place of an `asyncio.Server`."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        connections: Connections,
    ) -> None:
        self._loop: Any = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._tls = tls
        self._connections = connections
        self._patience = Patience()
        self._timer: asyncio.TimerHandle | None = None
        self._opening: set[Any] = set()
        self._is_closed = False
        self._listen()

    def close(self) -> None:
        """Accept no more; the socket stays open."""
        if not self._is_closed:
            self._stop()
            self._is_closed = True

    async def wait_closed(self) -> None:
        """Do nothing: uvicorn waits for the connections itself."""

    def resume(self) -> None:
        """Listen again; the pause is over."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._connections.waiting.pop(self, None)
        if not self._is_closed:
            self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._readable)

    def _stop(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._connections.waiting.pop(self, None)
        if self._timer:
            self._timer.cancel()

    def _pause(self, seconds: float) -> None:
        self._stop()
        self._timer = self._loop.call_later(seconds, self.resume)

    def _readable(self) -> None:
        own, others = self._connections.count, self._connections.peers.connections()
        share = share_of(own, others, waiting_connections(self._listener) or 1)
        if share == 0:
            delay_seconds = self._patience.next_delay(time.monotonic())
            if delay_seconds is not None:
                self._pause(delay_seconds)
                self._connections.waiting[self] = min(others)
                return
        for _ in range(min(max(share, 1), BATCH)):
            if not self._accept():
                break
        self._connections.peers.open(self._connections.count)

    def _accept(self) -> bool:
        """Accept one connection; return whether there may be more."""
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return False  # Another worker came first.
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._pause(EXHAUSTED_SECONDS)
            text = "cannot accept a connection"
            self._loop.call_exception_handler({"message": text, "exception": error})
            return False
        accepted.setblocking(False)
        protocol = self._make_protocol()
        self._connections.opening.add(protocol)
        if self._tls:
            task = self._loop.create_task(self._shake_hands(accepted, protocol))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._open(accepted, protocol)
        return True

    def _open(self, accepted: socket.socket, protocol: asyncio.Protocol) -> None:
        """Have the loop serve *accepted*. A task that waits for that is a tenth of a connection."""
        opening = self._loop.connect_accepted_socket(lambda: protocol, accepted)
        try:
            opened = opening.send(None)
        except Exception:
            self._connections.opening.discard(protocol)
            accepted.close()
            raise
        self._opening.add(opening)

        def finish(_: Any) -> None:
            self._opening.discard(opening)
            self._connections.opening.discard(protocol)  # Should it not have entered itself.
            with suppress(StopIteration):
                opening.send(None)

        opened.add_done_callback(finish)

    async def _shake_hands(self, accepted: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self._tls)
        except OSError:  # A client that speaks no TLS, or has gone. `ssl.SSLError` is one.
            accepted.close()
        finally:
            self._connections.opening.discard(protocol)
            self._connections.peers.open(self._connections.count)
