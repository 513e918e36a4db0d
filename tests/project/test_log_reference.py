"""
The page of log lines has every line that the code can say, and none that it cannot.

Compared are phrases: two words and more of a message, between the values that are put in. Every
one in the code stands on the page, every one in the page's first column stands in the code.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gunicorn_autoconf
from gunicorn_autoconf.plan.plan import Severity
from gunicorn_autoconf.plan.remarks import RULES

pytestmark = pytest.mark.one_python

PACKAGE = Path(gunicorn_autoconf.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "log.md"

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}

# What these modules say is said in the log, wherever they are called from; so does every module
# that calls Gunicorn's log itself.
MODULES = {
    "boot_line",
    "lines",
    "oom_lines",
    "throttling",
    "causes",
    "pools",
    "requests",
    "stacks",
    "tally",
    "replaced",
    "tasks",
    "watch",
}

# Functions of other modules whose words go to the log: the start-up table and the warnings.
FUNCTIONS = {
    "render_table",
    "render_final",
    "render_change",
    "_override",
    "_setting_lines",
    "_interface",
    "_misnamed",
    "unknown_name",
}

# What remarks on a plan are logged.
LOGGED = [rule for _, severity, rule in RULES if severity is not Severity.ADVICE]

# These are names.
UNSAID = {
    "AnyIO worker",
    "stood down",
}

_PLACEHOLDER = re.compile(r"…|%[sdrg]")


def _text(node: ast.AST) -> str | None:
    """A string of the source, with … for each value that is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return None


def _phrases(text: str) -> Iterator[str]:
    """What stands between the values, where it is more than one word."""
    for part in _PLACEHOLDER.split(text):
        phrase = " ".join(part.split()).strip(" .,;:()")
        if " " in phrase:
            yield phrase


def _strings(node: ast.AST) -> Iterator[str]:
    """Every string below *node*, but for docstrings and what is raised."""
    if isinstance(node, ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ):
        return
    text = _text(node)
    if text is not None:
        yield text
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from _strings(child)


def _logs(tree: ast.AST) -> bool:
    """Whether the module calls a method of Gunicorn's log, or `log_event`, which does."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "log_event"
        for node in ast.walk(tree)
    ) or any(
        isinstance(node, ast.Attribute)
        and node.attr in LEVELS
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "log"
        for node in ast.walk(tree)
    )


def _speaks(node: ast.AST) -> bool:
    """Whether *node* is one of the functions whose words go to the log."""
    return isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS


def said_in_the_log() -> set[str]:
    rules = [ast.parse(inspect.getsource(rule)) for rule in LOGGED]
    phrases = {phrase for rule in rules for text in _strings(rule) for phrase in _phrases(text)}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        whole = path.stem in MODULES or _logs(tree)
        for node in [tree] if whole else filter(_speaks, ast.walk(tree)):
            phrases |= {phrase for text in _strings(node) for phrase in _phrases(text)}
    return phrases


def plain(text: str) -> str:
    return " ".join(text.replace("``", "").split())


def test_every_line_of_the_code_is_on_the_page() -> None:
    page = plain(PAGE.read_text(encoding="utf-8"))
    said = said_in_the_log()

    assert len(said) > 50
    assert sorted(phrase for phrase in said - UNSAID if phrase not in page) == []
    assert said >= UNSAID


def test_every_line_of_the_page_is_in_the_code() -> None:
    ours, _, _ = PAGE.read_text(encoding="utf-8").partition("## Gunicorn's own")
    first_cells = re.findall(r"^\| (`.+?`)[^|`]*\|", ours, flags=re.MULTILINE)
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    said = "\n".join(plain(text) for source in sources for text in _strings(ast.parse(source)))

    assert len(first_cells) > 40
    pieces = {piece for cell in first_cells for piece in _pieces(cell.strip("`"))}
    assert sorted(piece for piece in pieces if piece not in said) == []


def _pieces(line: str) -> Iterator[str]:
    """What stands between values and punctuation, as a line is put together of several strings."""
    for piece in re.split(r"…|[:;,()=`] ?", line):
        if len(piece.strip()) >= 4:
            yield piece.strip()


def test_what_is_searched_is_there() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    functions = {
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }

    assert {path.stem for path in trees} >= MODULES
    assert functions >= FUNCTIONS
