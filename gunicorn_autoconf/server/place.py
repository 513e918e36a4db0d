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


class Place:
    """One address, and the socket that listens there once it is open."""

    def __init__(self, address: Listening) -> None:
        self.address = address
        self.listening: socket.socket | None = None
        self._inode: int | None = None

    def open(self, uid: int = -1, gid: int = -1) -> str:
        """
        Listen, by a socket that no program inherits; return where a client finds it.

        A Unix socket is given to *uid* and *gid*, as Gunicorn does it with its own; one that a dead
        server has left is replaced.

        Raises:
            OSError: Another process listens there, or it is not allowed.
        """
        address = self.address
        if isinstance(address, UnixSocket):
            listening, url = _open_unix(address.path, uid, gid), str(address)
            self._inode = os.stat(address.path).st_ino
        else:
            listening = _open_tcp(address)
            # The port may be one that the kernel has chosen.
            url = f"http://{address._replace(port=listening.getsockname()[1])}"
        listening.setblocking(False)
        self.listening = listening
        return url

    def close(self) -> None:
        """Close the socket; remove the path of a Unix socket, unless it is another's by now."""
        if self.listening is None:
            return
        self.listening.close()
        if isinstance(self.address, UnixSocket):
            with suppress(OSError):
                if os.stat(self.address.path).st_ino == self._inode:
                    os.unlink(self.address.path)


def _open_tcp(address: Tcp) -> socket.socket:
    return socket.create_server(
        address,
        family=socket.AF_INET6 if ":" in address.host else socket.AF_INET,
        backlog=BACKLOG,
        # All interfaces are those of IPv4, too.
        dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
    )


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
