"""Gunicorn's command line and ``GUNICORN_CMD_ARGS``, read by its own parser."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.plan.declaration import Explicit
from gunicorn_autoconf.server.gunicorn import gunicorn_config
from gunicorn_autoconf.server.reading import reading

# Of what argparse says: "argument -w/--workers", "unrecognized arguments: --nosuch".
_WITHOUT_VALUE = r"[^:]*(: (--[\w-]+|-\w))?"


class CommandLine(NamedTuple):
    """
    What Gunicorn was told on its command line and in ``GUNICORN_CMD_ARGS``.

    Attributes:
        target: The application, ``module:attribute``; None where none is named.
        settings: Each setting that was given, with who gave it, the strongest first.
    """

    target: str | None
    settings: Mapping[str, tuple[Explicit, ...]]


def read_command_line(argv: Sequence[str] | None, environ: Mapping[str, str]) -> CommandLine:
    """
    Return what *argv* and ``GUNICORN_CMD_ARGS`` say, read by Gunicorn's own parser.

    Without an *argv* it is what Gunicorn has parsed where it reads a configuration now, whatever
    the program is called, and `sys.argv` elsewhere. An *argv* of another program than Gunicorn
    says nothing, nor does one that Gunicorn would refuse.
    """
    now = reading() if argv is None else None
    if now:
        target = now.target
        given = now.options, now.cmd_args
        options, from_environ = (_attempt(_validated, _given(one)) for one in given)
    else:
        argv = sys.argv if argv is None else argv
        options = _attempt(_parsed, argv[1:]) if _is_gunicorn(argv) else {}
        from_environ = _attempt(_parsed_words, environ.get("GUNICORN_CMD_ARGS", ""))
        target = next(iter(options.get("args", ())), None)
    options.pop("args", None)
    from_environ.pop("args", None)  # Gunicorn ignores an application that is named there.
    known = gunicorn_config().KNOWN_SETTINGS
    flags = {setting.name: setting.cli[-1] for setting in known if setting.cli}
    settings: dict[str, tuple[Explicit, ...]] = {}
    for name, value in options.items():
        settings[name] = (Explicit(value=value, source=flags[name], applied=True),)
    for name, value in from_environ.items():
        explicit = Explicit(value=value, source="GUNICORN_CMD_ARGS", applied=True)
        settings[name] = (*settings.get(name, ()), explicit)
    return CommandLine(target=target, settings=settings)


def check_command_line(environ: Mapping[str, str]) -> None:
    """
    Raise if Gunicorn would refuse ``GUNICORN_CMD_ARGS``.

    Raises:
        AutoconfError: Gunicorn would not start with it; what it says, up to the first value, as
            that may be a secret.
    """
    try:
        _parsed_words(environ.get("GUNICORN_CMD_ARGS", ""))
    except SystemExit as error:
        message = "GUNICORN_CMD_ARGS: Gunicorn prints its help or version and ends"
        raise AutoconfError(message) from error
    except Exception as error:  # Validators raise what they like.
        found = re.match(_WITHOUT_VALUE, str(error))
        said = found[0] if found else ""
        raise AutoconfError(f"GUNICORN_CMD_ARGS: Gunicorn refuses it: {said}") from error


def _is_gunicorn(argv: Sequence[str]) -> bool:
    directory, program = os.path.split(argv[0] if argv else "")
    return re.fullmatch(r"gunicorn[-.\d]*", program) is not None or (
        program == "__main__.py" and os.path.basename(directory) == "gunicorn"
    )


def _attempt(read: Callable[[Any], dict[str, Any]], given: Any) -> dict[str, Any]:
    """What *read* makes of *given*; nothing where Gunicorn, which reads the same, refuses it."""
    try:
        return read(given)
    except (Exception, SystemExit):
        return {}


def _parsed_words(text: str) -> dict[str, Any]:
    return _parsed(shlex.split(text))


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """What Gunicorn's parser makes of *arguments*: the options given, and ``args``."""
    if not arguments:
        return {}
    parser = gunicorn_config().Config().parser()

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    parser.error = refuse
    with contextlib.redirect_stdout(io.StringIO()):  # `--help` and `--version` print and exit.
        return _validated(_given(vars(parser.parse_args(arguments))))


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _validated(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return *given* with what Gunicorn's validators make of each value."""
    if not given.keys() - {"args"}:
        return dict(given)  # To make a Config takes 1 ms.
    config, taken = gunicorn_config().Config(), dict(given)
    for name, value in given.items():
        if name != "args":
            try:
                config.set(name, value)
            except Exception as error:  # Validators raise what they like, with parts of the value.
                flag = config.settings[name].cli[-1]
                raise ValueError(f"argument {flag}: it refuses this value") from error
            taken[name] = config.settings[name].get()
    return taken
