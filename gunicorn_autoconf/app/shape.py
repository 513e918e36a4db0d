"""Which interface a signature or a name shows. Pure."""

from __future__ import annotations

import ast
import re

from gunicorn_autoconf.worker_classes import Interface

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# "get_wsgi_application", "asgi_app", "WSGIApplicationWrapper", "prod_wsgi". A "WSGIMiddleware" may
# well convert, and a "WSGIContainer" or an "AsgiHandler" is an application of something else.
_APPLICATION = re.compile(
    r"(?<!from_)(asgi|wsgi)(?!_*(?:middleware|container|handler|resource))(?:_*app|_*wrapper|_|$)",
    re.IGNORECASE,
)


def shape_of(node: Function, *, is_method: bool) -> Interface | None:
    """
    Return the interface that the parameters of *node* show, or None.

    ``(scope, receive, send)`` is ASGI and ``(environ, start_response)`` WSGI. A single ``scope`` is
    ASGI 2 where the function gives back another coroutine function that it defines.
    """
    parameters = [*node.args.posonlyargs, *node.args.args]
    names = [row.arg.lstrip("_") for row in parameters][is_method:]
    required = len(names) - len(node.args.defaults)
    if any(default is None for default in node.args.kw_defaults) or not names:
        return None
    is_async = isinstance(node, ast.AsyncFunctionDef)
    is_told = names[0] == "scope" or (is_async and names[2:3] == ["send"])
    if required <= 3 <= len(names) and is_told:
        return Interface.ASGI
    if required == 2 and not is_async and (names[0][:3] == "env" or names[1][:5] == "start"):
        return Interface.WSGI
    if required == 1 and names[0] == "scope" and _gives_coroutine_function(node):
        return Interface.ASGI
    return None


def class_shape(init: Function, call: Function | None) -> Interface | None:
    """
    Return the interface of a class that a server itself would instantiate.

    A WSGI one takes ``(environ, start_response)``, an ASGI 2 one ``(scope)`` and is then called.
    """
    names = [row.arg for row in (*init.args.posonlyargs, *init.args.args)][1:]
    if names == ["scope"] and isinstance(call, ast.AsyncFunctionDef):
        return Interface.ASGI
    shape = shape_of(init, is_method=True)
    return shape if shape is Interface.WSGI or names == ["scope", "receive", "send"] else None


def header(node: Function) -> str:
    """Return the first line of a definition without its annotations, for people to read."""
    names = [row.arg for row in (*node.args.posonlyargs, *node.args.args)]
    if node.args.vararg:
        names.append(f"*{node.args.vararg.arg}")
    if isinstance(node, ast.Lambda):
        return f"lambda {', '.join(names)}"
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{kind} {node.name}({', '.join(names)})"


def _gives_coroutine_function(node: Function) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    inner = {row.name for row in node.body if isinstance(row, ast.AsyncFunctionDef)}
    last = node.body[-1]
    return (
        isinstance(last, ast.Return) and isinstance(last.value, ast.Name) and last.value.id in inner
    )


def takes_three(node: Function) -> bool:
    """Whether *node* can be called with three arguments, as a server calls an ASGI application."""
    names = [*node.args.posonlyargs, *node.args.args]
    return len(names) >= 3 or node.args.vararg is not None


def named_interface(name: str) -> Interface | None:
    """
    Return the interface that the *name* of a callable or an application tells, or None.

    >>> named_interface("make_wsgi_app")
    <Interface.WSGI: 'wsgi'>
    """
    found = {Interface(match[1].lower()) for match in _APPLICATION.finditer(name)}
    both = "asgi" in name.lower() and "wsgi" in name.lower()
    return found.pop() if found and not both else None


def may_convert(callee: str, given: Interface) -> bool:
    """Whether a callable of this name may well turn one interface into the other."""
    name = callee.lower()
    other = "wsgi" if given is Interface.ASGI else "asgi"
    return other in name or name in ("asgimiddleware", "wsgimiddleware")
