"""What is declared and must be there: hooks, worker classes, the log level."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterator
from pathlib import Path

import gunicorn
import pytest
from builders import declare

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.server.requirements import check_requirements, load_hook, read_hook

HOOKS = """
def no_arguments(): pass
def server(server): pass
def server_and_worker(server, worker=None): pass
def three(a, b, c, /, *, d=1): pass
def four(worker, req, environ, resp): pass
async_hook = lambda server, worker: None
number = 3
@staticmethod
def decorated(x): pass
if number:
    def twice(x): pass
else:
    def twice(x, y): pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder with a module of hooks, which is forgotten afterwards."""
    (tmp_path / "hooks_to_name.py").write_text(HOOKS, encoding="utf-8")
    yield str(tmp_path)
    sys.modules.pop("hooks_to_name", None)


class TestLoadHook:
    def test_is_the_function(self) -> None:
        assert load_hook("on_starting", "posixpath.basename") is posixpath.basename

    def test_is_found_where_gunicorn_will_look(self, folder: str) -> None:
        before = list(sys.path)
        assert load_hook("post_fork", "hooks_to_name.server_and_worker", [folder]).__name__ == (
            "server_and_worker"
        )
        assert sys.path == before


@pytest.mark.parametrize("look", [load_hook, read_hook])
class TestBothWays:
    """To import a hook and to read its source agree."""

    @pytest.mark.parametrize(
        ("name", "function"),
        [
            ("on_starting", "server"),
            ("post_fork", "server_and_worker"),
            ("post_fork", "async_hook"),
            ("nworkers_changed", "three"),
            ("post_request", "four"),
            ("post_request", "three"),
        ],
    )
    def test_taken(self, folder: str, look: object, name: str, function: str) -> None:
        assert callable(look)
        look(name, f"hooks_to_name.{function}", [folder])

    @pytest.mark.parametrize(
        ("name", "text", "remedy"),
        [
            (
                "post_fork",
                "hooks_to_name.server",
                "it takes 1 argument, use a function that takes 2: post_fork(server, worker)",
            ),
            (
                "on_exit",
                "hooks_to_name.no_arguments",
                "it takes 0 arguments, use a function that takes 1: on_exit(server)",
            ),
            ("post_fork", "hooks_to_name.nothing", "use module.function"),
            ("post_fork", "no_such_module.x", "use module.function that can be imported"),
        ],
    )
    def test_refused(self, folder: str, look: object, name: str, text: str, remedy: str) -> None:
        assert callable(look)
        with pytest.raises(DeclarationError) as caught:
            look(name, text, [folder])

        error = caught.value
        assert (error.name, error.value) == (f"GUNICORN_{name.upper()}", text)
        assert error.remedy.startswith(remedy)
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("function", ["decorated", "twice", "number"])
def test_what_only_running_would_show_is_not_refused_unread(folder: str, function: str) -> None:
    read_hook("post_fork", f"hooks_to_name.{function}", [folder])


def test_a_module_that_fails_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken_hooks.py").write_text("raise OSError('first\\nsecond')", encoding="utf-8")

    with pytest.raises(DeclarationError) as caught:
        load_hook("post_fork", "broken_hooks.x", [str(tmp_path)])

    assert str(caught.value) == (
        "GUNICORN_POST_FORK='broken_hooks.x': use module.function that can be imported; "
        "Gunicorn says: first second"
    )


def refusal(**environ: str) -> str | None:
    """What is said of *environ*, or None where all of it is there."""
    try:
        check_requirements(declare(environ), [], runs_hooks=False)
    except DeclarationError as error:
        return str(error)
    return None


class TestWorkerClass:
    @pytest.mark.parametrize(
        "text",
        [
            "sync",
            "gthread",
            "gevent",
            "gunicorn.workers.gthread.ThreadWorker",
            "gunicorn_autoconf.workers.UvicornWorker",
            "uvicorn_worker.UvicornWorker",
            "uvicorn.workers.UvicornWorker",
            # Of the user's own: it may be there later, and to look would run it.
            "mysite.workers.Worker",
            "egg:package#name",
        ],
    )
    def test_taken(self, text: str) -> None:
        assert refusal(GUNICORN_WORKER_CLASS=text) is None

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("gthreads", "gthread"),
            ("Sync", "sync"),
            ("uvicorn", "gunicorn_autoconf.workers.UvicornWorker"),
            ("gunicorn.workers.UvicornWorker", "gunicorn_autoconf.workers.UvicornWorker"),
            ("uvicorn.workers.UvicornWorkers", "gunicorn_autoconf.workers.UvicornWorker"),
        ],
    )
    def test_refused(self, text: str, meant: str) -> None:
        assert refusal(GUNICORN_WORKER_CLASS=text) == (
            f"GUNICORN_WORKER_CLASS={text!r}: Gunicorn {gunicorn.__version__} has no such worker "
            f"class; did you mean {meant}?"
        )

    def test_where_nothing_is_alike_all_are_named(self) -> None:
        said = refusal(GUNICORN_WORKER_CLASS="prefork") or ""
        assert "did you mean" not in said
        assert "use one of" in said
        assert "gthread, sync, tornado, or module.Class" in said

    def test_one_whose_library_is_missing(self) -> None:
        said = refusal(GUNICORN_WORKER_CLASS="tornado")
        assert said == (
            "GUNICORN_WORKER_CLASS='tornado': Gunicorn says: "
            "You need tornado installed to use this worker."
        )

    def test_in_cmd_args(self) -> None:
        said = refusal(GUNICORN_CMD_ARGS="-k gthreads") or ""
        assert said.startswith("GUNICORN_CMD_ARGS='--worker-class gthreads': ")


class TestBind:
    @pytest.mark.parametrize("text", ["127.0.0.1:8000", ":8000", "unix:/run/a.sock", "fd://3"])
    def test_taken(self, text: str) -> None:
        assert refusal(GUNICORN_BIND=text) is None

    def test_a_port_alone(self) -> None:
        assert refusal(GUNICORN_BIND="127.0.0.1:80 8765") == (
            "GUNICORN_BIND='8765': use <host>:<port>, such as 0.0.0.0:8765"
        )


class TestLogLevel:
    @pytest.mark.parametrize("text", ["warning", "WARNING", "debug", "critical"])
    def test_taken(self, text: str) -> None:
        assert refusal(GUNICORN_LOGLEVEL=text) is None

    @pytest.mark.parametrize(
        ("text", "end"),
        [
            ("WARN", "; did you mean warning?"),
            ("fatal", "; did you mean critical?"),
            ("inf", "; did you mean info?"),
            ("trace", "debug"),
        ],
    )
    def test_refused(self, text: str, end: str) -> None:
        said = refusal(GUNICORN_LOGLEVEL=text) or ""
        assert said.startswith(
            f"GUNICORN_LOGLEVEL={text!r}: use one of critical, error, warning, info, debug"
        )
        assert said.endswith(end)

    def test_a_logger_of_the_users_own_may_have_others(self) -> None:
        own = {"GUNICORN_LOGLEVEL": "trace", "GUNICORN_LOGGER_CLASS": "mysite.Logger"}
        assert refusal(**own) is None
