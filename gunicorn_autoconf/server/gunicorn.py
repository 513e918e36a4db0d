"""What the installed Gunicorn knows: its settings and how to read them, its command line."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from gunicorn_autoconf.app.source import UnreadableError, parse_source, read_source
from gunicorn_autoconf.errors import AutoconfError, DeclarationError
from gunicorn_autoconf.plan.declaration import Explicit
from gunicorn_autoconf.plan.variables import WEB_CONCURRENCY
from gunicorn_autoconf.server.spelling import Spelling

_BOOLEANS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def _gunicorn_config() -> ModuleType:
    """
    Return ``gunicorn.config``, which reads ``WEB_CONCURRENCY`` while it is imported.

    Raises:
        DeclarationError: Gunicorn cannot be imported for want of a number there.
    """
    try:
        import gunicorn.config
    except ValueError as error:
        text = os.environ.get(WEB_CONCURRENCY.name, "")
        remedy = f"use {WEB_CONCURRENCY.allowed}, or unset it: Gunicorn takes nothing else"
        raise DeclarationError(WEB_CONCURRENCY.name, text, remedy) from error
    config: ModuleType = gunicorn.config
    return config


def setting_parsers() -> dict[str, Callable[[str], Any]]:
    """
    Return, for each setting of the installed Gunicorn, the way from a variable's text to a value.

    A list is written as shell words, as in ``GUNICORN_CMD_ARGS``; a mapping as a JSON object; a
    switch also as ``1``/``0``, ``yes``/``no`` or ``on``/``off``. A hook stays the text that names
    it, as to look it up would run the user's code. What all else means is decided by Gunicorn's
    own validators. Each parser raises ValueError with what is allowed.
    """
    config = _gunicorn_config()
    return {setting.name: _parser(setting, config) for setting in config.KNOWN_SETTINGS}


def setting_flags() -> dict[str, str]:
    """Return each long flag of Gunicorn and its setting, without ``--no-sendfile`` and its like."""
    settings = [row for row in _gunicorn_config().KNOWN_SETTINGS if row.action != "store_const"]
    return {flag[2:]: row.name for row in settings for flag in row.cli or () if flag[1] == "-"}


def _parser(setting_class: Any, config: ModuleType) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if _is_hook(setting_class):
            if not re.fullmatch(r"\w+(\.\w+)+", text):
                raise ValueError("use module.function")
            return text
        setting = setting_class()  # The type of `umask` is a method.
        try:
            typed = _typed(setting, text, config)
            value = setting.validator(typed)
            return value if _is_taken_again(setting, value) else typed
        except Exception as error:  # Validators raise what they like.
            allowed = {
                config.validate_pos_int: "a whole number of at least 0",
                config.validate_bool: "true or false",
                config.validate_dict: "a JSON object",
            }.get(setting.validator)
            raise ValueError(f"use {allowed}" if allowed else f"Gunicorn says: {error}") from error

    return parse


def _is_taken_again(setting: Any, value: Any) -> bool:
    """Whether Gunicorn takes *value*, which its validator returned, from a configuration."""
    try:
        return bool(setting.validator(value) == value)
    except Exception:  # Validators raise what they like.
        return False


def spellings() -> dict[str, Spelling]:
    """Return how the installed Gunicorn takes each of its settings, hooks apart."""
    config = _gunicorn_config()
    return {
        setting.name: Spelling(
            flag=setting.cli[-1] if setting.cli else None,
            action=setting.action,
            default=setting.default,
            read=_reader(setting, config),
        )
        for setting in config.KNOWN_SETTINGS
        if not _is_hook(setting)
    }


def _reader(setting: Any, config: ModuleType) -> Callable[[str], Any]:
    """From a variable's text to what Gunicorn holds for it in the end."""
    parse, validate = _parser(setting, config), setting().validator
    return lambda text: validate(parse(text))


def _is_hook(setting: Any) -> bool:
    return bool(setting.section.endswith("Hooks"))


def _typed(setting: Any, text: str, config: ModuleType) -> Any:
    """What Gunicorn's validator of *setting* takes for *text*."""
    if setting.action == "append":
        return shlex.split(text)
    if setting.validator is config.validate_dict:
        import json  # Takes 2 ms, and few settings are one.

        return json.loads(text)
    if setting.validator is config.validate_bool:
        return _BOOLEANS.get(text.lower(), text)
    if setting.cli and setting.type:
        return setting.type(text)  # As argparse does; `umask` is octal.
    return text


def load_hook(name: str, text: str) -> Callable[..., Any]:
    """
    Return the function that *text* names for the hook *name*; imports the user's module.

    Raises:
        DeclarationError: There is none, or not one of this hook's arity.
    """
    setting = default_setting(name)
    try:
        hook: Callable[..., Any] = setting.validator(text)
    except Exception as error:  # Whatever the user's module raises.
        variable = f"GUNICORN_{name.upper()}"
        raise DeclarationError(variable, text, f"Gunicorn says: {error}") from error
    return hook


def default_setting(name: str) -> Any:
    """Return the setting *name* of the installed Gunicorn as it is where nobody has set it."""
    known = _gunicorn_config().KNOWN_SETTINGS
    return next(setting for setting in known if setting.name == name)()


def taken_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every setting of the installed Gunicorn is where nothing sets but *settings*."""
    config = _gunicorn_config().Config()
    for name, value in settings.items():
        config.set(name, value)
    return {name: setting.get() for name, setting in config.settings.items()}


def assigned_names(location: str) -> frozenset[str]:
    """
    Return what the configuration at *location* assigns itself, at its top level.

    *location* is what Gunicorn's ``-c`` takes. What cannot be read assigns nothing.
    """
    path = location.removeprefix("file:")
    if location.startswith("python:"):
        module = sys.modules.get(location.removeprefix("python:"))
        path = getattr(module, "__file__", None) or ""
    try:
        statements = parse_source(read_source(path))
    except UnreadableError:
        return frozenset()
    targets: list[ast.expr] = []
    for statement in statements:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets.append(statement.target)
    return frozenset(target.id for target in targets if isinstance(target, ast.Name))


class CommandLine(NamedTuple):
    """
    What Gunicorn was told on its command line and in ``GUNICORN_CMD_ARGS``.

    Attributes:
        target: The application, ``module:attribute``; None where none is named.
        settings: Each setting that was given, with who gave it, the strongest first.
    """

    target: str | None
    settings: Mapping[str, tuple[Explicit, ...]]


def read_command_line(argv: Sequence[str], environ: Mapping[str, str]) -> CommandLine:
    """
    Return what *argv* and ``GUNICORN_CMD_ARGS`` say, read by Gunicorn's own parser.

    An *argv* of another program says nothing, nor does one that Gunicorn would refuse.
    """
    options = _parse(argv[1:]) if _is_gunicorn(argv) else {}
    from_environ = _parse(_words(environ.get("GUNICORN_CMD_ARGS", "")))
    positional = options.pop("args", None) or [None]
    from_environ.pop("args", None)  # Gunicorn ignores an application that is named there.
    known = _gunicorn_config().KNOWN_SETTINGS
    flags = {setting.name: setting.cli[-1] for setting in known if setting.cli}
    settings: dict[str, tuple[Explicit, ...]] = {}
    for name, value in options.items():
        settings[name] = (Explicit(value=value, source=flags[name], applied=True),)
    for name, value in from_environ.items():
        explicit = Explicit(value=value, source="GUNICORN_CMD_ARGS", applied=True)
        settings[name] = (*settings.get(name, ()), explicit)
    return CommandLine(target=positional[0], settings=settings)


def check_command_line(environ: Mapping[str, str]) -> None:
    """
    Pass over a ``GUNICORN_CMD_ARGS`` that Gunicorn takes.

    Raises:
        AutoconfError: Gunicorn would not start with it; what it says, in one line. No value is in
            it, as one may be a secret.
    """
    text = environ.get("GUNICORN_CMD_ARGS", "")
    try:
        _parsed(shlex.split(text))
    except SystemExit as error:
        message = "GUNICORN_CMD_ARGS: Gunicorn prints its help or version and ends"
        raise AutoconfError(message) from error
    except Exception as error:  # Validators raise what they like.
        said = " ".join(_without_values(str(error), _words(text)).split())
        raise AutoconfError(f"GUNICORN_CMD_ARGS: Gunicorn says: {said}") from error


def _without_values(said: str, words: Sequence[str]) -> str:
    """
    Return *said* with … for what it quotes, and for each value among *words*. Options stay.

    >>> _without_values("unrecognized arguments: --pw=mine or 'its'", ["--pw=mine"])
    "unrecognized arguments: --pw=… or '…'"
    >>> _without_values("unrecognized arguments: -zmine", ["-zmine"])
    'unrecognized arguments: -z…'
    """
    said = re.sub(r"""(['"]).*\1""", r"\1…\1", said, flags=re.DOTALL)
    split = [re.fullmatch(r"(--[^=]*=?|-\w=?|)(.*)", word, re.DOTALL) for word in words]
    parts = [(found[1], found[2]) for found in split if found and found[2]]
    for option, value in sorted(parts, key=lambda part: len(part[1]), reverse=True):
        said = said.replace(option + value, f"{option}…") if option else said
        said = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", said)
    return said


def _is_gunicorn(argv: Sequence[str]) -> bool:
    directory, program = os.path.split(argv[0] if argv else "")
    return re.fullmatch(r"gunicorn[-.\d]*", program) is not None or (
        program == "__main__.py" and os.path.basename(directory) == "gunicorn"
    )


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # An open quote: Gunicorn stops on it by itself.
        return []


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    """What Gunicorn's parser makes of *arguments*: the options given, and ``args``."""
    try:
        return _parsed(arguments)
    except (Exception, SystemExit):  # Gunicorn reads the same words and says what is wrong.
        return {}


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """As `_parse`; raises what Gunicorn raises."""
    if not arguments:
        return {}
    config = _gunicorn_config().Config()
    parser = config.parser()

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    parser.error = refuse
    with contextlib.redirect_stdout(io.StringIO()):  # `--help` and `--version` print and exit.
        parsed = parser.parse_args(arguments)
    given = {k: v for k, v in vars(parsed).items() if v is not None}
    for name, value in given.items():
        if name != "args":
            try:
                config.set(name, value)
            except Exception as error:  # Validators raise what they like, with parts of the value.
                flag = config.settings[name].cli[-1]
                raise ValueError(f"argument {flag}: it refuses this value") from error
            given[name] = config.settings[name].get()
    return given


def running_arbiter() -> Any | None:
    """Return the arbiter that runs in this process, or None while none does."""
    import signal

    arbiter = sys.modules.get("gunicorn.arbiter")
    owner = getattr(signal.getsignal(signal.SIGHUP), "__self__", None)
    return owner if arbiter and isinstance(owner, arbiter.Arbiter) else None


def is_reading_conf_file() -> bool:
    """Return whether Gunicorn is executing a configuration file, which it calls ``__config__``."""
    frame = sys._getframe()  # noqa: SLF001 - the only way to tell who has called
    while frame.f_back:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == "__config__":
            return True
    return False
