"""
Tells which interface it is that a name or call in a module stands for.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from gunicorn_autoconf.app.evaluate import Evaluator
from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.app.frameworks import FRAMEWORKS, NEITHER
from gunicorn_autoconf.app.names import MAX_HOPS, TOO_FAR
from gunicorn_autoconf.app.shape import class_shape, header, shape_of
from gunicorn_autoconf.app.source import UnreadableError
from gunicorn_autoconf.app.term import (
    Definition,
    External,
    Instance,
    Scope,
    Term,
    instance_of,
    takes_self,
    unknown,
)
from gunicorn_autoconf.app.text import shortened


class Tracer(Evaluator):
    """One search for what a target speaks."""

    def find(self, module: str, expression: ast.expr) -> Finding:
        """
        Return what *expression*, a name or a call, speaks in *module*.

        Raises:
            UnreadableError: The module's source cannot be had, or is too tangled.
        """
        scope = self._scope(module)
        if isinstance(expression, ast.Name):
            terms = self._member(module, expression.id, 0)
        else:
            terms = self._evaluate(expression, scope, 0)
        return self._merged(terms, 0)

    def _finding(self, term: Term, hops: int) -> Finding:
        """Return what a server would find in *term* as its application."""
        match term:
            case Finding():
                return term
            case External(path=path, line=line):
                head, called, rest = path.partition("(")
                shown = f"{head.rpartition('.')[2] if called else head}{called}{rest} at {line}"
                if path in NEITHER:
                    return unknown(f"{shown}: {NEITHER[path]}")
                if path in FRAMEWORKS:
                    return Finding(interface=FRAMEWORKS[path], evidence=shown)
                return self._read_finding(path, hops) or unknown(
                    f"{shown} is no application that is known here"
                )
            case Instance(of=definition):
                return self._instance_finding(definition, hops)
            case Definition(node=ast.ClassDef()):
                return self._class_finding(term, hops)
        return self._function_finding(term, hops)

    def _read_finding(self, path: str, hops: int) -> Finding | None:
        """Return what the source says where the table knows only what leads on from *path*."""
        module, _, name = path.removesuffix("()").rpartition(".")
        if "()" in module or hops >= MAX_HOPS:
            return None
        try:
            terms = self._bindings(name, self._scope(module), hops + 1)
        except UnreadableError:
            return None
        classes = [term for term in terms if isinstance(term, (External, Definition))]
        return self._merged([instance_of(term) for term in classes], hops + 1) if classes else None

    def _instance_finding(self, definition: Definition, hops: int) -> Finding:
        name = definition.node.name if isinstance(definition.node, ast.ClassDef) else "lambda"
        line = definition.scope.line(definition.node)
        for method in self._own_member(definition, "__call__", hops):
            if isinstance(method, Definition) and not isinstance(method.node, ast.ClassDef):
                shape = shape_of(method.node, is_method=True)
                evidence = f"class {name} with {header(method.node)} at {line}"
                return Finding(interface=shape, evidence=evidence)
        if hops < MAX_HOPS:
            for base in self._bases(definition, hops + 1):
                found = self._finding(instance_of(base), hops + 1)
                if found.interface and isinstance(base, External):
                    evidence = f"class {name}({base.path.rpartition('.')[2]}) at {line}"
                    return replace(found, evidence=evidence)
                if found.interface:
                    return found
        return unknown(f"class {name} at {line} has no __call__ that tells")

    def _class_finding(self, definition: Definition, hops: int) -> Finding:
        init, call = (
            next((term.node for term in terms if isinstance(term, Definition)), None)
            for terms in (
                self._own_member(definition, "__init__", hops),
                self._own_member(definition, "__call__", hops),
            )
        )
        evidence = f"class at {definition.scope.line(definition.node)}"
        if isinstance(init, ast.FunctionDef):
            call = None if isinstance(call, ast.ClassDef) else call
            evidence = f"{header(init)} of the {evidence}"
            return Finding(interface=class_shape(init, call), evidence=evidence)
        return unknown(f"{evidence} is no application itself")

    def _function_finding(self, function: Definition, hops: int) -> Finding:
        node = function.node
        assert not isinstance(node, ast.ClassDef)
        for decorator in getattr(node, "decorator_list", ()):
            for term in self._evaluate(decorator, function.scope, hops):
                if isinstance(term, External) and f"{term.path}()" in FRAMEWORKS:
                    evidence = f"@{shortened(decorator)} at {function.scope.line(decorator)}"
                    return Finding(interface=FRAMEWORKS[f"{term.path}()"], evidence=evidence)
        shape = shape_of(node, is_method=takes_self(function))
        if shape:
            evidence = f"{header(node)} at {function.scope.line(node)}"
            return Finding(interface=shape, evidence=evidence)
        if hops >= MAX_HOPS:
            return TOO_FAR
        # A factory that is named without a call: Uvicorn calls it.
        terms = self._returned(function, None, function.scope, hops + 1)
        found = self._merged(terms, hops + 1)
        either = f"{header(node)} at {function.scope.line(node)} could be either"
        return found if found.interface else unknown(either)

    def _or_annotated(
        self, terms: list[Term], annotation: ast.expr, scope: Scope, hops: int
    ) -> list[Term]:
        """Return *terms* where they tell the interface, otherwise what *annotation* says."""
        if self._merged(terms, hops).interface:
            return terms
        quoted = annotation.value if isinstance(annotation, ast.Constant) else None
        if isinstance(quoted, str):
            try:
                parsed = ast.parse(quoted, mode="eval").body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return terms
            annotation = ast.copy_location(parsed, annotation)
        if not isinstance(annotation, (ast.Name, ast.Attribute)):
            return terms
        for term in self._evaluate(annotation, scope.finished(), hops + 1):
            if not isinstance(term, (External, Definition)):
                continue
            found = self._finding(instance_of(term), hops + 1)
            if found.interface:
                evidence = f"annotated {shortened(annotation)} at {scope.line(annotation)}"
                return [replace(found, evidence=evidence)]
        return terms
