"""
Follows a name through source to what it stands for: imports, assignments, calls and classes.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from gunicorn_autoconf.app import binding
from gunicorn_autoconf.app.binding import END, Body, start_of, walk
from gunicorn_autoconf.app.finding import Finding, unknown
from gunicorn_autoconf.app.frameworks import BY_VERSION, FRAMEWORKS, ON_THE_WAY, known_path
from gunicorn_autoconf.app.scope import (
    Argument,
    Coroutine,
    Defined,
    Hint,
    Instance,
    Parts,
    Path,
    Scope,
    Term,
    is_class,
    is_known,
)
from gunicorn_autoconf.app.shape import Function
from gunicorn_autoconf.app.source import NoModuleError, Reader, UnreadableError, locate
from gunicorn_autoconf.app.text import last_name, shortened
from gunicorn_autoconf.worker_classes import Interface

MAX_HOPS = 8  # imports, calls and plain re-assignments one behind the other
MAX_BASES = 32

TOO_FAR = unknown(f"the application is more than {MAX_HOPS} steps away")


class Tracer:
    """One search: names, then expressions, classes and calls."""

    def __init__(self, search_path: Sequence[str]) -> None:
        self._reader = Reader(search_path)
        self._bodies: dict[ast.AST, Body] = {}

    def find(self, module: str, expression: ast.expr) -> list[Term]:
        """Return what *expression* may stand for in *module*; may raise UnreadableError."""
        location = locate(module, self._reader.search_path)
        if isinstance(expression, ast.Name):
            return self._member(module, expression.id, 0)
        return self.evaluate(expression, Scope(location, self._reader.body(location)))

    def _member(
        self, module: str, name: str, hops: int, *, line: str = "", itself: bool = False
    ) -> list[Term]:
        """Return what *name* is in *module*; a package that asks *itself* means a submodule."""
        path = f"{module}.{name}"
        known = known_path(path)
        try:
            location = locate(module, self._reader.search_path)
            # What depends on the release is read where it is there.
            if known and location.installed and f"{known}()" not in BY_VERSION:
                return [Path(known, line or module)]
            scope = Scope(location, self._reader.body(location), hops=hops)
        except UnreadableError as error:
            # What is not installed here may still lead to what the table knows.
            if known or (isinstance(error, NoModuleError) and path.partition(".")[0] in ON_THE_WAY):
                return [Path(known or path, line or module)]
            return [unknown(str(error))]
        if not itself and (terms := self._bindings(name, scope) or self._lazy(name, scope)):
            return terms
        try:
            locate(path, self._reader.search_path)
        except NoModuleError:
            return [unknown(f"{path} cannot be found")]
        except UnreadableError as error:
            return [unknown(str(error))]
        return [Path(path, line or path)]

    def _lazy(self, name: str, scope: Scope) -> list[Term]:
        """Return what *name* is in a module whose ``__getattr__`` imports it when asked for."""
        for node, _ in scope.body.reaching("__getattr__"):
            if isinstance(node, ast.FunctionDef):
                inner = Defined(node, scope).called(None, scope, self._body(node))
                for statement in walk(node.body):
                    if name in binding.bound_names(statement):
                        return self._bound(name, statement, inner)
            for module in binding.lazy_modules(name, scope.body.statements):
                for path in (f"{scope.location.name}.{module.lstrip('.')}", module):
                    terms = self._member(path, name, scope.hops + 1)
                    if any(map(is_known, terms)):
                        return terms
        return []

    def _name(self, name: str, scope: Scope) -> list[Term]:
        at: Scope | None = scope
        while at:
            if terms := self._bindings(name, at._replace(hops=scope.hops)):
                return terms
            if name in at.arguments:
                given = at.arguments[name]
                if isinstance(given, Argument):
                    return self.evaluate(given.node, given.scope._replace(hops=scope.hops))
                return [given or unknown(f"{name} in {at.location.shown} is a parameter")]
            at = at.outer
        return [unknown(f"{name!r} is not bound in {scope.location.shown}")]

    def _bindings(self, name: str, scope: Scope) -> list[Term]:
        if scope.hops > MAX_HOPS:
            return [TOO_FAR]
        sure: list[Term] = []
        fallback: list[Term] = []
        for statement, is_fallback in scope.body.reaching(name, scope.before):
            terms = self._bound(name, statement, scope._replace(before=start_of(statement)))
            (fallback if is_fallback else sure).extend(terms)
        # Where the import works, what stands in for a failed one does not count.
        is_sure = any(is_known(term) and not isinstance(term, Hint) for term in sure)
        return sure if is_sure else sure + fallback

    def _bound(self, name: str, node: ast.stmt, scope: Scope) -> list[Term]:
        """Return what the statement *node* binds to *name*."""
        further = scope._replace(hops=scope.hops + 1)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return [Defined(node, scope)]
            case ast.Assign(targets=targets, value=value):
                at = further if isinstance(value, ast.Name) else scope
                for target in targets:
                    if (part := binding.indices(target, name)) is not None:
                        return self._picked(self.evaluate(value, at), part)
            case ast.AnnAssign():
                terms = self.evaluate(node.value, scope) if node.value else []
                return [*terms, Hint(node.annotation, scope._replace(before=END))]
            case ast.With(items=[ast.withitem(ast.expr() as context, ast.Name())]):
                # What a context manager gives is open, but those in the table give themselves.
                entered = self.evaluate(context, scope)
                if any(isinstance(term, Path) for term in entered):
                    return entered
            case ast.Import(names=rows):
                full = {row.asname: row.name for row in rows if row.asname}
                return [Path(full.get(name, name), scope.line(node))]
            case ast.ImportFrom():
                return self._imported(name, node, further)
        return [unknown(f"{name} at {scope.line(node)} is beyond what can be read")]

    def _imported(self, name: str, node: ast.ImportFrom, scope: Scope) -> list[Term]:
        module = scope.location.absolute(node)
        if not module:
            return [unknown(f"the import at {scope.line(node)} leads out of its package")]
        named = [row.name for row in node.names if (row.asname or row.name) == name]
        itself = module == scope.location.name
        terms = self._member(module, (named or [name])[-1], scope.hops, itself=itself)
        # From a module of which all names are imported it may or may not come.
        return terms if named or any(map(is_known, terms)) else []

    def evaluate(self, node: ast.expr, scope: Scope) -> list[Term]:
        """Return what *node* may stand for, in *scope*."""
        self._reader.take_step()
        if scope.hops > MAX_HOPS:
            return [TOO_FAR]
        match node:
            case ast.Name(id=name):
                return self._name(name, scope)
            case ast.Attribute(value=inner):
                terms = self.evaluate(inner, scope)
                return [row for term in terms for row in self._attribute(term, node, scope)]
            case ast.Call(func=inner):
                terms = self.evaluate(inner, scope)
                return [row for term in terms for row in self._called(term, node, scope)]
            case ast.BoolOp() | ast.IfExp():
                either = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
                return [term for value in either for term in self.evaluate(value, scope)]
            case ast.Await(value=inner):
                return self._awaited(inner, scope) or self.evaluate(inner, scope)
            case ast.Lambda():
                return [Defined(node, scope)]
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return [Parts(tuple(Argument(part, scope) for part in parts))]
            case ast.Subscript(value=inner, slice=ast.Constant(value=int(index))):
                return self._picked(self.evaluate(inner, scope), [index])
        return [unknown(f"{shortened(node)} at {scope.line(node)} is beyond what can be read")]

    def _picked(self, terms: list[Term], part: Sequence[int]) -> list[Term]:
        for index in part:
            picked: list[Term] = []
            for term in terms:
                if isinstance(term, Parts) and -len(term.parts) <= index < len(term.parts):
                    picked += self.evaluate(*term.parts[index])
                else:
                    picked.append(term if isinstance(term, Finding) else unknown("part of a value"))
            terms = picked
        return terms

    def _awaited(self, node: ast.expr, scope: Scope) -> list[Term]:
        """Return what awaiting *node* gives where it is a coroutine or a coroutine function."""
        results: list[Term] = []
        for term in self.evaluate(node, scope):
            given = [term]
            if isinstance(term, Defined) and isinstance(term.node, ast.AsyncFunctionDef):
                given = self.returned(term, None, scope)
            results += [
                row for made in given if isinstance(made, Coroutine) for row in made.results
            ]
        return results

    def _attribute(self, term: Term, node: ast.Attribute, scope: Scope) -> Sequence[Term]:
        attr, line = node.attr, scope.line(node)
        match term:
            case Path(path=path) if "(" not in path:
                return self._member(path, attr, scope.hops, line=line)
            case Path(path=path) if f"{path}.{attr}" in ON_THE_WAY:
                return [Path(f"{path}.{attr}", line)]
            case Instance() | Defined(node=ast.ClassDef()):
                instance = term if isinstance(term, Instance) else Instance(term)
                if members := self.attribute_of(instance, attr):
                    return members
            case Hint():
                return []
        if attr in ("asgi_app", "wsgi_app"):
            spoken = Interface(attr[:4])
            return [Finding(interface=spoken, evidence=f".{attr} at {line}, by its name")]
        is_reason = isinstance(term, Finding)
        return [term if is_reason else unknown(f".{attr} at {line} is beyond what can be read")]

    def lineage(self, definition: Defined) -> Iterator[Defined | Path]:
        """Yield the class *definition* and what it descends from, the nearest first."""
        pending: list[Defined | Path] = [definition]
        for cls in pending:
            yield cls
            if not isinstance(cls, Defined) or len(pending) > MAX_BASES:
                continue
            for base in getattr(cls.node, "bases", ()):
                plain = base.value if isinstance(base, ast.Subscript) else base
                terms = self.evaluate(plain, cls.scope)
                pending += [term for term in terms if isinstance(term, Path) or is_class(term)]

    def attribute_of(self, instance: Instance, name: str) -> list[Term]:
        """Return what attribute *name* of *instance* is, by its class and that one's bases."""
        for cls in self.lineage(instance.of):
            if isinstance(cls, Path):
                if f"{cls.path}().{name}" in ON_THE_WAY:
                    return [Path(f"{cls.path}().{name}", cls.line)]
            elif found := self.own_attribute(cls, name, instance):
                return found
        return []

    def own_attribute(self, cls: Defined, name: str, instance: Instance) -> list[Term]:
        """Return what attribute *name* of *instance* is, by its class *cls* alone."""
        outer = cls.scope._replace(before=END)
        scope = outer._replace(body=self._body(cls.node), outer=outer, arguments={})
        found = self._bindings(name, scope)
        terms = [row._replace(owner=instance) if isinstance(row, Defined) else row for row in found]
        if terms and isinstance(terms[0], Defined) and terms[0].is_decorated("property"):
            return self.returned(terms[0], None, scope)
        methods = [row for row in scope.body.statements if isinstance(row, ast.FunctionDef)]
        for method in methods if not terms else ():
            made = instance.call if method.name == "__init__" else None
            call, caller = made or (None, scope)
            inner = Defined(method, scope, instance).called(call, caller, self._body(method))
            for statement in reversed([*walk(method.body)]):
                if value := binding.set_on_self(statement, name):
                    return self.evaluate(value, inner._replace(before=start_of(statement)))
        return terms

    def _body(self, node: Function | ast.ClassDef) -> Body:
        """Return the body of a function or class, which many calls of it share."""
        if node not in self._bodies:
            self._bodies[node] = Body(() if isinstance(node, ast.Lambda) else node.body)
        return self._bodies[node]

    def _called(self, term: Term, call: ast.Call, scope: Scope) -> Sequence[Term]:
        match term:
            case Path(path="dash.Dash") if self._is_on_asgi(call, scope):
                return [Path("dash.Dash(ASGI)", scope.line(call))]
            case Path(path=path) if f"{path}()" in ON_THE_WAY:
                return [Path(f"{path}()", scope.line(call))]
            case Defined(node=ast.ClassDef()):
                return [Instance(term, Hint(call, scope))]
            case Defined():
                return self.returned(term, call, scope)
            case Hint():
                return []
        shown = f"{shortened(call.func)}() at {scope.line(call)}"
        is_reason = isinstance(term, Finding)
        reason = term if is_reason else unknown(f"{shown} is beyond what can be read")
        # asyncio.run, loop.run_until_complete, anyio.run
        runs = call.args and last_name(call.func) in ("run", "run_until_complete")
        results = self._awaited(call.args[0], scope) if runs else []
        return results or [reason, Hint(call, scope)]

    def _is_on_asgi(self, dash: ast.Call, scope: Scope) -> bool:
        given = {word.arg: word.value for word in dash.keywords}
        if isinstance(backend := given.get("backend"), ast.Constant):
            return backend.value in ("fastapi", "quart")
        server = self.evaluate(given["server"], scope) if "server" in given else []
        paths = [term.path for term in server if isinstance(term, Path)]
        return Interface.ASGI in map(FRAMEWORKS.get, paths)

    def returned(self, function: Defined, call: ast.Call | None, caller: Scope) -> list[Term]:
        """Return what *function* gives; *call* is None where something else calls it."""
        node = function.node
        assert not isinstance(node, ast.ClassDef)
        inner = function.called(call, caller, self._body(node))
        if isinstance(node, ast.Lambda):
            return self.evaluate(node.body, inner)
        terms: list[Term] = []
        for row in walk(node.body):
            if isinstance(row, ast.Return) and row.value:
                terms += self.evaluate(row.value, inner._replace(before=start_of(row)))
        if node.returns:
            terms.append(Hint(node.returns, function.scope._replace(before=END)))
        shown = f"{node.name}() at {function.line}"
        if isinstance(node, ast.AsyncFunctionDef):
            return [Coroutine(tuple(terms), shown)]
        if call:
            terms.append(Hint(call, caller))
        return [*terms, unknown(f"{shown} is beyond what can be read")]
