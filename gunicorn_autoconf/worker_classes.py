"""One table of worker classes: what each one serves, how it behaves, what it ignores. Pure.

A new worker class is one row of `_ROWS`; what the package does under it follows from the row. Its
settings without effect are compared with the source of the installed Gunicorn and Uvicorn by
``tests/plan/test_ignored.py``. By itself the plan chooses only the classes in
``plan/workload.py``. An event loop is watched where the worker calls ``notify`` inside of it
(``watchdog/ticker.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

# The worker classes that the plan chooses, as Gunicorn takes them.
SYNC, GTHREAD = "sync", "gthread"
THREADS = "gunicorn_autoconf.workers.ThreadWorker"
UVICORN = "gunicorn_autoconf.workers.UvicornWorker"

# The HTTP parser that uvicorn uses where it is installed; otherwise it uses h11.
HTTPTOOLS = "httptools"


class Interface(str, Enum):
    """What the application speaks."""

    ASGI = "asgi"
    WSGI = "wsgi"


class Slots(Enum):
    """How many requests one worker serves at once."""

    ONE = "one"
    THREADS = "one per thread"
    GREENLETS = "one per greenlet, up to worker_connections"
    UNBOUNDED = "as many as arrive, on one event loop"


class CountedBy(Enum):
    """Which call in a worker is one request; `server/counting.py` wraps it."""

    NOTHING = "its requests are not counted"
    HANDLER = "handle_request of the worker"
    ASGI = "the application in worker.asgi"
    UVICORN = "the application that uvicorn has loaded"


class Ignored(NamedTuple):
    """
    Settings that a worker class ignores, all for the same reason.

    Attributes:
        settings: Gunicorn's names of them.
        why: The reason, as the log shows it.
        parser: The HTTP parser of uvicorn with which they are ignored; None if with any.
    """

    settings: tuple[str, ...]
    why: str
    parser: str | None = None


class Family(NamedTuple):
    """
    One row of the table: a worker class and all that descend from it.

    Attributes:
        name: What Gunicorn calls the class.
        aliases: Its other names: the setting's short forms, dotted names, last parts of these.
        interface: What it serves; None if both or unknown.
        slots: How many requests one worker serves at once.
        counted_by: Which call is one request.
        heartbeats_while_draining: Whether the worker sends its heartbeat while it finishes its
            last requests. If not, a drain longer than ``timeout`` is killed.
        calls_worker_exit: Whether the hook ``worker_exit`` runs when the worker gets SIGTERM.
        runs_uvicorn: Whether uvicorn serves the requests.
        empties_queue: Whether a worker that ends first accepts what waits at a listener of its
            own, as it has with ``reuse_port``. If not, those connections are lost.
        ignored: The settings that people set and that have no effect here.
    """

    name: str
    aliases: tuple[str, ...]
    interface: Interface | None
    slots: Slots
    counted_by: CountedBy = CountedBy.NOTHING
    heartbeats_while_draining: bool = False
    calls_worker_exit: bool = True
    runs_uvicorn: bool = False
    empties_queue: bool = False
    ignored: tuple[Ignored, ...] = ()

    def ignores(self, setting: str) -> bool:
        """Whether *setting* has no effect, whatever the HTTP parser."""
        return any(setting in row.settings and row.parser is None for row in self.ignored)


_ASGI_ONLY = Ignored(("asgi_lifespan", "asgi_loop", "root_path"), "it is for ASGI applications")
_SSL_VERSION = Ignored(("ssl_version",), "Python's own choice of versions stands; see ssl_context")
_IGNORED_BY_GREENLETS = (
    Ignored(("threads",), "requests are served by greenlets; see worker_connections"),
    _ASGI_ONLY,
    _SSL_VERSION,
)
_HEAD = ("limit_request_field_size", "limit_request_fields", "limit_request_line")
_PARSER = (
    "forwarder_headers",
    "header_map",
    "http_parser",
    "protocol",
    "proxy_allow_ips",
    "proxy_protocol",
    "secure_scheme_headers",
    "sendfile",
)
_REQUEST_HOOKS = ("pre_request", "post_request")
_IGNORED_BY_UVICORN = (
    Ignored(_PARSER, "uvicorn has an HTTP parser of its own"),
    Ignored(_REQUEST_HOOKS, "uvicorn serves the requests; an ASGI middleware sees them"),
    Ignored(("access_log_format",), "uvicorn writes the access log in its own format"),
    Ignored(("http_protocols",), "uvicorn is not told to serve HTTP/2"),
    Ignored(
        ("ssl_context",),
        "uvicorn makes the TLS context itself, from certfile, keyfile, ca_certs and ciphers",
    ),
)

# One row for each worker class; `FAMILIES` has them by name.
_ROWS = (
    Family(
        name=SYNC,
        aliases=("SyncWorker",),
        interface=Interface.WSGI,
        slots=Slots.ONE,
        counted_by=CountedBy.HANDLER,
        ignored=(
            Ignored(("keepalive",), "sync closes every connection after its response"),
            Ignored(("worker_connections",), "the worker has one connection at a time"),
            _ASGI_ONLY,
            _SSL_VERSION,
        ),
    ),
    Family(
        name=GTHREAD,
        aliases=("ThreadWorker",),
        interface=Interface.WSGI,
        slots=Slots.THREADS,
        counted_by=CountedBy.HANDLER,
        # Since Gunicorn 27.0 it does. The plan has to hold for Gunicorn 23 to 26 as well.
        heartbeats_while_draining=False,
        ignored=(_ASGI_ONLY, _SSL_VERSION),
    ),
    Family(
        name=THREADS,
        aliases=(),
        interface=Interface.WSGI,
        slots=Slots.THREADS,
        counted_by=CountedBy.HANDLER,
        heartbeats_while_draining=False,
        empties_queue=True,
        ignored=(_ASGI_ONLY, _SSL_VERSION),
    ),
    Family(
        name="gevent",
        aliases=("gevent_wsgi", "gevent_pywsgi", "GeventWorker", "GeventPyWSGIWorker"),
        interface=Interface.WSGI,
        slots=Slots.GREENLETS,
        counted_by=CountedBy.HANDLER,
        heartbeats_while_draining=True,
        ignored=_IGNORED_BY_GREENLETS,
    ),
    Family(  # Until Gunicorn 25.
        name="eventlet",
        aliases=("EventletWorker",),
        interface=Interface.WSGI,
        slots=Slots.GREENLETS,
        counted_by=CountedBy.HANDLER,
        ignored=_IGNORED_BY_GREENLETS,
    ),
    Family(
        name="tornado",
        aliases=("TornadoWorker",),
        interface=None,  # It serves WSGI and Tornado's own applications.
        slots=Slots.UNBOUNDED,
        ignored=(
            Ignored(("threads", "worker_connections"), "Tornado's loop serves every connection"),
            Ignored(
                (*_PARSER, *_HEAD, "forwarded_allow_ips"), "Tornado has an HTTP parser of its own"
            ),
            Ignored(_REQUEST_HOOKS, "Tornado serves the requests"),
            Ignored(("access_log_format",), "Tornado writes the access log in its own format"),
            _ASGI_ONLY,
            _SSL_VERSION,
        ),
    ),
    Family(
        name="asgi",
        aliases=("ASGIWorker",),
        interface=Interface.ASGI,
        slots=Slots.UNBOUNDED,
        counted_by=CountedBy.ASGI,
        ignored=(
            Ignored(("threads",), "synchronous code runs in the loop's own pool of threads"),
            Ignored(("worker_connections",), "Gunicorn's asgi worker counts connections, not more"),
            Ignored(("sendfile",), "ASGI has no file wrapper"),
            _SSL_VERSION,
        ),
    ),
    # A class of another module that its name alone shows to be uvicorn's.
    Family(
        name="UvicornWorker",
        aliases=("UvicornH11Worker",),
        interface=Interface.ASGI,
        slots=Slots.UNBOUNDED,
        counted_by=CountedBy.UVICORN,
        calls_worker_exit=False,
        runs_uvicorn=True,
    ),
    Family(
        name="uvicorn_worker.UvicornWorker",
        aliases=(
            "uvicorn_worker.UvicornH11Worker",
            "uvicorn_worker._workers.UvicornWorker",
            "uvicorn_worker._workers.UvicornH11Worker",
            "uvicorn.workers.UvicornWorker",
            "uvicorn.workers.UvicornH11Worker",
        ),
        interface=Interface.ASGI,
        slots=Slots.UNBOUNDED,
        counted_by=CountedBy.UVICORN,
        calls_worker_exit=False,  # On SIGTERM uvicorn raises the signal again.
        runs_uvicorn=True,
        ignored=(
            *_IGNORED_BY_UVICORN,
            Ignored(
                ("threads", "worker_connections", "asgi_lifespan", "asgi_loop", "root_path"),
                f"uvicorn-worker does not pass it on; {UVICORN} does",
            ),
            Ignored(
                ("graceful_timeout",),
                "a worker waits for its requests without a limit; the arbiter ends the wait only "
                "where the whole server stops",
            ),
            Ignored(
                ("reload",), f"the worker logs that it reloads, and goes on; {UVICORN} reloads"
            ),
            Ignored(("worker_abort",), f"SIGABRT ends the process at once; {UVICORN} calls it"),
            Ignored(_HEAD, "uvicorn's parser httptools has no such limit, h11 one of its own"),
        ),
    ),
    Family(
        name=UVICORN,
        aliases=(),
        interface=Interface.ASGI,
        slots=Slots.UNBOUNDED,
        counted_by=CountedBy.UVICORN,
        heartbeats_while_draining=True,
        runs_uvicorn=True,
        empties_queue=True,
        ignored=(
            *_IGNORED_BY_UVICORN,
            Ignored(
                _HEAD,
                f"uvicorn's parser {HTTPTOOLS} has no such limit; with h11 they have",
                parser=HTTPTOOLS,
            ),
        ),
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _ROWS})

# Every setting that some worker class ignores.
IGNORABLE = frozenset(name for family in _ROWS for row in family.ignored for name in row.settings)

_BY_NAME = {name: family for family in _ROWS for name in (family.name, *family.aliases)}


def class_name(worker_class: str | type) -> str:
    """The worker class as Gunicorn would write it: its alias, or its dotted name."""
    if isinstance(worker_class, str):
        return worker_class
    return f"{worker_class.__module__}.{worker_class.__qualname__}"


def family_of(worker_class: str | type, threads: int = 1) -> Family | None:
    """
    Return the row of the table for a worker class, or None if it is unknown.

    A loaded class is found by its nearest known ancestor. A name is found as it is, else by its
    last part: a class of another module mostly keeps the name of the one it descends from.

    With more than one of *threads*, Gunicorn runs a sync worker that is given by name as gthread.

    >>> family_of("gunicorn.workers.ggevent.GeventWorker").name
    'gevent'
    >>> family_of("sync", threads=4).name
    'gthread'
    """
    classes = (worker_class,) if isinstance(worker_class, str) else worker_class.__mro__
    names = [class_name(each) for each in classes]
    known = (_BY_NAME.get(name) for name in (*names, *map(_last_part, names)))
    family = next(filter(None, known), None)
    if isinstance(worker_class, str) and family is FAMILIES[SYNC] and threads > 1:
        return FAMILIES[GTHREAD]
    return family


def _last_part(name: str) -> str:
    last = name.rpartition(".")[2]
    # Gunicorn takes any such name for sync. Source: gunicorn.config.Config.worker_class.
    return "SyncWorker" if last.endswith("SyncWorker") else last
