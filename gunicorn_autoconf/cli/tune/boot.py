"""Waits until a server is up: one answer, all workers there, none of them booting any more."""

from __future__ import annotations

import http.client
import select
import time

from gunicorn_autoconf.cli.tune.outcome import Failure, Trouble
from gunicorn_autoconf.cli.tune.request import Request
from gunicorn_autoconf.cli.tune.server import Server, reason_in
from gunicorn_autoconf.units import plural

_LOOK_SECONDS = 0.1
_END_SECONDS = 3.0
# Workers that boot compute. A server that used less than this part of a core for so long is up.
_IDLE_CORES, _IDLE_SECONDS = 0.1, 0.25
# What computes without an end, such as a thread of the application, is not waited for.
_MOST_IDLE_SECONDS, _BOOT_FACTOR = 3.0, 2.0
# Workers that end while they boot are started again without an end.
_MOST_DEATHS = 3


def await_boot(server: Server, request: Request, patience_seconds: float) -> Failure | None:
    """Return None once *server* is up, or why it does not come up within *patience_seconds*."""
    began = time.monotonic()
    seen: set[int] = set()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=patience_seconds)
    try:
        # The socket listens already: the kernel keeps the request for the first worker.
        connection.request(
            request.method, request.target, request.body or None, dict(request.headers)
        )
        while not select.select([connection.sock], [], [], _LOOK_SECONDS)[0]:
            seen |= server.worker_pids()
            if failure := _failure(server, seen, time.monotonic() - began, patience_seconds):
                return failure
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        _await_end(server)
        failure = _failure(server, seen, time.monotonic() - began, patience_seconds)
        return failure or Failure(trouble=Trouble.NO_ANSWER, text=reason_in(server.log))
    finally:
        connection.close()
    _await_rest(server, time.monotonic() - began)
    return None


def _failure(
    server: Server, seen: set[int], waited_seconds: float, patience_seconds: float
) -> Failure | None:
    if server.has_ended:
        return Failure(trouble=Trouble.NO_START, text=reason_in(server.log))
    if (deaths := len(seen) - server.workers) > _MOST_DEATHS:
        return died(server, deaths)
    if waited_seconds > patience_seconds:
        text = f"no answer within {patience_seconds:.0f} s"
        return Failure(trouble=Trouble.SLOW_START, text=text)
    return None


def died(server: Server, count: int) -> Failure:
    """Return the failure of *server* to keep its workers, *count* of which have ended."""
    log, workers = server.log, plural(count, "worker")
    # Source: Gunicorn, arbiter.py, murder_workers and reap_workers. It says the latter of its own
    # SIGKILL, too.
    if "WORKER TIMEOUT" in log:
        text = f"{workers} killed for not being heard of within Gunicorn's timeout"
        return Failure(trouble=Trouble.WORKERS_DIED, text=text)
    if "Perhaps out of memory" in log:
        text = f"{workers} got SIGKILL, as from the OOM killer"
        return Failure(trouble=Trouble.OUT_OF_MEMORY, text=text)
    return Failure(trouble=Trouble.WORKERS_DIED, text=reason_in(log))


def _await_end(server: Server) -> None:
    """Wait a moment: a connection breaks before the process is seen to have ended."""
    ends = time.monotonic() + _END_SECONDS
    while not server.has_ended and time.monotonic() < ends:
        time.sleep(_LOOK_SECONDS)


def _await_rest(server: Server, boot_seconds: float) -> None:
    """Return when the other workers do not boot any more either."""
    ends = time.monotonic() + max(_MOST_IDLE_SECONDS, _BOOT_FACTOR * boot_seconds)
    before = server.cpu_seconds()
    while time.monotonic() < ends:
        time.sleep(_IDLE_SECONDS)
        after = server.cpu_seconds()
        is_idle = after - before < _IDLE_CORES * _IDLE_SECONDS
        if is_idle and len(server.worker_pids()) >= server.workers:
            return
        before = after
