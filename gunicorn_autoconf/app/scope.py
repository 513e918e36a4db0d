"""Where a name is looked up, and what an expression in source may stand for. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from gunicorn_autoconf.app.finding import Finding, is_answer, unknown
from gunicorn_autoconf.app.syntax import Function, text_of

# A name with more possible bindings than this is not worth an answer.
MAX_BINDINGS = 16

# A line and a column, as in the syntax tree.
Position = tuple[int, int]
END: Position = (1 << 62, 0)


class Statement(NamedTuple):
    """A statement, and whether it is only a fallback: run where an import fails, or never."""

    node: ast.stmt
    is_in_branch: bool = False
    is_fallback: bool = False


class Body:
    """The statements of a module, a class or a function, found by the names that they bind."""

    def __init__(self, statements: Sequence[ast.stmt]) -> None:
        self.statements = statements

    @cached_property
    def _index(self) -> dict[str, list[Statement]]:
        index: dict[str, list[Statement]] = {}
        for row in walk(self.statements):
            for name in bound_names(row.node):
                index.setdefault(name, []).append(row)
        return index

    def binders(self, name: str) -> list[Statement]:
        """Return the statements that bind *name* or any name, in their order."""
        named, starred = self._index.get(name, []), self._index.get("*", [])
        return sorted([*named, *starred], key=lambda row: start_of(row.node)) if starred else named

    def reaching(self, name: str, before: Position = END) -> list[Statement]:
        """Return what may have bound *name* at *before*: the last, and branches behind it."""
        found: list[Statement] = []
        for row in reversed(self.binders(name)):
            if start_of(row.node) < before:
                found.append(row)
                is_bare = isinstance(row.node, ast.AnnAssign) and row.node.value is None
                is_sure = name in bound_names(row.node) and not is_bare and not row.is_in_branch
                if is_sure or len(found) == MAX_BINDINGS:
                    break
        return found[::-1]

    def assigned(self, name: str) -> Iterator[tuple[ast.stmt, ast.expr]]:
        """Yield each statement ``self.name = value`` and that value."""
        for node, *_ in walk(self.statements):
            match node:
                case (
                    ast.Assign(targets=[target], value=value)
                    | ast.AnnAssign(target=target, value=ast.expr() as value)
                ) if isinstance(target, ast.Attribute) and target.attr == name:
                    if isinstance(target.value, ast.Name) and target.value.id == "self":
                        yield node, value


def start_of(node: ast.stmt) -> Position:
    """Return where *node* begins."""
    return node.lineno, node.col_offset


def walk(statements: Sequence[ast.stmt]) -> Iterator[Statement]:
    """Yield *statements* and those inside of compound ones, in their order."""
    pending = [Statement(node) for node in reversed(statements)]
    while pending:
        yield (row := pending.pop())
        is_in_branch = row.is_in_branch or not isinstance(row.node, (ast.With, ast.AsyncWith))
        for arm, is_fallback in reversed(_arms(row.node)):
            spare = row.is_fallback or is_fallback
            pending += [Statement(inner, is_in_branch, spare) for inner in reversed(arm)]


def _arms(node: ast.stmt) -> list[tuple[list[ast.stmt], bool]]:
    """Return the blocks inside of a compound statement, each with whether it is a fallback."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return []
    test = text_of(node.test) if isinstance(node, ast.If) else ""
    is_never = test.rpartition(".")[2] in ("TYPE_CHECKING", "False") and not test.startswith("not")
    arms = [(getattr(node, "body", []), is_never)] if test != "__name__ == '__main__'" else []
    arms += [(getattr(node, part, []), False) for part in ("orelse", "finalbody")]
    arms += [(case.body, False) for case in getattr(node, "cases", ())]
    for handler in getattr(node, "handlers", ()):
        caught = text_of(handler.type) if handler.type else ""
        arms.append((handler.body, "ImportError" in caught or "ModuleNotFoundError" in caught))
    return arms


def bound_names(node: ast.stmt) -> set[str]:
    """Return the names that *node* itself binds; ``*`` is any name."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {row.asname or row.name.partition(".")[0] for row in node.names}
    targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
    targets += [item.optional_vars for item in getattr(node, "items", ())]
    parts = [part for target in targets if target for part in ast.walk(target)]
    return {row.id for row in parts if isinstance(row, ast.Name) and isinstance(row.ctx, ast.Store)}


class Location(NamedTuple):
    """Where a module is."""

    name: str
    path: str | None  # None for a namespace package
    shown: str  # relative to its entry of the search path
    directories: tuple[str, ...]  # where its submodules are; empty for what is not a package
    installed: bool  # a library rather than your own code

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the module that *node* imports from, or nothing where that is out of reach."""
        package = self.name.split(".")[: None if self.directories else -1]
        if node.level > len(package):
            return ""
        above = package[: len(package) - node.level + 1] if node.level else []
        return ".".join([*above, *filter(None, [node.module])])


class Scope(NamedTuple):
    """Where a name is looked up: a module, function or class, as far as it has run."""

    location: Location
    body: Body
    hops: int = 0  # how many imports and calls led here
    before: Position = END
    outer: Scope | None = None
    arguments: Mapping[str, Term | None] = MappingProxyType({})  # None for what is not known

    def line(self, node: ast.expr | ast.stmt) -> str:
        """Return where *node* is, such as ``mysite/asgi.py:16``."""
        return f"{self.location.shown}:{node.lineno}"

    def beyond(self, shown: str, node: ast.expr | ast.stmt, term: Term | None = None) -> Finding:
        """Return that *shown*, at *node*, cannot be followed, or why *term* already could not."""
        if isinstance(term, Finding) and not is_answer(term):
            return term
        return unknown(f"{shown} at {self.line(node)} is beyond what can be read")


class Path(NamedTuple):
    """A module, or something that the table of frameworks knows or leads to, by its path there."""

    path: str
    line: str


class Defined(NamedTuple):
    """A function or class whose source is at hand; *owner* is the object that a method is of."""

    node: Function | ast.ClassDef
    scope: Scope
    owner: Instance | None = None


class Instance(NamedTuple):
    """What calling a class gives; *call* is that call."""

    of: Defined
    call: Expression | None = None


class Coroutine(NamedTuple):
    """What calling a coroutine function gives: awaiting it gives *results*."""

    results: tuple[Term, ...]
    shown: str


class Expression(NamedTuple):
    """An expression that is not followed yet: an argument, a tuple, or a hint."""

    node: ast.expr
    scope: Scope


Term = Finding | Path | Defined | Instance | Coroutine | Expression


def is_known(term: Term) -> bool:
    """Whether *term* is more than a hint or the reason why it cannot be followed."""
    return is_answer(term) if isinstance(term, Finding) else not isinstance(term, Expression)
