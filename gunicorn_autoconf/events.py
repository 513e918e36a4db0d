"""Lines of Gunicorn's log with fields beside the text, for logs that a machine reads. Logs."""

from __future__ import annotations

from typing import Any


def log_event(log: Any, level: str, event: str, text: str, **fields: object) -> None:
    """
    Write *text* to *log*, a logger as Gunicorn's `logger_class` makes it.

    The record has the attributes ``event`` and those of *fields* that are not None. A formatter for
    JSON writes them as keys; numbers have their unit in the name.
    """
    extra = {"event": event, **{name: what for name, what in fields.items() if what is not None}}
    write = getattr(log, level)
    try:
        write("%s", text, extra=extra)
    except TypeError:  # A logger of your own may not take fields.
        write("%s", text)
