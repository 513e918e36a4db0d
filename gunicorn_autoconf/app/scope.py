"""What an expression in source may stand for, and where names are looked up. Pure."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeGuard

from gunicorn_autoconf.app.binding import END, Body, Position
from gunicorn_autoconf.app.finding import Finding, is_answer
from gunicorn_autoconf.app.shape import Function, shape_of
from gunicorn_autoconf.app.text import last_name


class Location(NamedTuple):
    """Where a module is."""

    name: str
    path: str | None  # None for a namespace package
    shown: str  # relative to its entry of the search path
    directories: tuple[str, ...]  # where its submodules are; empty for what is not a package
    installed: bool  # a library rather than your own code

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the module that *node* imports from, or nothing where that is out of reach."""
        package = self.name.split(".")
        if not self.directories:
            package.pop()
        above = package[: len(package) - node.level + 1] if node.level else []
        if node.level > len(package):
            return ""
        return ".".join([*above, *([node.module] if node.module else [])])


class Scope(NamedTuple):
    """Where a name is looked up: a module, function or class, as far as it has run."""

    location: Location
    body: Body
    before: Position = END
    outer: Scope | None = None
    arguments: Mapping[str, Term | None] = MappingProxyType({})  # None for what is not known
    hops: int = 0  # how many imports, calls and plain re-assignments led here

    def line(self, node: ast.expr | ast.stmt) -> str:
        """Return where *node* is, such as ``mysite/asgi.py:16``."""
        return f"{self.location.shown}:{node.lineno}"


class Argument(NamedTuple):
    """An expression that was passed to a function or put into a tuple, not yet followed."""

    node: ast.expr
    scope: Scope


class Path(NamedTuple):
    """A module, or something that the table of frameworks knows or leads to, by its path there."""

    path: str
    line: str


class Defined(NamedTuple):
    """A function or class whose source is at hand; *owner* is the object of a method."""

    node: Function | ast.ClassDef
    scope: Scope
    owner: Instance | None = None

    @property
    def line(self) -> str:
        """Where it is defined."""
        return self.scope.line(self.node)

    @property
    def takes_self(self) -> bool:
        """Whether its first parameter is its object or class."""
        return self.owner is not None and not self.is_decorated("staticmethod")

    def is_decorated(self, name: str) -> bool:
        """Whether the name of one of its decorators ends in *name*."""
        decorators = getattr(self.node, "decorator_list", ())
        return any(last_name(row).endswith(name) for row in decorators)

    def called(self, call: ast.expr | None, caller: Scope, body: Body) -> Scope:
        """Return the scope of *body*, that of this function, as *call* binds its parameters."""
        assert not isinstance(self.node, ast.ClassDef)
        outer = (self.owner.of if self.owner else self).scope._replace(before=END)
        arguments = self.node.args
        names = [row.arg for row in (*arguments.posonlyargs, *arguments.args)]
        others = [*arguments.kwonlyargs, *filter(None, (arguments.vararg, arguments.kwarg))]
        bound: dict[str, Term | None] = dict.fromkeys([*names, *(row.arg for row in others)])
        for name, default in zip(reversed(names), reversed(arguments.defaults), strict=False):
            bound[name] = Argument(default, outer)
        if self.owner and names and self.takes_self:
            bound[names.pop(0)] = self.owner.of if self.is_decorated("classmethod") else self.owner
        if isinstance(call, ast.Call):
            given = [*zip(names, call.args, strict=False)]
            given += [(word.arg, word.value) for word in call.keywords if word.arg in bound]
            bound |= {name: Argument(value, caller) for name, value in given}
        return Scope(self.scope.location, body, END, outer, bound, caller.hops + 1)


class Instance(NamedTuple):
    """What calling a class gives; *call* is that call."""

    of: Defined
    call: Hint | None = None


class Coroutine(NamedTuple):
    """What calling a coroutine function gives: awaiting it gives *results*."""

    results: tuple[Term, ...]
    shown: str


class Hint(NamedTuple):
    """A call, an attribute or an annotation that may tell where what it stands for does not."""

    node: ast.expr
    scope: Scope


class Parts(NamedTuple):
    """A tuple or list."""

    parts: tuple[Argument, ...]


Term = Finding | Argument | Path | Defined | Instance | Coroutine | Parts | Hint


def is_known(term: Term) -> bool:
    """Whether *term* is more than the word that it could not be followed."""
    return not isinstance(term, Finding) or is_answer(term)


def is_class(term: Term) -> TypeGuard[Defined]:
    """Whether *term* is a class whose source is at hand."""
    return isinstance(term, Defined) and isinstance(term.node, ast.ClassDef)


def is_coroutine(term: Term) -> bool:
    """Whether *term* has to be awaited, so that it is no application itself."""
    if isinstance(term, Defined) and isinstance(term.node, ast.AsyncFunctionDef):
        return not shape_of(term.node, is_method=term.takes_self)
    return isinstance(term, Coroutine)
