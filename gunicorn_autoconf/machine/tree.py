"""
The files below a root directory, and what was wrong with them.

Reads files. Never raises: what cannot be read or understood becomes a `Problem`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from gunicorn_autoconf.machine.cgroup_tree import Hierarchy
from gunicorn_autoconf.machine.facts import Origin, Problem
from gunicorn_autoconf.machine.file import read_text
from gunicorn_autoconf.units import printable

T = TypeVar("T")


class Tree:
    """The files below a root, and what was wrong with them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.problems: dict[str, Problem] = {}

    def locate(self, path: str) -> str:
        """Return where the file is for us that the process knows as *path*."""
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str, parse: Callable[[str], T]) -> T | None:
        """Return what the file says, or None where it is absent or cannot be understood."""
        try:
            return parse(read_text(self.locate(path)))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            self.note(path, error.strerror or str(error))
        except ValueError as error:  # MalformedFileError, or a NUL in the path
            self.note(path, str(error))
        return None

    def call(self, name: str, ask: Callable[[], T]) -> T | None:
        """Return what *ask* answers, or None where it fails."""
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - no start may fail for want of a number
            self.note(name, f"{type(error).__name__}: {error}")
            return None

    def exists(self, path: str) -> bool:
        """Return whether there is a file or a directory that the process knows as *path*."""
        return os.path.exists(self.locate(path))

    def note(self, path: str, message: str) -> None:
        """Remember what is wrong with the file *path*; the first word on it stays."""
        self.problems.setdefault(path, Problem(path=printable(path), message=message))


def origin_in(path: str, text: str, place: Hierarchy) -> Origin:
    """Return the origin of what the file *path* of a cgroup says; a guess where *place* is one."""
    return Origin(path=printable(path), text=text.strip(), certain=place.certain)
