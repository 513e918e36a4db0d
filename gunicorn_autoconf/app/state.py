"""
Finds what an application keeps in the memory of one process, from its source.

Reads source files; never imports or runs anything of the user's. What it knows are the names of
`KEPT` where a module of the user's calls them, and of `SETTINGS` where it has them as text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from gunicorn_autoconf.app.finding import KeptState, StateKind
from gunicorn_autoconf.app.scope import Location
from gunicorn_autoconf.app.source import Files, UnreadableError, locate

# The module of the application and what it imports of the user's own, two steps far: factories
# live in one module, extensions in the next. Reading and walking 100 kB takes 30 ms.
MAX_MODULES = 16
MAX_BYTES = 200_000
MAX_DEPTH = 2
MAX_NAMES = 500


# What is called, by the full name of a class or function; "*" stands for any name of its module.
KEPT: dict[str, StateKind] = {
    # "-w 1": Gunicorn's load balancing is not sticky. Source: Flask-SocketIO, "Deployment".
    "flask_socketio.SocketIO": StateKind.SESSIONS,
    "socketio.Server": StateKind.SESSIONS,
    "socketio.AsyncServer": StateKind.SESSIONS,
    "engineio.Server": StateKind.SESSIONS,
    "engineio.AsyncServer": StateKind.SESSIONS,
    # "APScheduler does not currently have any interprocess synchronization". Source: its FAQ.
    "apscheduler.schedulers.*": StateKind.JOBS,
    "apscheduler.Scheduler": StateKind.JOBS,
    "apscheduler.AsyncScheduler": StateKind.JOBS,
    "flask_apscheduler.APScheduler": StateKind.JOBS,
    "fastapi_utils.tasks.repeat_every": StateKind.JOBS,
    "fastapi_utilities.repeat_every": StateKind.JOBS,
    "rocketry.Rocketry": StateKind.JOBS,
    "multiprocessing.Manager": StateKind.MEMORY,
    "multiprocessing.managers.SyncManager": StateKind.MEMORY,
    "taskiq.InMemoryBroker": StateKind.MEMORY,
    "dramatiq.brokers.stub.StubBroker": StateKind.MEMORY,
    "huey.MemoryHuey": StateKind.MEMORY,
    "cachelib.SimpleCache": StateKind.MEMORY,
    "cachelib.simple.SimpleCache": StateKind.MEMORY,
    "aiocache.SimpleMemoryCache": StateKind.MEMORY,
    "fastapi_cache.backends.inmemory.InMemoryBackend": StateKind.MEMORY,
}

# Values of settings: as a whole, or up to the colon of a URL.
SETTINGS: dict[str, StateKind] = {
    "channels.layers.InMemoryChannelLayer": StateKind.MEMORY,
    "memory://": StateKind.MEMORY,  # Celery, kombu, Flask-Limiter, slowapi, broadcaster
    "SimpleCache": StateKind.MEMORY,  # Flask-Caching, CACHE_TYPE
    "flask_caching.backends.SimpleCache": StateKind.MEMORY,
}

# With one of these a server shares its sessions. Source: python-socketio, "Using a message queue".
_SHARED_BY = {"socketio.Server": "client_manager", "socketio.AsyncServer": "client_manager"}


def find_kept_state(
    target: str, search_path: Sequence[str], files: Files | None = None
) -> tuple[KeptState, ...]:
    """
    Return what the application *target* keeps in one process, as far as its source tells.

    The arguments are those of `detect_interface`. Each name is reported once. Never raises: what
    cannot be read keeps nothing.
    """
    found: dict[str, KeptState] = {}
    reading = _Reading(search_path, files or Files())
    try:
        for location, body in reading.modules(target.partition(":")[0]):
            for name, state in find_in_module(body, location.shown):
                # A module of the user's that is called "socketio" is another one.
                if "." not in name or not reading.is_users(name.partition(".")[0]):
                    found.setdefault(name, state)
    except Exception:  # noqa: BLE001  # advice must never stop a server from starting
        return ()
    return tuple(found.values())


class _Reading:
    """The modules of the user's that an application imports, read once each, within bounds."""

    def __init__(self, search_path: Sequence[str], files: Files) -> None:
        self._search_path = search_path
        self._files = files
        self._is_users: dict[str, bool] = {}

    def is_users(self, top: str) -> bool:
        """Return whether the module *top*, without a dot, is the user's own and no library."""
        if top not in self._is_users:
            try:
                self._is_users[top] = not locate(top, self._search_path).installed
            except UnreadableError:
                self._is_users[top] = False
        return self._is_users[top]

    def modules(self, name: str) -> Iterator[tuple[Location, list[ast.stmt]]]:
        """Yield the module *name* and those of the user's that it imports, the nearest first."""
        waiting, seen = [(name, 0)], {name}
        bytes_left, modules_left = MAX_BYTES, MAX_MODULES
        for module, depth in waiting:  # grows as we go
            if not self.is_users(module.partition(".")[0]):
                continue
            try:
                location = locate(module, self._search_path)
                path = location.path
                body = self._files.statements(path, bytes_left) if path else []
            except UnreadableError:
                continue
            yield location, body
            bytes_left -= len(self._files.source(path)) if path else 0
            modules_left -= 1
            if not modules_left:
                return
            imported = _imported(body, location) if depth < MAX_DEPTH else ()
            new = [each for each in dict.fromkeys(imported) if each not in seen]
            seen.update(new)
            waiting += [(each, depth + 1) for each in new[: max(MAX_NAMES - len(waiting), 0)]]


def _imported(body: Iterable[ast.stmt], location: Location) -> Iterator[str]:
    """Yield the modules that may be imported, in order; a name from a package may be one."""
    for node in _walk(body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if module := location.absolute(node):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and (settings := _django_settings(node)):
            yield settings


def _django_settings(node: ast.Call) -> str:
    """The module that ``os.environ.setdefault("DJANGO_SETTINGS_MODULE", "…")`` names, or empty."""
    if not (isinstance(node.func, ast.Attribute) and node.func.attr == "setdefault"):
        return ""
    match [argument.value for argument in node.args if isinstance(argument, ast.Constant)]:
        case ["DJANGO_SETTINGS_MODULE", str(module)]:
            return module
    return ""


def find_in_module(body: Sequence[ast.stmt], shown: str) -> Iterator[tuple[str, KeptState]]:
    r"""
    Yield what the statements of one module keep in one process, by its full name.

    >>> body = ast.parse("from flask_socketio import SocketIO as S\ns = S(app)").body
    >>> [state.evidence for _, state in find_in_module(body, "app.py")]
    ['SocketIO() at app.py:2']
    """
    names = _bound_names(body)
    for node in _walk(body):
        if isinstance(node, ast.Call):
            name = _full_name(node.func, names)
            kind = _kind_of(name)
            if kind and not _is_shared(name, node):
                last = name.rpartition(".")[2]
                yield name, KeptState(kind=kind, evidence=f"{last}() at {shown}:{node.lineno}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            kind = SETTINGS.get("memory://" if node.value.startswith("memory://") else node.value)
            if kind:
                evidence = f'"{node.value}" at {shown}:{node.lineno}'
                yield node.value, KeptState(kind=kind, evidence=evidence)


def _bound_names(body: Iterable[ast.stmt]) -> dict[str, str]:
    """The names that imports bind, wherever they are, to what they stand for."""
    names = {}
    for node in _walk(body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name that a called expression stands for; empty where it is none."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(attributes)])


def _kind_of(name: str) -> StateKind | None:
    if name.startswith("apscheduler.schedulers.") and name.endswith("Scheduler"):
        return KEPT["apscheduler.schedulers.*"]
    return KEPT.get(name)


def _is_shared(name: str, node: ast.Call) -> bool:
    """Whether the call hands over what shares its state, or may do so by ``**``."""
    given = {keyword.arg for keyword in node.keywords}
    return name in _SHARED_BY and bool(given & {_SHARED_BY[name], None})


def _walk(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        yield from ast.walk(statement)
