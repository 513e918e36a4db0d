"""
Boots the real Gunicorn for a test, with its configuration and application written inline.

Every server has a folder of its own, an environment without the variables that would change the
plan, and a port or a Unix socket of its own: tests run beside each other and in any order.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import gunicorn.config
import psutil
import pytest
from patience import QUIET_SECONDS, Patience, stretched

import gunicorn_autoconf

PYTHON_GUNICORN = (sys.executable, "-m", "gunicorn")

# SIGUSR2 runs what stands in sys.argv, which for ``-m`` is a file of Gunicorn: its folder comes
# first in sys.path then, and its http hides Python's, so that uvicorn cannot be imported.
GUNICORN_SCRIPT = (sys.executable, str(Path(sys.executable).with_name("gunicorn")))

MODULE_DOOR = ("-c", "python:gunicorn_autoconf.conf")

POLL_SECONDS = 0.02

# What a worker that lost its SIGTERM between fork and handlers takes, where our hooks around the
# fork do not run: `graceful_timeout` and more.
STOP_SECONDS = 45.0

_HAS_CONTROL_SOCKET = "control_socket_disable" in gunicorn.config.Config().settings

# What would change the plan or the server, were it inherited.
_PREFIXES = ("GUNICORN_", "KUBERNETES_", "LISTEN_")
_NAMES = frozenset({"WEB_CONCURRENCY", "DYNO", "PORT", "NOTIFY_SOCKET", "FORWARDED_ALLOW_IPS"})


def wait_until(
    condition: Callable[[], bool],
    what: str | Callable[[], str],
    quiet_seconds: float = QUIET_SECONDS,
) -> None:
    """Return as soon as *condition* holds; fail, naming *what*, when patience is over."""
    patience = Patience(quiet_seconds)
    while not condition():
        if patience.is_over():
            name = what() if callable(what) else what
            pytest.fail(f"not within {patience.waited_seconds:.0f} s: {name}", pytrace=False)
        time.sleep(POLL_SECONDS)


class Response(NamedTuple):
    """What a test asks of a response."""

    status: int
    body: str


@dataclass(frozen=True)
class Launcher:
    """
    Starts Gunicorn in *folder*.

    Attributes:
        folder: The working directory: configuration, application and log.
        servers: What was started, for the fixture to stop.
        wrapper: Words before the command; they end by running the rest of their arguments.
    """

    folder: Path
    servers: list[Server]
    wrapper: Sequence[str] = ()

    def write(self, name: str, text: str) -> Path:
        """Write a file, without the indentation that *text* has in the test."""
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def edit(self, name: str, text: str, server: Server) -> None:
        """
        Write a file again that *server*, started with ``--reload``, has loaded; return once it saw.

        Its reloader compares with what the file was when it first looked, and nothing tells when
        that is: what was written before goes unseen.
        """
        since = server.mark()

        def is_seen() -> bool:
            if f"{name} modified" in server.log[since:]:
                return True
            # In one step: the next worker may already be about to load it.
            self.write(f"{name}.new", text).replace(self.folder / name)
            return False

        wait_until(is_seen, f"the reloader sees that {name} is another")

    def environ(self, variables: dict[str, str]) -> dict[str, str]:
        """Return our environment without what would change the plan, and with *variables*."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _NAMES and not name.startswith(_PREFIXES)
        }
        package = Path(gunicorn_autoconf.__file__).parents[1]
        return {
            **kept,
            "HOME": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(package), *filter(None, [kept.get("PYTHONPATH")])]),
            "PYTHONDONTWRITEBYTECODE": "1",  # an application is edited within one second
            "PYTHONUNBUFFERED": "1",
            "GUNICORN_LOGLEVEL": "debug",  # A line for each worker that is ready.
            **variables,
        }

    def run(
        self, *arguments: str, program: Sequence[str] = PYTHON_GUNICORN, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself."""
        return subprocess.run(
            [*self.wrapper, *program, *arguments],
            cwd=self.folder,
            env=self.environ(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=stretched(),
            check=False,
        )

    def print_config(self, *arguments: str, **variables: str) -> dict[str, str]:
        """Return the settings that ``--print-config`` shows, as it shows them."""
        result = self.run("--print-config", *arguments, **variables)
        assert (result.returncode, result.stderr) == (0, "")
        rows = (line.partition("=") for line in result.stdout.splitlines())
        return {name.strip(): value.strip() for name, _, value in rows}

    def launch(
        self,
        *arguments: str,
        program: Sequence[str] = PYTHON_GUNICORN,
        bind: str | None = "127.0.0.1:0",
        **variables: str,
    ) -> Server:
        """Start a server and return at once."""
        options = ["--bind", bind] if bind else []
        if _HAS_CONTROL_SOCKET:
            options.append("--no-control-socket")
        server = Server(
            [*self.wrapper, *program, *options, *arguments],
            log_path=self.folder / f"server-{len(self.servers)}.log",
            folder=self.folder,
            environ=self.environ(variables),
        )
        self.servers.append(server)
        return server

    def start(
        self,
        *arguments: str,
        program: Sequence[str] = PYTHON_GUNICORN,
        bind: str | None = "127.0.0.1:0",
        **variables: str,
    ) -> Server:
        """Start a server and return when it listens."""
        server = self.launch(*arguments, program=program, bind=bind, **variables)
        server.wait_for("Listening at: ")
        return server


@contextmanager
def launching(folder: Path) -> Iterator[Launcher]:
    """Start servers in *folder*; what still runs after the block must stop cleanly."""
    launcher = Launcher(folder=folder, servers=[])
    yield launcher
    with ExitStack() as each_of_them:
        for server in launcher.servers:
            # pytest shows this beside a failure, and only there.
            print(f"--- {server.log_path}\n{server.log}")
            each_of_them.callback(server.close)


class Server:
    """One running Gunicorn and its log."""

    def __init__(
        self, command: Sequence[str], *, log_path: Path, folder: Path, environ: dict[str, str]
    ) -> None:
        self.log_path = log_path
        with log_path.open("ab") as log:
            # A session of its own tells the processes of this server from all others.
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self.sessions = {self.pid}

    # The log

    @property
    def log(self) -> str:
        """Everything that was printed so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def lines(self, pattern: str) -> list[str]:
        """Return the log's lines in which *pattern* is found."""
        return [line for line in self.log.splitlines() if re.search(pattern, line)]

    def mistakes(self) -> list[str]:
        """Return the lines that say that something went wrong."""
        # A worker that SIGTERM ends is an error to Gunicorn 23 and none to the later ones.
        return [
            line
            for line in self.lines(r"\[(CRITICAL|ERROR)\]|Traceback")
            if "was sent SIGTERM!" not in line
        ]

    def mark(self) -> int:
        """Return where the log ends now, for the *since* of `wait_for`."""
        return len(self.log)

    def wait_for(
        self, pattern: str, quiet_seconds: float = QUIET_SECONDS, *, since: int = 0
    ) -> re.Match[str]:
        """Return the first match of *pattern* in the log, once it is there."""
        patience = Patience(quiet_seconds)
        while True:
            # In this order: what a process printed before its end is seen.
            running, late = not self.has_ended, patience.is_over()
            if found := re.compile(pattern, re.MULTILINE).search(self.log, since):
                return found
            if not running:
                pytest.fail(
                    f"{pattern!r} never came, exit status {self.process.returncode}", pytrace=False
                )
            if late:
                pytest.fail(
                    f"{pattern!r} did not come within {patience.waited_seconds:.0f} s",
                    pytrace=False,
                )
            time.sleep(POLL_SECONDS)

    # The processes

    @property
    def arbiter(self) -> psutil.Process:
        """The process that the signals go to."""
        return psutil.Process(self.pid)

    def adopt(self, pid: int) -> None:
        """Go on with the arbiter *pid*, to which this server has handed over."""
        self.pid = pid
        self.sessions.add(os.getsid(pid))

    def worker_pids(self) -> set[int]:
        """Return the workers that the arbiter has now."""
        return {pid for pid in children(self.pid) if _lives(pid)}

    def wait_for_workers(self, count: int, *, replacing: set[int] | None = None) -> set[int]:
        """Return the pids once *count* workers are booted, none of them one of *replacing*."""
        pids: set[int] = set()

        def complete() -> bool:
            nonlocal pids
            pids = self.worker_pids()
            booted = {int(pid) for pid in re.findall(r"worker (\d+) (?:booted|ready)", self.log)}
            return len(pids) == count and pids <= booted and not pids & (replacing or set())

        what = f"{count} booted workers"
        wait_until(lambda: self.has_ended or complete(), what)
        if not complete():
            pytest.fail(f"{what}: there are {len(pids)}", pytrace=False)
        return pids

    @property
    def has_ended(self) -> bool:
        """Whether the arbiter is gone."""
        # An arbiter that we did not start ourselves may stay a zombie where nobody waits for it.
        return self.process.poll() is not None and not _lives(self.pid)

    def processes(self) -> list[psutil.Process]:
        """Return every living process of this server, orphans too."""
        return [
            psutil.Process(pid)
            for pid in psutil.pids()
            if _session(pid) in self.sessions and _lives(pid)
        ]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the arbiter."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Return the exit status of the process that was started, once it has ended."""
        wait_until(lambda: self.process.poll() is not None, "the server ends")
        return self.process.wait()

    def stop(self, quiet_seconds: float = QUIET_SECONDS) -> None:
        """
        Stop the server by SIGTERM; fail unless that is clean and leaves nothing behind.

        A test whose server does not run our hooks around the fork sees all workers boot before it
        ends: one that has just been forked still has the arbiter's handlers, loses the signal and
        holds up the end for ``graceful_timeout``.
        """
        self.signal(signal.SIGTERM)
        wait_until(lambda: self.has_ended, "the arbiter ends", quiet_seconds)
        if self.process.returncode != 0:
            pytest.fail(f"SIGTERM ended in exit status {self.process.returncode}", pytrace=False)
        wait_until(lambda: not self.processes(), "no process is left", quiet_seconds)

    def close(self) -> None:
        """Stop the server where it still runs, whatever has become of it."""
        try:
            if not self.has_ended:
                self.stop(STOP_SECONDS)
            left = self.processes()
            if left:
                pytest.fail(f"left behind: {left}", pytrace=False)
        finally:
            for process in self.processes():
                process.kill()
            self.process.wait()

    # The listener

    @property
    def address(self) -> tuple[str, int] | str:
        """Where the server listens: host and port, or the path of a Unix socket."""
        url = self.wait_for(r"Listening at: (\S+) \(").group(1)
        if url.startswith("unix:"):
            return url.removeprefix("unix:")
        host, _, port = url.rpartition("/")[2].rpartition(":")
        return host, int(port)

    def get(self, path: str = "/") -> Response:
        """Return the response to a GET on a new connection."""
        return get(self.address, path)

    def ask(self, path: str) -> AbstractContextManager[Callable[[], Response]]:
        """Send a GET on a new connection and hand over what waits for the response."""
        return _ask(self.address, path)


def get(address: tuple[str, int] | str, path: str = "/") -> Response:
    """Return the response to a GET on a new connection to *address*."""
    with _ask(address, path) as answer:
        return answer()


@contextmanager
def _ask(address: tuple[str, int] | str, path: str) -> Iterator[Callable[[], Response]]:
    connection = _Connection(address)

    def answer() -> Response:
        response = connection.getresponse()
        return Response(response.status, response.read().decode())

    try:
        connection.request("GET", path, headers={"Connection": "close"})
        yield answer
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over TCP or, where the address is a path, over a Unix socket."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        host, port = ("localhost", 80) if isinstance(address, str) else address
        super().__init__(host, port, timeout=stretched())
        self._path = address if isinstance(address, str) else None

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def children(pid: int) -> list[int]:
    """Return the children of the main thread of *pid*, zombies too."""
    try:
        # psutil would read the files of all processes, which many waits do fifty times a second.
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(pid).children()]
        return []


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
