"""The plan and the server: which application, what its configuration says, making it follow.

Reads the application's source, reads and sets the arbiter's configuration.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.app.detect import detect_interface
from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.app.loaded import interface_of
from gunicorn_autoconf.app.state import find_process_state
from gunicorn_autoconf.plan.declaration import Declaration, Explicit
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.remarks import remarks
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS, plan
from gunicorn_autoconf.server.gunicorn import assigned_names, running_arbiter, taken_settings
from gunicorn_autoconf.server.state import state_of
from gunicorn_autoconf.worker_classes import (
    FAMILIES,
    HTTPTOOLS,
    IGNORABLE,
    UVICORN,
    Interface,
    class_name,
    family_of,
)

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.plan.plan import Plan
    from gunicorn_autoconf.server.planned import Planned


def find_application(target: str | None, declaration: Declaration) -> Finding | None:
    """
    Return what the source of *target* shows, or None where no application is named.

    Without a *target* the setting ``wsgi_app`` names it, as in Gunicorn.
    """

    def setting(name: str) -> Any:
        explicit = declaration.explicit(name)
        return explicit.value if explicit else None

    if setting("paste"):
        return Finding(interface=Interface.WSGI, evidence="Paste Deployment is WSGI")
    target = target or setting("wsgi_app")
    if not target:
        return None
    return _read_source(target, _search_path(setting("chdir"), setting("pythonpath")))


def _read_source(target: str, search_path: list[str]) -> Finding:
    found = detect_interface(target, search_path)
    return replace(found, process_state=find_process_state(target, search_path))


def _search_path(chdir: str | None, pythonpath: str | None) -> list[str]:
    """Where Gunicorn will import the application from, in its order."""
    base = chdir or os.getcwd()
    # Gunicorn inserts each at the front, after it has changed to *chdir*: the last one is first.
    first = [os.path.join(base, path) for path in pythonpath.split(",")] if pythonpath else []
    return [*reversed(first), base, *sys.path]


def replan(loaded: Planned, server: Arbiter) -> Planned:
    """
    Plan again with what only the starting server knows, and make *server* follow.

    That is the lines of the user's own configuration file, the application that it names or where
    it says to look for it, and with ``preload_app`` the application itself.

    Args:
        loaded: What Gunicorn was given when it read the configuration.
        server: The arbiter, before it forks.
    """
    declaration = _with_file_lines(loaded, server)
    application = _application(loaded, server)
    chosen = plan(loaded.machine, declaration, application=application)
    _apply(chosen, server)
    # The worker class is loaded now. It shows from what a class of the operator's own descends.
    loaded_class = server.worker_class
    known = Known(
        loaded.machine,
        declaration,
        chosen,
        application,
        http_parser=http_parser(loaded_class),
        worker_class=loaded_class,
    )
    chosen = replace(chosen, remarks=remarks(known))
    return replace(loaded, declaration=declaration, application=application, plan=chosen)


def keep_running(error: Exception) -> Planned | None:
    """
    Log *error* and return what the running server last took over; None where none runs.

    An exception in a configuration that is read again on SIGHUP would end the server.
    """
    server = running_arbiter()
    state = state_of(server)
    if server is None or state is None:
        return None
    server.log.error("gunicorn-autoconf keeps the running plan: %s", error)
    return state.loaded


def _with_file_lines(loaded: Planned, server: Arbiter) -> Declaration:
    """The declaration and what the configuration file sets, where that matters to a plan."""
    declaration = loaded.declaration
    settings = dict(declaration.settings)
    location = str(server.cfg.config)
    assigned = assigned_names(location)
    expected = taken_settings(loaded.plan.settings)
    for name in (*PLANNED_SETTINGS, *sorted(IGNORABLE.difference(PLANNED_SETTINGS))):
        if name not in server.cfg.settings:
            continue  # Another release of Gunicorn has it.
        value = server.cfg.settings[name].get()
        explicit = declaration.explicit(name)
        if explicit and explicit.applied:
            continue
        if value != expected[name] or name in assigned:
            by_file = Explicit(value=value, source=_shown(location), applied=True)
            settings[name] = (by_file, *settings.get(name, ()))
    return replace(declaration, settings=settings)


def _shown(location: str) -> str:
    """What to name as the source of a setting that the configuration at *location* has not."""
    return "the command line" if location == "python:gunicorn_autoconf.conf" else location


def loop_and_parser(server: Arbiter) -> str | None:
    """Which event loop and HTTP parser uvicorn takes in the workers; None where none runs there."""
    options = getattr(server.worker_class, "CONFIG_KWARGS", None)
    if options is None:
        return None
    known = server.cfg.settings.get("asgi_loop")  # Since Gunicorn 25.
    heeded = known and family_of(server.worker_class) is FAMILIES[UVICORN]
    loop = options.get("loop", known.get() if heeded else "auto")
    return f"{_taken(loop, 'uvloop', 'asyncio')}, {http_parser(server.worker_class)}"


def http_parser(worker_class: type | None = None) -> str:
    """Which HTTP parser uvicorn takes, in the worker class where that has a say."""
    options = getattr(worker_class, "CONFIG_KWARGS", {})
    return _taken(options.get("http", "auto"), HTTPTOOLS, "h11")


def _taken(option: Any, faster: str, other: str) -> str:
    """What uvicorn makes of *option*: of "auto" the *faster* one where that is installed."""
    if option == "auto":
        return faster if find_spec(faster) else other
    return option if isinstance(option, str) else class_name(option)


def _application(loaded: Planned, server: Arbiter) -> Finding | None:
    if server.cfg.preload_app and server.app.callable is not None:
        interface = interface_of(server.app.callable)
        if interface is not None:
            kept = loaded.application.process_state if loaded.application else ()
            shown = "the loaded application shows it"
            return Finding(interface=interface, evidence=shown, process_state=kept)
    # The configuration file may have named the application, or where it is.
    target = getattr(server.app, "app_uri", None) or server.cfg.wsgi_app
    if not target or server.cfg.paste:
        return loaded.application
    return _read_source(target, _search_path(server.cfg.chdir, server.cfg.pythonpath))


def _apply(chosen: Plan, server: Arbiter) -> None:
    """Bring the arbiter's configuration to *chosen*, where it differs."""
    cfg = server.cfg
    for name in PLANNED_SETTINGS:
        wanted = chosen.settings.get(name, cfg.settings[name].default)
        if cfg.settings[name].get() == wanted:
            continue
        cfg.set(name, wanted)
        if name == "workers":
            server.num_workers = wanted
        elif name == "timeout":
            server.timeout = wanted
        elif name in ("worker_class", "threads"):
            server.worker_class = cfg.worker_class
