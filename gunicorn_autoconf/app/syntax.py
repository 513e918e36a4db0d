"""What a piece of a syntax tree shows: its text, its name, the interface it speaks. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import islice

from gunicorn_autoconf.worker_classes import Interface

Function = ast.FunctionDef | ast.AsyncFunctionDef

# "get_wsgi_application", "asgi_app", "WSGIApplicationWrapper", "prod_wsgi". A "WSGIMiddleware" may
# well convert, and a "WSGIContainer" or an "AsgiHandler" is an application of something else.
_APPLICATION = re.compile(
    r"(?<!from_)(asgi|wsgi)(?!_*(?:middleware|container|handler|resource))(?:_*app|_*wrapper|_|$)",
    re.IGNORECASE,
)

# A name, a call or a decorator that tells something has fewer; a table of data has a million, and
# one that is looked at in a thousand places would be written out a thousand times.
MAX_NODES = 200

LONG = "..."


def text_of(node: ast.AST) -> str:
    """
    Return *node* as source on one line, or ``...`` where it is long.

    >>> text_of(ast.parse("a.b( c )", mode="eval").body)
    'a.b(c)'
    """
    if sum(1 for _ in islice(_nodes(node), MAX_NODES + 1)) > MAX_NODES:
        return LONG
    try:
        return ast.unparse(node)
    except ValueError:  # An integer of more than 4,300 digits, which Python does not write.
        return LONG


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child)


def shortened(node: ast.AST) -> str:
    """Return *node* as source in at most 40 characters."""
    text = text_of(node)
    return text if len(text) <= 40 else text[:37] + "..."


def last_name(node: ast.expr) -> str:
    """
    Return the name by which the callable *node* goes, or nothing where it has none.

    >>> last_name(ast.parse("a.b(c)[0]", mode="eval").body)
    'b'
    """
    while isinstance(node, (ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def as_function(node: ast.Lambda) -> ast.FunctionDef:
    """Return the definition that is the same as *node*, by a name that no other has."""
    body: list[ast.stmt] = [ast.copy_location(ast.Return(node.body), node.body)]
    made = ast.FunctionDef("lambda", node.args, body, decorator_list=[], returns=None)
    return ast.copy_location(made, node)


def decorators(node: Function | ast.ClassDef) -> list[str]:
    """Return the names of what *node* is decorated with, without their modules."""
    return [last_name(row) for row in node.decorator_list]


def shape_of(node: Function, *, is_method: bool) -> Interface | None:
    """
    Return the interface that the parameters of *node* show, or None.

    ``(scope, receive, send)`` is ASGI, ``(environ, start_response)`` WSGI, and a single ``scope``
    ASGI 2, unless *node* is a coroutine function.
    """
    parameters = [*node.args.posonlyargs, *node.args.args]
    names = [row.arg.lstrip("_") for row in parameters][is_method:]
    required = len(names) - len(node.args.defaults)
    if any(default is None for default in node.args.kw_defaults) or not names:
        return None
    is_async = isinstance(node, ast.AsyncFunctionDef)
    is_sure = names[0] == "scope" or (is_async and names[2:3] == ["send"])
    if required <= 3 <= len(names) and is_sure:
        return Interface.ASGI
    if required == 2 and not is_async and (names[0][:3] == "env" or names[1][:5] == "start"):
        return Interface.WSGI
    return Interface.ASGI if names == ["scope"] and required == 1 and not is_async else None


def header(node: Function) -> str:
    """Return the first line of a definition without its annotations, for people to read."""
    names = [row.arg for row in (*node.args.posonlyargs, *node.args.args)]
    if node.args.vararg:
        names.append(f"*{node.args.vararg.arg}")
    if node.name == "lambda":
        return f"lambda {', '.join(names)}"
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{kind} {node.name}({', '.join(names)})"


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
