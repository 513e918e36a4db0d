"""A Gunicorn configuration that fits the machine it runs on."""

import sys as _sys

if _sys.platform == "win32":  # Here, before an import fails at a module that only POSIX has.
    raise ImportError(
        "Gunicorn does not run on Windows: use WSL or Docker, or the development server of your "
        "framework (manage.py runserver, flask run, fastapi dev)"
    )

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.errors import AutoconfError, DeclarationError, MalformedFileError
from gunicorn_autoconf.hooks import compose
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration, read_declaration
from gunicorn_autoconf.plan.plan import Plan, Reason
from gunicorn_autoconf.plan.steps import plan
from gunicorn_autoconf.plan.workload import Workload
from gunicorn_autoconf.server.autoconf import Autoconf, autoconf
from gunicorn_autoconf.server.reading import (
    refuse_package_as_configuration as _refuse_package_as_configuration,
)
from gunicorn_autoconf.worker_classes import Interface

__version__ = "0.9.0"

__all__ = [
    "Autoconf",
    "AutoconfError",
    "Declaration",
    "DeclarationError",
    "Finding",
    "Interface",
    "Machine",
    "MalformedFileError",
    "Plan",
    "Reason",
    "Workload",
    "autoconf",
    "compose",
    "detect_machine",
    "plan",
    "read_declaration",
]

_refuse_package_as_configuration()
