"""Gunicorn's settings that have no effect under a worker class, and why. Pure.

Each row is held against the source of the installed Gunicorn and Uvicorn by a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.worker_classes import GTHREAD, SYNC, UVICORN, class_name, is_gthread, is_sync

GEVENT, TORNADO, ASGI, STOCK_UVICORN = "gevent", "tornado", "asgi", "uvicorn_worker.UvicornWorker"
HTTPTOOLS = "httptools"


class Row(NamedTuple):
    """Some settings without effect, and the reason that they share."""

    settings: tuple[str, ...]
    why: str
    parser: str | None = None
    """The one HTTP parser of uvicorn under which it is so; None where that does not matter."""


_ASGI_ONLY = Row(
    ("asgi_disconnect_grace_period", "asgi_lifespan", "asgi_loop", "root_path"),
    "it is for ASGI applications",
)
_WEBSOCKET = Row(("websocket_max_message_size",), "it serves no WebSockets")
_SSL_VERSION = Row(("ssl_version",), "Python's own choice of versions stands; see ssl_context")
_HTTP2 = Row(
    (
        "http2_cleartext",
        "http2_initial_window_size",
        "http2_max_concurrent_streams",
        "http2_max_frame_size",
        "http2_max_header_list_size",
    ),
    "it serves HTTP/1.1 only",
)
_HEAD = ("limit_request_field_size", "limit_request_fields", "limit_request_line")
_PARSER = (
    "casefold_http_method",
    "forwarder_headers",
    "header_map",
    "http_parser",
    "permit_obsolete_folding",
    "permit_unconventional_http_method",
    "permit_unconventional_http_version",
    "protocol",
    "proxy_allow_ips",
    "proxy_protocol",
    "secure_scheme_headers",
    "sendfile",
    "strip_header_spaces",
    "uwsgi_allow_ips",
)
_REQUEST_HOOKS = ("pre_request", "post_request")
_ONE_AT_A_TIME = Row(("worker_connections",), "the worker has one connection at a time")
_NO_THREADS = "requests are not served by threads"

_UVICORN = (
    Row(_PARSER, "uvicorn has an HTTP parser of its own"),
    Row(_REQUEST_HOOKS, "uvicorn serves the requests; an ASGI middleware sees them"),
    Row(("access_log_format",), "uvicorn writes the access log in its own format"),
    Row((*_HTTP2.settings, "http_protocols"), "uvicorn is not told to serve HTTP/2"),
    Row(
        ("do_handshake_on_connect", "ssl_context", "suppress_ragged_eofs"),
        "uvicorn makes the TLS context itself, from certfile, keyfile, ca_certs and ciphers",
    ),
    Row(("asgi_disconnect_grace_period",), "uvicorn cancels nothing when a client leaves"),
)

IGNORED: Mapping[str, tuple[Row, ...]] = MappingProxyType(
    {
        SYNC: (
            Row(("keepalive",), "sync closes every connection after its response"),
            _ONE_AT_A_TIME,
            _ASGI_ONLY,
            _WEBSOCKET,
            _HTTP2,
            _SSL_VERSION,
        ),
        GTHREAD: (_ASGI_ONLY, _WEBSOCKET, _SSL_VERSION),
        GEVENT: (
            Row(("threads",), "requests are served by greenlets; see worker_connections"),
            _ASGI_ONLY,
            _WEBSOCKET,
            _SSL_VERSION,
        ),
        TORNADO: (
            Row(("threads", "worker_connections"), "Tornado's loop serves every connection"),
            Row((*_PARSER, *_HEAD, "forwarded_allow_ips"), "Tornado has an HTTP parser of its own"),
            Row(_REQUEST_HOOKS, "Tornado serves the requests"),
            Row(("access_log_format",), "Tornado writes the access log in its own format"),
            _ASGI_ONLY,
            _WEBSOCKET,
            _HTTP2,
            _SSL_VERSION,
        ),
        ASGI: (
            Row(("threads",), "synchronous code runs in the loop's own pool of threads"),
            Row(("worker_connections",), "Gunicorn's asgi worker counts connections, not more"),
            Row(("sendfile",), "ASGI has no file wrapper"),
            _SSL_VERSION,
        ),
        STOCK_UVICORN: (
            *_UVICORN,
            Row(("threads",), f"uvicorn-worker hands it to nobody; {UVICORN} does"),
            Row(("worker_connections",), f"uvicorn-worker hands it to nobody; {UVICORN} does"),
            Row(
                ("graceful_timeout",),
                "a worker waits for its requests without a limit; the arbiter ends the wait only "
                "where the whole server stops",
            ),
            Row(("reload",), f"the worker logs that it reloads, and goes on; {UVICORN} reloads"),
            Row(("worker_abort",), f"SIGABRT ends the process at once; {UVICORN} calls it"),
            Row(
                ("asgi_lifespan", "asgi_loop", "root_path", "websocket_max_message_size"),
                f"uvicorn-worker hands it to nobody; {UVICORN} does",
            ),
            Row(_HEAD, "uvicorn's parser httptools has no such limit, h11 one of its own"),
        ),
        UVICORN: (
            *_UVICORN,
            Row(
                _HEAD,
                f"uvicorn's parser {HTTPTOOLS} has no such limit; with h11 they have",
                parser=HTTPTOOLS,
            ),
        ),
    }
)

# The classes by their last name, where Gunicorn and uvicorn-worker have several names for one.
_LAST_NAMES = {
    "gevent": GEVENT,
    "gevent_wsgi": GEVENT,
    "gevent_pywsgi": GEVENT,
    "GeventWorker": GEVENT,
    "GeventPyWSGIWorker": GEVENT,
    "eventlet": GEVENT,
    "EventletWorker": GEVENT,
    "tornado": TORNADO,
    "TornadoWorker": TORNADO,
    "asgi": ASGI,
    "ASGIWorker": ASGI,
}
_STOCK_MODULES = ("uvicorn_worker", "uvicorn.workers")

IGNORABLE = frozenset(name for rows in IGNORED.values() for row in rows for name in row.settings)


def ignoring(worker_class: str | type) -> str | None:
    """Return the row of the table for *worker_class* or its nearest ancestor; None if unknown."""
    classes = [worker_class] if isinstance(worker_class, str) else worker_class.__mro__
    for name in map(class_name, classes):
        module, _, last = name.rpartition(".")
        if name == UVICORN:
            return UVICORN
        if module.startswith(_STOCK_MODULES):
            return STOCK_UVICORN
        if is_sync(name):
            return SYNC
        if is_gthread(name):
            return GTHREAD
        if last in _LAST_NAMES:
            return _LAST_NAMES[last]
    return None


def without_effect(
    declaration: Declaration, worker_class: str | type, threads: int, http_parser: str
) -> Iterator[str]:
    """
    Yield a sentence for each setting of *declaration* that *worker_class* does not heed.

    *http_parser* is the one that uvicorn takes in this class.
    """
    family = ignoring(worker_class)
    if family == SYNC and threads > 1:
        family = GTHREAD  # As Gunicorn does.
    for row in IGNORED.get(family or "", ()):
        if row.parser not in {None, http_parser}:
            continue
        for name in row.settings:
            explicit = declaration.explicit(name)
            if explicit is None or _is_no_wish(name, explicit.value):
                continue
            yield (
                f"{name}, set by {explicit.source}, has no effect under "
                f"{class_name(worker_class)}: {row.why}"
            )


def _is_no_wish(name: str, value: Any) -> bool:
    """Whether *value* asks for nothing that would not be so anyway."""
    return (name == "threads" and value <= 1) or (name == "reload" and not value)
