"""Configurations as people write them, by the real server: what holds, and what is said."""

from __future__ import annotations

import re
import signal
import sys

import pytest
from harness import MODULE_DOOR, Launcher, Server, wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_python]

ASGI_APP = """
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"].endswith("shutdown"):
                    return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
    """

WSGI_APP = """
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]
    """

FACTORY = """
    from flask import Flask

    def create_app(config=None, *, debug=False):
        return Flask(__name__)

    app = create_app()
    """

OURS = "from gunicorn_autoconf.conf import *\n"
COUNT = {"GUNICORN_CPUS": "2", "GUNICORN_MEMORY": "4GiB", "GUNICORN_WORKLOAD": "io"}


@pytest.fixture
def folder(gunicorn: Launcher) -> Launcher:
    """A folder with an application of each kind."""
    gunicorn.write("asgiapp.py", ASGI_APP)
    gunicorn.write("wsgiapp.py", WSGI_APP)
    gunicorn.write("flaskapp.py", FACTORY)
    return gunicorn


def assert_three_of_the_operators(server: Server, source: str) -> None:
    """That three workers run, in the log too, and where their number comes from."""
    server.wait_for_workers(3)
    (final,) = server.lines("running with")
    assert re.search(rf" workers=3 \({re.escape(source)}( over [^)]*)?\) ", final), final
    assert server.get().body == "ok"


# Other ways to set it: tests/server/test_operators_word.py, without a fork.
def test_a_file_that_sets_the_count(folder: Launcher) -> None:
    text = "import os\nif os.environ.get('ENVIRONMENT') is None:\n    workers = 3\n"
    folder.write("gunicorn.conf.py", OURS + 'wsgi_app = "asgiapp:app"\n' + text)
    server = folder.start(**COUNT)

    assert_three_of_the_operators(server, "./gunicorn.conf.py")
    before = server.worker_pids()
    server.signal(signal.SIGHUP)
    server.wait_for("planned again: nothing changed")
    server.wait_for_workers(3, replacing=before)


def test_a_count_in_an_if_is_not_resized(folder: Launcher) -> None:
    """The guard, which sees workers smaller than guessed, leaves it alone."""
    folder.write("gunicorn.conf.py", OURS + "if True:\n    workers = 2\n")
    tight = {"GUNICORN_MEMORY": "700MiB", "GUNICORN_MEMORY_LOG_INTERVAL": "1"}
    server = folder.start("flaskapp:app", **COUNT | tight)

    # Where the count is ours, the guard grows it after the first of these lines.
    wait_until(lambda: len(server.lines("memory workers=2 pss=")) >= 4, "it has looked")
    assert not server.lines("guard")
    assert not server.lines("Handling signal: ttin")


def test_a_launcher_of_another_name(folder: Launcher) -> None:
    launcher = folder.write("site.pex", "from gunicorn.app.wsgiapp import run\nrun()\n")
    program = (sys.executable, str(launcher))
    server = folder.start(*MODULE_DOOR, "-w", "3", "asgiapp:app", program=program, **COUNT)

    assert_three_of_the_operators(server, "--workers")
    assert "ASGI from async def app" in server.log


def test_an_application_with_options(folder: Launcher) -> None:
    folder.write(
        "main.py",
        """
        import sys
        from gunicorn.app.base import BaseApplication
        from gunicorn_autoconf import autoconf

        class Standalone(BaseApplication):
            def __init__(self, options):
                self.options = options
                super().__init__()
            def load_config(self):
                for key, value in self.options.items():
                    if key in self.cfg.settings and value is not None:
                        self.cfg.set(key.lower(), value)
            def load(self):
                from asgiapp import app
                return app

        options = {**autoconf(interface="asgi").settings, "bind": sys.argv[2], "workers": 3}
        Standalone(options).run()
        """,
    )
    program = (sys.executable, "main.py")
    server = folder.start(program=program, **COUNT)

    assert_three_of_the_operators(server, "./main.py:13")


def test_web_concurrency_is_named(folder: Launcher) -> None:
    folder.write("gunicorn.conf.py", OURS + "workers = workers\n")
    server = folder.start("asgiapp:app", **COUNT, WEB_CONCURRENCY="3")

    assert_three_of_the_operators(server, "WEB_CONCURRENCY")


# Hooks of the user's own.


def test_own_when_ready(folder: Launcher) -> None:
    folder.write(
        "gunicorn.conf.py",
        OURS + 'def when_ready(server): server.log.info("mine")\n',
    )
    server = folder.start("asgiapp:app", GUNICORN_WORKERS="1")

    server.wait_for_workers(1)
    (line,) = server.lines("ours; combine")
    assert line.endswith(
        "gunicorn-autoconf: your when_ready hook replaces ours; combine them with compose(). "
        "Without ours: no memory guard, no memory lines, no watchdog, no metrics, no health answers"
    )
    assert "[WARNING]" in line
    assert server.lines("mine")


def test_a_mismatch_is_told_where_other_hooks_are_replaced(folder: Launcher) -> None:
    own = (
        "def on_starting(server): pass\n"
        "def when_ready(server): pass\n"
        "def post_worker_init(worker): pass\n"
    )
    # That the application is ASGI, our on_starting would see; here it is told to be WSGI.
    text = OURS + own + 'wsgi_app = "asgiapp:app"\n'
    folder.write("gunicorn.conf.py", text)
    server = folder.launch(GUNICORN_WORKERS="2", GUNICORN_WORKER_CLASS="sync")

    assert server.wait() == 4
    (mismatch,) = server.lines("CRITICAL")
    assert "the application is ASGI, but sync serves WSGI" in mismatch
    (line,) = server.lines("ours; combine")
    assert "your on_starting, when_ready and post_worker_init hooks replace ours" in line


def test_only_hooks_without_loss_are_not_told(folder: Launcher) -> None:
    folder.write("gunicorn.conf.py", OURS + "def on_exit(server): pass\n")
    server = folder.start("asgiapp:app", GUNICORN_WORKERS="1")

    server.wait_for_workers(1)
    assert not server.lines("replaces ours")


# What ends a start, before anything is served.


def refusal(folder: Launcher, *arguments: str, **variables: str) -> str:
    """The one line that Gunicorn prints, and `explain` too."""
    served = folder.run(*MODULE_DOOR, "--bind", "127.0.0.1:0", *arguments, **variables)
    program = (sys.executable, "-m", "gunicorn_autoconf", "explain")
    explained = folder.run(*arguments, program=program, **variables)

    assert (served.returncode, explained.returncode) == (1, 2)
    (line,) = filter(None, served.stderr.splitlines())
    assert explained.stderr.splitlines()[0].partition(";")[0] == line.partition(";")[0]
    assert served.stdout == ""
    return line


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("GUNICORN_WORKERS", "0", "use a whole number of at least 1, or unset it for the plan"),
        (
            "GUNICORN_POST_FORK",
            "hooks.bad",
            "it takes 1 argument, use a function that takes 2: post_fork(server, worker)",
        ),
    ],
)
def test_a_variable_that_is_refused(folder: Launcher, name: str, value: str, remedy: str) -> None:
    folder.write("hooks.py", "def bad(x): pass\n")

    line = refusal(folder, "wsgiapp:app", **{name: value})

    assert line.startswith(f"Error: {name}={value!r}: {remedy}")


def test_a_hook_that_is_not_there(folder: Launcher) -> None:
    line = refusal(folder, "wsgiapp:app", GUNICORN_POST_FORK="nohooks.x")

    assert line.startswith(
        "Error: GUNICORN_POST_FORK='nohooks.x': use module.function that can be imported"
    )


def test_a_worker_class_that_gunicorn_has_not(folder: Launcher) -> None:
    line = refusal(folder, "wsgiapp:app", GUNICORN_WORKER_CLASS="gthreads")

    assert re.fullmatch(
        r"Error: GUNICORN_WORKER_CLASS='gthreads': Gunicorn [\d.]+ has no such worker class; "
        r"did you mean gthread\?",
        line,
    )


def test_a_factory_without_its_parentheses(folder: Launcher) -> None:
    assert refusal(folder, "flaskapp:create_app") == (
        "Error: APP_MODULE='flaskapp:create_app': it is a function that makes the application; "
        "write flaskapp:create_app()"
    )


def test_a_factory_that_the_file_names(folder: Launcher) -> None:
    folder.write("gunicorn.conf.py", OURS + 'wsgi_app = "flaskapp:create_app"\n')
    result = folder.run("--bind", "127.0.0.1:0", "--pid", "server.pid")

    assert result.returncode == 1
    assert "wsgi_app='flaskapp:create_app': it is a function that makes" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Listening" not in result.stderr
    assert not (folder.folder / "server.pid").exists()


def test_a_factory_with_its_parentheses(folder: Launcher) -> None:
    server = folder.start(*MODULE_DOOR, "flaskapp:create_app()", GUNICORN_WORKERS="1")

    assert server.get().status == 404


def test_the_package_in_the_place_of_its_module(folder: Launcher) -> None:
    result = folder.run("-c", "python:gunicorn_autoconf", "wsgiapp:app")

    assert result.returncode == 1
    (line,) = filter(None, result.stderr.splitlines())
    assert line == (
        "Error: --config='python:gunicorn_autoconf': did you mean python:gunicorn_autoconf.conf?"
    )


def test_a_star_import_of_the_package(folder: Launcher) -> None:
    folder.write("gunicorn.conf.py", "from gunicorn_autoconf import *\nworkers = 1\n")
    result = folder.run("wsgiapp:app")

    assert result.returncode == 1
    (line,) = filter(None, result.stderr.splitlines())
    assert line.endswith(
        "gunicorn.conf.py: from gunicorn_autoconf import *: "
        "write from gunicorn_autoconf.conf import *"
    )


def test_a_module_that_imports_the_package_is_no_mistake(folder: Launcher) -> None:
    folder.write("own.py", "import gunicorn_autoconf\nworkers = 1\n")

    assert folder.print_config("-c", "python:own", "wsgiapp:app")["workers"] == "1"


def test_a_file_that_is_left_aside(folder: Launcher) -> None:
    folder.write("gunicorn.conf.py", "workers = 7\n")
    server = folder.start(*MODULE_DOOR, "wsgiapp:app", GUNICORN_CPUS="1")

    server.wait_for_workers(3)
    (line,) = server.lines("conf.py")
    assert line.endswith(
        "[INFO] gunicorn-autoconf: ./gunicorn.conf.py is not read, as -c names "
        "python:gunicorn_autoconf.conf"
    )


# A server that runs goes on.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('os.environ["GUNICORN_POST_FORK"] = "nohooks.x"', "GUNICORN_POST_FORK='nohooks.x'"),
        ('os.environ["GUNICORN_WSGI_APP"] = "flaskapp:create_app"', "it is a function that makes"),
    ],
)
def test_a_reload_with_a_wrong_declaration_keeps_the_plan(
    folder: Launcher, text: str, said: str
) -> None:
    folder.write("gunicorn.conf.py", OURS + 'wsgi_app = "wsgiapp:app"\n')
    server = folder.start(GUNICORN_CPUS="1", GUNICORN_WORKLOAD="cpu")
    before = server.wait_for_workers(1)

    call = "from gunicorn_autoconf import autoconf\nglobals().update(autoconf().settings)\n"
    app = 'wsgi_app = "wsgiapp:app"\n'
    folder.write("gunicorn.conf.py", f"import os\n{text}\n{call}{app}")
    server.signal(signal.SIGHUP)

    server.wait_for(f"gunicorn-autoconf keeps the running plan: .*{re.escape(said)}")
    server.wait_for_workers(1, replacing=before)
    assert server.get().status == 200


@pytest.mark.parametrize(
    ("option", "hook"), [("--check-config", "hooks.good"), ("--print-config", "")]
)
def test_configurations_can_be_checked(folder: Launcher, option: str, hook: str) -> None:
    folder.write("hooks.py", "def good(server, worker): pass\n")
    folder.write("gunicorn.conf.py", OURS + "workers = max(workers, 3)\n")
    result = folder.run(option, "wsgiapp:app", GUNICORN_POST_FORK=hook, GUNICORN_CPUS="1")

    assert (result.returncode, result.stderr) == (0, "")
    if option == "--print-config":
        assert re.search(r"^workers += 3$", result.stdout, re.MULTILINE)
