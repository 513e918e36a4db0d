"""
Follows names, imports and calls through source to what they stand for.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeGuard

from gunicorn_autoconf.app.binding import reaching, statements_before
from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.app.frameworks import ON_THE_WAY
from gunicorn_autoconf.app.names import MAX_HOPS, TOO_FAR, Names
from gunicorn_autoconf.app.shape import may_convert
from gunicorn_autoconf.app.source import UnreadableError
from gunicorn_autoconf.app.term import (
    Definition,
    External,
    Instance,
    Scope,
    Term,
    call_scope,
    class_scope,
    is_property,
    merge,
    unknown,
)
from gunicorn_autoconf.app.text import last_name, shortened
from gunicorn_autoconf.worker_classes import Interface

# A bound on the time: expressions looked at, whatever the way. Of the corpus of tests, one needs 32
# and all others at most 10.
MAX_STEPS = 2_000
# To look one up may take a walk over all that was read: what was read makes each cost more.
BYTES_A_STEP = 5_000

_APP_KEYWORDS = ("app", "application", "wsgi_app", "asgi_app")


class Evaluator(Names):
    """Follows the expressions of one search, within the effort that is left to it."""

    def __init__(self, search_path: Sequence[str]) -> None:
        super().__init__(search_path)
        self._steps = MAX_STEPS

    @abstractmethod
    def _finding(self, term: Term, hops: int) -> Finding:
        """Return what a server would find in *term* as its application."""

    def _merged(self, terms: Sequence[Term], hops: int) -> Finding:
        return merge([self._finding(term, hops) for term in terms])

    # Expressions ------------------------------------------------------------------------------

    def _evaluate(self, node: ast.expr, scope: Scope, hops: int) -> list[Term]:
        self._steps -= 1 + self._read_bytes // BYTES_A_STEP
        if self._steps < 0:
            raise UnreadableError("the source is too tangled to follow")
        if hops > MAX_HOPS:
            return [TOO_FAR]
        match node:
            case ast.Name(id=name):
                return self._name(name, scope, hops)
            case ast.Attribute(value=value, attr=attr):
                return [
                    found
                    for term in self._evaluate(value, scope, hops)
                    for found in self._attribute(term, attr, scope.line(node), hops)
                ]
            case ast.Call(func=func):
                return [
                    found
                    for term in self._evaluate(func, scope, hops)
                    for found in self._called(term, node, scope, hops)
                ]
            case ast.IfExp(body=body, orelse=orelse):
                return [
                    *self._evaluate(body, scope, hops),
                    *self._evaluate(orelse, scope, hops),
                ]
            case ast.BoolOp(values=values):
                return [term for value in values for term in self._evaluate(value, scope, hops)]
            case ast.NamedExpr(value=value):
                return self._evaluate(value, scope, hops)
            case ast.Lambda():
                return [Definition(node, scope)]
        return [unknown(f"{shortened(node)} at {scope.line(node)} is beyond what can be read")]

    def _attribute(self, term: Term, attr: str, line: str, hops: int) -> list[Term]:
        match term:
            case External(path=path) if "()" not in path:
                return [
                    found._replace(line=line) if _is_name(found) else found
                    for found in self._member(path, attr, hops)
                ]
            case External(path=path) if f"{path}.{attr}" in ON_THE_WAY:
                return [External(f"{path}.{attr}", line)]
            case Instance(of=definition) | (Definition(node=ast.ClassDef()) as definition):
                if found := self._class_member(definition, attr, hops):
                    return found
            case Finding(interface=None):
                return [term]
            case Finding() if attr == "server":  # of a Dash on an ASGI backend
                return [term]
        return [unknown(f".{attr} at {line} is beyond what can be read")]

    # Classes ----------------------------------------------------------------------------------

    def _class_member(self, definition: Definition, name: str, hops: int) -> list[Term]:
        """Return what attribute *name* of an instance is, by its class and that one's bases."""
        own = self._own_member(definition, name, hops)
        if own or hops >= MAX_HOPS:
            return own
        for base in self._bases(definition, hops + 1):
            if isinstance(base, Definition):
                if found := self._class_member(base, name, hops + 1):
                    return found
            elif f"{base.path}().{name}" in ON_THE_WAY:
                return [External(f"{base.path}().{name}", base.line)]
        return []

    def _own_member(self, definition: Definition, name: str, hops: int) -> list[Term]:
        scope = class_scope(definition)
        terms = [
            term._replace(owner=definition) if isinstance(term, Definition) else term
            for term in self._bindings(name, scope, hops)
        ]
        first = terms[0] if terms else None
        if isinstance(first, Definition) and is_property(first):
            return self._returned(first, None, scope, hops + 1)
        return terms or self._set_in_init(definition, name, hops)

    def _set_in_init(self, definition: Definition, name: str, hops: int) -> list[Term]:
        scope = class_scope(definition)
        for binding in reaching("__init__", scope.end):
            method = binding.place.statement
            if isinstance(method, ast.FunctionDef):
                inner = call_scope(Definition(method, scope, definition), None, scope)
                for place in reversed([*statements_before(inner.end)]):
                    statement = place.statement
                    if isinstance(statement, ast.Assign) and _sets(statement, name):
                        at = inner._replace(place=place)
                        return self._evaluate(statement.value, at, hops + 1)
        return []

    def _bases(self, definition: Definition, hops: int) -> list[External | Definition]:
        assert isinstance(definition.node, ast.ClassDef)
        bases: list[External | Definition] = []
        for base in definition.node.bases:
            plain = base.value if isinstance(base, ast.Subscript) else base
            terms = self._evaluate(plain, definition.scope, hops)
            bases += [term for term in terms if isinstance(term, (External, Definition))]
        return bases

    # Calls ------------------------------------------------------------------------------------

    def _called(self, term: Term, call: ast.Call, scope: Scope, hops: int) -> list[Term]:
        match term:
            case External(path="dash.Dash") if speaks := self._dash(call, scope, hops):
                return [speaks]
            case External(path=path) if f"{path}()" in ON_THE_WAY:
                return [External(f"{path}()", scope.line(call))]
            case Definition(node=ast.ClassDef()):
                instance = Instance(term)
                if self._finding(instance, hops).interface:
                    return [instance]
                return [self._wrapped(call, scope, hops) or instance]
            case Definition():
                return self._returned(term, call, scope, hops + 1)
        if wrapped := self._wrapped(call, scope, hops):
            return [wrapped]
        if isinstance(term, Finding) and not term.interface:
            return [term]
        return [_beyond(call, scope)]

    def _dash(self, call: ast.Call, scope: Scope, hops: int) -> Finding | None:
        """Return what a ``Dash`` speaks where its backend or server make it an ASGI one."""
        for keyword in call.keywords:
            match keyword:
                case ast.keyword(arg="backend", value=ast.Constant(value="fastapi" | "quart")):
                    evidence = f"Dash({shortened(keyword)}) at {scope.line(call)}"
                    return Finding(interface=Interface.ASGI, evidence=evidence)
                case ast.keyword(arg="server", value=value):
                    server = self._merged(self._evaluate(value, scope, hops), hops)
                    if server.interface is Interface.ASGI:
                        return server
        return None

    def _wrapped(self, call: ast.Call, scope: Scope, hops: int) -> Finding | None:
        """Return what the application speaks that *call* gives to an unknown callable."""
        named = [word.value for word in call.keywords if word.arg in _APP_KEYWORDS]
        for argument in [*call.args[:1], *named]:
            found = self._merged(self._evaluate(argument, scope, hops), hops)
            if found.interface:
                converts = may_convert(last_name(call.func), found.interface)
                return _beyond(call, scope) if converts else found
        return None

    def _returned(
        self, function: Definition, call: ast.Call | None, caller: Scope, hops: int
    ) -> list[Term]:
        """Return what *function* gives; *call* is None where something else calls it."""
        node = function.node
        assert not isinstance(node, ast.ClassDef)
        if hops > MAX_HOPS:
            return [TOO_FAR]
        inner = call_scope(function, call, caller)
        if isinstance(node, ast.Lambda):
            return self._evaluate(node.body, inner, hops)
        where = f"{node.name}() at {function.scope.line(node)}"
        if isinstance(node, ast.AsyncFunctionDef):
            return [unknown(f"{where} is a coroutine function")]
        terms: list[Term] = []
        for place in statements_before(inner.end):
            if isinstance(place.statement, ast.Return) and not _is_none(place.statement.value):
                assert place.statement.value is not None
                at = inner._replace(place=place)
                terms += self._evaluate(place.statement.value, at, hops)
        if node.returns:
            terms = self._or_annotated(terms, node.returns, function.scope, hops)
        decided = call is None or self._merged(terms, hops).interface
        if call and not decided and (wrapped := self._wrapped(call, caller, hops)):
            return [wrapped]
        return terms or [unknown(f"{where} is beyond what can be read")]


def _sets(statement: ast.Assign, name: str) -> bool:
    """Whether *statement* is ``self.name = ...``."""
    return any(
        isinstance(target, ast.Attribute)
        and target.attr == name
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
        for target in statement.targets
    )


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _is_name(term: Term) -> TypeGuard[External]:
    return isinstance(term, External) and "()" not in term.path


def _beyond(call: ast.Call, scope: Scope) -> Finding:
    return unknown(f"{shortened(call.func)}() at {scope.line(call)} is beyond what can be read")
