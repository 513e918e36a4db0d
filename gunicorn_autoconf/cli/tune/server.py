"""One candidate's server: starts it in a session of its own, looks at it, ends all of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from gunicorn_autoconf.cli.tune.launch import SETTINGS_FILE
from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.machine.process_memory import read_process_memory

# What would have a server listen elsewhere too, or take what belongs to the one that runs already.
_LEFT_OUT = frozenset(
    {
        "GUNICORN_FD",
        "GUNICORN_HEALTH",
        "GUNICORN_METRICS",
        "GUNICORN_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
    }
)
_LAUNCH = (sys.executable, "-m", "gunicorn_autoconf.cli.tune.launch")
_PREFIX = "gunicorn-autoconf-tune-"
# A server without load ends at once; one that hangs is not waited for.
_STOP_SECONDS = 2.0
_POLL_SECONDS = 0.02

# What Python prints at the end of a traceback, and Gunicorn in place of one.
_ERROR = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b.*|Error: .+)")
_GUNICORN = re.compile(r"^\[.+?\] \[\d+\] \[(?:ERROR|CRITICAL)\] (.+)")
_MOST_CHARACTERS = 160


class Server:
    """A server that runs, or has ended."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self._folder = folder

    @property
    def has_ended(self) -> bool:
        """Whether the arbiter is gone."""
        return self.process.poll() is not None

    @property
    def log(self) -> str:
        """What it has printed, the end of it."""
        with open(self._folder / "server.log", "rb") as file:
            file.seek(max(os.path.getsize(file.fileno()) - 20_000, 0))
            return file.read().decode("utf-8", "replace")

    @property
    def workers(self) -> int:
        """How many workers it is to have; 1 while that is not known."""
        return int((_read_settings(self._folder) or {}).get("workers", 1))

    def tree(self) -> list[psutil.Process]:
        """Return the arbiter and all processes below it."""
        try:
            arbiter = psutil.Process(self.process.pid)
            return [arbiter, *arbiter.children(recursive=True)]
        except psutil.Error:
            return []

    def worker_pids(self) -> frozenset[int]:
        """Return the arbiter's children."""
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.Error:
            return frozenset()
        return frozenset(child.pid for child in children)

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes, of those that have ended, too."""
        used = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system + times.children_user + times.children_system
        return used

    def memory(self) -> tuple[int, int]:
        """Return the bytes that all use, shared pages counted once, and those of the largest."""
        sizes = [
            memory.pss_bytes or memory.rss_bytes
            for process in self.tree()
            if (memory := read_process_memory(process.pid))
        ]
        return sum(sizes), max(sizes[1:], default=0)


def reason_in(log: str) -> str:
    r"""
    Return the last line in *log* that names an error, or else its last line.

    >>> reason_in('Traceback (most recent call last):\n  x\nKeyError: "SECRET"\n[1] [INFO] bye')
    'KeyError: "SECRET"'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    told = [found[1] for line in lines if (found := _GUNICORN.match(line))]
    text = (named or told or lines or [""])[-1]
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def describe(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, str | int]:
    """
    Return the worker class, the workers and the threads that Gunicorn has with *arguments*.

    Raises:
        AutoconfError: It would not start.
    """
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        done = subprocess.run(
            [*_LAUNCH, "-1", name, *arguments],
            env=_environ(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        found = _read_settings(Path(name))
    if found is None:
        raise AutoconfError(f"--current: {reason_in(done.stdout.decode('utf-8', 'replace'))}")
    return found


@contextlib.contextmanager
def serving(
    arguments: Sequence[str], environ: Mapping[str, str], cpus: Collection[int] = ()
) -> Iterator[Server]:
    """
    Start Gunicorn with *arguments*; end it and all that it has started with the block.

    The socket is made here, on a port that the kernel chooses: nothing else is ever asked for, and
    a server that runs elsewhere cannot be in the way.
    """
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as name,
        socket.create_server(("127.0.0.1", 0), backlog=2048) as listener,
    ):
        folder, fd = Path(name), listener.fileno()
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [*_LAUNCH, str(fd), name, *arguments],
                env=_environ(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(fd,),
                start_new_session=True,
            )
        server = Server(process, listener.getsockname()[1], folder)
        try:
            if cpus and hasattr(os, "sched_setaffinity"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(process.pid, cpus)
            listener.close()
            yield server
        finally:
            _end(server)


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in _LEFT_OUT}


def _read_settings(folder: Path) -> dict[str, str | int] | None:
    try:
        return dict(json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _end(server: Server) -> None:
    """End the server: quickly by its own means, then whatever is left of it."""
    processes = server.tree()
    try:
        with contextlib.suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGQUIT)
        ends = time.monotonic() + _STOP_SECONDS
        while not server.has_ended and time.monotonic() < ends:
            time.sleep(_POLL_SECONDS)
    finally:  # Also where Ctrl-C cuts the wait short.
        processes += server.tree()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server.process.pid, signal.SIGKILL)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        server.process.wait()
