"""What an application keeps in the memory of one process, found in its source."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from gunicorn_autoconf.app.state import find_kept_state


def write(root: Path, **sources: str) -> None:
    """Write modules; ``__`` in a name stands for a folder."""
    for name, source in sources.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))


def found(root: Path, target: str = "app:app") -> list[tuple[str, str]]:
    states = find_kept_state(target, [str(root), *sys.path])
    return [(state.kind.value, state.evidence) for state in states]


@pytest.mark.parametrize(
    ("source", "kind", "evidence"),
    [
        (
            "from flask_socketio import SocketIO\nsocketio = SocketIO(app)",
            "sessions",
            "SocketIO() at app.py:2",
        ),
        ("import flask_socketio as fs\ns = fs.SocketIO()", "sessions", "SocketIO() at app.py:2"),
        (
            "import socketio\nsio = socketio.AsyncServer(async_mode='asgi')",
            "sessions",
            "AsyncServer() at app.py:2",
        ),
        ("from socketio import Server\nsio = Server()", "sessions", "Server() at app.py:2"),
        (
            (
                "from apscheduler.schedulers.background import BackgroundScheduler\n"
                "scheduler = BackgroundScheduler()"
            ),
            "jobs",
            "BackgroundScheduler() at app.py:2",
        ),
        (
            (
                "from apscheduler.schedulers.asyncio import AsyncIOScheduler as S\n"
                "async def lifespan(app):\n    S().start()"
            ),
            "jobs",
            "AsyncIOScheduler() at app.py:3",
        ),
        (
            (
                "import apscheduler.schedulers.gevent\n"
                "s = apscheduler.schedulers.gevent.GeventScheduler()"
            ),
            "jobs",
            "GeventScheduler() at app.py:2",
        ),
        (
            "from flask_apscheduler import APScheduler\nscheduler = APScheduler()",
            "jobs",
            "APScheduler() at app.py:2",
        ),
        (
            (
                "from fastapi_utils.tasks import repeat_every\n"
                "@repeat_every(seconds=60)\nasync def clean(): ..."
            ),
            "jobs",
            "repeat_every() at app.py:2",
        ),
        (
            "import multiprocessing\nshared = multiprocessing.Manager().dict()",
            "memory",
            "Manager() at app.py:2",
        ),
        (
            "from multiprocessing import Manager\nshared = Manager().dict()",
            "memory",
            "Manager() at app.py:2",
        ),
        (
            "from celery import Celery\nqueue = Celery('x', broker='memory://')",
            "memory",
            '"memory://" at app.py:2',
        ),
        (
            "from flask_limiter import Limiter\nLimiter(f, storage_uri='memory://localhost')",
            "memory",
            '"memory://localhost" at app.py:2',
        ),
        (
            "from taskiq import InMemoryBroker\nbroker = InMemoryBroker()",
            "memory",
            "InMemoryBroker() at app.py:2",
        ),
        (
            "from flask_caching import Cache\ncache = Cache(config={'CACHE_TYPE': 'SimpleCache'})",
            "memory",
            '"SimpleCache" at app.py:2',
        ),
    ],
)
def test_seen(tmp_path: Path, source: str, kind: str, evidence: str) -> None:
    write(tmp_path, app=source)
    assert found(tmp_path) == [(kind, evidence)]


@pytest.mark.parametrize(
    "source",
    [
        "from flask import Flask\napp = Flask(__name__)",
        # A type, a name, or a word: nothing is kept.
        "from flask_socketio import SocketIO\ndef use(s: SocketIO): ...",
        "from apscheduler.schedulers.background import BackgroundScheduler",
        "'''Unlike memory:// this is shared.'''",
        # Shared by a queue; or what cannot be read may be.
        "import socketio\nsocketio.AsyncServer(client_manager=manager)",
        "import socketio\nsocketio.Server(**options)",
        # Other things with such names.
        "from myforms import Manager\nManager()",
        "def Manager(): ...\nManager()",
        "from django.db.models import Manager\nManager()",
        "import multiprocessing\nmultiprocessing.Lock()",
        "import socketio\nsocketio.Client()",
        "import socketio\nsocketio.RedisManager('redis://')",
        "syntax error",
        "",
    ],
)
def test_not_seen(tmp_path: Path, source: str) -> None:
    write(tmp_path, app=source)
    assert found(tmp_path) == []


def test_each_name_once_and_different_ones_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        app="""
        from multiprocessing import Manager
        from flask_socketio import SocketIO
        a = Manager()
        b = Manager()
        c = SocketIO()
        """,
    )
    assert found(tmp_path) == [
        ("memory", "Manager() at app.py:4"),
        ("sessions", "SocketIO() at app.py:6"),
    ]


@pytest.mark.parametrize(
    ("imports", "target"),
    [
        ("from shop.extensions import sio", "shop.main:app"),
        ("from .extensions import sio", "shop.main:app"),
        ("from . import extensions", "shop.main:app"),
        ("import shop.extensions", "shop.main:create_app()"),
        ("def create_app():\n    from shop.extensions import sio", "shop.main:create_app()"),
    ],
)
def test_in_a_module_that_is_imported(tmp_path: Path, imports: str, target: str) -> None:
    extensions = "from flask_socketio import SocketIO\nsio = SocketIO()"
    write(tmp_path, shop____init__="", shop__main=imports, shop__extensions=extensions)
    (tmp_path / "shop" / "__init__.py").touch()
    assert found(tmp_path, target) == [("sessions", "SocketIO() at shop/extensions.py:2")]


def test_in_the_settings_of_django(tmp_path: Path) -> None:
    write(
        tmp_path,
        site__asgi="""
        import os
        from django.core.asgi import get_asgi_application
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")
        application = get_asgi_application()
        """,
        site__settings="""
        CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
        """,
    )
    (tmp_path / "site" / "__init__.py").touch()
    assert found(tmp_path, "site.asgi:application") == [
        ("memory", '"channels.layers.InMemoryChannelLayer" at site/settings.py:2')
    ]


def test_a_library_is_not_read(tmp_path: Path) -> None:
    """What a library keeps, and whether the application uses it, is another question."""
    library = tmp_path / "site-packages"
    write(library, lib="from multiprocessing import Manager\nManager()")
    write(tmp_path, app="import lib")
    states = find_kept_state("app:app", [str(tmp_path), str(library)])
    assert states == ()


def test_a_module_of_the_users_with_the_name_of_a_library(tmp_path: Path) -> None:
    write(tmp_path, app="import socketio\nsocketio.Server()", socketio="class Server: ...")
    assert found(tmp_path) == []


@pytest.mark.parametrize("target", ["nowhere:app", "", ":", "app", "..:x", "a b:c", "\x00:x"])
def test_what_is_not_there_keeps_nothing(tmp_path: Path, target: str) -> None:
    assert find_kept_state(target, [str(tmp_path)]) == ()


def test_modules_that_import_each_other_end(tmp_path: Path) -> None:
    write(tmp_path, app="import b", b="import app\nfrom multiprocessing import Manager\nManager()")
    assert found(tmp_path) == [("memory", "Manager() at b.py:3")]


def test_the_effort_is_bounded(tmp_path: Path) -> None:
    many = {f"m{n}": f"import m{n + 1}\n" + "x = [1, 2, 3]\n" * 2_000 for n in range(40)}
    write(tmp_path, app="\n".join(f"import m{n}" for n in range(40)), **many)
    start = time.thread_time()
    assert found(tmp_path) == []
    assert time.thread_time() - start < 3
