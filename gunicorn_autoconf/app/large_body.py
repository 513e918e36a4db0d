"""A module whose source is too large for a syntax tree: only what binds a name is parsed."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Callable
from importlib.util import decode_source

from gunicorn_autoconf.app.scope import Body, Statement
from gunicorn_autoconf.app.source import UnreadableError

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
