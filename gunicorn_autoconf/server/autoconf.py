"""The one composition: facts, declaration, plan, settings and hooks. Reads the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.plan.declaration import read_declaration
from gunicorn_autoconf.plan.steps import plan
from gunicorn_autoconf.plan.variables import VARIABLES
from gunicorn_autoconf.server.command_line import read_command_line
from gunicorn_autoconf.server.compose import compose
from gunicorn_autoconf.server.gunicorn import setting_flags, setting_parsers
from gunicorn_autoconf.server.hooks import ServerHooks
from gunicorn_autoconf.server.planned import Planned
from gunicorn_autoconf.server.provenance import offer, record_writes
from gunicorn_autoconf.server.reading import is_reading_conf_file
from gunicorn_autoconf.server.replan import (
    find_application,
    http_parser,
    keep_running,
    search_path,
)
from gunicorn_autoconf.server.requirements import check_requirements, load_hook
from gunicorn_autoconf.server.worker_class import check_what_is_written

if TYPE_CHECKING:
    from gunicorn_autoconf.plan.workload import LoadGuard, MemoryGuard, Workload
    from gunicorn_autoconf.worker_classes import Interface


class Autoconf(Planned):
    """
    What `autoconf` returns: the plan, what it rests on, and the settings for Gunicorn.

    Attributes:
        machine: What the kernel grants.
        declaration: What the operator declared.
        application: What is known of the application; None where none is named.
        plan: The settings with their reasons.
        root: The directory under which ``/proc`` and ``/sys`` were read.
        environ: The environment that was read.
    """

    @cached_property
    def settings(self) -> dict[str, Any]:
        """
        Everything for Gunicorn, by name: the planned and declared settings and the hooks.

        A hook that a ``GUNICORN_<HOOK>`` variable names runs after ours. The values are
        compared by identity, so that an equal number which you write yourself is known as yours.
        """
        settings = dict(self._offered)
        for name, hook in ServerHooks(self, self._offered).by_name().items():
            declared = [load_hook(name, settings[name])] if name in settings else []
            settings[name] = compose(hook, *declared)
        return settings

    @cached_property
    def _offered(self) -> Mapping[str, Any]:
        """The settings as they are offered to Gunicorn, whatever becomes of the dictionary."""
        return offer(self.plan.settings)


def autoconf(
    *,
    workload: Workload | str | None = None,
    interface: Interface | str | None = None,
    cpus: float | str | None = None,
    memory: int | str | None = None,
    worker_memory: int | str | None = None,
    memory_reserve: int | str | None = None,
    min_workers: int | None = None,
    max_workers: int | None = None,
    max_concurrency: int | None = None,
    memory_log_interval: float | None = None,
    memory_guard: MemoryGuard | str | None = None,
    load_guard: LoadGuard | str | None = None,
    stall_warning: float | None = None,
    max_queue: float | None = None,
    request_timeout: float | None = None,
    health_paths: str | None = None,
    metrics: str | None = None,
    health: str | None = None,
    environ: Mapping[str, str] | None = None,
    argv: Sequence[str] | None = None,
    root: str = "/",
) -> Autoconf:
    """
    Detect, declare, plan: everything that a ``gunicorn.conf.py`` needs.

    The first keywords are the environment's variables in lower case and without their prefix;
    what is given here is stronger than the environment.

    Args:
        workload: ``GUNICORN_WORKLOAD``, and so on for each keyword above *environ*.
        environ: The environment; `os.environ` where None.
        argv: Gunicorn's command line. Where None it is the one that Gunicorn has parsed, if it
            reads a configuration now, whatever the program is called; `sys.argv` elsewhere.
        root: Where ``/proc`` and ``/sys`` are found.

    Raises:
        DeclarationError: A declared value is not allowed. In a running server, on SIGHUP, this is
            logged instead and what ran before goes on.
    """
    given = locals()
    arguments = {variable.keyword: given[variable.keyword] for variable in VARIABLES}
    return build(
        arguments,
        dict(os.environ if environ is None else environ),
        argv,
        root,
        runs_hooks=True,
    )


def build(
    arguments: Mapping[str, object],
    environ: Mapping[str, str],
    argv: Sequence[str] | None,
    root: str,
    *,
    runs_hooks: bool = False,
) -> Autoconf:
    """
    Do what `autoconf` promises, for *arguments* by keyword or by command-line option.

    Unless it *runs_hooks*, nothing of the user's is imported: declared hooks are only read.
    """
    try:
        command_line = read_command_line(argv, environ)
        declaration = read_declaration(
            environ,
            arguments=arguments,
            setting_parsers=setting_parsers(),
            setting_flags=setting_flags(),
            command_line=command_line.settings,
        )
        check_requirements(declaration, search_path(declaration), runs_hooks=runs_hooks)
        record_writes()
        check_what_is_written()
        machine = detect_machine(root, environ=environ)
        application = find_application(command_line.target, declaration)
        return Autoconf(
            machine=machine,
            declaration=declaration,
            application=application,
            plan=plan(machine, declaration, application=application, http_parser=http_parser()),
            root=root,
            environ=environ,
        )
    except Exception as error:
        running = keep_running(error)
        if running is not None:
            return Autoconf(**{row.name: getattr(running, row.name) for row in fields(running)})
        # Gunicorn would print a traceback.
        if isinstance(error, DeclarationError) and is_reading_conf_file():
            sys.exit(f"Error: {error}")
        raise
