"""What the parts may touch, which the documentation's "Architecture" promises."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.config import KNOWN_SETTINGS

import gunicorn_autoconf
from gunicorn_autoconf.cli.main import main as cli
from gunicorn_autoconf.plan import declaration
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS
from gunicorn_autoconf.plan.variables import VARIABLES

PACKAGE = Path(gunicorn_autoconf.__file__).parent
# By name below the package, such as "_plan", "_interface" or "_interface._trace".
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
SETTINGS = {setting.name for setting in KNOWN_SETTINGS}
MAX_LINES = 320
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "architecture.md"

# These decide; they must stay as they are called, whatever else becomes pure.
CORE = [
    "_actions",
    "_advice",
    "_bar",
    "_bounds",
    "_budget",
    "_cgroup",
    "_choices",
    "_churn",
    "_concerns",
    "declaration",
    "_environment",
    "_explanation",
    "_guard",
    "_hierarchy",
    "_ignored",
    "_json",
    "_kubernetes",
    "_machine",
    "_memory_lines",
    "_paste",
    "_plan",
    "_quantity",
    "_report",
    "_sample",
    "_sizing",
    "_timeouts",
    "_workload",
]

# What a pure module may import beside pure modules. Nothing here reads a file, the environment or
# a clock, runs a program or logs.
PURE_LIBRARY = {
    "__future__",
    "ast",
    "bisect",
    "collections",
    "collections.abc",
    "dataclasses",
    "difflib",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "posixpath",
    "re",
    "shlex",
    "textwrap",
    "types",
    "typing",
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "__import__"}


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def is_pure(module: str) -> bool:
    """Whether the module says so in the first paragraph of its docstring."""
    docstring = ast.get_docstring(tree_of(module)) or ""
    return re.search(r"\bPure\.$", docstring.partition("\n\n")[0]) is not None


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Each imported module, wherever the import stands: in a function, under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                ours = inner.removeprefix("gunicorn_autoconf.")
                yield inner if ours in MODULES else str(node.module)


def calls_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


PURE = [module for module in MODULES if is_pure(module)]


@pytest.mark.parametrize("module", CORE)
def test_core_is_pure(module: str) -> None:
    assert module in PURE


@pytest.mark.parametrize("module", PURE)
def test_pure_module_imports_nothing_that_touches_the_world(module: str) -> None:
    allowed = PURE_LIBRARY | {f"gunicorn_autoconf.{other}" for other in PURE}

    assert set(imports_of(tree_of(module))) - allowed == set()


@pytest.mark.parametrize("module", PURE)
def test_pure_module_calls_nothing_that_touches_the_world(module: str) -> None:
    assert set(calls_of(tree_of(module))) & IMPURE_CALLS == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os.path", "os.path"),
        ("def f():\n    import time", "time"),
        ("from gunicorn_autoconf import _probe", "gunicorn_autoconf.machine.detect"),
        ("from gunicorn_autoconf.machine.detect import Host", "gunicorn_autoconf.machine.detect"),
        ("if TYPE_CHECKING:\n    from gunicorn.arbiter import Arbiter", "gunicorn.arbiter"),
    ],
)
def test_every_import_is_seen(source: str, found: str) -> None:
    assert list(imports_of(ast.parse(source))) == [found]


@pytest.mark.parametrize("module", MODULES)
def test_module_is_short(module: str) -> None:
    lines = MODULES[module].read_text(encoding="utf-8").splitlines()

    assert len(lines) <= MAX_LINES


def test_page_puts_every_module_in_its_place() -> None:
    """The page's table has each module once, and the core in its second row."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| \w+ \| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    named = [re.findall(r"\w+", row) for row in rows]

    assert set(named[1]) == {*CORE, "errors"}
    top_level = {module for module in MODULES if "." not in module}
    assert sorted(name for row in named for name in row) == sorted(top_level - {"__init__", "demo"})


def test_no_public_name_is_a_setting() -> None:
    """`from gunicorn_autoconf import ...` in a configuration file must not set anything."""
    # A module is there where it has been imported, as `workers` may have been.
    public = {name for name in dir(gunicorn_autoconf) if not name.startswith("_")} - set(MODULES)

    assert (public | set(gunicorn_autoconf.__all__)) & SETTINGS == set()


def test_every_public_name_is_exported_or_a_module() -> None:
    public = {name for name in dir(gunicorn_autoconf) if not name.startswith("_")}

    assert public - set(gunicorn_autoconf.__all__) - set(MODULES) == set()


def test_conf_has_settings_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gunicorn takes each name of a configuration that is a setting; nothing else may be there."""
    monkeypatch.setattr("sys.argv", ["gunicorn"])
    names = runpy.run_path(str(MODULES["conf"]))
    public = {name for name in names if not name.startswith("_")}

    assert public - SETTINGS == set()
    assert {"workers", "worker_class", "timeout", "when_ready"} <= public


def test_conf_module_sets_no_setting_by_accident() -> None:
    """Its source has no public name but those that the plan gives."""
    bound = set()
    for node in ast.walk(tree_of("conf")):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)

    assert bound
    assert {name for name in bound if not name.startswith("_")} == set()


def test_planned_settings_are_gunicorns() -> None:
    assert set(PLANNED_SETTINGS) - SETTINGS == set()


def test_no_variable_hides_a_setting() -> None:
    """``GUNICORN_<SETTING>`` reaches every setting, so no variable of ours may have such a name."""
    assert {variable.keyword for variable in VARIABLES} & SETTINGS == set()


def test_keywords_are_the_variables() -> None:
    keywords = list(inspect.signature(gunicorn_autoconf.autoconf).parameters)

    assert keywords == [variable.keyword for variable in VARIABLES] + ["environ", "argv", "root"]


def test_variables_fill_fields_of_the_declaration() -> None:
    fields = set(declaration.Declaration.__dataclass_fields__)

    assert {variable.field for variable in VARIABLES} <= fields


def test_every_variable_is_an_option_of_explain() -> None:
    options = [parameter.name for parameter in cli.commands["explain"].params]
    declaring = [variable.keyword for variable in VARIABLES]

    assert [name for name in options if name in declaring] == declaring


def test_a_server_never_loads_the_commands() -> None:
    program = "import sys, gunicorn_autoconf.conf; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    loaded = set(done.stdout.split())
    assert "gunicorn_autoconf.conf" in loaded
    assert loaded & {"click", "gunicorn_autoconf.cli"} == set()
