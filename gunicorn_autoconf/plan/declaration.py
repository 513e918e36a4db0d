"""The operator's declaration: environment, arguments and command line as one value. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.address import Destination, Tcp
from gunicorn_autoconf.plan.aliases import unknown_name
from gunicorn_autoconf.plan.variables import (
    HEALTH_PATHS,
    PREFIX,
    SECRET_SETTINGS,
    VARIABLES,
    WEB_CONCURRENCY,
    Variable,
)
from gunicorn_autoconf.plan.workload import LoadGuard, MemoryGuard, Workload
from gunicorn_autoconf.units import Reserve
from gunicorn_autoconf.worker_classes import Interface

# Variables of Gunicorn itself that begin with our prefix.
_GUNICORNS_OWN = frozenset({"CMD_ARGS", "PID", "FD", "DIRTY_SOCKET"})

# More of them are no typing errors, and to search for a similar name takes 0.4 ms.
MAX_UNKNOWN_NAMES = 20

# What Kubernetes sets in every pod for a service whose name begins with "gunicorn".
# Source: Kubernetes, "Service", discovering services, environment variables.
_SERVICE = (
    r"(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = r"(?:.+_)?PORT"
_SERVICE_ADDRESS = r"(?:tcp|udp|sctp)://"


class Explicit(NamedTuple):
    """
    A value that the operator set for one of Gunicorn's settings.

    Attributes:
        value: The value, as Gunicorn's validator returned it.
        source: Where it was set: ``--workers``, ``GUNICORN_CMD_ARGS``, ``GUNICORN_WORKERS``, ...
        applied: Whether Gunicorn applies it itself, as it does with its own command line.
    """

    value: Any
    source: str
    applied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """
    What the operator declared; None for what is not declared.

    Attributes:
        settings: Gunicorn's settings, each with all values that were set, the strongest first.
        sources: The variable or argument that declared a field, by the name of the field.
        warnings: What was declared in a way that has no effect.
    """

    workload: Workload | None = None
    interface: Interface | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    worker_memory_bytes: int | None = None
    memory_reserve: Reserve = Reserve(fraction=0.1)
    min_workers: int = 1
    max_workers: int | None = None
    max_concurrency: int | None = None
    memory_log_interval_seconds: float = 60.0
    memory_guard: MemoryGuard | None = None
    load_guard: LoadGuard | None = None
    stall_warning_seconds: float = 0.25
    max_queue_seconds: float = 0.0
    request_timeout_seconds: float = 0.0
    health_paths: tuple[str, ...] = HEALTH_PATHS
    metrics: Destination | None = None
    health: Tcp | None = None
    settings: Mapping[str, tuple[Explicit, ...]] = field(default_factory=dict, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def explicit(self, setting: str) -> Explicit | None:
        """The value of *setting* that wins, or None if it is not set."""
        return next(iter(self.settings.get(setting, ())), None)


SettingParser = Callable[[str], Any]  # Raises ValueError with what is allowed.


def read_declaration(
    environ: Mapping[str, str],
    *,
    arguments: Mapping[str, object] | None = None,
    setting_parsers: Mapping[str, SettingParser] | None = None,
    setting_flags: Mapping[str, str] | None = None,
    command_line: Mapping[str, tuple[Explicit, ...]] | None = None,
) -> Declaration:
    """
    Return what *environ* and *arguments* declare.

    Args:
        environ: The environment; empty values count as unset.
        arguments: Values by keyword of `autoconf` or by option of the command line, None as unset;
            they win over the environment.
        setting_parsers: For each setting that the installed Gunicorn knows, text to value.
        setting_flags: For each flag of the installed Gunicorn, such as ``log-file``, its setting;
            a warning about ``GUNICORN_LOG_FILE`` then names ``GUNICORN_ERRORLOG``.
        command_line: Settings from Gunicorn's command line; they win over everything else.

    Raises:
        DeclarationError: A known variable or argument has a value that is not allowed.
    """
    parsers = setting_parsers or {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, text, variable in _declared(environ, arguments or {}):
        values[variable.target] = parse_declared(name, text, variable)
        sources[variable.target] = name
    _check_bounds(values, sources)
    return Declaration(
        **values,
        settings=_settings(environ, parsers, command_line or {}),
        sources=sources,
        warnings=tuple(_misnamed(environ, parsers, setting_flags or {})),
    )


def _declared(
    environ: Mapping[str, str], arguments: Mapping[str, object]
) -> Iterable[tuple[str, str, Variable]]:
    """Yield each variable that has a value: the name it was given by, the text, its row."""
    by_keyword = {
        label.lstrip("-").replace("-", "_"): (label, value)
        for label, value in arguments.items()
        if value is not None
    }
    for variable in VARIABLES:
        if variable.keyword in by_keyword:
            label, value = by_keyword[variable.keyword]
            text = value.value if isinstance(value, Enum) else value
            yield label, str(text).strip(), variable
        elif text := environ.get(variable.name, "").strip():
            yield variable.name, text, variable


def parse_declared(name: str, text: str, variable: Variable) -> Any:
    """
    Return what *text* means in the row *variable*.

    Raises:
        DeclarationError: It is not allowed; *name* is what the user knows it by.
    """
    try:
        return variable.parse(text)
    except ValueError as error:
        detail = f" ({error})" if str(error) else ""
        raise DeclarationError(name, text, f"use {variable.allowed}{detail}") from error


def _check_bounds(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    low, high = values.get("min_workers"), values.get("max_workers")
    if low is not None and high is not None and low > high:
        name = sources["min_workers"]
        raise DeclarationError(name, str(low), f"use at most {sources['max_workers']}={high}")


def _settings(
    environ: Mapping[str, str],
    parsers: Mapping[str, SettingParser],
    command_line: Mapping[str, tuple[Explicit, ...]],
) -> dict[str, tuple[Explicit, ...]]:
    settings = dict(command_line)
    for setting, parse in parsers.items():
        name = PREFIX + setting.upper()
        text = environ.get(name, "").strip()
        if text and setting != "config":
            try:
                explicit = Explicit(value=parse(text), source=name)
            except ValueError as error:
                shown = "(not shown)" if setting in SECRET_SETTINGS else text
                raise DeclarationError(name, shown, str(error)) from error
            settings[setting] = (*settings.get(setting, ()), explicit)
    if text := environ.get(WEB_CONCURRENCY.name, "").strip():
        value = parse_declared(WEB_CONCURRENCY.name, text, WEB_CONCURRENCY)
        count = Explicit(value=value, source=WEB_CONCURRENCY.name)
        settings["workers"] = (*settings.get("workers", ()), count)
    return settings


def _misnamed(
    environ: Mapping[str, str], parsers: Mapping[str, SettingParser], flags: Mapping[str, str]
) -> Iterable[str]:
    """Yield a warning for each ``GUNICORN_*`` name that nothing reads."""
    known = {variable.keyword.upper() for variable in VARIABLES}
    known |= {setting.upper() for setting in parsers if setting != "config"}
    spelled = {flag.replace("-", "_").upper(): name.upper() for flag, name in flags.items()}
    unknown = 0
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if rest == name or rest in _GUNICORNS_OWN or not environ[name].strip():
            continue
        if rest not in known and not _is_service(rest, environ[name]):
            unknown += 1
            if unknown <= MAX_UNKNOWN_NAMES:
                yield unknown_name(rest, known, spelled)
    if unknown > MAX_UNKNOWN_NAMES:
        yield f"{unknown - MAX_UNKNOWN_NAMES} more GUNICORN_* variables are unknown"


def _is_service(rest: str, value: str) -> bool:
    if re.fullmatch(_SERVICE, rest):
        return True
    return bool(re.fullmatch(_SERVICE_PORT, rest) and re.match(_SERVICE_ADDRESS, value))
