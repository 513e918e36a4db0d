"""Lines of Gunicorn's log with fields beside the text, for logs that a machine reads. Logs."""

from __future__ import annotations

import logging
from typing import Any


def log_event(log: Any, level: str, event: str, text: str, **fields: object) -> None:
    """
    Write *text* to *log*, a logger as Gunicorn's `logger_class` makes it.

    The record has the attributes ``event_name`` and those of *fields* that are not None. A
    formatter for JSON writes them as keys; numbers have their unit in the name. ``event`` is what
    structlog calls the text of a record.
    """
    extra = {
        "event_name": event,
        **{name: what for name, what in fields.items() if what is not None},
    }
    write = getattr(log, level)
    try:
        write("%s", text, extra=extra)
    except TypeError:  # A logger of your own may not take fields.
        write("%s", text)


def complete_log(log: Any) -> None:
    """
    Give *log* the loggers that uvicorn's workers take from Gunicorn's own class, where it has none.

    What uvicorn writes to them goes to *log*.
    """
    for name in ("error_log", "access_log"):
        if not hasattr(log, name):
            logger = logging.Logger(name, logging.INFO)  # noqa: LOG001 - of this log alone
            logger.addHandler(_Forward(log))
            setattr(log, name, logger)


class _Forward(logging.Handler):
    """Hands records to a logger of another kind."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write the text of *record*, without its traceback where the other takes none."""
        self._log.log(record.levelno, "%s", self.format(record))
