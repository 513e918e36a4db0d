"""
Finds a module's source on a search path and reads it.

Reads source files; never imports or runs anything of the user's.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES

from gunicorn_autoconf.app.scope import Location

# All that one search reads. The entry modules of large real applications have up to 1 MB.
MAX_SOURCE_BYTES = 4_000_000
# Of this at most becomes a syntax tree; of a module beyond it only the statements that bind what is
# looked for. The largest module of a framework, fastapi/applications.py, has 199 kB. A tree of
# 500 kB takes 32 MiB where people wrote the source and up to 440 MiB where every second byte is a
# name.
MAX_TREE_BYTES = 500_000

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


class Files:
    """
    The source files of one application, each read and parsed once.

    Three searches look at the same files: what it speaks, whether its name is that of a factory,
    and what it keeps in one process. Thrown away after them, as syntax trees take much memory.
    """

    def __init__(self) -> None:
        self._sources: dict[str, bytes] = {}
        self._trees: dict[str, list[ast.stmt]] = {}

    def source(self, path: str, max_bytes: int = MAX_SOURCE_BYTES) -> bytes:
        """Return what the file *path* holds; may raise UnreadableError, as `read_source`."""
        if path not in self._sources:
            self._sources[path] = read_source(path, max_bytes)
        if len(self._sources[path]) > max_bytes:
            raise UnreadableError("too large to read")
        return self._sources[path]

    def statements(self, path: str, max_bytes: int = MAX_TREE_BYTES) -> list[ast.stmt]:
        """Return the statements of the file *path*; may raise UnreadableError."""
        source = self.source(path, max_bytes)
        if path not in self._trees:
            self._trees[path] = parse_source(source)
        return self._trees[path]
