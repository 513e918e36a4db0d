"""
Finds a module's source on a search path and reads it.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES
from importlib.util import decode_source

from gunicorn_autoconf.app.scope import Body, Location, Statement

# All that one search reads. The entry modules of large real applications have up to 1 MB.
MAX_SOURCE_BYTES = 4_000_000
# Of this at most becomes a syntax tree; of a module beyond it only the statements that bind what is
# looked for. The largest module of a framework, fastapi/applications.py, has 199 kB. A tree of
# 500 kB takes 32 MiB where people wrote the source and up to 440 MiB where every second byte is a
# name.
MAX_TREE_BYTES = 500_000

# A bound on the time: expressions looked at, whatever the way. Of the corpus of tests, one needs 32
# and all others at most 10. To look one up may take a walk over all that was read: what was read
# makes each cost more.
MAX_STEPS = 2_000
TREE_BYTES_A_STEP = 5_000
READ_BYTES_A_STEP = 50_000

# Code in one of these is a library. All other code is your own, and a package of yours that is
# called "web" must not be taken for web.py. A library of one file may install a copy of it as a
# command (Bottle does), and the folder of the command that runs comes first on sys.path.
_LIBRARY_DIRECTORIES = ("site-packages", "dist-packages", "bin", "Scripts")
_STANDARD_LIBRARY = os.path.dirname(os.__file__)


class UnreadableError(Exception):
    """A module has no source that can be read; the message says why, one phrase."""


class NoModuleError(UnreadableError):
    """There is no such module; *name* is its dotted name up to the part that is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no module {name!r} on the path")
        self.name = name


def locate(name: str, search_path: Sequence[str]) -> Location:
    """Return where the import system would find *name*; may raise NoModuleError and its base."""
    package, dot, part = name.rpartition(".")
    entries = locate(package, search_path).directories if dot else search_path
    location = _locate_in(entries, part, name) if part.isidentifier() else None
    if location is None:
        raise NoModuleError(name)
    return location


def _locate_in(entries: Sequence[str], part: str, dotted: str) -> Location | None:
    portions = []
    for entry in entries:
        base = os.path.join(entry, part)
        for path in (os.path.join(base, "__init__.py"), base + ".py"):
            if os.path.isfile(path):
                return _location(dotted, path)
        if any(os.path.isfile(base + end) for end in (*EXTENSION_SUFFIXES, *BYTECODE_SUFFIXES)):
            raise UnreadableError(f"module {dotted!r} is there only in compiled form")
        if os.path.isdir(base):
            portions.append(base)
    return Location(dotted, None, dotted, tuple(portions), installed=False) if portions else None


def _location(dotted: str, path: str) -> Location:
    directories = (os.path.dirname(path),) if os.path.basename(path) == "__init__.py" else ()
    below = path
    for _ in range(dotted.count(".") + 1 + len(directories)):
        below = os.path.dirname(below)
    installed = os.path.basename(below) in _LIBRARY_DIRECTORIES or below == _STANDARD_LIBRARY
    shown = os.path.relpath(path, below or os.curdir)
    return Location(dotted, path, shown, directories, installed)


def read_source(path: str, max_bytes: int = MAX_SOURCE_BYTES) -> bytes:
    """Return what the file *path* holds; UnreadableError where that is more than *max_bytes*."""
    try:
        with open(path, "rb") as file:
            source = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    if len(source) > max_bytes:
        raise UnreadableError("too large to read")
    return source


def parse_source(source: bytes) -> list[ast.stmt]:
    """Return the statements of *source*; runs nothing. UnreadableError where it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is not ours to complain about
            if sys.version_info < (3, 11):
                # There ast.parse crashes on an expression of 300,000 terms; compile, which runs
                # nothing, refuses it.
                compile(source, "<source>", "exec", dont_inherit=True)
            return ast.parse(source).body
    except SyntaxError as error:
        raise UnreadableError(f"has a syntax error in line {error.lineno or 0}") from error
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableError(f"cannot be parsed ({type(error).__name__})") from error


class Reader:
    """Reads the modules of one search, within bounds on what is read, parsed and looked at."""

    def __init__(self, search_path: Sequence[str]) -> None:
        self.search_path = search_path
        self._read_bytes = self._tree_bytes = 0
        self._steps = MAX_STEPS
        self._bodies: dict[str, Body | UnreadableError] = {}

    def body(self, location: Location) -> Body:
        """Return the statements of the module at *location*; may raise UnreadableError."""
        if location.name not in self._bodies:
            try:
                self._bodies[location.name] = self._read(location.path)
            except UnreadableError as error:
                self._bodies[location.name] = UnreadableError(f"{location.shown} {error}")
        found = self._bodies[location.name]
        if isinstance(found, UnreadableError):
            raise found
        return found

    def take_step(self) -> None:
        """Count one expression that is looked at; raise UnreadableError where it is too many."""
        costs = self._tree_bytes // TREE_BYTES_A_STEP + self._read_bytes // READ_BYTES_A_STEP
        self._steps -= 1 + costs
        if self._steps < 0:
            raise UnreadableError("the source is too tangled to follow")

    def _read(self, path: str | None) -> Body:
        source = read_source(path, MAX_SOURCE_BYTES - self._read_bytes) if path else b""
        self._read_bytes += len(source)
        if self._tree_bytes + len(source) > MAX_TREE_BYTES:
            return LargeBody(source, self._parse)
        return Body(self._parse(source))

    def _parse(self, source: bytes) -> list[ast.stmt]:
        self.take_step()
        self._tree_bytes += len(source) - source.count(b"\n")
        if self._tree_bytes > MAX_TREE_BYTES:
            raise UnreadableError("too large to read")
        return parse_source(source)


# A string, which may go over several lines, or a comment: nothing is bound in it.
_HIDDEN = re.compile(
    r"""("{3}|'{3}).*?(?:(?<!\\)(?:\\\\)*\1|\Z)|"[^"\\\n]*(?:\\.[^"\\\n]*)*\""""
    r"""|'[^'\\\n]*(?:\\.[^'\\\n]*)*'|\#[^\n]*""",
    re.DOTALL,
)
# What begins a statement at column 0; one that has blocks; one that binds only its own name.
_START = re.compile(r"(?!(?:else|elif|except|finally)\b)[^\s)\]}]")
_BLOCK = re.compile(r"(?:from|import|if|try|with|for|while|match|async\s+(?:for|with))\b")
_DEFINITION = re.compile(r"@|(?:async\s+def|def|class)\s+(\w+)")


class LargeBody(Body):
    """A module too large for a tree: the statements at column 0 that bind a name are parsed."""

    def __init__(self, source: bytes, parse: Callable[[bytes], list[ast.stmt]]) -> None:
        """Find where the statements of *source* begin; *parse* will be given some of them."""
        super().__init__(())
        try:
            self._text = decode_source(source)
        except (SyntaxError, ValueError) as error:
            raise UnreadableError(f"cannot be decoded ({type(error).__name__})") from error
        self._parse = parse
        self._parsed: dict[str, Body] = {}
        self._shown = _HIDDEN.sub(_without_text, self._text)
        self._starts, depth, is_inside = [0], 0, False
        for number, line in enumerate(self._shown.split("\n")):
            if not is_inside and _START.match(line):
                self._starts.append(number)
            depth = max(0, depth + sum(map(line.count, "([{")) - sum(map(line.count, ")]}")))
            is_inside = depth > 0 or line.endswith("\\")

    def binders(self, name: str) -> list[Statement]:
        """Return the statements that bind *name* or any name, in their order."""
        if name not in self._parsed:
            lines, shown = self._text.split("\n"), self._shown.split("\n")
            named = [n for n, line in enumerate(shown) if name in line or "import *" in line]
            kept = [""] * len(lines)  # so that a line keeps its number
            for index in sorted({bisect_right(self._starts, number) for number in named}):
                start, end = [*self._starts[index - 1 : index + 1], len(lines)][:2]
                statement = "\n".join(shown[start:end]).rstrip()
                if _may_bind(name, statement):
                    end = start + statement.count("\n") + 1
                    kept[start:end] = lines[start:end]
            self._parsed[name] = Body(self._parse("\n".join(kept).encode()))
        return self._parsed[name].binders(name)


def _without_text(found: re.Match[str]) -> str:
    is_comment = found[0].startswith("#")
    return "" if is_comment else '"' + "\\\n" * found[0].count("\n") + '"'


def _may_bind(name: str, statement: str) -> bool:
    if defined := _DEFINITION.match(statement):
        return defined[1] == name
    target = re.search(rf"(?<![\w.]){re.escape(name)}\b(?!\s*[.(\[])", statement)
    is_assigned = target is not None and "=" in statement[target.end() :]
    return is_assigned or _BLOCK.match(statement) is not None
