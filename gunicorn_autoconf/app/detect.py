"""
Tells whether an application speaks ASGI or WSGI, from its source.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gunicorn_autoconf.app.finding import Finding, is_answer, unknown
from gunicorn_autoconf.app.judge import Judge
from gunicorn_autoconf.app.source import Files, NoModuleError, UnreadableError
from gunicorn_autoconf.app.syntax import named_interface

# A factory with its arguments is a line, not a file.
MAX_TARGET_LENGTH = 4_096


def detect_interface(
    target: str, search_path: Sequence[str], files: Files | None = None
) -> Finding:
    """
    Return what the application *target* speaks, as far as its source tells.

    *target* is what Gunicorn takes: ``module``, ``module:name`` or ``module:factory(literals)``.
    *search_path* is the ``sys.path`` under which it will be imported; ``""`` is the current
    directory. Where the source leaves it open, a module or a name with ``asgi`` or ``wsgi`` in it
    decides. *files* are those of other searches for the same application.

    Source:
        Gunicorn, ``gunicorn.util.import_app``.
    """
    if len(target) > MAX_TARGET_LENGTH:
        return unknown(f"a target of {len(target)} characters is too long to read")
    module, colon, name = target.partition(":")
    found = _read(module, name if colon else "application", search_path, files or Files())
    if is_answer(found) or found.depends_on_version:
        return found
    for word, shown in ((module.rpartition(".")[2], "the module"), (name.partition("(")[0], "it")):
        if spoken := named_interface(word):
            evidence = f"{shown} is called {word}; {found.evidence}"
            return replace(found, interface=spoken, evidence=evidence)
    return found


def _read(module: str, name: str, search_path: Sequence[str], files: Files) -> Finding:
    try:
        expression = ast.parse(name, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        expression = ast.Constant(name)
    named = expression.func if isinstance(expression, ast.Call) else expression
    if not isinstance(named, ast.Name):
        return unknown(f"{name!r} is neither a name nor a call of one")
    try:
        judge = Judge(search_path, files)
        return judge.answer(judge.find(module, expression))
    except NoModuleError as error:
        return replace(unknown(str(error)), missing_module=error.name)
    except UnreadableError as error:
        return unknown(str(error))
    except RecursionError:
        return unknown(f"{module} is nested too deeply to follow")
    except Exception as error:  # noqa: BLE001  # a guess must never stop a server from starting
        return unknown(f"reading {module} failed unexpectedly ({error!r})")
