"""Our server hooks, under Gunicorn's names.

Logs, and changes the arbiter's configuration before it forks. No hook raises; the one that ends a
start whose application and worker class do not fit leaves by `SystemExit`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.memory.boot_line import render_boot
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.plan.report import (
    render_change,
    render_final,
    render_overridden,
    render_table,
    value_text,
    verdict_line,
)
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS
from gunicorn_autoconf.server.compose import Hook, parts_of
from gunicorn_autoconf.server.counting import attach
from gunicorn_autoconf.server.gil import GilWatch
from gunicorn_autoconf.server.mismatch import check_at_load, check_interface
from gunicorn_autoconf.server.overload import protect
from gunicorn_autoconf.server.reading import CONF_MODULE
from gunicorn_autoconf.server.replaced import GUARD_HOOKS, render_replaced
from gunicorn_autoconf.server.replan import (
    check_application,
    heed,
    leaves_conf_file_aside,
    loop_and_parser,
    replan,
)
from gunicorn_autoconf.server.state import ServerState, create_state, state_of
from gunicorn_autoconf.watchdog.inside import watch_inside
from gunicorn_autoconf.worker_classes import family_of

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.fleet.meter import Meter
    from gunicorn_autoconf.server.planned import Planned
    from gunicorn_autoconf.watchdog.ticker import Ticker

# As for a configuration that Gunicorn refuses.
REFUSED = 1


def _harmless(hook: Hook) -> Hook:
    """Make *hook* log what it raises: a server that runs is never stopped by us."""

    @functools.wraps(hook)
    def harmless(self: ServerHooks, *args: Any) -> None:
        try:
            hook(self, *args)
        except Exception:
            # Gunicorn 23 reaps in a signal handler: in the middle of a line that is being written
            # to a slow stderr none can be written, not even this one.
            with suppress(Exception):
                args[0].log.exception("gunicorn-autoconf: %s failed", hook.__name__)

    return harmless


class ServerHooks:
    """
    The hooks that one reading of the configuration hands to Gunicorn.

    They keep what was loaded and offered then. The plan that holds now is in the arbiter's
    `ServerState`, which they share; in a forked worker they also keep that worker's part
    of the watchdog and its meter.
    """

    def __init__(
        self,
        loaded: Planned,
        offered: Mapping[str, Any] | None = None,
        timing: Timing = DEFAULT,
    ) -> None:
        """
        Take over what was *loaded*, and the settings as they were offered to Gunicorn.

        A test may have another *timing* of the memory guard.
        """
        self._loaded = loaded
        self._offered = {} if offered is None else offered
        self._timing = timing
        self._state: ServerState | None = None
        self._watchdog: Ticker | None = None
        self._meter: Meter | None = None
        self._gil = GilWatch()

    def by_name(self) -> dict[str, Hook]:
        """The hooks by the names of Gunicorn's settings."""
        hooks = (
            self.on_starting,
            self.when_ready,
            self.on_reload,
            self.pre_fork,
            self.post_worker_init,
            self.worker_exit,
            self.nworkers_changed,
            self.child_exit,
            self.on_exit,
        )
        return {hook.__name__: hook for hook in hooks}

    @_harmless
    def on_starting(self, server: Arbiter) -> None:
        """Fit the plan to the whole configuration and log it."""
        state = self._state_of(server)
        try:
            check_application(self._loaded, server)
        except DeclarationError as error:
            server.log.critical("gunicorn-autoconf: %s", error)
            server.halt(exit_status=REFUSED)
        final = replan(self._loaded, server, self._offered)
        state.replanned(self._loaded, final)
        first = verdict_line(final.machine, final.declaration, final.plan)
        log_event(server.log, "info", first.event, first.text, **first.fields)
        table = render_table(final.machine, final.declaration, final.plan, loop_and_parser(server))
        for line in table:
            log_event(server.log, _detail_level(), line.event, line.text, **line.fields)
        for warning in final.warnings:
            log_event(server.log, "warning", "plan_warning", f"gunicorn-autoconf: {warning}")
        if leaves_conf_file_aside(server):
            server.log.info(
                "gunicorn-autoconf: ./gunicorn.conf.py is not read, as -c names %s", CONF_MODULE
            )
        if of_uvicorn := loop_and_parser(server):
            from gunicorn_autoconf.server.shared_imports import import_for_workers

            import_for_workers(server.worker_class, *of_uvicorn.split(", "))
        if server.cfg.preload_app:
            from gunicorn_autoconf.server.preload import freeze_preloaded

            freeze_preloaded(server)

    @_harmless
    def when_ready(self, server: Arbiter) -> None:
        """Log the values that hold, and what overrode the plan; start the supervisor."""
        state = self._state_of(server)
        state.replanned(self._loaded, heed(state.final, server, self._offered))
        values = {name: setting.get() for name, setting in server.cfg.settings.items()}
        values["workers"] = server.num_workers
        running = {name: value_text(name, values[name]) for name in PLANNED_SETTINGS}
        text = render_final(state.final.plan, values)
        log_event(server.log, _detail_level(), "running", text, settings=running)
        if overridden := render_overridden(state.final.plan, values):
            log_event(server.log, "info", "overridden", overridden, settings=running)
        state.start(server, functools.partial(_replaced, server))

    @_harmless
    def on_reload(self, server: Arbiter) -> None:
        """Plan again on SIGHUP: the machine or the configuration may have changed."""
        state = self._state_of(server)
        before = state.final.plan
        machine = detect_machine(self._loaded.root, environ=self._loaded.environ)
        loaded = replace(self._loaded, machine=machine)
        state.replanned(self._loaded, replan(loaded, server, self._offered, is_reload=True))
        state.reloaded(server)
        self._log_replaced(server, state)
        server.log.info("%s", render_change(before, state.final.plan))

    @_harmless
    def pre_fork(self, server: Arbiter, worker: Worker) -> None:
        """Give the worker its slot on the shared page, and see that no signal to it is lost."""
        state = self._state_of(server)
        check_at_load(worker, self._check_interface)
        state.forking(worker)

    @_harmless
    def post_worker_init(self, worker: Worker) -> None:
        """Start counting requests and watching; log the worker's memory once it can serve."""
        records = self._state.records if self._state else None
        self._meter = records.meter(worker) if records else None
        if records and hasattr(worker, "peers"):  # A class of ours, which spreads connections.
            worker.peers = records.peers(worker)
        patrol = self._state.patrol if self._state else None
        protect(worker, self._final.declaration, self._meter, patrol)
        if not attach(worker, self._meter, lambda: self._ready(worker, "ready")):
            self._ready(worker, "booted")
        self._gil.report(worker, self._final.application)
        if self._state and self._state.patrol:
            self._watchdog = watch_inside(worker, self._state.patrol, self._meter)

    @_harmless
    def nworkers_changed(self, server: Arbiter, new_value: int, old_value: int | None) -> None:
        """Tell an operator's change of the count from our own."""
        # None where Gunicorn sets the count for the first time.
        self._state = state = state_of(server)
        if state and state.supervisor:
            state.supervisor.executor.count_changed(new_value, old_value)

    @_harmless
    def child_exit(self, server: Arbiter, worker: Worker) -> None:
        """Say why a worker ended and what it used."""
        heard = self.worker_exit in parts_of(server.cfg.worker_exit)
        family = family_of(server.worker_class)
        reports_end = heard and (family is None or family.calls_worker_exit)
        self._state_of(server).ended(server, worker, reports_end=reports_end)

    @_harmless
    def on_exit(self, server: Arbiter) -> None:
        """Stop the supervisor, and log what Gunicorn has killed."""
        if state := state_of(server):
            state.stop(server)

    @_harmless
    def worker_exit(self, server: Arbiter, worker: Worker) -> None:
        """Tell the arbiter what the worker uses at its end, and that it ends."""
        if worker.pid != os.getpid():
            return  # The arbiter calls it for a worker that it finds gone.
        if self._meter:
            self._meter.exiting()
        if self._state:
            self._state.exiting(worker)
        if self._watchdog:
            self._watchdog.stop()

    @property
    def _final(self) -> Planned:
        """The plan that holds; the loaded one where no hook of ours ran in the arbiter."""
        return self._state.final if self._state else self._loaded

    def _state_of(self, server: Arbiter) -> ServerState:
        self._state = state_of(server) or self._begin(server)
        return self._state

    def _begin(self, server: Arbiter) -> ServerState:
        """Take over an arbiter, in the first hook of ours that runs; log which ones do not."""
        self._state = state = create_state(server, self._loaded, self._timing)
        replaced = self._log_replaced(server, state)
        if "on_starting" in replaced:
            state.replanned(self._loaded, heed(self._loaded, server, self._offered))
        return state

    def _log_replaced(self, server: Arbiter, state: ServerState) -> tuple[str, ...]:
        """Return our hooks that the user's own replace; log them where they are not known yet."""
        replaced = tuple(name for name in self.by_name() if not _runs_ours(server, name))
        line = render_replaced(replaced)
        if line and replaced != state.replaced:
            text = f"gunicorn-autoconf: {line}"
            log_event(server.log, "warning", "hooks_replaced", text, hooks=list(replaced))
        state.replaced = replaced
        return replaced

    def _ready(self, worker: Worker, what: str) -> None:
        """Tell that *worker* can serve, and what it took until then. Never raises."""
        try:
            memory = read_process_memory()
            if memory is None:  # No /proc, or one that hides us.
                worker.log.info(
                    "gunicorn-autoconf: worker %d %s: memory unknown (/proc unavailable)",
                    worker.pid,
                    what,
                )
                if self._state:
                    self._state.records.ready(worker, ProcessMemory(0, None, None))
                return
            seconds = self._state.records.ready(worker, memory) if self._state else None
            log_event(
                worker.log,
                # Those of a start have one line together, from the arbiter.
                "info" if self._state is None or self._state.is_complete else "debug",
                "worker_ready" if what == "ready" else "worker_booted",
                render_boot(worker.pid, what, seconds, memory),
                worker=worker.pid,
                boot_seconds=seconds and round(seconds, 3),
                **memory._asdict(),
            )
        except Exception:
            worker.log.exception("gunicorn-autoconf: a worker's memory was not reported")

    @_harmless
    def _check_interface(self, worker: Worker) -> None:
        if self._state:
            check_interface(worker, self._state)


def _detail_level() -> str:
    """The level of lines that explain: a person at a terminal reads them, a log only at debug."""
    return "info" if sys.stderr.isatty() else "debug"


def _replaced(server: Arbiter) -> list[str]:
    """The hooks that the guard relies on and that the user's own hooks replace, by name."""
    return [name for name in GUARD_HOOKS if not _runs_ours(server, name)]


def _runs_ours(server: Arbiter, name: str) -> bool:
    """Whether *server* runs our hook *name*, of any instance: a reload may bring another."""
    ours = getattr(ServerHooks, name)
    hook = server.cfg.settings[name].get()
    return any(getattr(part, "__func__", None) is ours for part in parts_of(hook))
