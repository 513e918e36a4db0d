"""The families of worker classes: what each serves and how it behaves. Pure."""

from __future__ import annotations

from enum import Enum


class Interface(str, Enum):
    """What the application speaks."""

    ASGI = "asgi"
    WSGI = "wsgi"


SYNC, GTHREAD, UVICORN = "sync", "gthread", "gunicorn_autoconf.workers.UvicornWorker"

# The worker classes that Gunicorn, uvicorn-worker and uvicorn bring, by their last name.
_CLASS_INTERFACES = {
    "sync": Interface.WSGI,
    "SyncWorker": Interface.WSGI,
    "gthread": Interface.WSGI,
    "ThreadWorker": Interface.WSGI,
    "gevent": Interface.WSGI,
    "gevent_wsgi": Interface.WSGI,
    "gevent_pywsgi": Interface.WSGI,
    "GeventWorker": Interface.WSGI,
    "GeventPyWSGIWorker": Interface.WSGI,
    "eventlet": Interface.WSGI,
    "EventletWorker": Interface.WSGI,
    "asgi": Interface.ASGI,
    "ASGIWorker": Interface.ASGI,
    "UvicornWorker": Interface.ASGI,
    "UvicornH11Worker": Interface.ASGI,
}


def class_name(worker_class: str | type) -> str:
    """The worker class as Gunicorn would write it: its alias, or its dotted name."""
    if isinstance(worker_class, str):
        return worker_class
    return f"{worker_class.__module__}.{worker_class.__qualname__}"


def is_sync(name: str) -> bool:
    """Whether Gunicorn takes *name* for the sync worker (gunicorn.config.Config.worker_class)."""
    return name == SYNC or name.endswith("SyncWorker")


def is_gthread(name: str) -> bool:
    """Whether *name* is the threaded worker, by its alias or its dotted name."""
    return name == GTHREAD or name.endswith(".ThreadWorker")


def class_interface(worker_class: str | type) -> Interface | None:
    """What a worker class speaks, or None where the class is unknown."""
    return _CLASS_INTERFACES.get(class_name(worker_class).rpartition(".")[2])
