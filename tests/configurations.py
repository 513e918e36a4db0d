"""
Ways to set one of Gunicorn's settings, and Gunicorn's own arbiter that has read them.

Nothing is forked and nothing listens: an arbiter is made, and its hooks are called in Gunicorn's
order. A reload is Gunicorn's own up to the point where it would fork.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from gunicorn.app.base import BaseApplication
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Chdir

from gunicorn_autoconf.server.state import ServerState, state_of

FILE = "./gunicorn.conf.py"
OURS = "from gunicorn_autoconf.conf import *\n"
MODULE = ("-c", "python:gunicorn_autoconf.conf")

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""


@dataclass(frozen=True)
class Way:
    """
    One way to set a setting.

    Attributes:
        source: What the log has to name.
        text: The configuration file, with ``NAME`` and ``VALUE``.
        files: Other files beside it.
        argv: What follows the program's name.
        environ: Variables.
        program: The program's name.
    """

    source: str = FILE
    text: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    argv: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    program: str = "gunicorn"


def line(text: str) -> Way:
    """A file that takes ours and goes on with *text*."""
    return Way(text=OURS + textwrap.dedent(text))


WAYS: dict[str, Way] = {
    "assignment": line("NAME = VALUE"),
    "annotated": line("NAME: object = VALUE"),
    "if": line("if __name__:\n    NAME = VALUE\nelse:\n    NAME = None"),
    "tuple": line("NAME, _other = VALUE, 1"),
    "starred": line("NAME, *_others = [VALUE, 1, 2]"),
    "chain": line("_other = NAME = VALUE"),
    "conditional expression": line("NAME = VALUE if __file__ else NAME"),
    "walrus": line("if (NAME := VALUE) is None:\n    raise RuntimeError"),
    "for": line("for NAME in (None, VALUE):\n    pass"),
    "with": line("import contextlib\nwith contextlib.nullcontext(VALUE) as NAME:\n    pass"),
    "try": line("try:\n    raise OSError\nexcept OSError:\n    NAME = VALUE"),
    "match": line('exec("""match VALUE:\\n    case NAME:\\n        pass""")'),
    "exec": line('exec("""NAME = VALUE""")'),
    "eval of a walrus": line('eval("""(NAME := VALUE)""")'),
    "globals()": line("globals()['NAME'] = VALUE"),
    "globals().update": line("globals().update(NAME=VALUE)"),
    "vars()": line("vars()['NAME'] = VALUE"),
    "locals()": line("locals().update({'NAME': VALUE})"),
    "setattr": line("import sys\nsetattr(sys.modules[__name__], 'NAME', VALUE)"),
    "global statement": line("def _set():\n    global NAME\n    NAME = VALUE\n_set()"),
    "deleted and set again": line("NAME = None\ndel NAME\nNAME = VALUE"),
    "namespace of a class": line(
        """
        class Production:
            NAME = VALUE
        globals().update({k: v for k, v in vars(Production).items() if k[0] != "_"})
        """
    ),
    "JSON": line("import json\nglobals().update(json.loads(json.dumps({'NAME': VALUE})))"),
    "pickled": line("import pickle\nNAME = pickle.loads(pickle.dumps(VALUE))"),
    "lower case of an upper case name": line("NAME_ = VALUE\nNAME = NAME_\ndel NAME_"),
    "variable of the environment": Way(
        text=OURS + "import ast, os\nNAME = ast.literal_eval(os.environ['MINE'])",
        environ={"MINE": " VALUE"},
    ),
    "before the call": Way(
        text="""
            from gunicorn_autoconf import autoconf
            NAME = VALUE
            globals().update({k: v for k, v in autoconf().settings.items() if k != "NAME"})
            """
    ),
    "update of what the call returns": Way(
        text="""
            from gunicorn_autoconf import autoconf
            settings = autoconf().settings
            settings.update(NAME=VALUE)
            globals().update(settings)
            """
    ),
    "two calls": Way(
        text="""
            from gunicorn_autoconf import autoconf
            globals().update(autoconf(workload="cpu").settings)
            globals().update(autoconf(workload="io").settings | {"NAME": VALUE})
            """
    ),
    "ChainMap": Way(
        text="""
            from collections import ChainMap
            from gunicorn_autoconf import autoconf
            globals().update(ChainMap({"NAME": VALUE}, autoconf().settings))
            """
    ),
    "deep copy of what the call returns": Way(
        text="""
            import copy
            from gunicorn_autoconf import autoconf
            globals().update(copy.deepcopy(autoconf().settings) | {"NAME": VALUE})
            """
    ),
    "the module's own dictionary": Way(  # Its __name__ and __file__ too.
        text="""
            import gunicorn_autoconf.conf as ours
            globals().update(vars(ours))
            NAME = VALUE
            """
    ),
    "frame": line("import sys\nsys._getframe().f_globals['NAME'] = VALUE"),
    "another thread": line(
        """
        import threading
        thread = threading.Thread(target=globals().__setitem__, args=("NAME", VALUE))
        thread.start()
        thread.join()
        """
    ),
    "generator": line("NAME = next(value for value in [VALUE])"),
    "star import": Way(
        text="from base_conf import *", files={"base_conf.py": OURS + "NAME = VALUE"}
    ),
    "import of a name": Way(
        text=OURS + "from base_conf import NAME", files={"base_conf.py": "NAME = VALUE"}
    ),
    "chain of star imports": Way(
        text="from middle_conf import *",
        files={
            "middle_conf.py": "from base_conf import *\nNAME = VALUE",
            "base_conf.py": OURS,
        },
    ),
    "importlib": Way(
        text=OURS + "import importlib\nNAME = importlib.import_module('base_conf').NAME",
        files={"base_conf.py": "NAME = VALUE"},
    ),
    "exec of a file": Way(
        text="import pathlib\nexec(pathlib.Path('base_conf.py').read_text())",
        files={"base_conf.py": OURS + "NAME = VALUE"},
    ),
    "runpy": Way(
        text="import runpy\nglobals().update(runpy.run_path('base_conf.py'))",
        files={"base_conf.py": OURS + "NAME = VALUE"},
    ),
    "beside a chdir": Way(
        text=OURS + "import os\nchdir = os.path.abspath('srv')\nNAME = VALUE",
        files={"srv/app.py": APP},
    ),
    "a module of one's own": Way(
        source="python:own_conf",
        files={"own_conf.py": OURS + "NAME = VALUE"},
        argv=("-c", "python:own_conf"),
    ),
    "a file of another name": Way(
        source="other.py", files={"other.py": OURS + "NAME = VALUE"}, argv=("-c", "other.py")
    ),
    "file:": Way(
        source="other.py", files={"other.py": OURS + "NAME = VALUE"}, argv=("-c", "file:other.py")
    ),
    "-c twice": Way(
        source="other.py",
        files={"first.py": OURS, "other.py": OURS + "NAME = VALUE"},
        argv=("-c", "first.py", "--config", "other.py"),
    ),
    "-c in GUNICORN_CMD_ARGS": Way(
        source="other.py",
        files={"other.py": OURS + "NAME = VALUE"},
        environ={"GUNICORN_CMD_ARGS": "-c other.py"},
    ),
    "option": Way(source="FLAG", argv=(*MODULE, "FLAG=VALUE")),
    "option of a launcher": Way(source="FLAG", argv=(*MODULE, "FLAG=VALUE"), program="site.pex"),
    "option beside a file": Way(source="FLAG", text=OURS, argv=("FLAG=VALUE",)),
    "GUNICORN_CMD_ARGS": Way(
        source="GUNICORN_CMD_ARGS", argv=MODULE, environ={"GUNICORN_CMD_ARGS": "FLAG=VALUE"}
    ),
    "variable": Way(source="GUNICORN_NAME", argv=MODULE, environ={"GUNICORN_NAME": "VALUE"}),
    "a hook of one's own": Way(
        source="./gunicorn.conf.py:6",
        text=OURS
        + """
from gunicorn_autoconf import compose

def _late(server):
    server.cfg.set("NAME", VALUE)
    server.num_workers = server.cfg.workers

on_starting = compose(on_starting, _late)
""",
    ),
}


class Options(BaseApplication):  # type: ignore[misc]
    """The application of Gunicorn's documentation, whose options are a dictionary."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        super().__init__()

    def load_config(self) -> None:
        for key, value in self.options.items():
            if key in self.cfg.settings and value is not None:
                self.cfg.set(key.lower(), value)

    def load(self) -> Any:
        return lambda environ, start_response: []


@contextlib.contextmanager
def folder_of(way: Way, name: str, value: object, flag: str) -> Iterator[Path]:
    """Enter a folder with the files of *way*, with its command line and environment."""

    def filled(text: str) -> str:
        shown = str(value) if text.startswith(("FLAG", "VALUE")) else repr(value)
        text = text.replace("GUNICORN_NAME", f"GUNICORN_{name.upper()}")
        return text.replace("NAME", name).replace("VALUE", shown).replace("FLAG", flag)

    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        files = {"app.py": APP, **way.files}
        if way.text:
            files["gunicorn.conf.py"] = textwrap.dedent(way.text)
        for path, text in files.items():
            (Path(folder) / path).parent.mkdir(exist_ok=True)
            (Path(folder) / path).write_text(filled(text) + "\n", encoding="utf-8")
        own = {Path(path).stem for path in files} | {"gunicorn_autoconf.conf", "__config__"}
        environ = {
            k: v for k, v in os.environ.items() if not k.startswith(("GUNICORN_", "KUBERNETES_"))
        }
        environ |= {"GUNICORN_CPUS": "2", "GUNICORN_MEMORY": "1GiB"}
        environ |= {filled(k): filled(v) for k, v in way.environ.items()}
        argv = [way.program, *map(filled, way.argv), "app:app"]
        stack.enter_context(mock.patch.dict(os.environ, environ, clear=True))
        stack.enter_context(mock.patch.object(sys, "argv", argv))
        stack.enter_context(mock.patch.object(sys, "path", list(sys.path)))
        # Started for a test, its thread would outlive it.
        stack.enter_context(mock.patch.object(ServerState, "start"))
        # Taken from where it stood when it was imported.
        stack.enter_context(mock.patch.object(Chdir, "default", os.path.realpath(folder)))
        for module in own:
            sys.modules.pop(module, None)
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            for module in own:
                sys.modules.pop(module, None)


def start(application: Any = None) -> Any:
    """Return an arbiter that is about to fork."""
    arbiter = Arbiter(application or WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]"))
    arbiter.pid = os.getpid()
    arbiter.cfg.on_starting(arbiter)
    arbiter.cfg.when_ready(arbiter)
    return arbiter


def reload(arbiter: Any) -> None:
    """Do what SIGHUP does, up to the forks."""
    arbiter.app.reload()
    arbiter.setup(arbiter.app)
    arbiter.cfg.on_reload(arbiter)


def final_of(arbiter: Any) -> Any:
    """What holds for *arbiter*."""
    state = state_of(arbiter)
    assert state is not None
    return state.final
