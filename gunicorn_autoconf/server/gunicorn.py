"""What the installed Gunicorn knows: its settings, and how to read them."""

from __future__ import annotations

import ast
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gunicorn_autoconf.app.source import UnreadableError, parse_source, read_source
from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.variables import WEB_CONCURRENCY

if TYPE_CHECKING:
    from gunicorn_autoconf.server.spelling import Spelling

# Gunicorn takes 0 of these and serves nothing.
_AT_LEAST_ONE = dict.fromkeys(
    ("workers", "threads"), "a whole number of at least 1, or unset it for the plan"
)

_BOOLEANS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def gunicorn_config() -> ModuleType:
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
    config = gunicorn_config()
    return {setting.name: _parser(setting, config) for setting in config.KNOWN_SETTINGS}


def setting_flags() -> dict[str, str]:
    """Return each long flag of Gunicorn and its setting, without ``--no-sendfile`` and its like."""
    settings = [row for row in gunicorn_config().KNOWN_SETTINGS if row.action != "store_const"]
    return {flag[2:]: row.name for row in settings for flag in row.cli or () if flag[1] == "-"}


def _parser(setting_class: Any, config: ModuleType) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if _is_hook(setting_class):
            if not re.fullmatch(r"\w+(\.\w+)+", text):
                raise ValueError("use module.function")
            return text
        setting = setting_class()  # The type of `umask` is a method.
        at_least_one = _AT_LEAST_ONE.get(setting.name)
        try:
            typed = _typed(setting, text, config)
            value = setting.validator(typed)
        except Exception as error:  # Validators raise what they like.
            allowed = at_least_one or {
                config.validate_pos_int: "a whole number of at least 0",
                config.validate_bool: "true or false",
                config.validate_dict: "a JSON object",
            }.get(setting.validator)
            raise ValueError(f"use {allowed}" if allowed else f"Gunicorn says: {error}") from error
        if at_least_one and value < 1:
            raise ValueError(f"use {at_least_one}")
        return value if _is_taken_again(setting, value) else typed

    return parse


def _is_taken_again(setting: Any, value: Any) -> bool:
    """Whether Gunicorn takes *value*, which its validator returned, from a configuration."""
    try:
        return bool(setting.validator(value) == value)
    except Exception:  # Validators raise what they like.
        return False


def spellings() -> dict[str, Spelling]:
    """Return how the installed Gunicorn takes each of its settings, hooks apart."""
    from gunicorn_autoconf.server.spelling import Spelling  # Only the command line asks for it.

    config = gunicorn_config()
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


def is_hook(name: str) -> bool:
    """Whether the setting *name* is one of Gunicorn's server hooks."""
    return _is_hook(default_setting(name))


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


def default_setting(name: str) -> Any:
    """Return the setting *name* of the installed Gunicorn as it is where it is not set."""
    known = gunicorn_config().KNOWN_SETTINGS
    return next(setting for setting in known if setting.name == name)()


def taken_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every setting of the installed Gunicorn is where nothing sets but *settings*."""
    config = gunicorn_config().Config()
    for name, value in settings.items():
        config.set(name, value)
    return {name: setting.get() for name, setting in config.settings.items()}


def assigned_values(location: str) -> dict[str, object]:
    """
    Return what the configuration at *location* assigns itself, at its top level, by name.

    *location* is what Gunicorn's ``-c`` takes. What cannot be read assigns nothing; a value that
    only running the file would show is None.
    """
    path = location.removeprefix("file:")
    if location.startswith("python:"):
        module = sys.modules.get(location.removeprefix("python:"))
        path = getattr(module, "__file__", None) or ""
    try:
        statements = parse_source(read_source(path))
    except UnreadableError:
        return {}
    values: dict[str, object] = {}
    for statement in statements:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets = [statement.target]
        else:
            continue
        value = statement.value.value if isinstance(statement.value, ast.Constant) else None
        values |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return values


def running_arbiter() -> Any | None:
    """Return the arbiter that runs in this process, or None while none does."""
    import signal

    arbiter = sys.modules.get("gunicorn.arbiter")
    owner = getattr(signal.getsignal(signal.SIGHUP), "__self__", None)
    return owner if arbiter and isinstance(owner, arbiter.Arbiter) else None
