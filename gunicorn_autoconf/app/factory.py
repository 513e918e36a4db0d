"""Tells whether an application is named by its factory, without a call. Reads source files."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from gunicorn_autoconf.app.detect import detect_interface
from gunicorn_autoconf.app.source import Files, UnreadableError, locate
from gunicorn_autoconf.worker_classes import Interface

# How many imports are followed to where the function is defined.
_MAX_IMPORTS = 5


def call_of_factory(
    target: str, search_path: Sequence[str], files: Files | None = None
) -> str | None:
    """
    Return how to write *target* if it names a function that makes a WSGI application.

    Gunicorn would take the function itself for the application. None if that is not certain, and
    for ASGI, where uvicorn calls the factory.
    """
    files = files or Files()
    module, _, name = target.partition(":")
    if not name.isidentifier() or not _is_factory(module, name, search_path, files, _MAX_IMPORTS):
        return None
    call = f"{module}:{name}()"
    return call if detect_interface(call, search_path, files).interface is Interface.WSGI else None


def _is_factory(
    module: str, name: str, search_path: Sequence[str], files: Files, imports: int
) -> bool:
    """Whether *name* is bound once in *module*, to a function that needs no arguments."""
    try:
        found = locate(module, search_path)
        statements = files.statements(found.path) if found.path else []
    except UnreadableError:
        return False
    found_all = [*bindings(statements, name)]
    if len(found_all) != 1:
        return False
    (binding,) = found_all
    if isinstance(binding, ast.ImportFrom) and imports:
        dotted = found.absolute(binding)
        origin = next(row.name for row in binding.names if (row.asname or row.name) == name)
        return bool(dotted) and _is_factory(dotted, origin, search_path, files, imports - 1)
    return isinstance(binding, ast.FunctionDef) and _needs_nothing(binding)


def bindings(statements: Sequence[ast.stmt], name: str) -> Iterator[ast.AST]:
    """Yield every node of a module that binds *name*, in functions and classes too."""
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = {node.name}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {row.asname or row.name for row in node.names}
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names = {node.id}
        else:
            continue
        if name in names or "*" in names:
            yield node


def _needs_nothing(function: ast.FunctionDef) -> bool:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    # An application may give both of its parameters a default: app(environ=None, ...).
    serves = [row.arg for row in positional][:2] == ["environ", "start_response"]
    needed = len(positional) > len(arguments.defaults) or None in arguments.kw_defaults
    return not (needed or serves or function.decorator_list)
