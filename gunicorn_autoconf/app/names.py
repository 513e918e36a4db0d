"""
Looks names up through source: bindings, imports and modules.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Sequence

from gunicorn_autoconf.app.binding import Binding, end_of, reaching
from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.app.frameworks import ON_THE_WAY
from gunicorn_autoconf.app.source import (
    MAX_SOURCE_BYTES,
    UnreadableError,
    locate,
    parse_source,
    read_source,
)
from gunicorn_autoconf.app.term import (
    Argument,
    Definition,
    External,
    Location,
    Scope,
    Term,
    unknown,
)

MAX_HOPS = 8  # imports, calls and plain re-assignments one behind the other

TOO_FAR = unknown(f"the application is more than {MAX_HOPS} steps away")


class Names(ABC):
    """The modules read in one search, and how a name in them is looked up."""

    def __init__(self, search_path: Sequence[str]) -> None:
        self._search_path = search_path
        self._scopes: dict[str, Scope | UnreadableError] = {}
        self._read_bytes = 0

    @abstractmethod
    def _evaluate(self, node: ast.expr, scope: Scope, hops: int) -> list[Term]:
        """Return what *node* may stand for."""

    @abstractmethod
    def _or_annotated(
        self, terms: list[Term], annotation: ast.expr, scope: Scope, hops: int
    ) -> list[Term]:
        """Return *terms* where they tell the interface, otherwise what *annotation* says."""

    def _scope(self, module: str) -> Scope:
        found = self._scopes.get(module)
        if found is None:
            try:
                location = locate(module, self._search_path)
                end = end_of(self._statements(location))
                found = Scope(location, end, end)
            except UnreadableError as error:
                found = error
            self._scopes[module] = found
        if isinstance(found, UnreadableError):
            raise found
        return found

    def _statements(self, location: Location) -> list[ast.stmt]:
        if location.path is None:
            return []
        try:
            source = read_source(location.path, MAX_SOURCE_BYTES - self._read_bytes)
            self._read_bytes += len(source)
            return parse_source(source)
        except UnreadableError as error:
            raise UnreadableError(f"{location.shown} {error}") from error

    def _member(self, module: str, name: str, hops: int, *, submodule: bool = False) -> list[Term]:
        """Return what *name* is in *module*; with *submodule* only a module of a package."""
        path = f"{module}.{name}"
        reason = f"{path} cannot be found"
        try:
            scope = self._scope(module)
            installed = scope.location.installed
        except UnreadableError as error:
            scope, installed, reason = None, True, str(error)
        if installed and path in ON_THE_WAY:
            return [External(path, module)]
        if scope and not submodule and (terms := self._bindings(name, scope, hops)):
            return terms
        if scope and name == "__hug_wsgi__":  # Hug puts it into each module that uses it.
            return [External("hug.__hug_wsgi__", scope.location.shown)]
        try:
            locate(path, self._search_path)
        except UnreadableError as error:
            told = str(error) if "compiled" in str(error) else reason
            return [unknown(told)]
        return [External(path, path)]

    def _name(self, name: str, scope: Scope, hops: int) -> list[Term]:
        at: Scope | None = scope
        while at:
            if terms := self._bindings(name, at, hops):
                return terms
            if name in at.arguments:
                argument = at.arguments[name]
                if isinstance(argument, Argument):
                    return self._evaluate(argument.expression, argument.scope, hops)
                return [argument or unknown(f"{name} in {at.location.shown} is a parameter")]
            at = at.outer
        return [unknown(f"{name!r} is not bound in {scope.location.shown}")]

    def _bindings(self, name: str, scope: Scope, hops: int) -> list[Term]:
        sure: list[Term] = []
        fallback: list[Term] = []
        for binding in reaching(name, scope.place):
            terms = self._bound(name, binding, scope._replace(place=binding.place), hops)
            (fallback if binding.fallback else sure).extend(terms)
        # Where the import works, what stands in for a failed one does not count.
        if any(not isinstance(term, Finding) or term.interface for term in sure):
            return sure
        return sure + fallback

    def _bound(self, name: str, binding: Binding, scope: Scope, hops: int) -> list[Term]:
        match node := binding.place.statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return [Definition(node, scope)]
            case ast.Assign(targets=targets, value=whole):
                parts = [_part(target, whole, name) for target in targets]
                if value := next(filter(None, parts), None):
                    return self._evaluate(value, scope, hops + isinstance(value, ast.Name))
            case ast.AnnAssign():
                terms = self._evaluate(node.value, scope, hops) if node.value else []
                return self._or_annotated(terms, node.annotation, scope, hops)
            case ast.With(items=[ast.withitem(ast.expr() as context, ast.Name(id=bound))]):
                # What a context manager gives is open, but those in the table give themselves.
                entered = self._evaluate(context, scope, hops) if bound == name else []
                if any(isinstance(term, External) for term in entered):
                    return entered
            case ast.Import(names=rows):
                full = {row.asname: row.name for row in rows if row.asname}
                return [External(full.get(name, name), scope.line(node))]
            case ast.ImportFrom():
                return self._imported(name, node, scope, hops + 1)
        return [unknown(f"{name} at {scope.line(node)} is beyond what can be read")]

    def _imported(self, name: str, node: ast.ImportFrom, scope: Scope, hops: int) -> list[Term]:
        if hops > MAX_HOPS:
            return [TOO_FAR]
        module = _absolute(node, scope.location)
        if not module:
            return [unknown(f"the import at {scope.line(node)} leads out of its package")]
        originals = [row.name for row in node.names if (row.asname or row.name) == name]
        if not originals:  # from module import *
            try:
                return self._bindings(name, self._scope(module), hops)
            except UnreadableError:
                return []
        # A package that imports from itself means its submodule.
        itself = module == scope.location.name
        return self._member(module, originals[-1], hops, submodule=itself)


def _absolute(node: ast.ImportFrom, location: Location) -> str:
    """Return the module that *node* imports from, or nothing where it leads out of its package."""
    if not node.level:
        return node.module or ""
    package = location.name.split(".")
    if not location.directories:
        package.pop()
    if node.level > len(package):
        return ""
    above = package[: len(package) - node.level + 1]
    return ".".join([*above, node.module] if node.module else above)


def _part(target: ast.expr, value: ast.expr, name: str) -> ast.expr | None:
    """Return the part of *value* that ``target = value`` gives to *name*."""
    match target, value:
        case ast.Name(id=bound), _:
            return value if bound == name else None
        case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
            parts = [_part(*pair, name) for pair in zip(targets, values, strict=True)]
            return next((part for part in parts if part is not None), None)
    return None
