"""What the parts may touch, which the documentation's "Architecture" promises."""

from __future__ import annotations

import ast
import functools
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

pytestmark = pytest.mark.one_python

PACKAGE = Path(gunicorn_autoconf.__file__).parent
ARCHITECTURE = Path(__file__).parents[2] / "docs/explanation/architecture.md"
# By name below the package, such as "units", "plan" or "plan.steps".
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
SETTINGS = {setting.name for setting in KNOWN_SETTINGS}
MAX_LINES = 320

# Which folders and top-level modules each folder may import, beside itself. What is not named here
# is a top-level module that nothing below it may import.
COMMON = {"errors", "events", "units", "worker_classes"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "events": set(),
    "units": set(),
    "worker_classes": set(),
    "machine": COMMON,
    "app": COMMON,
    "plan": COMMON | {"app", "machine"},
    "fleet": COMMON | {"machine"},
    "memory": COMMON | {"app", "fleet", "machine", "plan"},
    "load": COMMON | {"fleet", "machine", "plan"},
    "metrics": COMMON | {"fleet", "machine", "plan"},
    "watchdog": COMMON | {"fleet", "machine", "plan"},
    "overload": COMMON | {"fleet", "load"},
    "server": COMMON
    | {"app", "fleet", "load", "machine", "memory", "metrics", "overload", "plan", "watchdog"},
    "workers": COMMON | {"fleet", "load", "server"},
    "hooks": {"server"},
    "demo": set(),
}
# Everything that uses the package from above: nothing but these may import them.
ABOVE = {"__init__", "__main__", "cli", "conf"}

# These decide. They must stay pure, whatever else becomes so.
DECIDING = ("errors", "units", "worker_classes", "plan", "memory.guard")

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
    "html",
    "http",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "posixpath",
    "random",  # Only Random(seed): the same seed gives the same numbers.
    "re",
    "shlex",
    "statistics",
    "textwrap",
    "types",
    "typing",
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "__import__"}


@functools.cache
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


def decides(module: str) -> bool:
    """Whether the module is one of those that decide; "plan" itself is only its folder."""
    inside = any(module == name or module.startswith(f"{name}.") for name in DECIDING)
    return inside and module != "plan"


PURE = [module for module in MODULES if is_pure(module)]


def folder_of(module: str) -> str:
    return module.partition(".")[0] or "__init__"


def ours_in(module: str) -> set[str]:
    """The modules of the package that *module* imports, by name below the package."""
    return {
        name.removeprefix("gunicorn_autoconf").lstrip(".")
        for name in imports_of(tree_of(module))
        if name.split(".")[0] == "gunicorn_autoconf"
    }


def test_arrows_point_one_way() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        if (folder := folder_of(module)) not in ABOVE
        for other in ours_in(module)
        if folder_of(other) not in MAY_IMPORT[folder] | {folder}
    ]

    assert wrong == []


def test_documentation_names_what_each_part_may_import() -> None:
    rows = [line.split("|") for line in ARCHITECTURE.read_text(encoding="utf-8").splitlines()]
    told = {
        row[1].strip(" `"): set(re.findall(r"`(\w+)`", row[3]))
        for row in rows
        if len(row) == 5 and row[1].strip(" `") in MAY_IMPORT
    }

    allowed = {part: others - COMMON for part, others in MAY_IMPORT.items()}
    assert told == {part: allowed[part] for part in allowed.keys() - COMMON - {"demo"}}


def test_no_circle_of_modules() -> None:
    """Wherever the imports stand: at the top, in a function, under TYPE_CHECKING."""
    left = {module: ours_in(module) - {module} for module in MODULES}
    while free := [module for module, others in left.items() if not others & left.keys()]:
        for module in free:
            del left[module]

    assert left == {}


def test_top_level_is_small() -> None:
    flat = [module for module, path in MODULES.items() if path.parent == PACKAGE]

    assert len(flat) <= 10


def test_what_decides_is_pure() -> None:
    assert [module for module in MODULES if decides(module) and module not in PURE] == []


def test_pure_modules_import_nothing_that_touches_the_world() -> None:
    allowed = PURE_LIBRARY | {f"gunicorn_autoconf.{other}" for other in PURE}
    wrong = {module: set(imports_of(tree_of(module))) - allowed for module in PURE}

    assert {module: names for module, names in wrong.items() if names} == {}


def test_pure_modules_call_nothing_that_touches_the_world() -> None:
    wrong = {module: set(calls_of(tree_of(module))) & IMPURE_CALLS for module in PURE}

    assert {module: names for module, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os.path", "os.path"),
        ("def f():\n    import time", "time"),
        ("from gunicorn_autoconf.machine import detect", "gunicorn_autoconf.machine.detect"),
        ("from gunicorn_autoconf.machine.detect import Host", "gunicorn_autoconf.machine.detect"),
        ("if TYPE_CHECKING:\n    from gunicorn.arbiter import Arbiter", "gunicorn.arbiter"),
    ],
)
def test_every_import_is_seen(source: str, found: str) -> None:
    assert list(imports_of(ast.parse(source))) == [found]


def test_modules_are_short() -> None:
    lines = {
        module: len(path.read_text(encoding="utf-8").splitlines())
        for module, path in MODULES.items()
    }

    assert {module: count for module, count in lines.items() if count > MAX_LINES} == {}


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

    assert {variable.target for variable in VARIABLES} <= fields


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
