"""Where a server listens, and how many connections wait there. Reads /proc."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

from gunicorn_autoconf.load.capacity import Backlog

_LISTENING = "0A"
_ACCEPTS = "00010000"
# Gunicorn's own control socket takes no requests.
_CONTROL = ".ctl"


def read_listeners(pids: Iterable[int]) -> tuple[Backlog, ...]:
    """
    Return the listening sockets of the first of *pids* that has any, the arbiter before workers.

    None are returned where the system does not show them, or not of another user.
    """
    for pid in pids:
        inodes = set(_inodes(pid))
        found: list[Backlog] = []
        for name, parse in (("tcp", parse_tcp), ("tcp6", parse_tcp), ("unix", parse_unix)):
            with (
                suppress(OSError),
                open(f"/proc/{pid}/net/{name}", encoding="utf-8", errors="replace") as file,
            ):
                found += parse(file, inodes) if inodes else ()
        if found:
            return tuple(found)
    return ()


def _inodes(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):  # Closed meanwhile.
                link = os.readlink(f"{folder}/{name}")
                if link.startswith("socket:["):
                    yield link[8:-1]


def parse_tcp(rows: Iterable[str], inodes: set[str]) -> Iterator[Backlog]:
    """
    Yield those of *inodes* that listen, from ``/proc/net/tcp`` or ``tcp6``.

    The kernel lists what listens first, so that the rest, of which there may be many thousands, is
    not read. For what listens ``rx_queue`` is the number of connections that wait.

    Source: Linux, net/ipv4/tcp_ipv4.c, `get_tcp4_sock` and `tcp_seq_start`.
    """
    for number, row in enumerate(rows):
        words = row.split()
        if number == 0 or len(words) < 10:
            continue
        _, local, _, state, queues, *_ = words
        if state != _LISTENING:
            return
        if words[9] in inodes:
            yield Backlog(_address(local), int(queues.partition(":")[2], 16))


def parse_unix(rows: Iterable[str], inodes: set[str]) -> Iterator[Backlog]:
    """Yield those of *inodes* that listen, from ``/proc/net/unix``."""
    for row in rows:
        words = row.split(maxsplit=7)
        if len(words) == 8 and words[3] == _ACCEPTS and words[6] in inodes:
            path = words[7].strip()
            if not path.endswith(_CONTROL):
                yield Backlog(f"unix:{path}", None)


def _address(text: str) -> str:
    """
    Return an address and its port as people write them.

    >>> _address("0100007F:1F40")
    '127.0.0.1:8000'
    >>> _address("00000000000000000000000001000000:1F40")
    '[::1]:8000'
    """
    host, _, port = text.partition(":")
    # The kernel shows each 32 bits as a number of this machine.
    packed = b"".join(
        int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8)
    )
    if len(packed) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, packed)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{int(port, 16)}"
