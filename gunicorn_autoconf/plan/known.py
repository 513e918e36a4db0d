"""What is known when remarks on a plan are made. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.worker_classes import HTTPTOOLS, Family, Interface, family_of


class Known(NamedTuple):
    """
    What remarks are based on: a plan and all that it follows from.

    Attributes:
        http_parser: The one that uvicorn uses in this worker class.
        worker_class: The worker class itself, once it is loaded.
        default_address: Where the starting server listens if that is Gunicorn's default, else None.
        heartbeat_directory: Where workers keep their heartbeat file.
        heartbeat_file_system: The kind of file system there, None if unknown.
        conf_file: The configuration file that Gunicorn would read by itself, if there is one.
        conf_file_assigns: The settings that this file assigns.
        conf_file_class: Why Gunicorn will not take the worker class that the file assigns, if so.
    """

    machine: Machine
    declaration: Declaration
    plan: Plan
    application: Finding | None = None
    http_parser: str = HTTPTOOLS
    worker_class: type | None = None
    default_address: str | None = None
    has_uvloop: bool = True
    heartbeat_directory: str = "/dev/shm"  # noqa: S108 - no file is made here
    heartbeat_file_system: str | None = None
    conf_file: str | None = None
    conf_file_assigns: tuple[str, ...] = ()
    conf_file_class: str | None = None

    @property
    def workers(self) -> int:
        """The planned count."""
        return int(self.plan.settings["workers"])

    @property
    def threads(self) -> int:
        """The planned threads of each worker."""
        return int(self.plan.settings["threads"])

    @property
    def is_asgi(self) -> bool:
        """Whether the plan is for an ASGI application."""
        return self.plan.interface is Interface.ASGI

    @property
    def family(self) -> Family | None:
        """The row of the worker class that runs."""
        worker_class = self.worker_class or self.plan.settings["worker_class"]
        return family_of(worker_class, self.threads)

    @property
    def makes_own_threads(self) -> bool:
        """Whether the application is Django's for ASGI, which makes a thread for each request."""
        return self.application is not None and self.application.makes_own_threads
