"""What a declaration names and the start needs: hooks, a class, an address, a level, an extra.

Imports what is named, or where nothing of the user's may run reads its source.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gunicorn_autoconf.app.factory import bindings
from gunicorn_autoconf.app.source import (
    NoModuleError,
    UnreadableError,
    locate,
    parse_source,
    read_source,
)
from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.declaration import Declaration, Explicit
from gunicorn_autoconf.plan.variables import PREFIX
from gunicorn_autoconf.server.compose import Hook, arity_of
from gunicorn_autoconf.server.gunicorn import default_setting, is_hook
from gunicorn_autoconf.server.worker_class import alike, check_worker_class


def check_requirements(
    declaration: Declaration, search_path: Sequence[str], *, runs_hooks: bool
) -> None:
    """
    Raise if a hook, worker class, address, log level or extra of *declaration* cannot be used.

    Args:
        declaration: What was declared.
        search_path: Where Gunicorn will import modules from.
        runs_hooks: Whether to import the modules of hooks; otherwise their source is read.

    Raises:
        DeclarationError: Gunicorn would not start, or would ignore the value.
    """
    for name in declaration.settings:
        explicit = declaration.explicit(name)
        if explicit and is_hook(name) and isinstance(explicit.value, str):
            (load_hook if runs_hooks else read_hook)(name, explicit.value, search_path)
    if worker_class := declaration.explicit("worker_class"):
        check_worker_class(worker_class)
    if declaration.metrics:
        from gunicorn_autoconf.metrics import extra  # Most servers have none.

        if not extra.is_installed():
            name = declaration.sources["metrics"]
            raise DeclarationError(name, str(declaration.metrics), f"it needs {extra.REMEDY}")
    if bind := declaration.explicit("bind"):
        _check_bind(bind)
    level = declaration.explicit("loglevel")
    if level and not level.applied and not declaration.explicit("logger_class"):
        _check_level(level)


def load_hook(name: str, text: str, search_path: Sequence[str] = ()) -> Hook:
    """
    Return the function that *text* names for the hook *name*; imports the user's module.

    Raises:
        DeclarationError: There is none, or not one of this hook's arity.
    """
    setting = default_setting(name)
    try:
        with _importing_from(search_path):
            hook: Hook = setting.validator(text)
    except Exception as error:  # Whatever the user's module raises.
        arity = _arity_of_named(text)
        if arity is not None and not _is_taken(setting, arity):
            raise _wrong_arity(setting, text, arity) from error
        said = " ".join(str(error).split())
        remedy = f"use module.function that can be imported; Gunicorn says: {said}"
        raise DeclarationError(_variable(name), text, remedy) from error
    return hook


def read_hook(name: str, text: str, search_path: Sequence[str]) -> None:
    """
    Raise if the hook's source shows that it is not there or does not fit; runs nothing.

    Raises:
        DeclarationError: There is no such module or function, or not one of this hook's arity.
    """
    module, _, function = text.rpartition(".")
    try:
        path = locate(module, search_path).path
        statements = parse_source(read_source(path)) if path else []
    except NoModuleError as error:
        remedy = f"use module.function that can be imported; no module named {error.name} is found"
        raise DeclarationError(_variable(name), text, remedy) from error
    except UnreadableError:
        return
    found = [*bindings(statements, function)] if path else [None]
    if not found:
        remedy = f"use module.function; {module} has no {function}"
        raise DeclarationError(_variable(name), text, remedy)
    definition = found[0]
    if len(found) > 1 or not isinstance(definition, ast.FunctionDef) or definition.decorator_list:
        return  # Only running it would show.
    arguments = definition.args
    arity = len(arguments.posonlyargs) + len(arguments.args)
    setting = default_setting(name)
    if not _is_taken(setting, arity):
        raise _wrong_arity(setting, text, arity)


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _wrong_arity(setting: Any, text: str, arity: int) -> DeclarationError:
    wanted = inspect.signature(setting.get())
    remedy = f"it takes {arity} argument{'' if arity == 1 else 's'}, "
    remedy += f"use a function that takes {len(wanted.parameters)}: {setting.name}{wanted}"
    return DeclarationError(_variable(setting.name), text, remedy)


def _arity_of_named(text: str) -> int | None:
    """How many arguments the function takes that *text* names, if its module is imported."""
    module, _, function = text.rpartition(".")
    try:
        return arity_of(getattr(sys.modules[module], function))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _is_taken(setting: Any, arity: int) -> bool:
    """Whether Gunicorn takes a function of so many arguments for this hook."""
    wanted = arity_of(setting.get())
    return arity == wanted or (setting.name == "post_request" and 2 <= arity < wanted)


@contextmanager
def _importing_from(search_path: Sequence[str]) -> Iterator[None]:
    """Find modules where Gunicorn will find them once it has read all of its configuration."""
    added = [entry for entry in search_path if entry not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for entry in added:
            if entry in sys.path:
                sys.path.remove(entry)


def _check_bind(explicit: Explicit) -> None:
    """Gunicorn takes a port alone for a host, and fails to listen there."""
    addresses = explicit.value if isinstance(explicit.value, list) else [explicit.value]
    for address in map(str, addresses):
        if address.isdecimal():
            remedy = f"use <host>:<port>, such as 0.0.0.0:{address}"
            raise DeclarationError(explicit.source, address, remedy)


def _check_level(explicit: Explicit) -> None:
    """Gunicorn takes a level that it does not know for ``info``, silently."""
    known = importlib.import_module("gunicorn.glogging").Logger.LOG_LEVELS
    text = explicit.value
    if not isinstance(text, str) or text.lower() in known:
        return
    nearest = {"warn": "warning", "fatal": "critical"}.get(text.lower()) or alike(text, known)
    remedy = f"use one of {', '.join(known)}"
    raise DeclarationError(
        explicit.source, text, remedy + (f"; did you mean {nearest}?" if nearest else "")
    )
