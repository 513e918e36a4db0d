"""
Follows a name through source to what it stands for: imports, assignments, calls and classes.

Reads source files; never imports or runs anything of the user's.

How it works. A name may be bound in two branches, so each step returns a list of terms: all that
an expression may stand for. ``Path`` is a module or what the table of frameworks leads on from;
attributes and calls lengthen it: ``dash``, ``dash.Dash()``, ``dash.Dash().server``. ``Defined``,
``Instance`` and ``Coroutine`` are what was read: a function or class, and what calling it gives.
``Expression`` is a hint (a call not understood, an annotation, a tuple), ``Finding`` a reason why.

A name is looked up from where it is used outwards: the statements above it, the arguments of the
call that led there, the module, and by an import the next module. ``MAX_HOPS`` bounds the imports
and calls that lead from one to the next, the reader all that is read and looked at. What cannot be
followed is unknown, never a guess: the worker looks at the application itself once it is loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache

from gunicorn_autoconf.app import syntax
from gunicorn_autoconf.app.finding import Finding, unknown
from gunicorn_autoconf.app.frameworks import BY_VERSION, FRAMEWORKS, ON_THE_WAY, known_path
from gunicorn_autoconf.app.reader import Reader
from gunicorn_autoconf.app.scope import (
    END,
    Body,
    Coroutine,
    Defined,
    Expression,
    Instance,
    Path,
    Scope,
    Term,
    is_known,
    start_of,
    walk,
)
from gunicorn_autoconf.app.source import Files, NoModuleError, UnreadableError, locate
from gunicorn_autoconf.worker_classes import Interface

MAX_HOPS = 8  # imports and calls, one behind the other
MAX_BASES = 32

TOO_FAR = unknown(f"the application is more than {MAX_HOPS} steps away")


class Tracer:
    """One search: names, then expressions, classes and calls."""

    def __init__(self, search_path: Sequence[str], files: Files) -> None:
        self._reader = Reader(search_path, files)
        self._body = cache(lambda node: Body(node.body))  # which many calls of a function share

    def find(self, module: str, expression: ast.expr) -> list[Term]:
        """Return what *expression* may stand for in *module*; may raise UnreadableError."""
        location = locate(module, self._reader.search_path)
        if isinstance(expression, ast.Name):
            return self._member(module, expression.id)
        return self.evaluate(expression, Scope(location, self._reader.body(location)))

    def _member(self, module: str, name: str, hops: int = 0, line: str = "") -> list[Term]:
        """Return what *name* is in *module*: what the table knows, what is bound, a submodule."""
        path = f"{module}.{name}"
        known = known_path(path)
        try:
            location = locate(module, self._reader.search_path)
            # What depends on the release is read where it is there.
            if known and location.installed and f"{known}()" not in BY_VERSION:
                return [Path(known, line or module)]
            scope = Scope(location, self._reader.body(location), hops)
        except UnreadableError as error:
            # What is not installed here may still lead to what the table knows.
            if known or (isinstance(error, NoModuleError) and path.partition(".")[0] in ON_THE_WAY):
                return [Path(known or path, line or module)]
            return [unknown(str(error))]
        if terms := self._bindings(name, scope) or self._lazy(name, scope):
            return terms
        try:
            locate(path, self._reader.search_path)
        except UnreadableError as error:
            is_missing = isinstance(error, NoModuleError)
            return [unknown(f"{path} cannot be found" if is_missing else str(error))]
        return [Path(path, line or path)]

    def _lazy(self, name: str, scope: Scope) -> list[Term]:
        """Return what *name* is in a module whose ``__getattr__`` binds it when asked for."""
        for getter in self._bindings("__getattr__", scope):
            if isinstance(getter, Defined) and isinstance(getter.node, ast.FunctionDef):
                return self._bindings(name, self._inside(getter))
        return []

    def _name(self, name: str, scope: Scope) -> list[Term]:
        at: Scope | None = scope
        while at:
            if terms := self._bindings(name, at):
                return terms
            if name in at.arguments:
                given = at.arguments[name] or unknown(f"{name} in {at.location.shown} is not known")
                return self.evaluate(*given) if isinstance(given, Expression) else [given]
            at = at.outer
        return [unknown(f"{name!r} is not bound in {scope.location.shown}")]

    def _bindings(self, name: str, scope: Scope) -> list[Term]:
        if scope.hops > MAX_HOPS:
            return [TOO_FAR]
        sure: list[Term] = []
        fallback: list[Term] = []
        for row in scope.body.reaching(name, scope.before):
            terms = self._bound(name, row.node, scope._replace(before=start_of(row.node)))
            (fallback if row.is_fallback else sure).extend(terms)
        # Where the import works, what replaces it where it fails does not count.
        return sure if any(map(is_known, sure)) else sure + fallback

    def _bound(self, name: str, node: ast.stmt, scope: Scope) -> list[Term]:
        """Return what the statement *node* binds to *name*."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return [Defined(node, scope)]
            case ast.Assign():
                return self._assigned(name, node, scope)
            case ast.AnnAssign():
                terms = self.evaluate(node.value, scope) if node.value else []
                return [*terms, Expression(node.annotation, scope._replace(before=END))]
            case ast.With(items=[ast.withitem(ast.expr() as context, ast.Name())]):
                # What a context manager gives is open, but those in the table give themselves.
                terms = self.evaluate(context, scope)
                if any(isinstance(term, Path) for term in terms):
                    return terms
            case ast.Import(names=rows):
                full = {row.asname: row.name for row in rows if row.asname}
                return [Path(full.get(name, name), scope.line(node))]
            case ast.ImportFrom():
                return self._imported(name, node, scope)
        return [scope.beyond(name, node)]

    def _assigned(self, name: str, node: ast.Assign, scope: Scope) -> list[Term]:
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == name:
                return self.evaluate(node.value, scope)
            names = [getattr(part, "id", "") for part in getattr(target, "elts", ())]
            if name in names and "" not in names:
                return self._picked(self.evaluate(node.value, scope), names.index(name))
        return [scope.beyond(name, node)]

    def _imported(self, name: str, node: ast.ImportFrom, scope: Scope) -> list[Term]:
        module = scope.location.absolute(node)
        if not module:
            return [unknown(f"the import at {scope.line(node)} leads out of its package")]
        named = [row.name for row in node.names if (row.asname or row.name) == name]
        if named and module == scope.location.name:  # a package that means a module of its own
            return [Path(f"{module}.{named[-1]}", scope.line(node))]
        terms = self._member(module, (named or [name])[-1], scope.hops + 1)
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
                terms = self.evaluate(inner, scope)
                return [row for term in terms for row in getattr(term, "results", (term,))]
            case ast.Lambda():
                return [Defined(syntax.as_function(node), scope)]
            case ast.Tuple() | ast.List():
                return [Expression(node, scope)]
            case ast.Subscript(value=inner, slice=ast.Constant(value=int(index))):
                return self._picked(self.evaluate(inner, scope), index)
        return [scope.beyond(syntax.shortened(node), node)]

    def _picked(self, terms: list[Term], index: int) -> list[Term]:
        """Return part *index* of *terms* that are tuples or lists, or why there is none."""
        picked: list[Term] = [unknown("a part of what is no tuple")]
        for term in terms:
            parts = getattr(term.node, "elts", ()) if isinstance(term, Expression) else ()
            if isinstance(term, Expression) and 0 <= index < len(parts):
                picked += self.evaluate(parts[index], term.scope)
        return picked

    def _attribute(self, term: Term, node: ast.Attribute, scope: Scope) -> Sequence[Term]:
        attr, line = node.attr, scope.line(node)
        match term:
            case Path(path=path) if "(" not in path:
                return self._member(path, attr, scope.hops + 1, line)
            case Path(path=path) if f"{path}.{attr}" in ON_THE_WAY:
                return [Path(f"{path}.{attr}", line)]
            case Instance() | Defined(node=ast.ClassDef()):
                instance = term if isinstance(term, Instance) else Instance(term)
                if members := [terms for _, terms in self.lineage(instance, attr) if terms]:
                    return members[0]
            case Expression():
                return []
        if attr in ("asgi_app", "wsgi_app"):
            evidence = f".{attr} at {line}, by its name"
            return [Finding(interface=Interface(attr[:4]), evidence=evidence)]
        return [scope.beyond(f".{attr}", node, term)]

    def lineage(self, of: Instance, name: str) -> Iterator[tuple[Defined | Path, list[Term]]]:
        """Yield the class of an instance and its bases, each with what it has itself as *name*."""
        pending: list[Defined | Path] = [of.of]
        for cls in pending:
            if isinstance(cls, Path):
                path = f"{cls.path}().{name}"
                yield cls, [Path(path, cls.line)] if path in ON_THE_WAY else []
                continue
            yield cls, self._own(cls, name, of)
            for base in getattr(cls.node, "bases", ()) if len(pending) <= MAX_BASES else ():
                plain = base.value if isinstance(base, ast.Subscript) else base
                terms = self.evaluate(plain, cls.scope)
                pending += [term for term in terms if isinstance(term, (Path, Defined))]

    def _own(self, cls: Defined, name: str, of: Instance) -> list[Term]:
        outer = cls.scope._replace(before=END)
        scope = Scope(outer.location, self._body(cls.node), outer.hops, END, outer)
        terms: list[Term] = []
        for term in self._bindings(name, scope):
            if not isinstance(term, Defined):
                terms.append(term)
                continue
            marks = syntax.decorators(term.node)
            made = Defined(term.node, cls.scope, None if "staticmethod" in marks else of)
            terms += self.returned(made) if "property" in str(marks) else [made]
        methods = [row for row in scope.body.statements if isinstance(row, ast.FunctionDef)]
        for method in [] if terms else methods:
            call = of.call if method.name == "__init__" else None
            inner = self._inside(Defined(method, cls.scope, of), call)
            for node, value in inner.body.assigned(name):
                terms += self.evaluate(value, inner._replace(before=start_of(node)))
        return terms

    def _inside(self, function: Defined, call: Expression | None = None) -> Scope:
        """Return the scope inside of *function*, its parameters bound as *call* does it."""
        node, owner = function.node, function.owner
        assert not isinstance(node, ast.ClassDef)
        names = [row.arg for row in (*node.args.posonlyargs, *node.args.args)]
        others = [*node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        bound: dict[str, Term | None] = dict.fromkeys([*names, *(row.arg for row in others if row)])
        if owner and names:
            bound[names.pop(0)] = owner.of if "classmethod" in syntax.decorators(node) else owner
        if call and isinstance(call.node, ast.Call):
            given = [*zip(names, call.node.args, strict=False)]
            given += [(word.arg, word.value) for word in call.node.keywords if word.arg in bound]
            bound |= {name: Expression(value, call.scope) for name, value in given}
        outer = function.scope._replace(before=END)
        hops = (call.scope if call else function.scope).hops + 1
        return Scope(outer.location, self._body(node), hops, END, outer, bound)

    def _called(self, term: Term, call: ast.Call, scope: Scope) -> Sequence[Term]:
        match term:
            case Path(path="dash.Dash") if self._is_on_asgi(call, scope):
                return [Path("dash.Dash(ASGI)", scope.line(call))]
            case Path(path=path) if f"{path}()" in ON_THE_WAY:
                return [Path(f"{path}()", scope.line(call))]
            case Defined(node=ast.ClassDef()):
                return [Instance(term, Expression(call, scope))]
            case Defined():
                return self.returned(term, Expression(call, scope))
            case Expression():
                return []
        # asyncio.run, loop.run_until_complete
        if call.args and syntax.last_name(call.func) in ("run", "run_until_complete"):
            run = self.evaluate(call.args[0], scope)
            if results := [row for term in run for row in getattr(term, "results", ())]:
                return results
        reason = scope.beyond(f"{syntax.shortened(call.func)}()", call, term)
        return [reason, Expression(call, scope)]

    def _is_on_asgi(self, dash: ast.Call, scope: Scope) -> bool:
        given = {word.arg: word.value for word in dash.keywords}
        server = self.evaluate(given["server"], scope) if "server" in given else []
        spoken = [FRAMEWORKS.get(term.path) for term in server if isinstance(term, Path)]
        backend = syntax.text_of(given.get("backend", dash))
        return backend in ("'fastapi'", "'quart'") or Interface.ASGI in spoken

    def returned(self, function: Defined, call: Expression | None = None) -> list[Term]:
        """Return what *function* gives; *call* is None where something else calls it."""
        node = function.node
        assert not isinstance(node, ast.ClassDef)
        inner = self._inside(function, call)
        terms: list[Term] = []
        for row, *_ in walk(node.body):
            if isinstance(row, ast.Return) and row.value:
                terms += self.evaluate(row.value, inner._replace(before=start_of(row)))
        if node.returns:
            terms.append(Expression(node.returns, function.scope._replace(before=END)))
        if isinstance(node, ast.AsyncFunctionDef):
            return [Coroutine(tuple(terms), f"{node.name}() at {function.scope.line(node)}")]
        terms += [call] if call else []
        return [*terms, function.scope.beyond(f"{node.name}()", node)]
