"""A Gunicorn configuration that fits the machine it runs on."""

from gunicorn_autoconf._autoconf import Autoconf, autoconf
from gunicorn_autoconf._choices import Plan, Reason
from gunicorn_autoconf._declaration import Declaration, read_declaration
from gunicorn_autoconf._machine import Finding, Machine
from gunicorn_autoconf._plan import plan
from gunicorn_autoconf._probe import detect_machine
from gunicorn_autoconf._workload import Interface, Workload
from gunicorn_autoconf.errors import AutoconfError, DeclarationError, MalformedFileError
from gunicorn_autoconf.hooks import compose

__version__ = "0.1.0"

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
