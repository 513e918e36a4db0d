"""One address to listen on: opens and closes its socket. Creates and removes Unix sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

from gunicorn_autoconf.plan.address import Listening, Tcp, UnixSocket

BACKLOG = 16
# A Unix socket is for Gunicorn's `user` and `group`, which a scraper can be given.
SOCKET_MODE = 0o660


def open_place(address: Listening, uid: int = -1, gid: int = -1) -> socket.socket:
    """
    Return a socket that listens at *address*, which no program inherits.

    A Unix socket is given to *uid* and *gid*, as Gunicorn does it with its own; one that a dead
    server has left is replaced.

    Raises:
        OSError: Another process listens there, or it is not allowed.
    """
    if isinstance(address, Tcp):
        listening = socket.create_server(
            address,
            family=socket.AF_INET6 if ":" in address.host else socket.AF_INET,
            backlog=BACKLOG,
            # All interfaces are those of IPv4, too.
            dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
        )
    else:
        listening = _open_unix(address.path, uid, gid)
    listening.setblocking(False)
    return listening


def _open_unix(path: str, uid: int, gid: int) -> socket.socket:
    _remove_dead(path)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(path)
        # Before anybody can connect.
        os.chmod(path, SOCKET_MODE)
        with suppress(PermissionError):
            os.chown(path, uid, gid)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_dead(path: str) -> None:
    """Remove a socket on which no process listens any more."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            if client.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)


def close_place(address: Listening, listening: socket.socket, inode: int | None) -> None:
    """Close a socket; remove the path of a Unix socket, unless another has taken its place."""
    listening.close()
    if isinstance(address, UnixSocket):
        with suppress(OSError):
            if os.stat(address.path).st_ino == inode:
                os.unlink(address.path)


def inode_of(address: Listening) -> int | None:
    """Return which file the path of a Unix socket is now."""
    return os.stat(address.path).st_ino if isinstance(address, UnixSocket) else None


def url_of(address: Listening, listening: socket.socket) -> str:
    """Return where a client finds it, the port that the kernel chose included."""
    if isinstance(address, UnixSocket):
        return str(address)
    return f"http://{address._replace(port=listening.getsockname()[1])}"
