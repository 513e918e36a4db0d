"""
Tells whether an application speaks ASGI or WSGI, from its source.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.app.frameworks import NEITHER
from gunicorn_autoconf.app.source import NoModuleError, UnreadableError, locate
from gunicorn_autoconf.app.term import unknown
from gunicorn_autoconf.app.trace import Tracer
from gunicorn_autoconf.worker_classes import Interface

# A factory with its arguments is a line, not a file.
MAX_TARGET_LENGTH = 4_096


def detect_interface(target: str, search_path: Sequence[str]) -> Finding:
    """
    Return what the application *target* speaks, as far as its source tells.

    *target* is what Gunicorn takes: ``module``, ``module:name`` or ``module:factory(literals)``.
    *search_path* is the ``sys.path`` under which it will be imported; ``""`` is the current
    directory. Where the source does not tell, a module called ``asgi`` or ``wsgi`` does.

    Source:
        Gunicorn, ``gunicorn.util.import_app``.
    """
    if len(target) > MAX_TARGET_LENGTH:
        return unknown(f"a target of {len(target)} characters is too long to read")
    module, colon, name = target.partition(":")
    found = _read(module, name if colon else "application", search_path)
    if found.interface is None:
        found = replace(found, missing_module=_missing(module, search_path))
    if found.interface or found.evidence.endswith(tuple(NEITHER.values())):
        return found
    named = _by_name(module)
    if named is None:
        return found
    evidence = f"{named.evidence}; {found.evidence}"
    return replace(found, interface=named.interface, evidence=evidence)


def _read(module: str, name: str, search_path: Sequence[str]) -> Finding:
    try:
        expression = ast.parse(name, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        expression = ast.Constant(name)
    named = expression.func if isinstance(expression, ast.Call) else expression
    if not isinstance(named, ast.Name):
        return unknown(f"{name!r} is neither a name nor a call of one")
    try:
        return Tracer(search_path).find(module, expression)
    except UnreadableError as error:
        return unknown(str(error))
    except RecursionError:
        return unknown(f"{module} is nested too deeply to follow")
    except Exception as error:  # noqa: BLE001  # a guess must never stop a server from starting
        return unknown(f"reading {module} failed unexpectedly ({error!r})")


def _missing(module: str, search_path: Sequence[str]) -> str | None:
    """Return how much of the dotted name *module* leads nowhere, or None where it is there."""
    try:
        locate(module, search_path)
    except NoModuleError as error:
        return error.name
    except UnreadableError:
        return None  # It is there, compiled.
    return None


def _by_name(module: str) -> Finding | None:
    last = module.rpartition(".")[2]
    words = last.lower().split("_")
    for interface, other in (("asgi", "wsgi"), ("wsgi", "asgi")):
        named = interface in words or words[-1].endswith(interface)
        if named and other not in last.lower():
            return Finding(interface=Interface(interface), evidence=f"the module is called {last}")
    return None
