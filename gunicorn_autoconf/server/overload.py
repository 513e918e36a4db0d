"""Puts the limits of waiting and of running around a worker's application. Logs what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.watchdog.causes import find_suspect
from gunicorn_autoconf.watchdog.sources import add_sources, find_origins
from gunicorn_autoconf.watchdog.stacks import join, render_request, render_threads
from gunicorn_autoconf.watchdog.tally import Tally
from gunicorn_autoconf.worker_classes import CountedBy, Interface, family_of

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import Meter
    from gunicorn_autoconf.fleet.records import WorkerRecords
    from gunicorn_autoconf.plan.declaration import Declaration
    from gunicorn_autoconf.watchdog.patrol import Patrol

LOG_SECONDS = 60.0


def protect(
    worker: Worker,
    declaration: Declaration,
    meter: Meter | None,
    patrol: Patrol | None,
) -> None:
    """
    Have *worker* keep what *declaration* says of waiting and running; it has loaded.

    *patrol* knows for how long the server stood still.
    """
    family = family_of(type(worker))
    clock = patrol.standstill.now if patrol else time.monotonic
    if declaration.request_timeout_seconds > 0 and family and family.interface is Interface.ASGI:
        _limit_asgi(worker, declaration.request_timeout_seconds, clock)
    max_seconds = declaration.max_queue_seconds
    if max_seconds > 0:
        from gunicorn_autoconf.overload.refusal import Refusal  # Only where it is asked for.

        refused = meter.rejected if meter else lambda: None
        refusal = Refusal(
            max_seconds, declaration.health_paths, worker.cfg.forwarded_allow_ips, refused
        )
        queue = getattr(worker, "watch_queue", None)
        queued_seconds = queue() if queue else lambda: 0.0
        _wrap(worker, refusal.asgi, lambda app: refusal.wsgi(app, queued_seconds))


def _limit_asgi(worker: Worker, limit_seconds: float, clock: Callable[[], float]) -> None:
    """Have *worker* cancel requests that run longer; those of WSGI are the watchdog's to end."""
    from gunicorn_autoconf.overload.limit import TimeLimit  # A WSGI worker has no use for asyncio.
    from gunicorn_autoconf.watchdog.tasks import read_task

    origins = find_origins(getattr(worker.app, "app_uri", None))
    tally = Tally()

    def describe(scope: Any, seconds: float) -> str:
        request = render_request(scope.get("method"), scope.get("path"))
        return (
            f"gunicorn-autoconf: {request} has run for {seconds:.1f} s, longer than "
            f"GUNICORN_REQUEST_TIMEOUT ({limit_seconds:g} s)"
        )

    def report(task: Any, scope: Any, seconds: float) -> None:
        stack, now = read_task(task), time.monotonic()
        place = find_suspect([stack.stack], origins).frame
        unreported = tally.add(place, now, seconds)
        if unreported is not None:
            shown = stack._replace(stack=add_sources(stack.stack))
            more = f"; {unreported} more here since the last report" if unreported else ""
            head = f"{describe(scope, seconds)}: it is cancelled{more}. It was at"
            text = join([head, *render_threads([shown], origins, kind="task")])
            log_event(worker.log, "error", "request_timeout", text)

    def report_stuck(task: Any, scope: Any, seconds: float) -> None:
        text = (
            f"{describe(scope, seconds)} and is still running although it was cancelled: what it "
            "awaits cannot be interrupted, such as a thread. Its client gets 504"
        )
        log_event(worker.log, "error", "request_stuck", text)

    reports = _harmless(worker, report), _harmless(worker, report_stuck)
    limit = TimeLimit(limit_seconds, *reports, clock)
    _wrap(worker, limit.asgi, lambda app: app)


def _harmless(worker: Worker, report: Callable[..., None]) -> Callable[..., None]:
    """Return *report* as one that raises nothing: the request is to be ended in any case."""

    def harmless(*args: Any) -> None:
        try:
            report(*args)
        except Exception:
            worker.log.exception("gunicorn-autoconf: could not report a request that runs too long")

    return harmless


def _wrap(worker: Worker, wrap_asgi: Callable[[Any], Any], wrap_wsgi: Callable[[Any], Any]) -> None:
    """Put what *wrap_asgi* or *wrap_wsgi* returns in the place of the application."""
    family = family_of(type(worker))
    counted_by = family.counted_by if family else CountedBy.NOTHING
    if counted_by is CountedBy.UVICORN and hasattr(worker, "config"):
        _once_loaded(worker.config, wrap_asgi)
    elif counted_by is CountedBy.ASGI:
        worker.asgi = wrap_asgi(worker.asgi)
    elif counted_by is CountedBy.HANDLER:
        worker.wsgi = wrap_wsgi(worker.wsgi)


def _once_loaded(config: Any, wrap: Callable[[Any], Any]) -> None:
    """Have *wrap* take the application that uvicorn has loaded: whatever it was, ASGI 3 by now."""
    load = config.load

    def load_and_wrap() -> None:
        load()
        config.loaded_app = wrap(config.loaded_app)

    config.load = load_and_wrap


class RefusalLog:
    """
    Logs once a minute how many requests were refused; in the arbiter, by one thread.

    *max_seconds* returns how long a request may wait, as the plan now has it.
    """

    def __init__(
        self, server: Arbiter, records: WorkerRecords, max_seconds: Callable[[], float]
    ) -> None:
        self._server = server
        self._records = records
        self._max_seconds = max_seconds
        self._logged_at = time.monotonic()
        self._logged = 0

    def look(self, now: float, *, at_once: bool = False) -> None:
        """Log what was refused since the last line, where that is a minute ago or *at_once*."""
        if now - self._logged_at < LOG_SECONDS and not at_once:
            return
        passed_seconds, self._logged_at = now - self._logged_at, now
        before, seen = self._logged, self._records.rejected(self._server.WORKERS)
        # One that ends at this moment is missing.
        self._logged = max(before, seen)
        if count := self._logged - before:
            log_event(
                self._server.log,
                "warning",
                "refused",
                f"gunicorn-autoconf: {count} requests in {passed_seconds:.0f} s were answered 503: "
                f"they had waited for more than {self._max_seconds():g} s (GUNICORN_MAX_QUEUE)",
                rejected=count,
                interval_seconds=round(passed_seconds, 1),
            )
