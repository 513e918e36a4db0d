"""Whether Python runs without the GIL, and which extension has turned it on. Logs.

A free-threaded build of Python runs without the GIL until it imports an extension that does not
say that it can do so, too. Then it turns the GIL on, for good, and warns once, with the name of the
module. ``PYTHON_GIL=0`` or ``-X gil=0`` keep it off whatever is imported.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn_autoconf.events import log_event

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.app.finding import Finding


class Gil(NamedTuple):
    """What this interpreter does about the GIL."""

    can_be_off: bool = False
    """It is a free-threaded build."""
    is_on: bool = True
    """The GIL is on now."""
    is_kept_off: bool = False
    """``PYTHON_GIL=0`` or ``-X gil=0`` is set."""

    @property
    def stays_off(self) -> bool:
        """Whether it is off, and no import turns it on."""
        return self.can_be_off and not self.is_on and self.is_kept_off


def read_gil() -> Gil:
    """Return what the running interpreter does."""
    if "t" not in getattr(sys, "abiflags", ""):
        return Gil()
    is_enabled: Any = getattr(sys, "_is_gil_enabled", lambda: True)  # Python 3.13 and later.
    is_kept_off = getattr(sys.flags, "gil", None) == 0
    return Gil(can_be_off=True, is_on=is_enabled(), is_kept_off=is_kept_off)


def enabling_module(message: str) -> str | None:
    """
    Return the module whose import turned the GIL on, where *message* is the warning about it.

    >>> enabling_module("The global interpreter lock (GIL) has been enabled to load module 'x.y'")
    'x.y'

    Source:
        CPython, Python/import.c, _PyImport_EnableGILAndWarn.
    """
    before, _, rest = message.partition("'")
    return rest.partition("'")[0] or None if "(GIL)" in before else None


def render_gil(gil: Gil, module: str | None, *, has_threads: bool) -> tuple[str, str] | None:
    """
    Return the level and the text of the line about the GIL, None where there is none to log.

    *module* is what turned it on; *has_threads* whether the plan knows that it is off.
    """
    if not gil.can_be_off:
        return None
    if not gil.is_on:
        cure = (
            "; on more than 2 cores set PYTHON_GIL=0, or preload_app, to have workload cpu planned "
            "with threads"
        )
        known = "" if has_threads else cure
        return "info", f"Python runs without the GIL{known}"
    name = f"importing {module} has turned it on" if module else "an extension has turned it on"
    text = (
        f"the GIL is on although this Python can run without it: {name}, so the threads of a "
        "worker compute one at a time. Install a release that supports free-threaded Python, or "
        "keep the GIL off at your own risk with PYTHON_GIL=0"
    )
    return "warning", text


class GilWatch:
    """
    Learns from Python's warning which extension turned the GIL on; on a free-threaded build only.

    It is made while the configuration is read, before anything else imports an extension; forked
    workers have a copy each.
    """

    def __init__(self, gil: Gil | None = None) -> None:
        self.module: str | None = None
        if (gil or read_gil()).can_be_off:
            show = warnings.showwarning

            def note_and_show(message: Warning | str, *args: Any, **options: Any) -> None:
                self.module = self.module or enabling_module(str(message))
                show(message, *args, **options)

            warnings.showwarning = note_and_show

    def report(self, worker: Worker, application: Finding | None, gil: Gil | None = None) -> None:
        """Log what the import of the application has left; once, in the first worker."""
        has_threads = application is not None and application.runs_without_gil
        line = render_gil(gil or read_gil(), self.module, has_threads=has_threads)
        if line and worker.age == 1:
            level, text = line
            shown = f"gunicorn-autoconf: {text}"
            log_event(worker.log, level, "gil", shown, enabled_by=self.module)
