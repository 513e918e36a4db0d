"""A file that grows and is rotated, read piece by piece."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from harness import wait_until


class Tail:
    """All that was ever written to *path*, in the files that it was renamed to as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts = [path]
        self._offsets: dict[Path, int] = {}
        self._text = ""
        self._found: dict[str, tuple[int, list[tuple[str, ...]]]] = {}
        self._lock = threading.RLock()

    @property
    def text(self) -> str:
        """Everything so far, in the order in which it was seen; whole lines only."""
        with self._lock:
            for part in self._parts:
                self._read(part)
            return self._text

    def rotate(self) -> Path:
        """Rename the file, as logrotate does; return the name that it has now."""
        with self._lock:
            aside = self.path.with_name(f"{self.path.name}.{len(self._parts)}")
            self.path.rename(aside)
            self._offsets[aside] = self._offsets.pop(self.path, 0)
            self._parts = [*self._parts[:-1], aside, self.path]
            return aside

    def mark(self) -> int:
        """Return where the text ends now, for the *since* of the others."""
        return len(self.text)

    def lines(self, pattern: str, since: int = 0) -> list[str]:
        """Return the lines in which *pattern* is found."""
        return [line for line in self.text[since:].splitlines() if re.search(pattern, line)]

    def pids(self, pattern: str) -> set[int]:
        """Return all pids that the groups of *pattern* find; only what is new is searched."""
        with self._lock:
            text = self.text
            read, found = self._found.get(pattern, (0, []))
            found += [match.groups("") for match in re.finditer(pattern, text[read:])]
            self._found[pattern] = len(text), found
            return {int(pid) for groups in found for pid in groups if pid}

    def wait_for(self, pattern: str, since: int = 0, quiet_seconds: float = 30.0) -> re.Match[str]:
        """Return the first match of *pattern*, once it is there."""
        compiled = re.compile(pattern, re.MULTILINE)
        wait_until(
            lambda: compiled.search(self.text, since) is not None,
            f"{pattern!r} in {self.path.name}",
            quiet_seconds,
        )
        match = compiled.search(self.text, since)
        assert match
        return match

    def _read(self, part: Path) -> None:
        try:
            with part.open("rb") as file:
                file.seek(self._offsets.get(part, 0))
                read = file.read()
        except FileNotFoundError:
            return
        whole = read[: read.rfind(b"\n") + 1]
        self._offsets[part] = self._offsets.get(part, 0) + len(whole)
        self._text += whole.decode(errors="replace")
