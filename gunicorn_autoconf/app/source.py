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

from gunicorn_autoconf.app.binding import Body
from gunicorn_autoconf.app.scope import Location

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
    """
    There is no such module.

    Attributes:
        name: The part of the dotted name up to where nothing is found.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"no module {name!r} on the path")
        self.name = name


def locate(name: str, search_path: Sequence[str]) -> Location:
    """
    Return where the module *name* is, as the import system would find it on *search_path*.

    Raises:
        NoModuleError: It is not there.
        UnreadableError: It is compiled.
    """
    entries = tuple(search_path)
    location: Location | None = None
    parts = name.split(".")
    for depth, part in enumerate(parts, start=1):
        dotted = ".".join(parts[:depth])
        location = _locate_in(entries, part, dotted) if part.isidentifier() else None
        if location is None:
            raise NoModuleError(dotted)
        entries = location.directories
    assert location is not None
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
    if not portions:
        return None
    return Location(
        name=dotted,
        path=None,
        shown=dotted,
        directories=tuple(portions),
        installed=False,
    )


def _location(dotted: str, path: str) -> Location:
    is_package = os.path.basename(path) == "__init__.py"
    below = path
    for _ in range(dotted.count(".") + 1 + is_package):
        below = os.path.dirname(below)
    installed = os.path.basename(below) in _LIBRARY_DIRECTORIES or below == _STANDARD_LIBRARY
    return Location(
        name=dotted,
        path=path,
        shown=os.path.relpath(path, below or os.curdir),
        directories=(os.path.dirname(path),) if is_package else (),
        installed=installed,
    )


def read_source(path: str, max_bytes: int = MAX_SOURCE_BYTES) -> bytes:
    """
    Return what the source file *path* holds.

    Raises:
        UnreadableError: It cannot be read, or is larger than *max_bytes*.
    """
    try:
        with open(path, "rb") as file:
            source = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    if len(source) > max_bytes:
        raise UnreadableError("too large to read")
    return source


def parse_source(source: bytes, lines_before: int = 0) -> list[ast.stmt]:
    """
    Return the statements of *source*, decoded as Python would. Runs nothing of it.

    *lines_before* is how many lines of its file come before it.

    Raises:
        UnreadableError: Not Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is not ours to complain about
            if sys.version_info < (3, 11):
                # There ast.parse crashes on an expression of 300,000 terms; compile, which runs
                # nothing, refuses it.
                compile(source, "<source>", "exec", dont_inherit=True)
            tree = ast.parse(source)
            return (ast.increment_lineno(tree, lines_before) if lines_before else tree).body
    except SyntaxError as error:
        line = (error.lineno or 0) + lines_before
        raise UnreadableError(f"has a syntax error in line {line}") from error
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
        self._steps -= 1 + self._tree_bytes // TREE_BYTES_A_STEP
        self._steps -= self._read_bytes // READ_BYTES_A_STEP
        if self._steps < 0:
            raise UnreadableError("the source is too tangled to follow")

    def _read(self, path: str | None) -> Body:
        if path is None:
            return Body(())
        source = read_source(path, MAX_SOURCE_BYTES - self._read_bytes)
        self._read_bytes += len(source)
        if self._tree_bytes + len(source) > MAX_TREE_BYTES:
            return LargeBody(source, self._parse)
        return Body(self._parse(source, 0))

    def _parse(self, source: bytes, lines_before: int) -> list[ast.stmt]:
        self.take_step()
        self._tree_bytes += len(source)
        if self._tree_bytes > MAX_TREE_BYTES:
            raise UnreadableError("too large to read")
        return parse_source(source, lines_before)


class LargeBody(Body):
    """A module too large for a syntax tree: its statements at column 0, parsed when asked for."""

    def __init__(self, source: bytes, parse: Callable[[bytes, int], list[ast.stmt]]) -> None:
        """Index *source*; *parse* will be given a statement and the count of lines before it."""
        super().__init__(())
        try:
            self._text = decode_source(source)
        except (SyntaxError, ValueError) as error:
            raise UnreadableError(f"cannot be decoded ({type(error).__name__})") from error
        self._parse = parse
        self._starts = _statement_starts(self._text)
        self._parsed: dict[int, list[ast.stmt]] = {}

    def binders(self, name: str) -> list[ast.stmt]:
        """Return the statements that may bind *name*, themselves or inside, in their order."""
        word, found = re.escape(name), []
        seen = re.compile(rf"(?<!\w){word}(?!\w)|\bimport\s+\*").finditer(self._text)
        defines = re.compile(rf"^(?:async\s+def|def|class)\s+{word}\b", re.MULTILINE)
        assigns = re.compile(_TARGETS.format(word=word))
        for index in sorted({bisect_right(self._starts, match.start()) for match in seen}):
            start = self._starts[index - 1]
            end = self._starts[index] if index < len(self._starts) else len(self._text)
            if _DEFINITION.match(self._text, start):
                binds = defines.search(self._text, start, end)
            else:
                binds = _BLOCK.match(self._text, start) or assigns.match(self._text, start, end)
            if binds and start not in self._parsed:
                statement = _without_comments_behind(self._text[start:end])
                lines_before = self._text.count("\n", 0, start)
                self._parsed[start] = self._parse(statement.encode(), lines_before)
            found += self._parsed[start] if binds else []
        return found


_DEFINITION = re.compile(r"@|(?:async\s+def|def|class)\b")
_BLOCK = re.compile(r"(?:from|import|if|try|with|for|while|match|async)\b")
# A name among what stands left of the last "=" of an assignment, with an annotation or without.
_TARGETS = (
    r"(?:[\w .,*()\[\]]*=)*[\w .,*()]*(?<![\w.]){word}(?![\w.(\[])[\w .,*()]*(?::[^=\n]*)?=(?!=)"
)

# What may hide the start of a line: a string, a comment, a bracket, a backslash; and such a start.
_TOKEN = re.compile(
    r"""("{3}|'{3})|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#[^\n]*(?:\n[ \t]*\#[^\n]*)*"""
    r"""|([(\[{])|([)\]}])|\\.|\n(?=[^\s#)\]}])(?!(?:else|elif|except|finally)\b)""",
    re.DOTALL,
)


def _statement_starts(text: str) -> list[int]:
    """Return where in *text* a statement begins at column 0, a decorated one by its decorator."""
    starts, depth, at, is_decorated = [0], 0, 0, False
    while token := _TOKEN.search(text, at):
        at = token.end()
        if quotes := token[1]:
            at = _end_of_string(text, at, quotes)
        elif token[2] or token[3]:
            depth = max(0, depth + (1 if token[2] else -1))
        elif token[0] == "\n" and depth == 0:
            if not is_decorated:
                starts.append(at)
            is_decorated = text.startswith("@", at)
    return starts


def _end_of_string(text: str, at: int, quotes: str) -> int:
    while (end := text.find(quotes, at)) >= 0:
        last = end
        while last > at and text[last - 1] == "\\":
            last -= 1
        if (end - last) % 2 == 0:
            return end + len(quotes)
        at = end + 1
    return len(text)


def _without_comments_behind(statement: str) -> str:
    end = len(statement)
    while (start := statement.rfind("\n", 0, end)) >= 0:
        if statement[start:end].strip()[:1] not in ("", "#"):
            break
        end = start
    return statement[:end]
