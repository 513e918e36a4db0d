"""Has uvicorn send the head of a response together with the beginning of its body.

uvicorn hands both to the transport one after the other, and an event loop passes each on at once:
two system calls and two packets for each response, a quarter of the CPU time of one that computes
nothing. ASGI lets a server wait for the body.

Theory of operation. uvicorn's connections get a `JoinedWrites` in place of their transport. It
holds a head until the next write. Where none follows before the loop's next turn, as the
application awaits something first, or where anything else is asked of the transport, it sends the
head alone. So all bytes leave in their order, and none waits for what the application waits for.
"""

from __future__ import annotations

import asyncio
from typing import Any

HEAD = b"HTTP/1."
# To copy more than this costs more than another system call.
COPIED_BYTES = 65536


def join_writes(config: Any) -> None:
    """Have the connections of uvicorn's *config* join their writes, once it has chosen a class."""
    load = config.load

    def load_and_join() -> None:
        load()
        if config.http_protocol_class.__module__.startswith("uvicorn."):
            config.http_protocol_class = _joining(config.http_protocol_class)

    config.load = load_and_join


def _joining(base: Any) -> Any:
    class Joining(base):  # type: ignore[misc]
        __module__, __qualname__ = base.__module__, base.__qualname__
        loop: asyncio.AbstractEventLoop
        transport: Any

        def connection_made(self, transport: Any) -> None:
            super().connection_made(JoinedWrites(transport, self.loop))

        def handle_websocket_upgrade(self, *args: Any) -> None:
            self.transport = self.transport.alone()
            super().handle_websocket_upgrade(*args)

    return Joining


class JoinedWrites:
    """Stands in for *transport*, to which it hands on all that it does not do itself."""

    __slots__ = ("_call_soon", "_head", "_transport", "_write", "is_closing")

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._write = transport.write
        self._call_soon = loop.call_soon
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: Any) -> None:
        """Send *data*, with the head before it, or hold it where it is one."""
        if head := self._head:
            if len(data) <= COPIED_BYTES:
                data = head + data  # What is no bytes fails here, and the head is sent alone.
                self._head = b""
            else:
                self._send_head()
        elif data[:7] == HEAD:  # A body may begin so as well: it is sent a moment later.
            self._head = bytes(data)
            self._call_soon(self._send_head)
            return
        self._write(data)

    def alone(self) -> Any:
        """Return the transport itself; nothing is held."""
        self._send_head()
        return self._transport

    def _send_head(self) -> None:
        if head := self._head:
            self._head = b""
            if not self.is_closing():
                self._write(head)

    def __getattr__(self, name: str) -> Any:
        """Hand on what is asked, after what is held."""
        return getattr(self.alone(), name)
