"""The interface of an application: by its source over ``tests/interfaces``, and by the object."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from corpus import ALL, BY_NAME, CASES, Case, search_path
from hypothesis import given, settings
from hypothesis import strategies as st

from gunicorn_autoconf.app.detect import detect_interface
from gunicorn_autoconf.app.frameworks import FRAMEWORKS, NEITHER, ON_THE_WAY
from gunicorn_autoconf.app.loaded import interface_of
from gunicorn_autoconf.app.scope import MAX_BINDINGS
from gunicorn_autoconf.app.source import MAX_SOURCE_BYTES
from gunicorn_autoconf.worker_classes import Interface


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.folder.name)
def test_corpus(case: Case) -> None:
    found = detect_interface(case.target, search_path(case))
    assert found.interface is case.interface, found.evidence
    assert found.is_neither is (case.answer == "neither"), found.evidence
    assert case.evidence in found.evidence
    assert found.evidence
    assert "unexpectedly" not in found.evidence


@pytest.mark.parametrize("name", ["never_run", "never_run_parent"])
def test_nothing_of_the_users_is_run(name: str) -> None:
    case = BY_NAME[name]
    before = set(sys.modules)
    assert detect_interface(case.target, search_path(case)).interface is case.interface
    assert not case.folder.joinpath("was_run").exists()
    assert set(sys.modules) == before


def test_empty_entry_is_the_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / "flask")
    found = detect_interface("app:app", [""])
    assert (found.interface, found.evidence) == (Interface.WSGI, "Flask() at app.py:5")


def test_the_first_entry_wins() -> None:
    path = [str(CASES / "plain_asgi"), str(CASES / "plain_wsgi")]
    assert detect_interface("app:app", path).interface is Interface.ASGI
    assert detect_interface("app:app", path[::-1]).interface is Interface.WSGI


def test_a_package_goes_before_a_module_and_a_namespace_last(tmp_path: Path) -> None:
    namespace, module, package = (tmp_path / name for name in ("namespace", "module", "package"))
    for folder in (namespace, module, package):
        folder.mkdir()
    (namespace / "app").mkdir()
    (module / "app.py").write_text("async def app(scope, receive, send): ...")
    (package / "app.py").write_text("async def app(scope, receive, send): ...")
    (package / "app").mkdir()
    (package / "app" / "__init__.py").write_text("def app(environ, start_response): ...")
    path = [str(namespace), str(module)]
    assert detect_interface("app:app", path).interface is Interface.ASGI
    assert detect_interface("app:app", [str(package)]).interface is Interface.WSGI


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("django_asgi", {"makes_own_threads": True}),
        ("django_wsgi", {}),
        ("fastapi", {}),
        ("aiohttp", {"is_neither": True, "worker_class": "aiohttp.GunicornWebWorker"}),
        ("neither_base_class_in_asgi", {"is_neither": True, "worker_class": "tornado"}),
        ("neither_robyn_in_wsgi", {"is_neither": True}),
        ("neither_coroutine_factory_of_asgi", {"is_neither": True}),
        ("connexion_in_a_module_called_wsgi", {"depends_on_version": True}),
        ("no_such_module", {"missing_module": "no"}),
        ("no_such_name", {}),
    ],
)
def test_what_else_is_found(name: str, expected: dict[str, object]) -> None:
    case = BY_NAME[name]
    found = asdict(detect_interface(case.target, search_path(case)))
    told = {key: value for key, value in found.items() if value}
    assert told.pop("evidence")
    assert told.pop("interface", None) == case.interface
    assert told == expected


@pytest.mark.parametrize("folder", ["bin", "Scripts"])
@pytest.mark.parametrize(
    ("library", "source"),
    [
        ("bottle", "import bottle\n\napp = bottle.default_app()\n"),
        ("web", "from web import application\n\napp = application((), {}).wsgifunc()\n"),
        ("bobo", "import bobo as b\n\napp = b.Application()\n"),
    ],
)
def test_copy_of_a_library_among_the_commands(
    tmp_path: Path, folder: str, library: str, source: str
) -> None:
    """The folder of the command that runs is the first of ``sys.path``."""
    commands = tmp_path / "venv" / folder
    commands.mkdir(parents=True)
    (commands / f"{library}.py").write_text("raise SystemExit('a command')\n")
    (tmp_path / "routes.py").write_text(source)
    found = detect_interface("routes:app", [str(commands), str(tmp_path)])
    assert found.interface is Interface.WSGI


# What is in a file ------------------------------------------------------------------------------


def detect_in(folder: Path, source: bytes | str, target: str = "app:app") -> str:
    data = source.encode() if isinstance(source, str) else source
    (folder / "app.py").write_bytes(data)
    found = detect_interface(target, [str(folder)])
    assert "unexpectedly" not in found.evidence
    return found.evidence


@pytest.mark.parametrize(
    ("source", "evidence"),
    [
        (b"app = '\x00'", "app.py "),
        (b"# coding: no-such-encoding\napp = 1", "app.py has a syntax error"),
        (b"\xff\xfe", "app.py has a syntax error"),
        (b"#" * (MAX_SOURCE_BYTES + 1), "app.py too large to read"),
        ("app = " + "(" * 5_000, "app.py "),
        ("app = " + "-" * 20_000 + "1", ""),
        ("app = " + "1+" * 50_000 + "1", ""),
        ("app = x" + ".y" * 50_000, ""),
        ("app = " + "f(" * 80 + "1" + ")" * 80, ""),
        ("app = 1\n" + "app = f(app)\n" * 350, "nested too deeply"),
        ("app = 1\n" + "app = f(app)\n" * 20_000, "too tangled to follow"),
        ("app = 1\n" + "if x:\n  app = f(app)\n" * 20_000, ""),
        ("a0 = 1\n" + "".join(f"a{i + 1} = a{i}\n" for i in range(50)) + "app = a50", "1 at app"),
        ("def f(x):\n return f(f(x)) or f(f(x))\napp = f(f)", ""),
        ("class app(app): pass", ""),
        ("if x: pass\n" + "elif x: app = 1\n" * 20_000, ""),
        ("app = " + "1+" * 240_000 + "1", ""),
        ("app = (lambda: app)()", ""),
        ("", "cannot be found"),
    ],
    ids=range(19),
)
def test_hostile_source(tmp_path: Path, source: bytes | str, evidence: str) -> None:
    assert evidence in detect_in(tmp_path, source)


def test_a_file_that_is_no_regular_one(tmp_path: Path) -> None:
    (tmp_path / "app.py").symlink_to("/dev/zero")
    assert detect_interface("app:app", [str(tmp_path)]).interface is None


def test_a_name_bound_in_countless_branches_ends(tmp_path: Path) -> None:
    branches = "if x:\n  app = Flask(1)\n" * (MAX_BINDINGS * 100)
    assert detect_in(tmp_path, "from flask import Flask\n" + branches).startswith("Flask()")


DECOYS = '''"""
app = Flask("in a string")
"""
table = {
"app": "app",
}
@decorated
def other(app):
    app = 1
    return app

def helper():
# a comment at the left
    app = 2
app.title = "x"
'''


@pytest.mark.parametrize(
    ("binding", "evidence"),
    [
        ("app = FastAPI()", "FastAPI() at app.py:2"),
        ("if x:\n    app = FastAPI()\nelse:\n    app = FastAPI()", "FastAPI() at app.py:3"),
        ("@decorated\n@twice\ndef app():\n    return FastAPI()", "FastAPI() at app.py:5"),
        ("made = FastAPI()\nname, app = 1, made", "FastAPI() at app.py:2"),
        (
            "try:\n    from nowhere import app\nexcept ImportError:\n    app = FastAPI()",
            "FastAPI() at app.py:5",
        ),
        ("class Shop(FastAPI):\n    pass\n\napp = Shop()", "class Shop(FastAPI) at app.py:2"),
    ],
    ids=range(6),
)
def test_large_module(tmp_path: Path, binding: str, evidence: str) -> None:
    """Of a module that is too large for a whole tree the statements that bind the name are read."""
    check_large_module(tmp_path, binding, evidence, padding=DECOYS)


@pytest.mark.parametrize("padding", ["# a comment\n", 'more = ["app", {}]\n'])
def test_large_module_of_short_lines(tmp_path: Path, padding: str) -> None:
    binding = "if x:\n    app = FastAPI()\nelse:\n    app = FastAPI()"
    check_large_module(tmp_path, binding, "FastAPI() at app.py:3", padding)


def check_large_module(tmp_path: Path, binding: str, evidence: str, padding: str) -> None:
    head = f"from fastapi import FastAPI\n{binding}\n"
    source = head + padding * (1_100_000 // len(padding))
    assert len(source) > 1_000_000
    assert detect_in(tmp_path, source) == evidence
    assert detect_in(tmp_path, source + "app = Flask('x'") != evidence


@pytest.mark.parametrize(
    "target", ["", ":", "app:", ":app", "a..b", ".a", "a/b:c", "app:f(", "é:ü"]
)
def test_odd_targets(target: str) -> None:
    assert detect_interface(target, [str(CASES / "flask")]).interface is None


@settings(max_examples=100, deadline=None)
@given(source=st.one_of(st.text(), st.binary()), target=st.text(max_size=20))
def test_any_text_gives_a_finding(
    tmp_path_factory: pytest.TempPathFactory, source: bytes | str, target: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    data = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    (folder / "app.py").write_bytes(data)
    for asked in ("app:app", f"app:{target}", target):
        assert "unexpectedly" not in detect_interface(asked, [str(folder)]).evidence


SOURCES = [case.file.read_bytes() for case in ALL if case.file.suffix == ".py"]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_mutated_source_gives_a_finding(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Lines of all the cases in any order, so that names, imports and calls meet at random."""
    folder = tmp_path_factory.mktemp("mutated")
    lines = [line for source in SOURCES for line in source.decode("latin-1").splitlines()]
    chosen = data.draw(st.lists(st.sampled_from(lines), max_size=12))
    mixed = [data.draw(st.sampled_from(SOURCES)).decode("latin-1"), *chosen]
    (folder / "app.py").write_text("\n".join(data.draw(st.permutations(mixed))))
    for name in ("app", "application", "create_app()", "App", "api", "server"):
        found = detect_interface(f"app:{name}", [str(folder)])
        assert "unexpectedly" not in found.evidence


def test_the_table_is_consistent() -> None:
    assert not set(FRAMEWORKS) & set(NEITHER)
    assert {"dash", "dash.Dash", "dash.Dash()", "dash.Dash().server"} <= ON_THE_WAY


# The loaded object ------------------------------------------------------------------------------

# The frameworks are imported once; each application is loaded in a process of its own.
LOADED = """
import importlib, json, os, sys
import asgiref.wsgi, django.core.asgi, django.core.wsgi, fastapi, flask
from gunicorn_autoconf.app.loaded import interface_of

def load(folder, target):
    sys.path.insert(0, folder)
    module, _, name = target.partition(":")
    app = getattr(importlib.import_module(module), (name or "application").partition("(")[0])
    return app() if target.endswith("()") else app

for name, folder, target in json.loads(sys.argv[1]):
    pid = os.fork()
    if not pid:
        found = getattr(interface_of(load(folder, target)), "value", None)
        print(name, found, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each application has a fork of its own")
def test_the_loaded_object_agrees_with_its_source() -> None:
    for framework in ("django", "fastapi", "starlette", "flask", "asgiref"):
        pytest.importorskip(framework)
    cases = [
        BY_NAME[name]
        for name in (
            "django_asgi",
            "django_wsgi",
            "fastapi",
            "fastapi_alias",
            "fastapi_lifespan",
            "starlette",
            "flask",
            "flask_proxy_fix",
            "flask_factory",
            "flask_factory_in_package",
            "flask_factory_method",
            "flask_subclass",
            "asgiref_to_asgi",
            "plain_asgi",
            "plain_wsgi",
            "plain_asgi2",
            "asgi_class",
            "wsgi_class",
            "closure",
            "lambda_wsgi",
            "relative_import",
        )
    ]
    asked = [(case.folder.name, str(case.folder), case.target) for case in cases]
    run = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(asked)],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split() for line in run.stdout.splitlines())
    assert found == {case.folder.name: case.answer for case in cases}, run.stderr
    assert set(found.values()) == {"asgi", "wsgi"}


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any = None, send: Any = None) -> None: ...


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def method(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


class AsgiWithoutAsync:
    def __call__(self, scope: Any, receive: Any, send: Any) -> Any: ...


class Raises:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __call__(self) -> None: ...


class MadeOfTwo:
    def __init__(self, name: Any, size: Any) -> None: ...


class WsgiItself:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


class Asgi2Itself:
    def __init__(self, scope: Any) -> None: ...


async def asgi_by_other_names(s: Any, r: Any = None, d: Any = None) -> None: ...


async def coroutine_of_two(left: Any, right: Any) -> None: ...


@functools.wraps(asgi)
def passes_on(*args: Any) -> Any: ...


@functools.wraps(asgi)
def converts(environ: Any, start_response: Any) -> Any: ...


async def handler(request: Any) -> None: ...


def with_settings(settings: Any, environ: Any, start_response: Any) -> list[bytes]:
    return []


def asgi2(scope: Any) -> Any: ...


def cases_of_objects() -> Iterator[tuple[object, Interface | None]]:
    yield from ((row, Interface.ASGI) for row in (asgi, AsgiObject(), AsgiWithoutAsync(), asgi2))
    yield from ((row, Interface.WSGI) for row in (wsgi, WsgiObject(), WsgiObject().method))
    yield WsgiItself, Interface.WSGI
    yield Asgi2Itself, Interface.ASGI
    yield functools.partial(with_settings, None), Interface.WSGI
    yield functools.partial(asgi), Interface.ASGI
    yield passes_on, Interface.ASGI
    yield asgi_by_other_names, Interface.ASGI
    yield coroutine_of_two, None
    yield MadeOfTwo, None
    yield converts, Interface.WSGI
    none = (handler, len, print, WsgiObject, Raises(), lambda *args: None, lambda: None, None, 1)
    yield from ((row, None) for row in none)
    yield MagicMock(), None
    yield (lambda environ, start_response, *, needed: None), None


@pytest.mark.parametrize(
    ("app", "interface"), [*cases_of_objects()], ids=lambda value: type(value).__name__
)
def test_interface_of(app: object, interface: Interface | None) -> None:
    assert interface_of(app) is interface


def test_interface_of_never_calls_the_application() -> None:
    app = MagicMock(side_effect=AssertionError("called"))
    interface_of(app)
    app.assert_not_called()
