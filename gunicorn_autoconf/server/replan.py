"""The plan and the server: which application, what its configuration says, making it follow.

Reads the application's source, reads and sets the arbiter's configuration.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.app.detect import detect_interface
from gunicorn_autoconf.app.factory import call_of_factory
from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.app.loaded import interface_of
from gunicorn_autoconf.app.source import Files
from gunicorn_autoconf.app.state import find_kept_state
from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.declaration import Declaration, Explicit
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.remarks import remarks
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS, plan
from gunicorn_autoconf.server.gil import read_gil
from gunicorn_autoconf.server.gunicorn import running_arbiter
from gunicorn_autoconf.server.provenance import set_by_operator, set_ours
from gunicorn_autoconf.server.reading import CONF_MODULE
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

    Raises:
        DeclarationError: It is a factory that is named without a call. Gunicorn would take the
            factory itself for the application, and answer every request with an error.
    """
    if _setting(declaration, "paste"):
        return Finding(interface=Interface.WSGI, evidence="Paste Deployment is WSGI")
    named_by = "APP_MODULE" if target else _source(declaration, "wsgi_app")
    target = target or _setting(declaration, "wsgi_app")
    if not target:
        return None
    path, files = search_path(declaration), Files()
    _refuse_factory(named_by, target, path, files)
    return _read_source(target, path, files)


def _refuse_factory(named_by: str, target: str, path: Sequence[str], files: Files) -> None:
    if call := call_of_factory(target, path, files):
        remedy = f"it is a function that makes the application; write {call}"
        raise DeclarationError(named_by, target, remedy)


def _setting(declaration: Declaration, name: str) -> Any:
    explicit = declaration.explicit(name)
    return explicit.value if explicit else None


def _source(declaration: Declaration, name: str) -> str:
    explicit = declaration.explicit(name)
    return explicit.source if explicit else name


def search_path(declaration: Declaration) -> list[str]:
    """Return where Gunicorn will import from, in its order, as far as it is declared."""
    return _search_path(_setting(declaration, "chdir"), _setting(declaration, "pythonpath"))


def _read_source(target: str, path: Sequence[str], files: Files) -> Finding:
    found = detect_interface(target, path, files)
    kept = find_kept_state(target, path, files)
    return replace(found, process_state=kept, runs_without_gil=read_gil().stays_off)


def _search_path(chdir: str | None, pythonpath: str | None) -> list[str]:
    base = chdir or os.getcwd()
    # Gunicorn inserts each at the front, after it has changed to *chdir*: the last one is first.
    first = [os.path.join(base, path) for path in pythonpath.split(",")] if pythonpath else []
    return [*reversed(first), base, *sys.path]


def replan(
    loaded: Planned, server: Arbiter, offered: Mapping[str, Any], *, is_reload: bool = False
) -> Planned:
    """
    Plan again with what only the starting server knows, and make *server* follow.

    That is what the user's own configuration sets, the application that it names or where it says
    to look for it, and with ``preload_app`` the application itself.

    Args:
        loaded: What Gunicorn was given when it read the configuration.
        server: The arbiter, before it forks.
        offered: The settings as they were offered to Gunicorn.
        is_reload: Whether the application's source may have changed since it was loaded.
    """
    declaration = _with_operators_word(loaded.declaration, server, offered)
    application = _application(loaded, server, is_reload=is_reload)
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
        default_address=_default_address(server, offered),
    )
    chosen = replace(chosen, remarks=remarks(known))
    return replace(loaded, declaration=declaration, application=application, plan=chosen)


def _default_address(server: Arbiter, offered: Mapping[str, Any]) -> str | None:
    # By who set it: you may have written Gunicorn's own default.
    is_set = set_by_operator(server.cfg, offered, ["bind"]) or "LISTEN_FDS" in os.environ
    return None if is_set else str(server.cfg.bind[0])


def heed(planned: Planned, server: Arbiter, offered: Mapping[str, Any]) -> Planned:
    """
    Return *planned* with what the operator has set since, in a hook for example.

    Nothing of *server* is changed, but what is known to be the operator's is left alone from now
    on. That matters most for the number of workers.
    """
    declaration = _with_operators_word(planned.declaration, server, offered)
    if declaration == planned.declaration:
        return planned
    chosen = plan(planned.machine, declaration, application=planned.application)
    return replace(planned, declaration=declaration, plan=chosen)


def check_application(loaded: Planned, server: Arbiter) -> None:
    """
    Raise if the user's own configuration names a factory without a call as the application.

    Raises:
        DeclarationError: It is a factory that is named without a call.
    """
    target = server.cfg.wsgi_app
    if loaded.application is None and target and target == getattr(server.app, "app_uri", None):
        path = _search_path(server.cfg.chdir, server.cfg.pythonpath)
        _refuse_factory("wsgi_app", target, path, Files())


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


def leaves_conf_file_aside(server: Arbiter) -> bool:
    """Whether Gunicorn would have read a ``gunicorn.conf.py``, were our module not named."""
    cfg = server.cfg
    # The default of `chdir` is where Gunicorn was started.
    path = os.path.join(cfg.settings["chdir"].default, "gunicorn.conf.py")
    return bool(cfg.config == CONF_MODULE) and os.path.exists(path)


def _with_operators_word(
    declaration: Declaration, server: Arbiter, offered: Mapping[str, Any]
) -> Declaration:
    """The declaration with each setting that is not ours, where that matters to a plan."""
    names = sorted({*PLANNED_SETTINGS, *IGNORABLE})
    found = set_by_operator(server.cfg, offered, names)
    if server.num_workers != server.cfg.workers:
        # Set by a hook, after Gunicorn took over its configuration.
        source = "server.num_workers"
        found["workers"] = Explicit(value=server.num_workers, source=source, applied=True)
    settings = dict(declaration.settings)
    for name, explicit in found.items():
        before = declaration.explicit(name)
        if not (before and before.applied and before.source == explicit.source):
            settings[name] = (explicit, *settings.get(name, ()))
    return replace(declaration, settings=settings)


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


def _application(loaded: Planned, server: Arbiter, *, is_reload: bool) -> Finding | None:
    if server.cfg.preload_app and server.app.callable is not None:
        interface = interface_of(server.app.callable)
        if interface is not None:
            kept = loaded.application.process_state if loaded.application else ()
            shown = "the loaded application shows it"
            return Finding(
                interface=interface,
                evidence=shown,
                process_state=kept,
                runs_without_gil=not read_gil().is_on,  # After the import.
            )
    # The configuration file may have named the application, or where it is.
    target = getattr(server.app, "app_uri", None) or server.cfg.wsgi_app
    if not target or server.cfg.paste:
        return loaded.application
    path = _search_path(server.cfg.chdir, server.cfg.pythonpath)
    # By now Gunicorn is in the directory that the file names: it was read in the one before.
    began_in = _setting(loaded.declaration, "chdir") or server.cfg.settings["chdir"].default
    declared = _search_path(began_in, _setting(loaded.declaration, "pythonpath"))
    is_where_declared = path == declared and (
        server.cfg.wsgi_app in (None, _setting(loaded.declaration, "wsgi_app"))
    )
    if loaded.application and is_where_declared and not is_reload:
        return loaded.application  # Read a moment ago.
    return _read_source(target, path, Files())


def _apply(chosen: Plan, server: Arbiter) -> None:
    """Bring the arbiter's configuration to *chosen*, where it differs."""
    cfg = server.cfg
    for name in PLANNED_SETTINGS:
        wanted = chosen.settings.get(name, cfg.settings[name].default)
        if cfg.settings[name].get() == wanted:
            continue
        set_ours(cfg, name, wanted)
        if name == "workers":
            server.num_workers = wanted
        elif name == "timeout":
            server.timeout = wanted
        elif name in ("worker_class", "threads"):
            server.worker_class = cfg.worker_class
