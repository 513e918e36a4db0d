"""Starts a server for one measurement, waits until it is up, weighs it, stops it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.cgroups import Cgroup, limited

from .ways import Supply, Way
from .workloads import Workload

APPS = Path(__file__).with_name("apps")
# A server that has not answered by then cannot run here: all workers killed for their memory.
DEADLINE_SECONDS = 30.0
STOP_SECONDS, ANSWER_SECONDS = 40.0, 30.0
# The queues may be as many as workers: several answers, so that most of them are seen empty.
SETTLE_SECONDS, SETTLED_ANSWERS = 60.0, 10
# Under a limit some servers never come to rest: each of their workers is killed while it boots.
LIMITED_SECONDS, LIMITED_ANSWER_SECONDS = 15.0, 5.0
# Booting workers compute. A server that used less than this part of a core for so long is up.
IDLE_FRACTION, IDLE_SECONDS = 0.05, 0.5
# What would change a server, were it inherited.
_PREFIXES = ("GUNICORN_", "UVICORN_", "GRANIAN_", "COMPARE_")


class DidNotStartError(Exception):
    """
    The server ended, or answered nothing in time.

    Attributes:
        oom_kills: What the kernel's OOM killer had to do with it.
    """

    def __init__(self, message: str, oom_kills: int) -> None:
        super().__init__(message)
        self.oom_kills = oom_kills


class Server(NamedTuple):
    """A server that runs."""

    process: psutil.Process
    address: str
    cgroup: Cgroup | None

    @property
    def tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    @property
    def pss_bytes(self) -> int:
        """The memory of all processes, shared pages counted once."""
        found = 0
        for process in self.tree:
            with contextlib.suppress(psutil.Error):
                found += process.memory_full_info().pss
        return found

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all processes, of those that have ended, too."""
        used = 0.0
        for process in self.tree:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system + times.children_user + times.children_system
        return used

    @property
    def oom_kills(self) -> int:
        return self.cgroup.oom_kills if self.cgroup else 0


@contextlib.contextmanager
def serving(
    way: Way, workload: Workload, supply: Supply, folder: Path, limit_mib: int | None
) -> Iterator[Server]:
    """
    Run a server until the end of the block; hand it over when its workers have booted.

    Raises:
        DidNotStartError: It never answered; the message has the end of its log.
    """
    address = f"127.0.0.1:{free_port()}"
    command, variables = way.start(workload, supply, address)
    environ = environment(folder) | dict(workload.environ) | variables
    log_path = folder / "server.log"
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(limited(limit_mib * 2**20)) if limit_mib else None
        log = stack.enter_context(log_path.open("wb"))
        words = cgroup.wrap(command) if cgroup else command
        popen = subprocess.Popen(
            words, env=environ, cwd=workload.folder or APPS, stdout=log, stderr=log
        )
        stack.callback(_stop, popen)
        if not _is_up(popen, address, workload, is_limited=cgroup is not None):
            tail = log_path.read_text(errors="replace")[-1000:]
            message = f"{way.name}, {workload.name}: no answer\n{tail}"
            raise DidNotStartError(message, cgroup.oom_kills if cgroup else 0)
        server = Server(psutil.Process(popen.pid), address, cgroup)
        _until_idle(server)
        yield server


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def environment(folder: Path) -> dict[str, str]:
    """Return our variables without those that would change a server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIXES)}
    kept.pop("WEB_CONCURRENCY", None)
    return kept | {"HOME": str(folder), "COMPARE_FOLDER": str(folder), "PYTHONPATH": str(APPS)}


def _is_up(
    popen: subprocess.Popen[bytes], address: str, workload: Workload, *, is_limited: bool
) -> bool:
    """Wait for an answer to the workload's request; return whether it came."""
    ends = time.monotonic() + DEADLINE_SECONDS
    patience = LIMITED_ANSWER_SECONDS if is_limited else ANSWER_SECONDS
    while popen.poll() is None and time.monotonic() < ends:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ask(address, workload, patience) == 200:
                return True
        time.sleep(0.05)
    return False


def ask(address: str, workload: Workload, patience_seconds: float = ANSWER_SECONDS) -> int:
    """Send one request and return the status of the answer."""
    with contextlib.closing(
        http.client.HTTPConnection(address, timeout=patience_seconds)
    ) as connection:
        headers = dict(header.split(": ", 1) for header in workload.headers)
        method = "POST" if workload.body else "GET"
        connection.request(method, workload.path, workload.body or None, headers)
        return connection.getresponse().status


def settle(server: Server, workload: Workload) -> None:
    """
    Return when requests are answered again that were sent after a load has ended.

    A server does not see at once that clients are gone: it works off what they left in its queue.
    """
    waits, patience = SETTLE_SECONDS, ANSWER_SECONDS
    if server.cgroup:
        waits, patience = LIMITED_SECONDS, LIMITED_ANSWER_SECONDS
    answered, ends = 0, time.monotonic() + waits
    while answered < SETTLED_ANSWERS and time.monotonic() < ends:
        try:
            ask(server.address, workload, patience)
            answered += 1
        except (OSError, http.client.HTTPException):
            answered = 0


def _until_idle(server: Server) -> None:
    """Return when no worker boots any more."""
    ends = time.monotonic() + (LIMITED_SECONDS if server.cgroup else DEADLINE_SECONDS)
    before = server.cpu_seconds
    while time.monotonic() < ends:
        time.sleep(IDLE_SECONDS)
        after = server.cpu_seconds
        if after - before < IDLE_FRACTION * IDLE_SECONDS:
            return
        before = after


def _stop(popen: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started."""
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(popen.pid).children(recursive=True)
        popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.wait(STOP_SECONDS)
        for process in children:
            with contextlib.suppress(psutil.Error):
                process.kill()
    popen.kill()
    popen.wait()
