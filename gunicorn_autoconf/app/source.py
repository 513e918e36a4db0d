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

from gunicorn_autoconf.app.term import Location

# All that one search reads. The corpus of tests needs 8 kB at most; the largest module of a
# framework, fastapi/applications.py, has 199 kB. A syntax tree of 500 kB takes 32 MiB where people
# wrote the source and up to 440 MiB where every second byte is a name.
MAX_SOURCE_BYTES = 500_000

# Code below one of these is somebody's library. All other code is the user's own, and a package of
# theirs that is called "web" must not be taken for web.py.
_LIBRARY_DIRECTORIES = ("site-packages", "dist-packages")
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


def parse_source(source: bytes) -> list[ast.stmt]:
    """
    Return the statements of *source*, decoded as Python would. Runs nothing of it.

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
            return ast.parse(source).body
    except SyntaxError as error:
        raise UnreadableError(f"has a syntax error in line {error.lineno}") from error
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableError(f"cannot be parsed ({type(error).__name__})") from error
