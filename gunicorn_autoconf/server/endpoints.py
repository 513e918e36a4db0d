"""
Where one server's metrics and health answers are to be had. Logs, and starts what publishes them.

Theory of operation. The arbiter's main thread makes one `Endpoints`, where anything is declared,
and calls `follow` at the start and at each reload, `stop` at the end. What listens is one
`Listener`; what is written or sent at intervals has a thread of its own each, so that a slow disk
keeps no probe waiting.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.metrics.exposition import Exposition
from gunicorn_autoconf.metrics.statsd import messages
from gunicorn_autoconf.metrics.textfile import write_text_file
from gunicorn_autoconf.plan.address import Destination, Listening, TextFile
from gunicorn_autoconf.server.answers import Answer, Route, livez, readyz
from gunicorn_autoconf.server.listener import Listener
from gunicorn_autoconf.server.paused_thread import PausedThread

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter

    from gunicorn_autoconf.metrics.snapshot import Snapshot
    from gunicorn_autoconf.plan.declaration import Declaration
    from gunicorn_autoconf.server.snapshots import Snapshots

# node_exporter is scraped every 15 s as a rule.
FILE_SECONDS = 15.0
# As often as statsd hands on what it has collected.
STATSD_SECONDS = 10.0


class Endpoints:
    """What is published of one server, by whatever way."""

    def __init__(self, server: Arbiter, snapshots: Snapshots) -> None:
        self._server = server
        self._snapshots = snapshots
        self._listener: Listener | None = None
        self._exposition: Exposition | None = None
        self._file: TextFile | None = None
        self._file_error = ""
        self._sent: Snapshot | None = None
        self._failed: set[str] = set()
        self._repeated: dict[str, PausedThread] = {}

    def follow(self, declaration: Declaration) -> None:
        """Publish what *declaration* asks for, and nothing else."""
        metrics = declaration.metrics
        if metrics and self._exposition is None:
            self._exposition = Exposition(self._snapshots.take)
            os.register_at_fork(after_in_child=self._exposition.leave)
        self._listen(metrics, declaration)
        self._write_to(metrics if isinstance(metrics, TextFile) else None)
        if self._server.cfg.statsd_host:
            self._repeat("sent to statsd", self._send_statsd, STATSD_SECONDS)

    def stop(self) -> None:
        """End all of it; the server ends."""
        if self._listener:
            self._listener.stop()
        for thread in self._repeated.values():
            thread.stop()
        if not self._server.reexec_pid:  # Otherwise the new arbiter writes it already.
            self._remove_file()

    def _listen(self, metrics: Destination | None, declaration: Declaration) -> None:
        sites: dict[Listening, dict[str, Route]] = {}
        if metrics and not isinstance(metrics, TextFile):
            sites[metrics] = {"/metrics": self._answer_metrics}
        if declaration.health:
            probes = {"/livez": self._answer_livez, "/readyz": self._answer_readyz}
            sites.setdefault(declaration.health, {}).update(probes)
        if sites and self._listener is None:
            self._listener = Listener(self._server)
        if self._listener:
            self._listener.follow(sites)

    # The answers, in the listener's thread

    def _answer_metrics(self, accept: str) -> Answer:
        assert self._exposition is not None
        content_type, body = self._exposition.render(accept)
        return Answer(200, body, content_type)

    def _answer_livez(self, _accept: str) -> Answer:
        pulse = self._snapshots.pulse
        return livez(pulse.silent_seconds, is_stopping=pulse.is_stopping)

    def _answer_readyz(self, _accept: str) -> Answer:
        pulse = self._snapshots.pulse
        return readyz(self._snapshots.count(), is_stopping=pulse.is_stopping)

    # What is repeated, each in a thread of its own

    def _write_to(self, file: TextFile | None) -> None:
        writing = self._repeated.get("written")
        with writing.paused() if writing else nullcontext():
            if file != self._file:
                self._remove_file()
            self._file, self._file_error = file, ""
        if file:
            self._repeat("written", self._write_file, FILE_SECONDS)

    def _write_file(self) -> None:
        file, exposition = self._file, self._exposition
        if file is None or exposition is None or self._server.master_pid:
            return  # At an upgrade by SIGUSR2 the file is the old arbiter's until it leaves.
        try:
            write_text_file(file.path, exposition.render().body)
            self._file_error = ""
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._file_error:
                self._file_error = reason
                log_event(
                    self._server.log,
                    "warning",
                    "not_written",
                    f"gunicorn-autoconf: cannot write metrics to {file.path}: {reason}; retrying",
                )

    def _remove_file(self) -> None:
        if self._file:
            with suppress(OSError):
                os.unlink(self._file.path)

    def _send_statsd(self) -> None:
        if not self._server.cfg.statsd_host:
            return
        before, self._sent = self._sent, self._snapshots.take()
        for message in messages(self._sent, before):
            extra = message._asdict()
            self._server.log.debug("%s: %s", message.metric, message.value, extra=extra)

    def _repeat(self, what: str, step: Callable[[], None], seconds: float) -> None:
        if what in self._repeated:
            return

        def try_step(stopping: threading.Event) -> float:
            try:
                step()
            except Exception:
                if what not in self._failed and not stopping.is_set():
                    self._failed.add(what)
                    self._server.log.exception("gunicorn-autoconf: metrics could not be %s", what)
            return seconds

        self._repeated[what] = PausedThread(try_step, 0.0)
        self._repeated[what].start()
