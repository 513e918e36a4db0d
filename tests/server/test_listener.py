"""The arbiter's listener on real sockets: what clients can do to it, forks, addresses."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness import get, wait_until
from patience import stretched
from simulation import Log

from gunicorn_autoconf.plan.address import Tcp, UnixSocket
from gunicorn_autoconf.server import listener as module
from gunicorn_autoconf.server.answers import Answer
from gunicorn_autoconf.server.listener import MAX_CLIENTS, Listener
from gunicorn_autoconf.server.place import Place

ANY = Tcp("127.0.0.1", 0)


class Scene:
    """One listener, in this process."""

    def __init__(self) -> None:
        self.log = Log()
        cfg = SimpleNamespace(uid=os.getuid(), gid=os.getgid())
        self.server: Any = SimpleNamespace(log=self.log, cfg=cfg, master_pid=0)
        self.listener = Listener(self.server)
        self.body = b"hello"

    def serve(self, *addresses: Any) -> Any:
        """Serve; return where the first is found."""
        routes = {"/": lambda _: Answer(200, self.body), "/broken": self.fail}
        self.listener.follow(dict.fromkeys(addresses, routes))
        sites = self.listener._sites
        wait_until(lambda: all(site.listening for site in sites.values()), "it listens")
        listening = next(iter(sites.values())).listening
        assert listening
        return listening.getsockname()

    @staticmethod
    def fail(_accept: str) -> Answer:
        raise ZeroDivisionError


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.listener.stop()


def _has_received(scene: Scene, said: bytes) -> bool:
    """Whether the only client has said so much."""
    return [client._received for client in scene.listener._clients] == [said]


def connect(where: Any) -> socket.socket:
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    client = socket.socket(family)
    client.settimeout(stretched())
    client.connect(where)
    return client


def read(client: socket.socket) -> bytes:
    """Everything until the end; nothing where the connection was broken."""
    received = b""
    try:
        while chunk := client.recv(65536):
            received += chunk
    except ConnectionError:
        return b""
    return received


def test_answers_and_says_where(scene: Scene) -> None:
    where = scene.serve(ANY)

    assert get(where) == (200, "hello")
    assert get(where, "/nowhere").status == 404
    assert scene.log.lines == [
        f"gunicorn-autoconf: serving /, /broken at http://127.0.0.1:{where[1]}"
    ]


def test_answer_larger_than_a_socket_takes_at_once(scene: Scene) -> None:
    scene.body = b"x" * 8_000_000
    where = scene.serve(ANY)
    with connect(where) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        # It answers others meanwhile.
        assert get(where, "/nowhere").status == 404
        assert read(client).endswith(b"\r\n\r\n" + scene.body)


def test_head_that_comes_in_pieces(scene: Scene) -> None:
    with connect(scene.serve(ANY)) as client:
        received = b""
        for piece in (b"GET / HT", b"TP/1.1\r\nHost: x\r", b"\n\r"):
            client.sendall(piece)
            received += piece
            wait_until(partial(_has_received, scene, received), "it has come")
        client.sendall(b"\n")
        assert read(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_head_without_end_is_refused(scene: Scene) -> None:
    with connect(scene.serve(ANY)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 9000)
        assert read(client)[:13] in (b"HTTP/1.1 431 ", b"")  # Unread bytes may break it.


def test_slow_client_is_dropped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENT_SECONDS", 0.2)
    where = scene.serve(ANY)
    with connect(where) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        assert read(slow) == b""
    assert get(where) == (200, "hello")


def test_many_idle_clients_keep_nobody_out(scene: Scene) -> None:
    where = scene.serve(ANY)
    idle = [connect(where) for _ in range(5 * MAX_CLIENTS)]

    assert get(where) == (200, "hello")
    assert len(scene.listener._clients) <= MAX_CLIENTS
    for client in idle:
        client.close()


def test_client_that_leaves_early(scene: Scene) -> None:
    where = scene.serve(ANY)
    for said in (b"", b"GET / HT", b"GET / HTTP/1.1\r\n\r\n"):
        with connect(where) as client:
            client.sendall(said)
    assert get(where) == (200, "hello")
    wait_until(lambda: scene.listener._clients == [], "nothing is left of them")


def test_answer_that_fails_is_logged_once(scene: Scene) -> None:
    where = scene.serve(ANY)

    assert get(where, "/broken") == (500, "see the log of the server\n")
    assert get(where, "/broken").status == 500
    assert get(where) == (200, "hello")
    line = "gunicorn-autoconf: could not answer a request for metrics or health"
    assert scene.log.lines.count(line) == 1


def test_too_many_open_files_make_no_busy_loop(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that cannot be accepted stays ready."""
    where, tries = scene.serve(ANY), []
    (site,) = scene.listener._sites.values()
    assert site.listening
    listening: socket.socket = site.listening

    class Full:
        """The listening socket while there are too many open files, twice."""

        fileno = staticmethod(listening.fileno)
        close = staticmethod(listening.close)

        @staticmethod
        def accept() -> Any:
            tries.append(time.monotonic())
            if len(tries) <= 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return listening.accept()

    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(site, "listening", Full())

    assert get(where) == (200, "hello")
    assert len(tries) == 3
    assert tries[1] - tries[0] >= 0.1


def test_port_in_use_is_one_warning_and_then_taken(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def open_place(site: Place, *arguments: Any) -> str:
        tries.append(arguments)
        return open_once(site, *arguments)

    open_once = Place.open
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(Place, "open", open_place)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        address = Tcp("127.0.0.1", port)
        scene.listener.follow({address: {"/": lambda _: Answer(200, b"hello")}})
        wait_until(lambda: len(tries) >= 3, "it tries on")
    wait_until(lambda: len(scene.log.lines) > 1, "it is taken")

    assert get(("127.0.0.1", port)) == (200, "hello")
    assert scene.log.lines == [
        f"gunicorn-autoconf: cannot serve / at 127.0.0.1:{port}: Address already in use; retrying",
        f"gunicorn-autoconf: serving / at http://127.0.0.1:{port}",
    ]


def test_new_arbiter_waits_for_the_old_one_without_a_warning(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    scene.server.master_pid = 7
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        scene.listener.follow({Tcp("127.0.0.1", port): {"/": Scene.fail}})
        (site,) = scene.listener._sites.values()
        wait_until(lambda: site.retry_at > 0, "it has tried")
    wait_until(lambda: bool(scene.log.lines), "it is taken")

    assert scene.log.lines == [f"gunicorn-autoconf: serving / at http://127.0.0.1:{port}"]


def test_follows_another_address(scene: Scene) -> None:
    first = scene.serve(ANY)
    with connect(first) as asking:
        asking.sendall(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: bool(scene.listener._clients), "it is connected")
        second = scene.serve(Tcp("127.0.0.2", 0))

        assert get(second) == (200, "hello")
        with pytest.raises(ConnectionRefusedError):
            get(first)
        # Who has begun to ask is answered.
        asking.sendall(b"\r\n")
        assert read(asking).startswith(b"HTTP/1.1 200 OK\r\n")


def test_unix_socket(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    # What a server that was killed has left.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    where = scene.serve(UnixSocket(str(path)))

    assert get(where) == (200, "hello")
    assert path.stat().st_mode & 0o777 == 0o660
    assert scene.log.lines == [f"gunicorn-autoconf: serving /, /broken at unix:{path}"]
    scene.listener.stop()
    assert not path.exists()


def test_socket_or_file_of_another_stays(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    text, alive = tmp_path / "text", tmp_path / "alive"
    text.write_text("mine")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(alive))
        other.listen()
        addresses = [UnixSocket(str(text)), UnixSocket(str(alive))]
        scene.listener.follow({address: {"/": Scene.fail} for address in addresses})
        wait_until(lambda: len(scene.log.lines) == 2, "both are refused")
        scene.listener.stop()

    assert text.read_text() == "mine"
    assert alive.is_socket()
    refused = "gunicorn-autoconf: cannot serve /"
    assert sorted(scene.log.lines) == [
        f"{refused} at unix:{alive}: Address already in use; retrying",
        f"{refused} at unix:{text}: there is a file that is no socket; retrying",
    ]


def test_child_keeps_nothing(scene: Scene) -> None:
    """Neither what listens nor a client; what the child closes stays open in the arbiter."""
    where = scene.serve(ANY)
    with connect(where) as asking:
        asking.sendall(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: bool(scene.listener._clients), "it is connected")
        report, told = os.pipe()
        child = os.fork()
        if child == 0:
            kept = [name for name in os.listdir("/proc/self/fd") if _is_socket(int(name))]
            os.write(told, repr(len(kept)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        before = sum(_is_socket(int(name)) for name in os.listdir("/proc/self/fd"))
        # The listening socket and the server's end of the connection.
        assert before - int(os.read(report, 100)) == 2
        asking.sendall(b"\r\n")
        assert read(asking).startswith(b"HTTP/1.1 200 OK\r\n")
    os.close(report)
    os.close(told)


def _is_socket(descriptor: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    except OSError:
        return False


def test_forks_neither_wait_nor_lose_an_answer(scene: Scene) -> None:
    where = scene.serve(ANY)
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(get(where))

    asking = threading.Thread(target=ask)
    asking.start()
    slowest = 0.0
    for _ in range(50):
        began = time.monotonic()
        if (child := os.fork()) == 0:
            os._exit(0)
        slowest = max(slowest, time.monotonic() - began)
        os.waitpid(child, 0)
    stop.set()
    asking.join()

    assert set(answers) == {(200, "hello")}
    assert len(answers) > 5
    # A fork that waited for a step would wait for PAUSE_SECONDS.
    assert slowest < stretched(0.9)


def test_idle_listener_waits_for_a_minute_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one system call, for clients or the next pause."""
    waits: list[float] = []

    class Poll:
        def __init__(self) -> None:
            self.poll_object = select.poll()
            self.register = self.poll_object.register

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            waits.append(milliseconds)
            return self.poll_object.poll(milliseconds)

    fake = SimpleNamespace(poll=Poll, POLLIN=select.POLLIN, POLLOUT=select.POLLOUT)
    monkeypatch.setattr(module, "select", fake)
    where = scene.serve(ANY)
    assert get(where) == (200, "hello")
    wait_until(lambda: scene.listener._clients == [], "the client is gone")
    wait_until(lambda: waits[-1] > 5000, "it waits again")

    assert waits[-1] == pytest.approx(60_000)
    assert len(waits) < 10
