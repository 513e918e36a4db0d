"""
The table of settings without effect, held against the source of the installed Gunicorn.

A setting has an effect under a worker class if the modules that this class runs read it. Of the
settings that the table names for any class, a class has to name those that no module of its own
reads while those of another class do, and nothing else.
"""

from __future__ import annotations

import ast
import http.client
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import gunicorn
import pytest
import uvicorn_worker
from builders import ASGI, WSGI, plan_for
from gunicorn.config import KNOWN_SETTINGS
from gunicorn.workers.sync import SyncWorker
from harness import MODULE_DOOR, Launcher
from patience import stretched

from gunicorn_autoconf import autoconf, workers
from gunicorn_autoconf.server import replan
from gunicorn_autoconf.worker_classes import FAMILIES, IGNORABLE, THREADS, UVICORN, family_of

pytestmark = pytest.mark.each_gunicorn

STOCK = "uvicorn_worker.UvicornWorker"
KNOWN = {setting.name for setting in KNOWN_SETTINGS}
SOURCE = Path(gunicorn.__file__).parent
UVICORN_WORKER = Path(uvicorn_worker.__file__).with_name("_workers.py")
OURS = Path(workers.__file__).with_name("uvicorn.py")
OUR_SERVER = OURS.with_name("uvicorn_server.py")
OUR_THREADS = OURS.with_name("threads.py")

# Parts of modules that every class loads and only some run.
TLS = {"ssl_context", "ssl_wrap_socket", "_get_alpn_protocols"}
ACCESS_LOG = {"access", "atoms"}
HANDLERS = {"handle_abort", "handle_error", "handle_quit", "init_signals"}
WARNS_ONLY = {"check_config"}


def reads_of(path: Path, *, only: Iterable[str] = (), without: Iterable[str] = ()) -> set[str]:
    """The settings that a module reads, in the functions *only* or in all but *without*."""
    found = set()
    for node, inside in walk(ast.parse(path.read_text(encoding="utf-8")), frozenset()):
        if inside.intersection(without) or (only and not inside.intersection(only)):
            continue
        # `cfg.keepalive`, `self.cfg.keepalive`, `conf.backlog`, `getattr(cfg, "keepalive", 2)`.
        if isinstance(node, ast.Attribute) and name_of(node.value) in {"cfg", "conf"}:
            found.add(node.attr)
        elif isinstance(node, ast.Call) and name_of(node.func) == "getattr":
            found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
        # `settings["backlog"]`, `ssl_options.get("keyfile")` and the tables of our own.
        elif isinstance(node, ast.Constant) and path in {UVICORN_WORKER, OURS}:
            found.add(str(node.value))
    return found & KNOWN


def walk(node: ast.AST, inside: frozenset[str]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """Each node with the names of the functions around it."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        inside |= {node.name}
    yield node, inside
    for child in ast.iter_child_nodes(node):
        yield from walk(child, inside)


def name_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def in_modules(*patterns: str) -> set[str]:
    """What the modules of Gunicorn that match one of *patterns* read."""
    paths = [path for pattern in patterns for path in SOURCE.glob(pattern)]
    return set().union(*map(reads_of, paths))


BASE = SOURCE / "workers" / "base.py"
ALWAYS = in_modules(
    *("arbiter.py", "debug.py", "pidfile.py", "reloader.py", "systemd.py", "util.py"),
    *("app/*.py", "dirty/*.py", "instrument/*.py", "workers/workertmp.py"),
).union(
    reads_of(SOURCE / "sock.py", without=TLS),
    reads_of(SOURCE / "glogging.py", without=ACCESS_LOG),
    reads_of(BASE, without=HANDLERS),
)
OWN_TLS = reads_of(SOURCE / "sock.py", only=TLS)
OWN_ACCESS_LOG = reads_of(SOURCE / "glogging.py", only=ACCESS_LOG)
OWN_HANDLERS = reads_of(BASE, only=HANDLERS)
OWN_SERVER = OWN_TLS | OWN_ACCESS_LOG | OWN_HANDLERS
HTTP = in_modules("http/*.py", "uwsgi/*.py")

READS = {
    "sync": in_modules("workers/sync.py") | HTTP | OWN_SERVER,
    "gthread": in_modules("workers/gthread.py", "http2/*.py") | HTTP | OWN_SERVER,
    THREADS: in_modules("workers/gthread.py", "http2/*.py")
    | reads_of(OUR_THREADS)
    | HTTP
    | OWN_SERVER,
    "gevent": in_modules("workers/ggevent.py", "workers/base_async.py", "http2/*.py")
    | HTTP
    | OWN_SERVER,
    "tornado": in_modules("workers/gtornado.py") | OWN_TLS | OWN_HANDLERS,
    STOCK: reads_of(UVICORN_WORKER),
    UVICORN: reads_of(UVICORN_WORKER)
    | reads_of(OURS)
    | reads_of(OUR_SERVER)
    | {"worker_abort", "worker_int"},
}
if (SOURCE / "workers" / "geventlet.py").exists():
    READS["eventlet"] = (
        in_modules("workers/geventlet.py", "workers/base_async.py", "http2/*.py")
        | HTTP
        | OWN_SERVER
    )
if (SOURCE / "workers" / "gasgi.py").exists():
    READS["asgi"] = (
        reads_of(SOURCE / "workers" / "gasgi.py", without=WARNS_ONLY)
        | in_modules("asgi/*.py", "http/message.py", "http2/*.py", "uwsgi/*.py")
        | OWN_TLS
        | OWN_ACCESS_LOG
    )

# What is read and still has no effect, each with a test of its own below.
READ_IN_VAIN = {
    "asgi": {"worker_connections"},
    STOCK: {"graceful_timeout", "reload"},
    UVICORN: {"limit_request_field_size", "limit_request_fields", "limit_request_line"},
}


@pytest.mark.parametrize("worker_class", READS)
def test_table_is_what_the_source_says(worker_class: str) -> None:
    somewhere = set().union(*READS.values())
    unread = somewhere - ALWAYS - READS[worker_class] | READ_IN_VAIN.get(worker_class, set())
    expected = (unread & IGNORABLE) - sync_becomes_gthread(worker_class)
    rows = [name for row in FAMILIES[worker_class].ignored for name in row.settings]

    assert {name for name in rows if name in KNOWN} == expected
    assert len(rows) == len(set(rows))


def sync_becomes_gthread(worker_class: str) -> set[str]:
    return {"threads"} if worker_class == "sync" else set()


def test_every_class_of_the_table_is_held_against_its_source() -> None:
    compared = {name for name, family in FAMILIES.items() if family.ignored}
    # Gunicorn 23 has no class asgi, Gunicorn 26 and later have no class eventlet.
    assert compared - set(READS) <= {"asgi", "eventlet"}


@pytest.mark.newer_gunicorn
def test_native_asgi_stores_worker_connections_and_never_looks_at_it() -> None:
    if "asgi" not in READS:
        pytest.skip("this Gunicorn has no class asgi")
    paths = [SOURCE / "workers" / "gasgi.py", *SOURCE.glob("asgi/*.py")]
    looks = [
        node
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "worker_connections"
        and isinstance(node.ctx, ast.Load)
        and name_of(node.value) != "cfg"
    ]
    assert looks == []


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("sync", "sync"),
        ("gunicorn.workers.sync.SyncWorker", "sync"),
        ("gthread", "gthread"),
        ("gunicorn.workers.gthread.ThreadWorker", "gthread"),
        ("gevent", "gevent"),
        ("gunicorn.workers.ggevent.GeventPyWSGIWorker", "gevent"),
        ("eventlet", "eventlet"),
        ("tornado", "tornado"),
        ("asgi", "asgi"),
        ("uvicorn_worker.UvicornWorker", STOCK),
        ("uvicorn_worker.UvicornH11Worker", STOCK),
        ("uvicorn_worker._workers.UvicornWorker", STOCK),
        ("uvicorn.workers.UvicornWorker", STOCK),
        (UVICORN, UVICORN),
        (workers.UvicornWorker, UVICORN),
        (uvicorn_worker.UvicornWorker, STOCK),
        (type("Mine", (workers.UvicornWorker,), {}), UVICORN),
        (type("UvicornWorker", (workers.UvicornWorker,), {}), UVICORN),
        ("mine.UvicornWorker", "UvicornWorker"),
        ("mine.MySyncWorker", "sync"),
        ("mine.ThreadWorker", "gthread"),
        (THREADS, THREADS),
        (workers.ThreadWorker, THREADS),
        (type("Mine", (workers.ThreadWorker,), {}), THREADS),
        ("mine.Worker", None),
        (object, None),
    ],
)
def test_row_of_a_class(name: str | type, row: str | None) -> None:
    family = family_of(name)
    assert (family.name if family else None) == row


def test_sync_with_threads_is_gthread_where_it_is_given_by_name() -> None:
    """Source: gunicorn.config.Config.worker_class."""
    assert family_of("sync", threads=4) is FAMILIES["gthread"]
    assert family_of("gunicorn.workers.sync.SyncWorker", threads=4) is FAMILIES["gthread"]
    assert family_of(SyncWorker, threads=4) is FAMILIES["sync"]
    assert family_of("gevent", threads=4) is FAMILIES["gevent"]


KEEPALIVE = "has no effect under sync: sync closes every connection after its response"


@pytest.mark.parametrize(
    ("environ", "argv", "warnings"),
    [
        ({"GUNICORN_KEEPALIVE": "5"}, "", [f"keepalive, set by GUNICORN_KEEPALIVE, {KEEPALIVE}"]),
        ({}, "--keep-alive 5", [f"keepalive, set by --keep-alive, {KEEPALIVE}"]),
        (
            {"GUNICORN_CMD_ARGS": "--keep-alive 5"},
            "",
            [f"keepalive, set by GUNICORN_CMD_ARGS, {KEEPALIVE}"],
        ),
        # Threads make it a gthread, which keeps connections.
        ({"GUNICORN_KEEPALIVE": "5", "GUNICORN_THREADS": "4"}, "", []),
        ({"GUNICORN_LIMIT_REQUEST_LINE": "100"}, "", []),
    ],
)
def test_warning(environ: dict[str, str], argv: str, warnings: list[str]) -> None:
    planned = plan_for(environ, WSGI, argv=["gunicorn", *argv.split()])

    assert list(planned.warnings) == warnings


@pytest.mark.parametrize(
    ("worker_class", "names"),
    [
        (UVICORN, []),
        (STOCK, ["threads", "worker_connections", "graceful_timeout", "reload"]),
        ("asgi", ["threads", "worker_connections"]),
        ("mine.Worker", []),
    ],
)
def test_warnings_under_asgi(worker_class: str, names: list[str]) -> None:
    environ = {
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_THREADS": "4",
        "GUNICORN_WORKER_CONNECTIONS": "50",
        "GUNICORN_GRACEFUL_TIMEOUT": "5",
        "GUNICORN_RELOAD": "true",
    }
    planned = plan_for(environ, ASGI)

    found = [warning.split(",")[0] for warning in planned.warnings if "no effect" in warning]
    assert found == names


@pytest.mark.parametrize("variable", [{"GUNICORN_THREADS": "1"}, {"GUNICORN_RELOAD": "false"}])
def test_what_is_so_anyway_is_no_wish(variable: dict[str, str]) -> None:
    environ = {"GUNICORN_WORKER_CLASS": STOCK, **variable}

    assert plan_for(environ, ASGI).warnings == ()


@pytest.mark.parametrize(("installed", "names"), [(True, ["limit_request_line"]), (False, [])])
def test_limit_of_the_head_counts_where_httptools_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, installed: bool, names: list[str]
) -> None:
    monkeypatch.setattr(replan, "find_spec", lambda name: object() if installed else None)
    environ = {"GUNICORN_LIMIT_REQUEST_LINE": "100"}

    planned = autoconf(interface="asgi", environ=environ, argv=["gunicorn"]).plan

    assert planned.settings["worker_class"] == UVICORN
    assert [line.split(",")[0] for line in planned.warnings if "no effect" in line] == names


# What the source cannot show, and what the start-up log says, on the real server.

REQUEST_HOOKS = """
    from gunicorn_autoconf.conf import *

    access_log_format = "mine %(s)s"
    accesslog = "-"

    def pre_request(worker, req):
        worker.log.info("pre_request ran")

    def post_request(worker, req, environ, resp):
        worker.log.info("post_request ran")
"""


@pytest.mark.server
@pytest.mark.one_python
@pytest.mark.parametrize("worker_class", [STOCK, UVICORN, "mine.Worker", "gthread"])
def test_hooks_in_the_configuration_file(gunicorn: Launcher, worker_class: str) -> None:
    gunicorn.write("gunicorn.conf.py", REQUEST_HOOKS)
    gunicorn.write("mine.py", f"from {UVICORN[:-14]} import UvicornWorker as Worker")
    application = "wsgi_app" if worker_class == "gthread" else "app"
    server = gunicorn.start(
        f"gunicorn_autoconf.demo:{application}",
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_WORKERS="1",
    )
    server.wait_for_workers(1)
    assert server.get("/").status == 200
    server.wait_for("GET / HTTP/1.1|mine 200")

    named = server.lines("WARNING.* has no effect")
    if worker_class == "gthread":
        assert named == []
        assert server.lines("pre_request ran")
    else:
        found = [line.split("autoconf: ")[1].split(",")[0] for line in named]
        assert found == ["pre_request", "post_request", "access_log_format"]
        assert all("gunicorn.conf.py" in line for line in named)
        assert not server.lines("_request ran|mine 200")


@pytest.mark.server
@pytest.mark.one_python
def test_sync_closes_every_connection(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR, "--keep-alive", "60", "gunicorn_autoconf.demo:wsgi_app", GUNICORN_WORKERS="1"
    )
    server.wait_for_workers(1)
    address = server.address
    assert not isinstance(address, str)
    connection = http.client.HTTPConnection(*address, timeout=stretched())
    connection.request("GET", "/")
    assert connection.getresponse().getheader("Connection") == "close"
    connection.close()
    assert server.lines("WARNING.*keepalive, set by --keep-alive, has no effect under sync")


@pytest.mark.server
@pytest.mark.one_python
@pytest.mark.parametrize("worker_class", [STOCK, UVICORN])
def test_httptools_has_no_limit_of_the_head(gunicorn: Launcher, worker_class: str) -> None:
    pytest.importorskip("httptools")
    server = gunicorn.start(
        *MODULE_DOOR,
        *("--limit-request-line", "100"),
        "gunicorn_autoconf.demo:app",
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_WORKERS="1",
    )
    server.wait_for_workers(1)

    assert server.get("/?" + "0" * 50_000).status == 200
    assert server.lines("WARNING.*limit_request_line, set by --limit-request-line, has no effect")


@pytest.mark.server
@pytest.mark.one_python
def test_h11_has_a_limit_of_the_head(gunicorn: Launcher) -> None:
    gunicorn.write(
        "mine.py",
        """
        from gunicorn_autoconf.workers import UvicornWorker

        class Worker(UvicornWorker):
            CONFIG_KWARGS = {"http": "h11"}
        """,
    )
    options = ["--limit-request-line", "100", "-k", "mine.Worker"]
    server = gunicorn.start(
        *MODULE_DOOR, *options, "gunicorn_autoconf.demo:app", GUNICORN_WORKERS="1"
    )
    server.wait_for_workers(1)

    assert server.lines("HTTP parser of uvicorn: .*, h11$")
    assert not server.lines("has no effect")


# It answers with its process, after as many seconds as the query string says.
SLEEPER = """
    import asyncio, os

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await asyncio.sleep(float(scope["query_string"] or b"0"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@pytest.mark.server
@pytest.mark.one_python
def test_stock_worker_waits_for_longer_than_graceful_timeout(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", SLEEPER)
    options = ["-k", STOCK, "--graceful-timeout", "1"]
    server = gunicorn.start(*MODULE_DOOR, *options, "app:app", GUNICORN_WORKERS="1")
    (worker,) = server.wait_for_workers(1)
    assert server.get().status == 200

    with server.ask("/?4") as answer:
        assert server.get().status == 200  # The loop has turned since.
        os.kill(worker, signal.SIGTERM)
        assert answer() == (200, str(worker))
    server.wait_for_workers(1, replacing={worker})
    assert server.lines("WARNING.*graceful_timeout, set by --graceful-timeout, has no effect")


@pytest.mark.server
@pytest.mark.one_python
def test_stock_worker_goes_on_when_its_code_is_edited(gunicorn: Launcher) -> None:
    gunicorn.write("app.py", SLEEPER)
    options = ["-k", STOCK, "--reload", "--reload-engine", "poll"]
    server = gunicorn.start(*MODULE_DOOR, *options, "app:app", GUNICORN_WORKERS="1")
    (worker,) = server.wait_for_workers(1)

    gunicorn.edit("app.py", SLEEPER.replace("asyncio, os", "os, asyncio"), server)

    # A worker that reloads would be gone before the second.
    assert [server.get("/?3").body, server.get().body] == [str(worker), str(worker)]
    assert server.lines("WARNING.*reload, set by --reload, has no effect")
