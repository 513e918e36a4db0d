"""What Gunicorn is doing when our code runs: which configuration it reads. Reads the stack."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, NamedTuple

from gunicorn_autoconf.errors import DeclarationError

# The module that Gunicorn's -c names to use this package, and the name that people write instead.
CONF_MODULE = "python:gunicorn_autoconf.conf"
_PACKAGE = "gunicorn_autoconf"
_STAR_IMPORT = rf"\s*from\s+{_PACKAGE}\s+import\s+\*"


class Reading(NamedTuple):
    """
    What Gunicorn had parsed when it began to read a configuration.

    Attributes:
        target: The application that the command line names, or None.
        options: Every option of the command line, whatever the program is called; None for each
            that is not given.
        cmd_args: The same for ``GUNICORN_CMD_ARGS``.
    """

    target: str | None
    options: Mapping[str, Any]
    cmd_args: Mapping[str, Any]


def frames() -> Iterator[FrameType]:
    """Yield the frames of the stack, the caller's first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to see who has called
    while frame := frame.f_back if frame else None:
        yield frame


def code_of(name: str) -> CodeType | None:
    """Return the code of a method of Gunicorn's `Application`; None where that is not loaded."""
    base = sys.modules.get("gunicorn.app.base")
    method = getattr(getattr(base, "Application", None), name, None)
    return getattr(method, "__code__", None)


def reading() -> Reading | None:
    """Return what Gunicorn has parsed, or None where it does not read a configuration now."""
    code = code_of("load_config")
    found = (frame.f_locals for frame in frames() if frame.f_code is code)
    names = next(found, None)
    return parsed_in(names) if names else None


def parsed_in(names: Mapping[str, Any]) -> Reading:
    """Return what Gunicorn's `Application.load_config` has parsed, from its local *names*."""
    options, cmd_args = names.get("args"), names.get("env_args")
    return Reading(
        target=getattr(names.get("self"), "app_uri", None),
        options=vars(options) if options else {},
        cmd_args=vars(cmd_args) if cmd_args else {},
    )


def is_reading_conf_file() -> bool:
    """Return whether Gunicorn is executing a configuration file, which it calls ``__config__``."""
    return any(frame.f_globals.get("__name__") == "__config__" for frame in frames())


def refuse_package_as_configuration() -> None:
    """
    Raise if the package is imported as a configuration, which it is not: it has no settings.

    Gunicorn would start as if nothing had been configured, with ``-c python:gunicorn_autoconf`` as
    with a file that begins with ``from gunicorn_autoconf import *``.

    Raises:
        DeclarationError: Gunicorn imports the package as its configuration.
        SystemExit: A configuration file of the user's does.
    """
    code = code_of("get_config_from_module_name")
    if code is None:
        return
    for frame in frames():
        if frame.f_globals.get("__name__") == "__config__":
            path = frame.f_code.co_filename
            if re.match(_STAR_IMPORT, linecache.getline(path, frame.f_lineno)):
                written = f"from {_PACKAGE} import *"
                sys.exit(f"Error: {path}: {written}: write from {_PACKAGE}.conf import *")
        if frame.f_code is code and frame.f_locals.get("module_name") == _PACKAGE:
            remedy = f"did you mean {CONF_MODULE}?"
            raise DeclarationError("--config", f"python:{_PACKAGE}", remedy)
