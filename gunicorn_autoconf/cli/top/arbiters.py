"""Which of the running processes are Gunicorn's arbiters and workers. Asks psutil."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psutil

from gunicorn_autoconf.errors import AutoconfError

# What Gunicorn calls its processes where setproctitle is installed.
# Source: gunicorn/arbiter.py, `_setproctitle`.
ARBITER_TITLE = "gunicorn: master ["
WORKER_TITLE = "gunicorn: worker ["

_PYTHON = re.compile(r"(python|pypy)[\d.]*t?", re.IGNORECASE)  # macOS has a "Python".
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_MODULES = ("gunicorn", "gunicorn.__main__", "gunicorn.app.wsgiapp")
# The last is what SIGUSR2 runs where Gunicorn was started by ``python -m gunicorn``.
_SCRIPT = re.compile(r"(.*/)?(gunicorn|gunicorn/app/wsgiapp\.py|gunicorn/__main__\.py)")


class Listed(NamedTuple):
    """A process as the list of processes shows it."""

    pid: int
    parent_pid: int
    command: tuple[str, ...]
    """Its arguments, or the title that it has given itself."""
    predecessor_pid: int | None = None
    """The arbiter that it is told to take over from, as ``GUNICORN_PID`` names it."""

    @property
    def text(self) -> str:
        """The command on one line."""
        return " ".join(word for word in self.command if word)

    @property
    def is_successor(self) -> bool:
        """Whether it is the new arbiter of an upgrade by SIGUSR2 whose parent still runs."""
        # Workers inherit GUNICORN_PID, but their parent is another one. A title may be written
        # over the environment, but tells by itself.
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
    """Return the arbiters among *processes*: Gunicorns whose parent is none, and successors."""
    gunicorns = {process.pid: process for process in processes if is_gunicorn(process.command)}
    return [
        process
        for process in gunicorns.values()
        if process.parent_pid not in gunicorns or process.is_successor
    ]


def select_workers(arbiter: Listed, children: Iterable[Listed]) -> list[int]:
    """
    Return the pids of those *children* of *arbiter* that are its workers.

    A worker is a fork: its command is the arbiter's. A program that a hook has started has another
    one, and a successor is an arbiter itself.
    """
    return [
        child.pid
        for child in children
        if child.text.startswith(WORKER_TITLE)
        or (child.text == arbiter.text and child.predecessor_pid != child.parent_pid)
    ]


def list_processes(user_id: int | None) -> list[Listed]:
    """Return the living processes of *user_id*, of all users where None."""
    found = []
    for process in psutil.process_iter():
        try:
            if user_id is None or process.uids().effective == user_id:
                found.append(read_listed(process))
        except psutil.Error:  # it has ended, or may not be looked at
            continue
    return found


def read_listed(process: psutil.Process) -> Listed:
    """
    Return how *process* is listed; what another user may not see is missing.

    Raises:
        psutil.NoSuchProcess: It has ended.
    """
    command: tuple[str, ...] = ()
    predecessor = None
    try:
        command = tuple(process.cmdline())
        if is_gunicorn(command):
            text = process.environ().get("GUNICORN_PID", "")
            predecessor = int(text) if text.isdecimal() else None
    except (psutil.AccessDenied, OSError):
        pass
    return Listed(process.pid, process.ppid(), command, predecessor)


def list_children(parent: psutil.Process) -> list[Listed]:
    """
    Return the living children of *parent*.

    Raises:
        psutil.NoSuchProcess: The parent has ended.
    """
    children = []
    for child in parent.children():
        try:
            children.append(read_listed(child))
        except psutil.NoSuchProcess:
            continue
    return children


def find_arbiter(pid: int | None, pidfile: str | None) -> psutil.Process:
    """
    Return the arbiter *pid*, the one in *pidfile*, or where neither is given the only one there is.

    Those of this user are looked for; root sees everyone's.

    Raises:
        AutoconfError: There is none, or there are several.
    """
    if pid is not None:
        return _open(pid, f"--pid={pid}")
    if pidfile is not None:
        return _open(_read_pidfile(pidfile), f"--pidfile={pidfile!r}")
    user_id = os.geteuid()
    arbiters = select_arbiters(list_processes(user_id or None))
    if not arbiters:
        raise AutoconfError("no running Gunicorn was found; name one by --pid or --pidfile")
    if len(arbiters) > 1:
        rows = "".join(f"\n  {row}" for row in describe(arbiters))
        raise AutoconfError(f"{len(arbiters)} arbiters are running, choose one by --pid:{rows}")
    return _open(arbiters[0].pid, f"arbiter {arbiters[0].pid}")


def describe(arbiters: Sequence[Listed]) -> list[str]:
    """Return one line for each of *arbiters*."""
    commands = {arbiter.pid: printable(arbiter.text) for arbiter in arbiters}
    return [
        f"{arbiter.pid}: {commands[arbiter.pid]}"
        + (f" (to replace {arbiter.parent_pid})" if arbiter.parent_pid in commands else "")
        for arbiter in arbiters
    ]


def _open(pid: int, source: str) -> psutil.Process:
    """Return the arbiter *pid*, which *source* has named."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise AutoconfError(f"{source}: process {pid} has ended")
        listed, parent = read_listed(process), process.parent()
        if parent is not None and _is_worker(listed, read_listed(parent)):
            raise AutoconfError(f"{source}: that is a worker, its arbiter is {parent.pid}")
        # A program that runs Gunicorn from within is known by its workers only.
        if not is_gunicorn(listed.command) and not select_workers(listed, list_children(process)):
            raise AutoconfError(f"{source}: process {pid} is no Gunicorn and has no workers")
    except (psutil.NoSuchProcess, ValueError, OverflowError):  # no pid is below 0 or that high
        raise AutoconfError(f"{source}: there is no such process") from None
    return process


def _is_worker(process: Listed, parent: Listed) -> bool:
    return is_gunicorn(parent.command) and bool(select_workers(parent, [process]))


def _read_pidfile(path: str) -> int:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(100).strip()
    except OSError as error:
        raise AutoconfError(f"--pidfile={path!r}: {error.strerror}") from None
    if not text.isdecimal():
        raise AutoconfError(f"--pidfile={path!r}: it holds no pid")
    return int(text)


def printable(text: str) -> str:
    """
    Return *text* so that each character takes one column and none commands the terminal.

    Anybody may name a process, and by any bytes.
    """
    escaped = text.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escaped)
