"""Tells whether a loaded application speaks ASGI or WSGI; never calls it."""

from __future__ import annotations

import inspect
from functools import partial

from gunicorn_autoconf.worker_classes import Interface


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
