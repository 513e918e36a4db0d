"""What is known of an application without running it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gunicorn_autoconf.worker_classes import Interface


class StateKind(str, Enum):
    """What goes wrong when each worker has a copy of its own."""

    SESSIONS = "sessions"
    JOBS = "jobs"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
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
        interface: What it speaks, or None where that cannot be told.
        evidence: What shows it, or why it cannot be told; one phrase.
        missing_module: The module that its name asks for, where none is found; otherwise None.
        process_state: What it keeps in the memory of one process.
    """

    interface: Interface | None
    evidence: str
    missing_module: str | None = None
    process_state: tuple[ProcessState, ...] = ()
