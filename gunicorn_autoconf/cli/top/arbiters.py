"""Which of the running processes are arbiters and workers of Gunicorn. Asks psutil."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil

from gunicorn_autoconf.cli.options import naming
from gunicorn_autoconf.errors import AutoconfError

# The titles of Gunicorn's processes when setproctitle is installed.
# Source: gunicorn/arbiter.py, `_setproctitle`.
ARBITER_TITLE = "gunicorn: master ["
WORKER_TITLE = "gunicorn: worker ["

_PYTHON = re.compile(r"(python|pypy)[\d.]*t?", re.IGNORECASE)  # macOS has a "Python".
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_MODULES = ("gunicorn", "gunicorn.__main__", "gunicorn.app.wsgiapp")
# The last is what SIGUSR2 runs if Gunicorn was started as ``python -m gunicorn``.
_SCRIPT = re.compile(r"(.*/)?(gunicorn|gunicorn/app/wsgiapp\.py|gunicorn/__main__\.py)")


class Listed(NamedTuple):
    """
    A process as the list of processes shows it.

    Attributes:
        command: Its arguments, or the title that it has set for itself.
        predecessor_pid: The arbiter that it is to replace, from ``GUNICORN_PID``.
    """

    pid: int
    parent_pid: int
    command: tuple[str, ...]
    predecessor_pid: int | None = None

    @property
    def text(self) -> str:
        """The command on one line."""
        return " ".join(word for word in self.command if word)

    @property
    def is_successor(self) -> bool:
        """Whether it is the new arbiter of an upgrade by SIGUSR2, and its parent still runs."""
        # Workers inherit GUNICORN_PID, but have another parent. A title may have overwritten the
        # environment, but says that it is an arbiter.
        return self.predecessor_pid == self.parent_pid or self.text.startswith(ARBITER_TITLE)


def is_gunicorn(command: Iterable[str]) -> bool:
    """
    Return whether the arguments *command* run Gunicorn, or are a title of its processes.

    >>> is_gunicorn(["/usr/bin/python3", "-u", "/usr/bin/gunicorn", "app:app"])
    True
    >>> is_gunicorn(["python", "-m", "gunicorn", "app:app"])
    True
    >>> is_gunicorn(["vi", "gunicorn"])
    False
    """
    words = [word for word in command if word]
    if " ".join(words).startswith((ARBITER_TITLE, WORKER_TITLE)):
        return True
    if not words or not _PYTHON.fullmatch(os.path.basename(words[0])):
        return bool(words) and os.path.basename(words[0]) == "gunicorn"
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, "") in _MODULES
        if not word.startswith("-"):
            return _SCRIPT.fullmatch(word) is not None
        if word == "-c":
            return False
        if word in _WITH_VALUE:
            next(rest, "")
    return False


def select_arbiters(processes: Iterable[Listed]) -> list[Listed]:
    """Return each Gunicorn among *processes* whose parent is none, and the successors."""
    gunicorns = {process.pid: process for process in processes if is_gunicorn(process.command)}
    return [
        process
        for process in gunicorns.values()
        if process.parent_pid not in gunicorns or process.is_successor
    ]


def select_workers(arbiter: Listed, children: Iterable[Listed]) -> list[int]:
    """
    Return the pids of those *children* of *arbiter* that are its workers.

    A worker is a fork, so its command is that of the arbiter. A program that a hook started has
    another command, and a successor is an arbiter itself.
    """
    return [
        child.pid
        for child in children
        if child.text.startswith(WORKER_TITLE)
        or (child.text == arbiter.text and child.predecessor_pid != child.parent_pid)
    ]


def list_processes(user_id: int | None) -> list[Listed]:
    """Return the running processes of *user_id*, or of all users when it is None."""
    return _read_all(
        process
        for process in psutil.process_iter(["uids"])
        if user_id is None or (process.info["uids"] and process.info["uids"].effective == user_id)
    )


def list_children(parent: psutil.Process) -> list[Listed]:
    """Return the running children of *parent*; raise psutil.NoSuchProcess when it has ended."""
    return _read_all(parent.children())


def _read_all(processes: Iterable[psutil.Process]) -> list[Listed]:
    found = []
    for process in processes:
        with suppress(psutil.Error):  # it has ended, or cannot be read
            found.append(read_listed(process))
    return found


def read_listed(process: psutil.Process) -> Listed:
    """Return how *process* is listed; raise psutil.NoSuchProcess when it has ended."""
    command: tuple[str, ...] = ()
    predecessor = None
    with suppress(psutil.AccessDenied, OSError):  # a process of another user
        command = tuple(process.cmdline())
        if is_gunicorn(command):
            text = process.environ().get("GUNICORN_PID", "")
            predecessor = int(text) if text.isdecimal() else None
    return Listed(process.pid, process.ppid(), command, predecessor)


def find_arbiter(
    pid: int | None,
    pidfile: str | None,
    choose: Callable[[Sequence[Listed]], int] | None = None,
) -> psutil.Process:
    """
    Return the arbiter *pid*, the one in *pidfile*, or without both the only one of this user.

    For root it is the only one of all users. Of several, *choose* returns the pid of one.

    Raises:
        AutoconfError: There is none, or there are several.
    """
    if pid is not None:
        return open_arbiter(pid, f"--pid={pid}")
    if pidfile is not None:
        return open_arbiter(_read_pidfile(pidfile), f"--pidfile={pidfile!r}")
    arbiters = select_arbiters(list_processes(os.geteuid() or None))
    if not arbiters:
        raise AutoconfError("no running Gunicorn was found; name one by --pid or --pidfile")
    chosen = arbiters[0].pid
    if len(arbiters) > 1:
        if choose is None:
            rows = "".join(f"\n  {row}" for row in describe(arbiters))
            raise AutoconfError(f"{len(arbiters)} arbiters are running, choose one by --pid:{rows}")
        chosen = choose(arbiters)
    return open_arbiter(chosen, f"arbiter {chosen}")


def describe(arbiters: Sequence[Listed]) -> Iterator[str]:
    """Yield one line for each of *arbiters*."""
    pids = {arbiter.pid for arbiter in arbiters}
    for arbiter in arbiters:
        successor = f" (to replace {arbiter.parent_pid})" if arbiter.parent_pid in pids else ""
        yield f"{arbiter.pid}: {in_columns(arbiter.text)}{successor}"


def open_arbiter(pid: int, source: str) -> psutil.Process:
    """
    Return the arbiter *pid*; *source* is the option that named it, as its user wrote it.

    Raises:
        AutoconfError: It is none.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise AutoconfError(f"{source}: process {pid} has ended")
        listed, parent = read_listed(process), process.parent()
        if parent is not None:
            above = read_listed(parent)
            if is_gunicorn(above.command) and select_workers(above, [listed]):
                raise AutoconfError(f"{source}: that is a worker, its arbiter is {parent.pid}")
        # A program that embeds Gunicorn can be recognised by its workers only.
        if not is_gunicorn(listed.command) and not select_workers(listed, list_children(process)):
            # A shell or an init, such as a container's first process, has Gunicorn as a child.
            below = select_arbiters(_read_all(process.children(recursive=True)))
            meant = f"; it started Gunicorn as {below[0].pid}" if below else ""
            raise AutoconfError(f"{source}: process {pid} is not Gunicorn{meant}")
    except (psutil.NoSuchProcess, ValueError, OverflowError):  # negative, or too large for a pid
        raise AutoconfError(f"{source}: there is no such process") from None
    return process


def _read_pidfile(path: str) -> int:
    with naming("--pidfile", path), open(path, encoding="ascii", errors="replace") as file:
        text = file.read(100).strip()
    if not text.isdecimal():
        raise AutoconfError(f"--pidfile={path!r}: it holds no pid")
    return int(text)


def in_columns(text: str) -> str:
    """
    Return *text* with each character one column wide and no control characters.

    The name of a process may contain any bytes.
    """
    escaped = text.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escaped)
