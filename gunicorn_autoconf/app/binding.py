"""Which statements may have given a name its value, at a place in a syntax tree. Pure."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import NamedTuple

from gunicorn_autoconf.app.text import text_of

# A name with more possible bindings than this is not worth an answer.
MAX_BINDINGS = 16


class Arm(NamedTuple):
    """
    What may run of a compound statement: blocks of which each runs on into the next.

    Attributes:
        blocks: The blocks in the order in which they run.
        fallback: Whether they run only where an import failed.
    """

    blocks: tuple[Block, ...]
    fallback: bool = False


class Block:
    """Statements that run one after another, and which of them bind a name."""

    def __init__(self, statements: Sequence[ast.stmt]) -> None:
        self.statements = statements
        self._index: dict[str, list[int]] | None = None
        self._stages: dict[int, list[list[Arm]]] = {}

    def binders(self, name: str, before: int) -> Iterator[int]:
        """Yield which of the first *before* statements may bind *name*, last first."""
        if self._index is None:
            self._index = {}
            for position, statement in enumerate(self.statements):
                for bound in set(_bound_names(statement)):
                    self._index.setdefault(bound, []).append(position)
        named, starred = (_descending(self._index.get(key, []), before) for key in (name, "*"))
        yield from merge(named, starred, reverse=True)

    def stages(self, position: int) -> list[list[Arm]]:
        """Return the stages of the statement at *position*: of each, exactly one arm runs."""
        if position not in self._stages:
            self._stages[position] = _stages(self.statements[position])
        return self._stages[position]

    @property
    def ends_here(self) -> bool:
        """Whether control never leaves at the end of these statements."""
        last = self.statements[-1] if self.statements else None
        if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
            return text_of(last.value.func) in (
                "sys.exit",
                "exit",
                "quit",
                "os._exit",
            )
        return isinstance(last, (ast.Raise, ast.Return, ast.Continue, ast.Break))


def _descending(ascending: Sequence[int], before: int) -> Iterator[int]:
    return (ascending[at] for at in range(bisect_left(ascending, before) - 1, -1, -1))


_NOTHING = Arm((Block(()),))
_TRY: tuple[type[ast.stmt], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))


def _stages(statement: ast.stmt) -> list[list[Arm]]:
    match statement:
        case ast.If(test=test, body=body, orelse=orelse):
            chosen = _constant_test(test)
            runs = ((body, chosen is not False), (orelse, chosen is not True))
            return [[Arm((Block(block),)) for block, possible in runs if possible]]
        case ast.With(body=body) | ast.AsyncWith(body=body):
            return [[Arm((Block(body),))]]
        case (
            ast.For(body=body, orelse=orelse)
            | ast.AsyncFor(body=body, orelse=orelse)
            | ast.While(body=body, orelse=orelse)
        ):
            return [[Arm((Block(body), Block(orelse))), _NOTHING]]
        case ast.Match(cases=cases):
            return [[*(Arm((Block(case.body),)) for case in cases), _NOTHING]]
    if isinstance(statement, _TRY):
        return _try_stages(statement)  # type: ignore[arg-type]  # TryStar has the same fields
    return []


def _try_stages(statement: ast.Try) -> list[list[Arm]]:
    arms = [Arm((Block(statement.body), Block(statement.orelse)))]
    for handler in statement.handlers:
        caught = text_of(handler.type) if handler.type else ""
        fallback = "ImportError" in caught or "ModuleNotFoundError" in caught
        arms.append(Arm((Block(handler.body),), fallback))
    return [arms, [Arm((Block(statement.finalbody),))]]


def _constant_test(test: ast.expr) -> bool | None:
    """Return what *test* is when a server imports the module, or None where that is open."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return False
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _constant_test(operand)
            return None if inner is None else not inner
        case ast.Compare(
            left=ast.Name(id="__name__"),
            ops=[(ast.Eq() | ast.NotEq()) as operator],
            comparators=[ast.Constant(value="__main__")],
        ):
            return isinstance(operator, ast.NotEq)
    return None


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    """Yield each name that *statement*, or one inside of its arms, may bind; ``*`` is any name."""
    pending = [statement]
    while pending:
        node = pending.pop()
        yield from _own_names(node)
        for stage in _stages(node):
            for arm in stage:
                for block in arm.blocks:
                    pending += block.statements


def _own_names(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _target_names(target)
        case (
            ast.AnnAssign(target=target)
            | ast.AugAssign(target=target)
            | ast.For(target=target)
            | ast.AsyncFor(target=target)
        ):
            yield from _target_names(target)
        case ast.Import(names=names):
            yield from (row.asname or row.name.split(".")[0] for row in names)
        case ast.ImportFrom(names=names):
            yield from (row.asname or row.name for row in names)
        case ast.With(items=items) | ast.AsyncWith(items=items):
            for item in items:
                if item.optional_vars:
                    yield from _target_names(item.optional_vars)


def _target_names(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


class Place(NamedTuple):
    """
    A point between two statements of a block.

    Attributes:
        block: The block.
        position: How many of its statements have run.
        before: The point at which the block was entered; None for a module, function or class.
    """

    block: Block
    position: int
    before: Place | None = None

    @property
    def statement(self) -> ast.stmt:
        """The statement that comes next."""
        return self.block.statements[self.position]


class Binding(NamedTuple):
    """A statement that may have bound a name, and whether only a failed import runs it."""

    place: Place
    fallback: bool


def end_of(statements: Sequence[ast.stmt]) -> Place:
    """Return the place behind the last of *statements*: of a module, function or class."""
    return Place(Block(statements), len(statements))


def reaching(name: str, place: Place) -> list[Binding]:
    """Return the bindings that *name* may have at *place*, last first."""
    found: list[Binding] = []
    at: Place | None = place
    while at is not None and not _collect(name, at, False, found):
        at = at.before
        # The block was entered through a statement that may itself bind names: with, for.
        if at and at.position < len(at.block.statements) and name in _own_names(at.statement):
            found.append(Binding(at, False))
            break
    return found


def _collect(name: str, end: Place, fallback: bool, found: list[Binding]) -> bool:
    """Add the bindings that the block of *end* makes before it; return whether one always runs."""
    for position in end.block.binders(name, end.position):
        here = Place(end.block, position, end.before)
        for stage in reversed(end.block.stages(position)):
            bound = [_collect_arm(name, arm, here, fallback, found) for arm in stage]
            if all(bound):
                return True
        statement = here.statement
        if name in (names := set(_own_names(statement))) or "*" in names:
            found.append(Binding(here, fallback))
            open_ended = isinstance(statement, ast.AnnAssign) and statement.value is None
            if name in names and not open_ended:
                return True
        if len(found) >= MAX_BINDINGS:
            return True
    return False


def _collect_arm(name: str, arm: Arm, here: Place, fallback: bool, found: list[Binding]) -> bool:
    ends = _ends_of_blocks(arm, here)
    if any(block.ends_here for block in arm.blocks):
        return True
    return any(_collect(name, end, fallback or arm.fallback, found) for end in reversed(ends))


def _ends_of_blocks(arm: Arm, here: Place) -> list[Place]:
    ends: list[Place] = []
    for block in arm.blocks:
        ends.append(Place(block, len(block.statements), ends[-1] if ends else here))
    return ends


def statements_before(end: Place) -> Iterator[Place]:
    """Yield the place of each statement before *end*, those inside of compound ones too."""
    for position in range(end.position):
        here = Place(end.block, position, end.before)
        yield here
        for stage in end.block.stages(position):
            for arm in stage:
                for inner in _ends_of_blocks(arm, here):
                    yield from statements_before(inner)
