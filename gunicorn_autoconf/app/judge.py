"""
Decides which interface an application has, from the terms that its name may stand for.

Reads source files, through the tracer; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gunicorn_autoconf.app import syntax
from gunicorn_autoconf.app.finding import Finding, is_answer, merge, unknown
from gunicorn_autoconf.app.frameworks import AWAITING, listed
from gunicorn_autoconf.app.scope import Coroutine, Defined, Expression, Instance, Path, Scope, Term
from gunicorn_autoconf.app.trace import Tracer

_APP_KEYWORDS = ("app", "application", "wsgi_app", "asgi_app")


class Judge(Tracer):
    """Judges the terms of one search."""

    def answer(self, terms: Sequence[Term]) -> Finding:
        """Return what *terms* show together; hints count only where nothing else does."""
        found = merge([self._judged(term) for term in terms if not isinstance(term, Expression)])
        hints = [term for term in terms if isinstance(term, Expression)]
        for is_call in (False, True):  # An annotation is surer than a call, and cheaper to read.
            asked = [hint for hint in hints if isinstance(hint.node, ast.Call) is is_call]
            hinted = merge([self._hinted(*hint) for hint in asked if not is_answer(found)])
            found = hinted if is_answer(hinted) else found
        return found

    def _judged(self, term: Finding | Path | Defined | Instance | Coroutine) -> Finding:
        match term:
            case Path(path=path, line=line):
                head, called, rest = path.partition("(")
                shown = f"{head.rpartition('.')[2] if called else head}{called}{rest} at {line}"
                return listed(path, shown) or unknown(f"{shown} is no known application")
            case Instance():
                return self._instance(term)
            case Coroutine(shown=shown):
                evidence = f"{shown} is a coroutine function, and no worker class awaits its result"
                return Finding(interface=None, evidence=evidence, is_neither=True)
            case Defined(node=ast.ClassDef()):
                return unknown(f"class at {term.scope.line(term.node)} is no application itself")
            case Defined():
                return self._function(term)
        return term

    def _instance(self, instance: Instance) -> Finding:
        name, line = instance.of.node.name, instance.of.scope.line(instance.of.node)
        for cls, calls in self.lineage(instance, "__call__"):
            if isinstance(cls, Path):
                shown = f"class {name}({cls.path.rpartition('.')[2]}) at {line}"
                if known := listed(f"{cls.path}()", shown):
                    return known
                continue
            for node in [call.node for call in calls if isinstance(call, Defined)]:
                if isinstance(node, ast.ClassDef):
                    continue
                if spoken := syntax.shape_of(node, is_method=True):
                    own = f"class {cls.node.name} with {syntax.header(node)}"
                    where = cls.scope.line(cls.node)
                    return Finding(interface=spoken, evidence=f"{own} at {where}")
        found = unknown(f"class {name} at {line} has no __call__ that tells")
        return self.answer([found, instance.call]) if instance.call else found

    def _function(self, function: Defined) -> Finding:
        node = function.node
        assert not isinstance(node, ast.ClassDef)
        shown = f"{syntax.header(node)} at {function.scope.line(node)}"
        if spoken := syntax.shape_of(node, is_method=function.owner is not None):
            return Finding(interface=spoken, evidence=shown)
        # A factory that is named without a call: Uvicorn calls it, and aiohttp's worker awaits it.
        terms = self.returned(function)
        made = self.answer([row for term in terms for row in getattr(term, "results", (term,))])
        if not isinstance(node, ast.AsyncFunctionDef):
            is_sure = is_answer(made) or made.depends_on_version
            return made if is_sure else unknown(f"{shown} could be either")
        if len(node.args.posonlyargs + node.args.args) >= 3 or node.args.vararg:
            return unknown(f"{shown} could be either")
        if made.is_neither and made.worker_class == AWAITING:
            return replace(made, evidence=f"{shown} gives {made.evidence}")
        return self.answer(terms)

    def _hinted(self, node: ast.expr, scope: Scope) -> Finding:
        """Return what a hint shows: a call by its name and arguments, or an annotation."""
        if isinstance(node, ast.Call):
            return self._hinted_by_call(node, scope)
        if isinstance(node, ast.Constant) and str(node.value).isidentifier():
            node = ast.copy_location(ast.Name(str(node.value), ast.Load()), node)
        if not isinstance(node, (ast.Name, ast.Attribute)):
            return unknown("an annotation that is not one class")
        evidence = f"annotated {syntax.shortened(node)} at {scope.line(node)}"
        made = [
            Path(f"{term.path}()", "") if isinstance(term, Path) else Instance(term)
            for term in self.evaluate(node, scope)
            if isinstance(term, (Path, Defined))
        ]
        return replace(self.answer(made), evidence=evidence)

    def _hinted_by_call(self, node: ast.Call, scope: Scope) -> Finding:
        name = syntax.last_name(node.func)
        words = [word.value for word in node.keywords if word.arg in _APP_KEYWORDS]
        for argument in (*node.args[:1], *words):
            terms = self.evaluate(argument, scope)
            found = self.answer([term for term in terms if not _is_coroutine(term)])
            if found.interface and syntax.may_convert(name, found.interface):
                return unknown(f"{name}() at {scope.line(node)} may convert")
            if is_answer(found):
                return found
        evidence = f"{name}() at {scope.line(node)}, by its name"
        return Finding(interface=syntax.named_interface(name), evidence=evidence)


def _is_coroutine(term: Term) -> bool:
    """Whether *term* must be awaited first, so that it is no application itself."""
    if isinstance(term, Defined) and isinstance(term.node, ast.AsyncFunctionDef):
        return not syntax.shape_of(term.node, is_method=term.owner is not None)
    return isinstance(term, Coroutine)
