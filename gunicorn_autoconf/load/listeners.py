"""How many connections wait to be accepted at each listening socket. Asks the kernel."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from gunicorn_autoconf.load.capacity import Backlog

# For a listening socket Linux puts the number of connections that wait in the place of
# `tcpi_unacked`, after 8 bytes and four 32-bit numbers. Observed to be exact for 0, 1, 10 and 64.
# Source: Linux, net/ipv4/tcp.c, tcp_get_info(), "if (info->tcpi_state == TCP_LISTEN)".
_WAITING_AT = 24
_LISTENING = 10
_LEAST_BYTES = 28
_READ_BYTES = 104


def read_backlogs(listeners: Iterable[Any]) -> tuple[Backlog, ...]:
    """
    Return how many connections wait at each of Gunicorn's *listeners*.

    The kernel does not tell it of a Unix socket, and other systems than Linux tell it of none.
    """
    backlogs = []
    for listener in list(listeners):
        with suppress(OSError, AttributeError):  # Gunicorn has closed it.
            backlogs.append(Backlog(str(listener), _read_waiting(listener.sock)))
    return tuple(backlogs)


def _read_waiting(sock: Any) -> int | None:
    option = getattr(socket, "TCP_INFO", None)
    if option is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return parse_waiting(sock.getsockopt(socket.IPPROTO_TCP, option, _READ_BYTES))


def parse_waiting(info: bytes) -> int | None:
    """Return how many connections wait, from the kernel's `tcp_info` of a listening socket."""
    if len(info) < _LEAST_BYTES or info[0] != _LISTENING:
        return None
    (waiting,) = struct.unpack_from("=I", info, _WAITING_AT)
    return int(waiting)
