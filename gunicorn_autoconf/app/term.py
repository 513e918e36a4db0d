"""What an expression in source may stand for. Pure."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gunicorn_autoconf.app.binding import Place, end_of
from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.app.text import last_name

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Location(NamedTuple):
    """
    Where a module is.

    Attributes:
        name: Its dotted name.
        path: The source file, or None for a namespace package.
        shown: The same, relative to its entry of the search path.
        directories: Where its submodules are; empty for what is not a package.
        installed: Whether it is a library rather than the user's own code.
    """

    name: str
    path: str | None
    shown: str
    directories: tuple[str, ...]
    installed: bool


class Scope(NamedTuple):
    """
    Where a name is looked up.

    Attributes:
        location: The module.
        place: How far its statements have run.
        end: The place where all of them have.
        outer: The scope around this one.
        arguments: What a function was called with, or None for what is not known.
    """

    location: Location
    place: Place
    end: Place
    outer: Scope | None = None
    arguments: Mapping[str, Argument | Instance | Definition | None] = MappingProxyType({})
    is_class: bool = False

    def line(self, node: ast.expr | ast.stmt) -> str:
        """Return where *node* is, such as ``mysite/asgi.py:16``."""
        return f"{self.location.shown}:{node.lineno}"

    def finished(self) -> Scope:
        """Return this scope as a function sees it that is called later on."""
        if self.is_class and self.outer:
            return self.outer
        return self._replace(place=self.end)


class Argument(NamedTuple):
    """An expression and the scope in which it is to be understood."""

    expression: ast.expr
    scope: Scope


class External(NamedTuple):
    """A module, or something that the table of frameworks knows or leads to, by its path there."""

    path: str
    line: str


class Definition(NamedTuple):
    """A function or class whose source is at hand; *owner* is the class of a method."""

    node: Function | ast.ClassDef
    scope: Scope
    owner: Definition | None = None


class Instance(NamedTuple):
    """What calling a class gives."""

    of: Definition


Term = Finding | External | Definition | Instance


def unknown(reason: str) -> Finding:
    """Return the Finding that nothing could be told."""
    return Finding(interface=None, evidence=reason)


def merge(findings: Sequence[Finding]) -> Finding:
    """Return what all of *findings*, each of which may be the true one, say together."""
    decided = {found.interface: found for found in reversed(findings) if found.interface}
    if len(decided) == 1:
        return next(iter(decided.values()))
    if decided:
        return unknown(" or ".join(sorted(found.evidence for found in decided.values())))
    return findings[0] if findings else unknown("nothing to read")


def instance_of(base: External | Definition) -> Term:
    """Return what calling the class *base* gives."""
    if isinstance(base, External):
        return External(f"{base.path}()", base.line)
    return Instance(base)


def class_scope(definition: Definition) -> Scope:
    """Return the scope of the body of a class, all of it having run."""
    assert isinstance(definition.node, ast.ClassDef)
    end = end_of(definition.node.body)
    outer = definition.scope.finished()
    return Scope(definition.scope.location, end, end, outer, is_class=True)


def call_scope(function: Definition, call: ast.Call | None, caller: Scope) -> Scope:
    """Return the scope of the body of *function*, its parameters bound as *call* does."""
    node = function.node
    assert not isinstance(node, ast.ClassDef)
    outer = function.scope.finished()
    parameters = [row.arg for row in (*node.args.posonlyargs, *node.args.args)]
    every = [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
    bound: dict[str, Argument | Instance | Definition | None] = {
        **dict.fromkeys(parameters),
        **dict.fromkeys(row.arg for row in every),
    }
    for name, default in zip(reversed(parameters), reversed(node.args.defaults), strict=False):
        bound[name] = Argument(default, outer)
    if function.owner and parameters and takes_self(function):
        is_class = is_decorated(node, "classmethod")
        bound[parameters.pop(0)] = function.owner if is_class else Instance(function.owner)
    if call:
        for name, value in zip(parameters, call.args, strict=False):
            bound[name] = Argument(value, caller)
        for keyword in call.keywords:
            if keyword.arg in bound:
                bound[keyword.arg] = Argument(keyword.value, caller)
    end = end_of([ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body)
    return Scope(function.scope.location, end, end, outer, bound)


def takes_self(function: Definition) -> bool:
    """Whether the first parameter of *function* is its object or class."""
    return function.owner is not None and not is_decorated(function.node, "staticmethod")


def is_property(function: Definition) -> bool:
    """Whether reading the attribute calls *function*."""
    return any(is_decorated(function.node, name) for name in ("property", "cached_property"))


def is_decorated(node: Function | ast.ClassDef, name: str) -> bool:
    """Whether one of the decorators of *node* goes by *name*."""
    return any(last_name(row) == name for row in getattr(node, "decorator_list", ()))
