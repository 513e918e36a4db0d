"""Where metrics and health answers are served or written: text to value. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

# "9100", "127.0.0.1:9100", "[::1]:9100". Without brackets, an IPv6 address has no clear port.
_TCP = re.compile(r"(?:(?P<host>[^\s:\[\]/@]+|\[[\w:.%]+\]):)?(?P<port>[0-9]{1,5})", re.ASCII)

LOOPBACK = "127.0.0.1"
# The kernel's limit for the path of a Unix socket, with the zero byte at its end: 108 bytes on
# Linux, 104 on macOS. Source: unix(7).
MAX_SOCKET_PATH_BYTES = 103


class Tcp(NamedTuple):
    """An IP address, without the brackets of IPv6, and a port; 0 for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """As `parse_tcp` reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class UnixSocket(NamedTuple):
    """The path of a Unix socket to listen on."""

    path: str

    def __str__(self) -> str:
        """As `parse_destination` reads it."""
        return f"unix:{self.path}"


class TextFile(NamedTuple):
    """The path of a file to write again and again."""

    path: str

    def __str__(self) -> str:
        """As `parse_destination` reads it."""
        return f"file:{self.path}"


Listening = Tcp | UnixSocket
Destination = Tcp | UnixSocket | TextFile


def parse_tcp(text: str) -> Tcp:
    """
    Return IP address and port; a port alone is one of this machine only.

    >>> str(parse_tcp("9100")), parse_tcp("[::]:9100").host
    ('127.0.0.1:9100', '::')

    Raises:
        ValueError: Neither form, or no such port.
    """
    found = _TCP.fullmatch(text)
    if found is None:
        if re.fullmatch(":[0-9]{1,5}", text, re.ASCII):
            raise ValueError(f"write 0.0.0.0{text} for all interfaces")
        raise ValueError
    port = int(found["port"])
    if port > 65535:
        raise ValueError("a port is at most 65535")
    host = (found["host"] or LOOPBACK).strip("[]")
    if host == "localhost":
        return Tcp(LOOPBACK, port)
    try:
        ip_address(host)
    except ValueError:
        # To look a name up may take long, and forks would wait for it.
        raise ValueError("a host is an IP address, or localhost") from None
    return Tcp(host, port)


def parse_destination(text: str) -> Destination:
    """
    Return host and port, or what ``unix:`` or ``file:`` and an absolute path name.

    >>> parse_destination("file:/var/lib/node_exporter/shop.prom")
    TextFile(path='/var/lib/node_exporter/shop.prom')

    Raises:
        ValueError: None of these.
    """
    kind, _, path = text.partition(":")
    if kind not in ("unix", "file"):
        return parse_tcp(text)
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ValueError("the path has to be absolute and name a file")
    if kind == "file":
        return TextFile(path)
    if len(path.encode(errors="surrogateescape")) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes")
    return UnixSocket(path)
