"""
Reads the modules of one search, within bounds. Reads source files; never runs them.

Theory of operation. A `Reader` belongs to one search and only counts up: bytes read, bytes parsed,
steps taken. Beyond a bound it raises UnreadableError, and the search has no answer. A module is
read once; one that cannot be read raises the same error each time.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gunicorn_autoconf.app.scope import Body, Location
from gunicorn_autoconf.app.source import (
    MAX_SOURCE_BYTES,
    MAX_TREE_BYTES,
    Files,
    UnreadableError,
    parse_source,
)

# A bound on the time: expressions looked at, whatever the way. Of the corpus of tests, one needs 32
# and all others at most 10. To look one up may take a walk over all that was read: what was read
# makes each cost more.
MAX_STEPS = 2_000
TREE_BYTES_A_STEP = 5_000
READ_BYTES_A_STEP = 50_000


class Reader:
    """Reads the modules of one search, within bounds on what is read, parsed and looked at."""

    def __init__(self, search_path: Sequence[str], files: Files) -> None:
        self.search_path = search_path
        self._files = files
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
        if path is None:
            return Body(())
        source = self._files.source(path, MAX_SOURCE_BYTES - self._read_bytes)
        self._read_bytes += len(source)
        if self._tree_bytes + len(source) > MAX_TREE_BYTES:
            from gunicorn_autoconf.app.large_body import LargeBody  # Few modules are so large.

            return LargeBody(source, self._parse)
        self._count(source)
        return Body(self._files.statements(path))

    def _parse(self, source: bytes) -> list[ast.stmt]:
        self._count(source)
        return parse_source(source)

    def _count(self, source: bytes) -> None:
        """Count what becomes a syntax tree; raise UnreadableError where it is too much."""
        self.take_step()
        self._tree_bytes += len(source) - source.count(b"\n")
        if self._tree_bytes > MAX_TREE_BYTES:
            raise UnreadableError("too large to read")
