"""Clients that ask all the time, slow ones, and hundreds at once. Every request is kept."""

from __future__ import annotations

import http.client
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from accounts import Attempt
from patience import stretched

# Longer than a worker is stopped or blocked: what is answered late is answered.
QUIET_SECONDS = 40.0

# Clients that keep their connection, and as many that take a new one each time; a third of the
# requests waits for something. Two cores are not busy with that.
KEEPING = 5
CONNECTING = 5
RATE = 8.0
KINDS = ("/work", "/work", "/wait")

HEADER_SECONDS = 2.0
READ_BYTES = 16 * 1024
READ_SECONDS = 0.02


class Load:
    """All requests that were sent to *address*."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.attempts: list[Attempt] = []
        self._ids = itertools.count()
        self._lock = threading.Lock()

    def next_id(self) -> str:
        with self._lock:
            return f"r{next(self._ids)}"

    def keep(self, attempt: Attempt) -> Attempt:
        with self._lock:
            self.attempts.append(attempt)
        return attempt

    def ask(self, kind: str) -> Attempt:
        """Send one request on a connection of its own."""
        client = Client(self, keeps=False)
        return client.ask(kind)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask all the time."""
        stop = threading.Event()
        clients = [Client(self, keeps=number < KEEPING) for number in range(KEEPING + CONNECTING)]
        threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()


class Client:
    """One connection at a time. One that *keeps* it uses it until the server closes it."""

    def __init__(self, load: Load, *, keeps: bool) -> None:
        self._load = load
        self._keeps = keeps
        self._connection: http.client.HTTPConnection | None = None
        self._connecting_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Ask at an even pace, and after each answer at the soonest."""
        due = time.monotonic()
        for kind in itertools.cycle(KINDS):
            if stop.wait(max(due - time.monotonic(), 0)):
                break
            due = max(due + 1 / RATE, time.monotonic())
            self.ask(kind)
        self._close()

    def ask(self, kind: str) -> Attempt:
        """Send one request, and once more where any client would."""
        attempt = self._try(kind)
        return self._try(kind) if attempt.may_be_retried else attempt

    def _try(self, kind: str) -> Attempt:
        request, is_reused = self._load.next_id(), self._connection is not None
        port, is_mute, failure, by = 0, True, None, None
        sent_at = time.monotonic()
        try:
            connection = self._connect()
            port = connection.sock.getsockname()[1]
            sent_at = time.monotonic()
            headers = {} if self._keeps else {"Connection": "close"}
            connection.request("GET", f"{kind}?{request}", headers=headers)
            response = connection.getresponse()
            is_mute = False
            body = response.read()
            failure = wrong(response.status, body, request)
            by = None if failure else int(body.split()[1])
            if failure or response.will_close:
                self._close()
        except (OSError, http.client.HTTPException) as error:
            failure = repr(error)
            self._close()
        return self._load.keep(
            Attempt(
                request,
                kind,
                port,
                self._connecting_at,
                sent_at,
                time.monotonic(),
                is_reused,
                is_mute,
                failure,
                by,
            )
        )

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connecting_at = time.monotonic()
            self._connection = http.client.HTTPConnection(
                *self._load.address, timeout=stretched(QUIET_SECONDS)
            )
            self._connection.connect()
        return self._connection

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def wrong(status: int, body: bytes, request: str) -> str | None:
    """Return what is wrong with a response to *request*, if anything is."""
    if status != 200:
        return f"status {status}"
    return None if body.startswith(f"{request} ".encode()) else f"the answer to {body[:40]!r}"


class Raw:
    """A request by hand on a new connection."""

    def __init__(self, load: Load, kind: str, *, receive_buffer: int | None = None) -> None:
        self._load = load
        self._kind = kind
        self._request = load.next_id()
        self._connecting_at = time.monotonic()
        self._socket = socket.socket()
        self._socket.settimeout(stretched(QUIET_SECONDS))
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._received = b""

    @property
    def head(self) -> bytes:
        lines = (f"GET {self._kind}?{self._request} HTTP/1.1", "Host: chaos", "Connection: close")
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()

    def finish(self, send_seconds: float = 0.0, read_seconds: float = 0.0) -> Attempt:
        """Send the request, byte by byte where that shall take time, and read the response."""
        failure = None
        port = 0
        with closing(self._socket):
            try:
                self._socket.connect(self._load.address)
                port = self._socket.getsockname()[1]
                self._send(send_seconds)
                while piece := self._socket.recv(READ_BYTES):
                    self._received += piece
                    time.sleep(read_seconds)
            except OSError as error:
                failure = repr(error)
        return self._load.keep(
            Attempt(
                self._request,
                self._kind,
                port,
                self._connecting_at,
                self._connecting_at,
                time.monotonic(),
                is_reused=False,
                is_mute=not self._received,
                failure=failure or self._judge(),
            )
        )

    def _send(self, seconds: float) -> None:
        head = self.head
        if not seconds:
            self._socket.sendall(head)
            return
        for byte in head:
            self._socket.send(bytes([byte]))
            time.sleep(seconds / len(head))

    def _judge(self) -> str | None:
        head, _, body = self._received.partition(b"\r\n\r\n")
        words = head.split(maxsplit=2)
        if len(words) < 2:
            return "closed without a response"
        length = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
        if length and len(body) != int(length[0].partition(b":")[2]):
            return f"cut after {len(body)} bytes of the body"
        return wrong(int(words[1]), body, self._request)


def ask_slowly(load: Load) -> Attempt:
    """Send the header byte by byte, then read a long response in small pieces."""
    return Raw(load, "/large", receive_buffer=4096).finish(HEADER_SECONDS, READ_SECONDS)


def flood(load: Load, connections: int) -> None:
    """Open many connections at once and send a request on each."""
    gate = threading.Barrier(connections)

    def one() -> None:
        raw = Raw(load, "/work")
        gate.wait(stretched(QUIET_SECONDS))
        raw.finish()

    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
