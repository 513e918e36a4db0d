"""Which statements may have given a name its value, at a place in the source. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from gunicorn_autoconf.app.text import text_of

# A name with more possible bindings than this is not worth an answer.
MAX_BINDINGS = 16

# A line and a column, as in the syntax tree.
Position = tuple[int, int]
END: Position = (1 << 62, 0)


class Body:
    """The statements of a module, a class or a function, found by the names that they bind."""

    def __init__(self, statements: Sequence[ast.stmt]) -> None:
        self.statements = statements

    @cached_property
    def _index(self) -> dict[str, list[ast.stmt]]:
        index: dict[str, list[ast.stmt]] = {}
        for statement in self.statements:
            for name in {name for inner in walk([statement]) for name in bound_names(inner)}:
                index.setdefault(name, []).append(statement)
        return index

    def binders(self, name: str) -> list[ast.stmt]:
        """Return the statements that may bind *name*, themselves or inside, in their order."""
        named, starred = self._index.get(name, []), self._index.get("*")
        return sorted({*named, *starred}, key=start_of) if starred else named

    def reaching(self, name: str, before: Position = END) -> list[tuple[ast.stmt, bool]]:
        """
        Return what may have bound *name* at the position *before*, last first.

        With each statement whether it is a fallback: run where an import fails, or never.
        """
        found: list[tuple[ast.stmt, bool]] = []
        _collect(name, Arm(self.binders(name)), before, found)
        return found


def start_of(node: ast.stmt | ast.expr) -> Position:
    """Return where *node* begins."""
    return node.lineno, node.col_offset


class Arm(NamedTuple):
    """Statements that run one after another; a *fallback* only where an import fails, or never."""

    statements: Sequence[ast.stmt]
    fallback: bool = False

    def holds(self, position: Position) -> bool:
        """Whether *position* is inside."""
        inner = self.statements
        return bool(inner) and start_of(inner[0]) <= position < _end_of(inner[-1])

    def ends(self) -> bool:
        """Whether control never leaves at its end."""
        last = self.statements[-1] if self.statements else None
        if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
            return text_of(last.value.func) in ("sys.exit", "exit", "quit", "os._exit")
        return isinstance(last, (ast.Raise, ast.Return, ast.Continue, ast.Break))


def _end_of(node: ast.stmt) -> Position:
    return node.end_lineno or 0, node.end_col_offset or 0


_TRY: tuple[type[ast.stmt], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))


def _stages(node: ast.stmt) -> list[list[Arm]]:
    """Return the parts of a compound statement that run in turn; of each, one arm runs."""
    match node:
        case ast.If(test=ast.Compare() as test, orelse=orelse) if (
            text_of(test) == "__name__ == '__main__'"
        ):
            return [[Arm(orelse)]]
        case ast.If(test=test, body=body, orelse=orelse):
            negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
            checked = test.operand if isinstance(test, ast.UnaryOp) else test
            never = text_of(checked).rpartition(".")[2] in ("TYPE_CHECKING", "False")
            return [[Arm(body, never and not negated), Arm(orelse, never and negated)]]
        case ast.With(body=body) | ast.AsyncWith(body=body):
            return [[Arm(body)]]
        case ast.For() | ast.AsyncFor() | ast.While():
            return [[Arm([*node.body, *node.orelse]), Arm(())]]
        case ast.Match(cases=cases):
            return [[*(Arm(case.body) for case in cases), Arm(())]]
    if isinstance(node, _TRY):
        assert isinstance(node, ast.Try)  # TryStar has the same fields
        arms = [Arm([*node.body, *node.orelse])]
        for handler in node.handlers:
            caught = text_of(handler.type) if handler.type else ""
            fallback = "ImportError" in caught or "ModuleNotFoundError" in caught
            arms.append(Arm(handler.body, fallback))
        return [arms, [Arm(node.finalbody)]]
    return []


def _collect(name: str, block: Arm, before: Position, found: list[tuple[ast.stmt, bool]]) -> bool:
    """Add what binds *name* before a position; return whether nothing earlier can reach it."""
    for node in reversed(block.statements):
        if start_of(node) >= before:
            continue
        if len(found) >= MAX_BINDINGS:
            return True
        is_inside = _end_of(node) > before
        for stage in reversed(_stages(node)):
            arms = [arm for arm in stage if not is_inside or arm.holds(before)]
            bound = [
                (not is_inside and arm.ends())
                or _collect(
                    name, arm._replace(fallback=arm.fallback or block.fallback), before, found
                )
                for arm in arms
            ]
            if arms and all(bound):
                return True
        if name in (names := set(bound_names(node))) or "*" in names:
            found.append((node, block.fallback))
            if name in names and not (isinstance(node, ast.AnnAssign) and node.value is None):
                return True
    return False


def walk(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield *statements* and those inside of compound ones, in their order."""
    pending = [*reversed(statements)]
    while pending:
        yield (node := pending.pop())
        arms = [arm for stage in _stages(node) for arm in stage]
        pending += [inner for arm in reversed(arms) for inner in reversed(arm.statements)]


def bound_names(node: ast.stmt) -> Iterator[str]:
    """Yield each name that *node* itself binds; ``*`` is any name."""
    targets: list[ast.expr] = []
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=rows):
            yield from (row.asname or row.name.split(".")[0] for row in rows)
        case ast.ImportFrom(names=rows):
            yield from (row.asname or row.name for row in rows)
        case ast.Assign(targets=several):
            targets = several
        case ast.AnnAssign() | ast.AugAssign() | ast.For() | ast.AsyncFor():
            targets = [node.target]
        case ast.With(items=items) | ast.AsyncWith(items=items):
            targets = [item.optional_vars for item in items if item.optional_vars]
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id


def indices(target: ast.expr, name: str) -> list[int] | None:
    """Return which part of its value ``target = value`` gives *name*, and of that which part."""
    if isinstance(target, ast.Name):
        return [] if target.id == name else None
    for index, part in enumerate(target.elts if isinstance(target, (ast.Tuple, ast.List)) else ()):
        if isinstance(part, ast.Starred):
            return None
        if (inner := indices(part, name)) is not None:
            return [index, *inner]
    return None


def set_on_self(statement: ast.stmt, name: str) -> ast.expr | None:
    """Return the value where *statement* is ``self.name = value``, otherwise None."""
    match statement:
        case ast.Assign(targets=targets, value=value) | ast.AnnAssign(target=targets, value=value):
            for target in targets if isinstance(targets, list) else [targets]:
                match target:
                    case ast.Attribute(value=ast.Name(id="self"), attr=attr) if attr == name:
                        return value
    return None


def lazy_modules(name: str, statements: Sequence[ast.stmt]) -> Iterator[str]:
    """
    Yield the modules that may hold *name* by a table of lazy exports among *statements*.

    Such tables are ``{"A": "module"}``, ``{"A": ("module", "A")}`` or ``{"module": ["A"]}``.
    """
    values = [row.value for row in statements if isinstance(row, (ast.Assign, ast.AnnAssign))]
    for table in (node for value in values if value for node in ast.walk(value)):
        for pair in (
            zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ()
        ):
            nodes = [node for part in pair if part for node in ast.walk(part)]
            words = [node.value for node in nodes if isinstance(node, ast.Constant)]
            if name in words:
                yield from (word for word in words if isinstance(word, str) and word != name)
