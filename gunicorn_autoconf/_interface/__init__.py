"""
Tells whether an application speaks ASGI or WSGI, from its source or from the loaded object.

Reads source files; never imports or runs anything of the user's, and never calls an application.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from gunicorn_autoconf._interface._frameworks import NEITHER
from gunicorn_autoconf._interface._source import NoModuleError, UnreadableError, locate
from gunicorn_autoconf._interface._term import unknown
from gunicorn_autoconf._interface._trace import Tracer
from gunicorn_autoconf._machine import Finding
from gunicorn_autoconf._workload import Interface

__all__ = ["Finding", "Interface", "detect_interface", "interface_of"]


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


def interface_of(app: object) -> Interface | None:
    """
    Return what the loaded callable *app* speaks, or None where that is not certain.

    A coroutine function, or an object with one as ``__call__``, that can take three arguments is
    ASGI; otherwise the number of parameters without a default decides: two are WSGI, three ASGI,
    and a single one called ``scope`` is ASGI 2. *app* is never called. Never raises.

    >>> interface_of(lambda environ, start_response: [])
    <Interface.WSGI: 'wsgi'>
    """
    try:
        return _of_callable(app) if callable(app) else None
    except Exception:  # noqa: BLE001  # whatever an object does when looked at, the server goes on
        return None


def _of_callable(app: object) -> Interface | None:
    is_plain = isinstance(app, (partial, type)) or inspect.isroutine(app)
    called = app if is_plain else getattr(app, "__call__", None)  # noqa: B004
    assert callable(called)
    signature = inspect.signature(called, follow_wrapped=False)
    if all(row.kind in (row.VAR_POSITIONAL, row.VAR_KEYWORD) for row in _rows(signature)):
        signature = inspect.signature(called)
    if inspect.iscoroutinefunction(called):
        return Interface.ASGI if _takes_three(signature) else None
    required = [row for row in _rows(signature) if row.default is row.empty]
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    names = [row.name for row in required if row.kind in positional]
    if any(row.kind is row.KEYWORD_ONLY for row in required):
        return None
    if isinstance(app, type) and not (names[:1] == ["scope"] or names[:1] == ["environ"]):
        return None  # a server would make an instance of it for each request: rare, so be sure
    if len(names) == 1 and names[0] == "scope":
        return Interface.ASGI
    return {2: Interface.WSGI, 3: Interface.ASGI}.get(len(names))


def _rows(signature: inspect.Signature) -> list[inspect.Parameter]:
    return list(signature.parameters.values())


def _takes_three(signature: inspect.Signature) -> bool:
    try:
        signature.bind(None, None, None)
    except TypeError:
        return False
    return True
