"""A piece of a syntax tree as text, in bounded time. Pure."""

from __future__ import annotations

import ast

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
    pending = [node]
    for _ in range(MAX_NODES):
        if not pending:
            break
        for child in ast.iter_child_nodes(pending.pop()):
            pending.append(child)
            if len(pending) > MAX_NODES:
                return LONG
    if pending:
        return LONG
    try:
        return ast.unparse(node)
    except ValueError:  # An integer of more than 4,300 digits, which Python does not write.
        return LONG


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
