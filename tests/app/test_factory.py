"""An application that is named by its factory, without the call."""

from __future__ import annotations

from pathlib import Path

import pytest

from gunicorn_autoconf.app.factory import call_of_factory

FLASK = "from flask import Flask\n"


def call(folder: Path, source: str, target: str = "shop:create_app", **others: str) -> str | None:
    """What to write for *target*, where ``shop.py`` holds *source*."""
    for name, text in {"shop": source, **others}.items():
        path = folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return call_of_factory(target, [str(folder)])


@pytest.mark.parametrize(
    "source",
    [
        "def create_app():\n    return Flask(__name__)\n",
        "def create_app(config=None, *, debug=False):\n    app = Flask(__name__)\n    return app\n",
        "def create_app(*args, **options):\n    return Flask(__name__)\n",
        "def create_app():\n    return Flask(__name__)\napp = create_app()\n",
    ],
)
def test_needs_a_call(tmp_path: Path, source: str) -> None:
    assert call(tmp_path, FLASK + source) == "shop:create_app()"


def test_imported(tmp_path: Path) -> None:
    factory = FLASK + "def create_app():\n    return Flask(__name__)\n"
    assert call(tmp_path, "from core import create_app\n", core=factory) == "shop:create_app()"
    renamed = "from core import create_app as make\n"
    assert call(tmp_path, renamed, "shop:make", core=factory) == "shop:make()"


def test_imported_within_a_package(tmp_path: Path) -> None:
    sources = {
        "pack.__init__": "from .factory import create_app\n",
        "pack.factory": FLASK + "def create_app():\n    return Flask(__name__)\n",
    }
    assert call(tmp_path, "", "pack:create_app", **sources) == "pack:create_app()"
    assert call(tmp_path, "", "pack.factory:create_app", **sources) == "pack.factory:create_app()"


@pytest.mark.parametrize(
    "source",
    [
        # An application, not a factory.
        "def create_app(environ, start_response):\n    return []\n",
        "def create_app(environ=None, start_response=None):\n    return Flask(__name__)(1, 2)\n",
        "create_app = Flask(__name__)\n",
        # It cannot be called so.
        "def create_app(config):\n    return Flask(__name__)\n",
        "def create_app(*, config):\n    return Flask(__name__)\n",
        # What it is in the end is another thing.
        "def create_app():\n    return Flask(__name__)\ncreate_app = create_app()\n",
        "@wrap\ndef create_app():\n    return Flask(__name__)\n",
        "def create_app():\n    return Flask(__name__)\nfrom core import *\n",
        # What it makes is unknown, or called by uvicorn.
        "def create_app():\n    return load()\n",
        "from fastapi import FastAPI\ndef create_app():\n    return FastAPI()\n",
        "async def create_app():\n    return Flask(__name__)\n",
        "class create_app:\n    pass\n",
        "",
        "def create_app(:\n",
    ],
)
def test_needs_none_or_is_not_certain(tmp_path: Path, source: str) -> None:
    assert call(tmp_path, FLASK + source) is None


@pytest.mark.parametrize("target", ["shop", "shop:create_app()", "shop:x.y", "nowhere:app", ""])
def test_other_targets(tmp_path: Path, target: str) -> None:
    source = FLASK + "def create_app():\n    return Flask(__name__)\napplication = create_app()\n"
    assert call(tmp_path, source, target) is None


def test_a_circle_of_imports_ends(tmp_path: Path) -> None:
    one, other = "from core import create_app\n", "from shop import create_app\n"
    assert call(tmp_path, one, core=other) is None
