"""What is known of an application without running it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gunicorn_autoconf.worker_classes import Interface


class StateKind(str, Enum):
    """What goes wrong when each worker has a copy of its own."""

    SESSIONS = "sessions"
    JOBS = "jobs"
    MEMORY = "memory"


class KeptState(NamedTuple):
    """
    One thing that an application keeps in the memory of one process.

    Attributes:
        kind: What goes wrong when each worker has a copy of its own.
        evidence: What shows it, such as ``SocketIO() at app.py:7``.
    """

    kind: StateKind
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    What is known of an application without running it.

    Attributes:
        interface: What it speaks; None where it is neither ASGI nor WSGI, or cannot be told.
        evidence: What shows it, or why it cannot be told; one phrase.
        missing_module: The module that its name asks for, where none is found; otherwise None.
        is_neither: It is certain to be neither ASGI nor WSGI.
        worker_class: The worker class that serves an application that is neither, if there is one.
        depends_on_version: The installed release of its framework decides, and is not at hand.
        makes_own_threads: It runs each request in a thread that it makes itself.
        process_state: What it keeps in the memory of one process.
        runs_without_gil: Its threads compute at the same time: the GIL is off, and stays so.
    """

    interface: Interface | None
    evidence: str
    missing_module: str | None = None
    is_neither: bool = False
    worker_class: str | None = None
    depends_on_version: bool = False
    makes_own_threads: bool = False
    process_state: tuple[KeptState, ...] = ()
    runs_without_gil: bool = False


def is_answer(found: Finding) -> bool:
    """Whether *found* says what the application is: ASGI, WSGI or neither."""
    return found.interface is not None or found.is_neither


def unknown(reason: str) -> Finding:
    """Return the Finding that nothing can be told."""
    return Finding(interface=None, evidence=reason)


def merge(findings: Sequence[Finding]) -> Finding:
    """Return what all of *findings*, each of which may be the true one, say together."""
    answers = {found.interface: found for found in reversed(findings) if is_answer(found)}
    if len(answers) == 1:
        return next(iter(answers.values()))
    if answers:
        return unknown(" or ".join(sorted(found.evidence for found in answers.values())))
    open_ones = sorted(findings, key=lambda found: not found.depends_on_version)
    return open_ones[0] if open_ones else unknown("nothing to read")
