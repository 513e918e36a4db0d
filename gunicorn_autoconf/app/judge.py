"""
Tells what a server would find in what a name stands for: an application of which interface.

Reads source files, through the tracer; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gunicorn_autoconf.app import shape
from gunicorn_autoconf.app.finding import Finding, is_answer, merge, unknown
from gunicorn_autoconf.app.frameworks import AWAITING, listed
from gunicorn_autoconf.app.scope import (
    Coroutine,
    Defined,
    Hint,
    Instance,
    Path,
    Term,
    is_coroutine,
)
from gunicorn_autoconf.app.text import last_name, shortened
from gunicorn_autoconf.app.trace import Tracer

_APP_KEYWORDS = ("app", "application", "wsgi_app", "asgi_app")


class Judge:
    """Judges the terms of one search."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def answer(self, terms: Sequence[Term]) -> Finding:
        """Return what *terms* say together; hints count where all else is silent."""
        found = merge([self._finding(term) for term in terms if not isinstance(term, Hint)])
        hints = [term for term in terms if isinstance(term, Hint)]
        for is_call in (False, True):
            asked = [hint for hint in hints if isinstance(hint.node, ast.Call) is is_call]
            if asked and not is_answer(found):
                hinted = merge([self._hinted(hint) for hint in asked])
                found = hinted if is_answer(hinted) else found
        return found

    def _finding(self, term: Term) -> Finding:
        match term:
            case Finding():
                return term
            case Path(path=path, line=line):
                head, called, rest = path.partition("(")
                shown = f"{head.rpartition('.')[2] if called else head}{called}{rest} at {line}"
                return listed(path, shown) or unknown(f"{shown} is no known application")
            case Instance():
                return self._of_instance(term)
            case Coroutine(shown=shown):
                evidence = f"{shown} is a coroutine function, and no worker class awaits its result"
                return Finding(interface=None, evidence=evidence, is_neither=True)
            case Defined(node=ast.ClassDef()):
                return self._of_class(term)
            case Defined():
                return self._of_function(term)
        return unknown("a tuple or list is no application")

    def _of_instance(self, instance: Instance) -> Finding:
        name, line = getattr(instance.of.node, "name", ""), instance.of.line
        for cls in self._tracer.lineage(instance.of):
            if isinstance(cls, Path):
                shown = f"class {name}({cls.path.rpartition('.')[2]}) at {line}"
                if found := listed(f"{cls.path}()", shown):
                    return found
                continue
            for node in _functions(self._tracer.own_attribute(cls, "__call__", instance)):
                if spoken := shape.shape_of(node, is_method=True):
                    own = f"class {getattr(cls.node, 'name', '')} with {shape.header(node)}"
                    return Finding(interface=spoken, evidence=f"{own} at {cls.line}")
        told = unknown(f"class {name} at {line} has no __call__ that tells")
        return self.answer([told, instance.call]) if instance.call else told

    def _of_class(self, definition: Defined) -> Finding:
        init, call = (
            next(_functions(self._tracer.attribute_of(Instance(definition), name)), None)
            for name in ("__init__", "__call__")
        )
        if not init:
            return unknown(f"class at {definition.line} is no application itself")
        evidence = f"{shape.header(init)} of the class at {definition.line}"
        return Finding(interface=shape.class_shape(init, call), evidence=evidence)

    def _of_function(self, function: Defined) -> Finding:
        node = function.node
        assert not isinstance(node, ast.ClassDef)
        for decorator in getattr(node, "decorator_list", ()):
            shown = f"@{shortened(decorator)} at {function.scope.line(decorator)}"
            for term in self._tracer.evaluate(decorator, function.scope):
                if isinstance(term, Path) and (found := listed(f"{term.path}()", shown)):
                    return found
        shown = f"{shape.header(node)} at {function.line}"
        if spoken := shape.shape_of(node, is_method=function.takes_self):
            return Finding(interface=spoken, evidence=shown)
        # A factory that is named without a call: Uvicorn calls it, and aiohttp's worker awaits it.
        terms = self._tracer.returned(function, None, function.scope)
        made = self.answer([row for term in terms for row in getattr(term, "results", (term,))])
        if not isinstance(node, ast.AsyncFunctionDef):
            is_told = is_answer(made) or made.depends_on_version
            return made if is_told else unknown(f"{shown} could be either")
        if shape.takes_three(node):
            return unknown(f"{shown} could be either")
        if made.is_neither and made.worker_class == AWAITING:
            return replace(made, evidence=f"{shown} gives {made.evidence}")
        return self.answer(terms)

    def _hinted(self, hint: Hint) -> Finding:
        """Return what *hint* tells: what is given to a call, its name, or an annotation."""
        node, scope = hint
        if isinstance(node, ast.Call):
            name, words = last_name(node.func), node.keywords
            given = [*node.args[:1], *(word.value for word in words if word.arg in _APP_KEYWORDS)]
            for argument in given:
                terms = self._tracer.evaluate(argument, scope)
                found = self.answer([term for term in terms if not is_coroutine(term)])
                if found.interface and shape.may_convert(name, found.interface):
                    return unknown(f"{name}() at {scope.line(node)} may convert")
                if is_answer(found):
                    return found
            spoken = shape.named_interface(name)
            return Finding(
                interface=spoken, evidence=f"{name}() at {scope.line(node)}, by its name"
            )
        annotation = _unquoted(node)
        if not isinstance(annotation, (ast.Name, ast.Attribute)):
            return unknown("an annotation that is not one class")
        evidence = f"annotated {shortened(annotation)} at {scope.line(annotation)}"
        terms = self._tracer.evaluate(annotation, scope._replace(hops=scope.hops + 1))
        made = [Path(f"{term.path}()", "") for term in terms if isinstance(term, Path)]
        own = [Instance(term) for term in terms if isinstance(term, Defined)]
        return replace(self.answer([*made, *own]), evidence=evidence)


def _functions(terms: Sequence[Term]) -> Iterator[shape.Function]:
    for term in terms:
        if isinstance(term, Defined) and not isinstance(term.node, ast.ClassDef):
            yield term.node


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            parsed = ast.parse(annotation.value, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return annotation
        return ast.copy_location(parsed, annotation)
    return annotation
