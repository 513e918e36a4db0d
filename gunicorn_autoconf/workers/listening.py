"""What the kernel knows of a listening socket, and how its queue is emptied. Asks sockets."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

# `tcpi_unacked`, which for a listening socket is the length of its accept queue.
# Source: Linux, include/uapi/linux/tcp.h, struct tcp_info; net/ipv4/tcp.c, tcp_get_info.
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_UNACKED = struct.Struct("24xI")

# How long a client may take to complete a handshake that has begun: longer than a round trip.
HANDSHAKE_SECONDS = 0.2

# A socket filter that drops what opens a connection (SYN) and lets everything else pass: load byte
# 13 of the TCP header, the flags; where bit 1 is set, return 0, else all. Source: Linux,
# networking/filter.rst, "BPF engine and instruction set".
_SYN_FILTER = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER = 26


def has_own_listeners(cfg: Any) -> bool:
    """
    Return whether each worker has listeners that no other process has, by the setting `reuse_port`.

    Older Gunicorns set the socket option, and have the workers share the arbiter's listeners all
    the same.
    """
    from gunicorn.arbiter import Arbiter

    makes_them = "reuse_port" in Arbiter.spawn_worker.__code__.co_names
    return bool(cfg.reuse_port) and makes_them


def waiting_connections(listener: socket.socket) -> int | None:
    """Return how many connections wait for `accept`; None where the kernel does not tell."""
    if _TCP_INFO is None:
        return None
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _UNACKED.size)
        return int(_UNACKED.unpack(info)[0])
    except (OSError, struct.error):  # A Unix socket; a sandbox.
        return None


def refuse_new(listeners: Iterable[Any]) -> bool:
    """
    Have the kernel begin no more handshakes on *listeners*, which this process alone has.

    Those that have begun are completed. A client that tries meanwhile tries again after a second,
    and then meets another worker. Returns False where the kernel does not do it.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # 1 MiB, for a server with `reuse_port` only.

    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in _SYN_FILTER))
    # struct sock_fprog: how many steps, where they are.
    program = struct.pack("@HP", len(_SYN_FILTER), ctypes.addressof(code))
    with suppress(OSError):
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return True
    return False
