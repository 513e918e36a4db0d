"""Our server hooks, under Gunicorn's names.

Logs, and changes the arbiter's configuration before it forks. No hook raises; the one that ends a
start whose application and worker class do not fit leaves by `SystemExit`.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.app.loaded import interface_of
from gunicorn_autoconf.events import log_event
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.memory.lines import render_boot
from gunicorn_autoconf.memory.timing import DEFAULT, Timing
from gunicorn_autoconf.plan.report import render_change, render_final, render_table, value_text
from gunicorn_autoconf.plan.steps import PLANNED_SETTINGS
from gunicorn_autoconf.server.compose import Hook, parts_of
from gunicorn_autoconf.server.preload import freeze_preloaded
from gunicorn_autoconf.server.replan import loop_and_parser, replan
from gunicorn_autoconf.server.state import ServerState, create_state, state_of
from gunicorn_autoconf.watchdog.watchdog import Watchdog, start_watchdog
from gunicorn_autoconf.worker_classes import Interface, family_of

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from gunicorn_autoconf.server.planned import Planned

# The exit status by which a worker tells the arbiter to give up, not to fork another one.
# Source: gunicorn.arbiter.Arbiter.APP_LOAD_ERROR.
APP_LOAD_ERROR = 4

# Without these the guard does not hear of each worker's start and end and of each change of the
# count: it would count wrongly.
GUARD_HOOKS = ("on_reload", "pre_fork", "post_worker_init", "nworkers_changed", "child_exit")


def _harmless(hook: Hook) -> Hook:
    """Make *hook* log what it raises: a server that runs is never stopped by us."""

    @functools.wraps(hook)
    def harmless(self: ServerHooks, *args: Any) -> None:
        try:
            hook(self, *args)
        except Exception:
            args[0].log.exception("gunicorn-autoconf: %s failed", hook.__name__)

    return harmless


class ServerHooks:
    """
    The hooks that one reading of the configuration hands to Gunicorn.

    They keep nothing of their own: the plan is in the arbiter's `ServerState`, and each worker,
    once forked, adds its watchdog.
    """

    def __init__(self, loaded: Planned, timing: Timing = DEFAULT) -> None:
        """Hand over what was *loaded*; a test may have another *timing* of the memory guard."""
        self._loaded = loaded
        self._timing = timing
        self._state: ServerState | None = None
        self._watchdog: Watchdog | None = None

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
        final = replan(self._loaded, server)
        self._state_of(server).replanned(self._loaded, final)
        table = render_table(final.machine, final.declaration, final.plan, loop_and_parser(server))
        for line in table:
            log_event(server.log, "info", line.event, line.text, **line.fields)
        for warning in final.warnings:
            log_event(server.log, "warning", "plan_warning", f"gunicorn-autoconf: {warning}")
        if server.cfg.preload_app:
            freeze_preloaded(server)

    @_harmless
    def when_ready(self, server: Arbiter) -> None:
        """Log the values that hold, and what overrode the plan; start the supervisor."""
        values = {name: setting.get() for name, setting in server.cfg.settings.items()}
        final = self._state_of(server).final.plan
        running = {name: value_text(name, values[name]) for name in PLANNED_SETTINGS}
        log_event(server.log, "info", "running", render_final(final, values), settings=running)
        for name, hook in self.by_name().items():
            if hook not in parts_of(values[name]):
                server.log.info(
                    "gunicorn-autoconf: your %s stands in the place of ours; compose() runs both",
                    name,
                )
        self._state_of(server).start(server, functools.partial(_replaced, server))

    @_harmless
    def on_reload(self, server: Arbiter) -> None:
        """Plan again on SIGHUP: the machine or the configuration may have changed."""
        state = self._state_of(server)
        before = state.final.plan
        machine = detect_machine(self._loaded.root, environ=self._loaded.environ)
        state.replanned(self._loaded, replan(replace(self._loaded, machine=machine), server))
        state.has_reloaded = True
        server.log.info("%s", render_change(before, state.final.plan))

    @_harmless
    def pre_fork(self, server: Arbiter, worker: Worker) -> None:
        """Give the worker its slot on the status page, and see that no signal to it is lost."""
        self._state_of(server).forking(worker)

    @_harmless
    def post_worker_init(self, worker: Worker) -> None:
        """Check the application against the worker class; tell what the boot took; watch."""
        self._check_interface(worker)
        memory = read_process_memory()
        if memory is not None:
            seconds = self._state.records.booted(worker, memory) if self._state else None
            log_event(
                worker.log,
                "info",
                "worker_booted",
                render_boot(worker.pid, seconds, memory),
                worker=worker.pid,
                boot_seconds=seconds and round(seconds, 3),
                **memory._asdict(),
            )
        else:  # No /proc, or one that hides us.
            worker.log.info("worker %d booted: its memory is not told", worker.pid)
        self._watchdog = start_watchdog(worker, self._final.declaration.stall_warning_seconds)

    @_harmless
    def nworkers_changed(self, server: Arbiter, new_value: int, old_value: int | None) -> None:
        """Tell an operator's change of the count from our own."""
        if state := state_of(server):
            state.count_changed(new_value, old_value)

    @_harmless
    def child_exit(self, server: Arbiter, worker: Worker) -> None:
        """Say why a worker ended and what it used."""
        heard = self.worker_exit in parts_of(server.cfg.worker_exit)
        family = family_of(server.worker_class)
        tells_end = heard and (family is None or family.calls_worker_exit)
        self._state_of(server).ended(server, worker, tells_end=tells_end)

    @_harmless
    def on_exit(self, server: Arbiter) -> None:
        """Stop the supervisor."""
        if state := state_of(server):
            state.stop()

    @_harmless
    def worker_exit(self, server: Arbiter, worker: Worker) -> None:
        """Tell the arbiter what the worker uses at its end; log what the watchdog has counted."""
        if worker.pid != os.getpid():
            return  # The arbiter calls it for a worker that it finds gone.
        if self._state:
            self._state.exiting(worker)
        if self._watchdog:
            self._watchdog.close()

    @property
    def _final(self) -> Planned:
        """The plan that holds; the loaded one where no hook of ours ran in the arbiter."""
        return self._state.final if self._state else self._loaded

    def _state_of(self, server: Arbiter) -> ServerState:
        self._state = state_of(server) or create_state(server, self._loaded, self._timing)
        return self._state

    def _check_interface(self, worker: Worker) -> None:
        """End the start where application and worker class do not speak the same."""
        speaks, serves = interface_of(worker.app.callable), _served_by(worker)
        if speaks is None or serves is None or speaks is serves:
            return
        # Only a start may end here; a server that has run goes on, whatever was deployed since.
        reloaded = worker.cfg.reload or (self._state is not None and self._state.has_reloaded)
        starting = not reloaded and worker.age <= worker.cfg.workers
        records = self._state.records if starting and self._state else None
        # One line, not one a worker; and Gunicorn stumbles over a second worker that gives up.
        if records and worker.age > 1 and records.wait_for_end(worker):
            sys.exit(0)
        explicit = self._final.declaration.explicit("worker_class")
        worker.log.critical(
            "gunicorn-autoconf: the application is %s, but %s serves %s: %s",
            speaks.value.upper(),
            worker.cfg.worker_class_str,
            serves.value.upper(),
            f"take away the worker class that {explicit.source} sets"
            if explicit
            else f"set GUNICORN_INTERFACE={speaks.value}",
        )
        if records:
            records.end_start(worker)
        if starting:
            sys.exit(APP_LOAD_ERROR)


def _replaced(server: Arbiter) -> list[str]:
    """The hooks that the guard relies on and that a user's own stand in the place of, by name."""
    return [name for name in GUARD_HOOKS if not _is_ours(server.cfg.settings[name].get(), name)]


def _is_ours(hook: Hook, name: str) -> bool:
    """Whether *hook* runs ours of that *name*, of any instance: a reload may bring another."""
    ours = getattr(ServerHooks, name)
    return any(getattr(part, "__func__", None) is ours for part in parts_of(hook))


def _served_by(worker: Worker) -> Interface | None:
    """What the class of *worker* serves, or None where that is unknown."""
    if getattr(getattr(worker, "config", None), "interface", None) == "wsgi":
        return Interface.WSGI  # A UvicornWorker that was told to wrap a WSGI application.
    family = family_of(type(worker))
    return family.interface if family else None
