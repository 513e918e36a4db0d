"""An application that the worker class cannot serve ends the start. Logs, ends the worker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from gunicorn_autoconf.app.loaded import interface_of
from gunicorn_autoconf.worker_classes import Interface, family_of

if TYPE_CHECKING:
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.server.state import ServerState

# The exit status by which a worker tells the arbiter to give up, not to fork another one.
# Source: gunicorn.arbiter.Arbiter.APP_LOAD_ERROR.
APP_LOAD_ERROR = 4


def check_at_load(worker: Worker, check: Callable[[Worker], None]) -> None:
    """
    Have *worker* call *check* as soon as it has loaded the application; in the arbiter.

    This needs none of Gunicorn's hooks in the worker, which a user's own may have replaced.
    """
    load = worker.load_wsgi

    def load_and_check() -> None:
        load()
        check(worker)

    worker.load_wsgi = load_and_check


def check_interface(worker: Worker, state: ServerState) -> None:
    """End the start where application and worker class do not speak the same."""
    speaks, serves = interface_of(worker.app.callable), _served_by(worker)
    if speaks is None or serves is None or speaks is serves:
        return
    # Only a start may end here; a server that has run goes on, whatever was deployed since.
    reloaded = worker.cfg.reload or state.has_reloaded
    starting = not reloaded and worker.age <= worker.cfg.workers
    # One line, not one a worker; and Gunicorn stumbles over a second worker that gives up.
    if starting and worker.age > 1 and state.records.wait_for_end(worker):
        sys.exit(0)
    explicit = state.final.declaration.explicit("worker_class")
    worker.log.critical(
        "gunicorn-autoconf: the application is %s, but %s serves %s: %s",
        speaks.value.upper(),
        worker.cfg.worker_class_str,
        serves.value.upper(),
        f"remove the worker class that {explicit.source} sets"
        if explicit
        else f"set GUNICORN_INTERFACE={speaks.value}",
    )
    if starting:
        state.records.end_start(worker)
        sys.exit(APP_LOAD_ERROR)


def _served_by(worker: Worker) -> Interface | None:
    """What the class of *worker* serves, or None where that is unknown."""
    if getattr(getattr(worker, "config", None), "interface", None) == "wsgi":
        return Interface.WSGI  # A UvicornWorker that was told to wrap a WSGI application.
    family = family_of(type(worker))
    return family.interface if family else None
