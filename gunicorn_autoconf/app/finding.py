"""What is known of an application without running it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gunicorn_autoconf.worker_classes import Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    What is known of an application without running it.

    Attributes:
        interface: What it speaks, or None where that cannot be told.
        evidence: What shows it, or why it cannot be told; one phrase.
        missing_module: The module that its name asks for, where none is found; otherwise None.
    """

    interface: Interface | None
    evidence: str
    missing_module: str | None = None
