"""
The arbiter's own small HTTP server, for metrics and health. Opens sockets, starts a thread, logs.

Theory of operation. One thread (`PausedThread`) waits for all sockets at once: those that listen,
those of clients, and a pipe by which a pause wakes it. It ends before each fork and starts again
after it; sockets and half-read requests stay where they are meanwhile. In the forked child all of
them are closed, so that no worker holds the address.

What a client can take is bounded: it has `CLIENT_SECONDS` from its connection to the last byte of
its answer, `MAX_HEAD_BYTES` to ask, one request, and no thread. Of more than `MAX_CLIENTS` the
oldest is dropped: a scrape takes milliseconds, and what stays longer is not one.

An address that cannot be had is tried again every `RETRY_SECONDS` and logged once. At an upgrade
by SIGUSR2, where the old arbiter has it until it leaves, nothing is logged until it is served.

The main thread changes what is served (`follow`, `stop`) while the thread is paused; all else
happens in the thread.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.plan.address import Listening
from gunicorn_autoconf.server.answers import (
    FAILED,
    HEAD_END,
    MAX_HEAD_BYTES,
    TOO_LONG,
    Routes,
    accept_of,
    render_answer,
    route_for,
)
from gunicorn_autoconf.server.paused_thread import PausedThread
from gunicorn_autoconf.server.place import Place

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

MAX_CLIENTS = 16
# Prometheus gives up after 10 s, a probe of Kubernetes after 1 s, unless told otherwise.
CLIENT_SECONDS = 5.0
RETRY_SECONDS = 1.0
# A wait without a client is ended by the pipe; this is for want of something better to hand over.
LONGEST_SECONDS = 60.0
RECEIVE_BYTES = 4096

Sites = Mapping[Listening, Routes]


class Listener:
    """Serves *sites* of one arbiter, from `follow` to `stop`."""

    def __init__(self, server: Arbiter, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._sites: dict[Listening, _Site] = {}
        self._clients: list[_Client] = []
        self._has_failed = self._is_started = self._is_over = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread = PausedThread(self.step, 0.0, self._wake)

    def follow(self, sites: Sites) -> None:
        """Serve *sites* from now on, and nothing else."""
        with self._thread.paused():
            for address in [each for each in self._sites if each not in sites]:
                self._sites.pop(address).close()
            for address, routes in sites.items():
                self._sites.setdefault(address, _Site(address)).routes = routes
        if not self._is_started:
            self._is_started = True
            os.register_at_fork(after_in_child=self._leave)
            self._thread.start()

    def stop(self) -> None:
        """Close everything; the server ends."""
        self._thread.stop()
        for site in self._sites.values():
            site.close()
        for client in self._clients:
            client.close()
        self._sites, self._clients = {}, []
        self._close_pipe()

    def step(self, stopping: threading.Event) -> float:
        """Wait for what is to be done, and do it."""
        try:
            self._step(stopping)
        except Exception as error:
            for client in self._clients:
                client.close()
            self._clients = []
            self._failed(error)
            return RETRY_SECONDS
        return 0.0

    def _step(self, stopping: threading.Event) -> None:
        now = self._clock()
        for site in self._sites.values():
            if site.listening is None and now >= site.retry_at:
                self._open(site, now)
        ready = self._wait(now)
        if stopping.is_set():
            return  # What is ready stays so.
        for site in self._sites.values():
            if site.listening and site.listening.fileno() in ready:
                self._accept(site)
        for client in self._clients:
            if client.fileno() in ready:
                client.advance(self._failed)
        now = self._clock()
        for client in self._clients:
            if now >= client.until:
                client.close()
        self._clients = [client for client in self._clients if not client.is_over]

    def _wait(self, now: float) -> set[int]:
        """Return the descriptors that are ready, the pipe of a pause aside."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        due = [now + LONGEST_SECONDS]
        for site in self._sites.values():
            if site.listening is None:
                due.append(site.retry_at)
            else:
                poll.register(site.listening, select.POLLIN)
        for client in self._clients:
            due.append(client.until)
            poll.register(client.fileno(), client.waits_for)
        found = {number for number, _ in poll.poll(max(min(due) - now, 0) * 1000)}
        if self._wake_read in found:
            found.discard(self._wake_read)
            with suppress(BlockingIOError):
                os.read(self._wake_read, RECEIVE_BYTES)
        return found

    def _open(self, site: _Site, now: float) -> None:
        cfg = self._server.cfg
        paths = ", ".join(sorted(site.routes))
        try:
            url = site.open(cfg.uid, cfg.gid)
        except OSError as error:
            site.retry_at = now + RETRY_SECONDS
            # At an upgrade the old arbiter has the address until it exits.
            if not (site.has_complained or self._server.master_pid):
                site.has_complained = True
                reason = f"cannot serve {paths} at {site.address}: {_reason(error)}; retrying"
                text = f"gunicorn-autoconf: {reason}"
                log_event(self._server.log, "warning", "not_served", text)
            return
        text = f"gunicorn-autoconf: serving {paths} at {url}"
        log_event(self._server.log, "info", "served", text, url=url)

    def _accept(self, site: _Site) -> None:
        assert site.listening is not None
        # The client has left meanwhile. Other errors, such as too many open files, would come again
        # at once: `step` waits after them.
        with suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = site.listening.accept()
            connection.setblocking(False)
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.pop(0).close()
            until = self._clock() + CLIENT_SECONDS
            self._clients.append(_Client(connection, site.routes, until))

    def _failed(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            text = "gunicorn-autoconf: could not answer a request for metrics or health"
            self._server.log.error(text, exc_info=error)

    def _wake(self) -> None:
        with suppress(OSError):  # It is full: the thread wakes anyhow.
            os.write(self._wake_write, b"\0")

    def _leave(self) -> None:
        """Close everything in a forked child; nothing goes to a client, who stays the arbiter's."""
        for site in self._sites.values():
            if site.listening:
                site.listening.close()
        for client in self._clients:
            client.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if not self._is_over:
            self._is_over = True
            os.close(self._wake_read)
            os.close(self._wake_write)


class _Site(Place):
    """One address and what is served there."""

    def __init__(self, address: Listening) -> None:
        super().__init__(address)
        self.routes: Routes = {}
        self.retry_at = 0.0
        self.has_complained = False


class _Client:
    """One connection: reads a head, then writes the answer."""

    def __init__(self, connection: socket.socket, routes: Routes, until: float) -> None:
        self._connection = connection
        self._routes = routes
        self._received = b""
        self._left: memoryview[int] | None = None
        self.until = until
        self.is_over = False

    @property
    def waits_for(self) -> int:
        """What its socket has to be ready for."""
        return select.POLLIN if self._left is None else select.POLLOUT

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._connection.fileno()

    def advance(self, failed: Callable[[Exception], None]) -> None:
        """Read or write what is possible now; call *failed* where there is no answer."""
        try:
            if self._left is None:
                self._receive(failed)
            if self._left is not None:
                self._left = self._left[self._connection.send(self._left) :]
                if not self._left:
                    self.close()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _receive(self, failed: Callable[[Exception], None]) -> None:
        received = self._connection.recv(RECEIVE_BYTES)
        if not received:
            self.close()
            return
        self._received += received
        end = self._received.find(HEAD_END)
        if end < 0 and len(self._received) <= MAX_HEAD_BYTES:
            return
        head = self._received[: end + len(HEAD_END)]
        is_too_long = end < 0 or len(head) > MAX_HEAD_BYTES
        route = TOO_LONG if is_too_long else route_for(head, self._routes)
        try:
            answer = route(accept_of(head))
        except Exception as error:
            failed(error)
            answer = FAILED("")
        self._left = memoryview(render_answer(answer))

    def close(self) -> None:
        """End it, whatever is left."""
        self._connection.close()
        self.is_over = True


def _reason(error: OSError) -> str:
    """Return what the system says, without the address that Python adds."""
    return str(error.strerror).partition(" (while ")[0]
