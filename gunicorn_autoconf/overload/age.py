"""
How long a request has waited before the application sees it. Reads a clock, asks sockets.

A proxy's header counts where the proxy is trusted. Beside it the kernel knows when the last bytes
of a TCP connection arrived, whether it was accepted by then or not: that includes the wait for
`accept`, which no other clock of a worker sees. Of a Unix socket the kernel does not tell; there
our worker of threads knows how long a request has waited for one.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from gunicorn_autoconf.load.queue import ASGI_HEADER, WSGI_HEADER, TrustedProxies, queue_seconds

# `tcpi_last_data_recv`, in ms. Of 0.3 s in the accept queue it told 300 ms. A connection without
# data counts from its handshake. Source: Linux, include/uapi/linux/tcp.h, struct tcp_info;
# net/ipv4/tcp_input.c, tcp_event_data_recv.
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_LAST_DATA_RECEIVED = struct.Struct("52xI")

_WSGI_KEY = "HTTP_" + WSGI_HEADER.replace("-", "_")


def seconds_since_data(connection: Any) -> float:
    """Return how long ago the last bytes on *connection* arrived; 0 where nothing tells."""
    if _TCP_INFO is None:
        return 0.0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_RECEIVED.size)
        return int(_LAST_DATA_RECEIVED.unpack(info)[0]) / 1000
    except (AttributeError, OSError, struct.error):
        return 0.0  # No TCP, a sandbox, or closed by now.


def wsgi_age(
    environ: dict[str, Any], proxies: TrustedProxies, queued_seconds: Callable[[], float]
) -> float:
    """
    Return how many seconds ago a WSGI request reached the first that knows.

    Where the kernel does not tell, the worker's own *queued_seconds* count.
    """
    age_seconds = seconds_since_data(environ.get("gunicorn.socket")) or queued_seconds()
    if (text := environ.get(_WSGI_KEY)) and proxies.trusts(environ["REMOTE_ADDR"] or None):
        return max(queue_seconds(text, time.time()) or 0.0, age_seconds)
    return age_seconds


def asgi_header_age(scope: Any, proxies: TrustedProxies) -> float:
    """Return how many seconds ago a trusted proxy got an ASGI request; 0 where none tells."""
    for name, value in scope["headers"]:
        if name == ASGI_HEADER:
            client = scope.get("client")
            if not proxies.trusts(client[0] if client else None):
                break
            return queue_seconds(value.decode("latin-1"), time.time()) or 0.0
    return 0.0


def asgi_connection(receive: Any) -> Any:
    """Return the socket of the request that uvicorn calls with *receive*; None of others."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    return transport.get_extra_info("socket") if transport else None
