"""What Gunicorn is doing when our code runs: which configuration it reads. Reads the stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, NamedTuple

from gunicorn_autoconf.errors import DeclarationError

# The module that Gunicorn's -c names to use this package, and the name that people write instead.
CONF_MODULE = "python:gunicorn_autoconf.conf"
_PACKAGE = "gunicorn_autoconf"


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


def location_in(names: Mapping[str, Any]) -> str:
    """Return what Gunicorn reads, as its ``-c`` takes it, from the *names* of the method."""
    return str(names.get("location"))


def is_reading_conf_file() -> bool:
    """Return whether Gunicorn is executing a configuration file, which it calls ``__config__``."""
    return any(frame.f_globals.get("__name__") == "__config__" for frame in frames())


def refuse_package_as_configuration() -> None:
    """
    Raise if Gunicorn imports the package as its configuration: ``-c python:gunicorn_autoconf``.

    The package has no settings: Gunicorn would start as if nothing had been configured.

    Raises:
        DeclarationError: Gunicorn imports the package as its configuration.
    """
    code = code_of("get_config_from_module_name")
    if code is None:
        return
    for frame in frames():
        if frame.f_code is code and frame.f_locals.get("module_name") == _PACKAGE:
            remedy = f"did you mean {CONF_MODULE}?"
            raise DeclarationError("--config", f"python:{_PACKAGE}", remedy)
