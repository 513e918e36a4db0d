"""Finds out who set a setting: the plan or the operator. Records each value that Gunicorn takes.

Theory of operation. A value is ours only if the last one that Gunicorn took for the setting is the
very object that we offered for it. `offer` makes such objects; they are compared by identity, so an
equal number that you wrote yourself is not ours. From `record_writes` on, every setting remembers
the object that it was last given, as it was before validation, and where it came from. Gunicorn
makes new settings at each start and at each reload, copies them with what they remember, and sets
them in one thread. A value that no record explains is the operator's.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple

from gunicorn_autoconf.plan.declaration import Explicit
from gunicorn_autoconf.server.gunicorn import default_setting, gunicorn_config
from gunicorn_autoconf.server.reading import code_of, parsed_in

# Under this name a setting remembers its last `Write`, and its method that it is ours.
_NAME = "gunicorn_autoconf_write"

_GUNICORN = ("gunicorn.", "gunicorn_autoconf.")

# Runs a server that a Paste Deployment file configures (`pserve`); it has a ``config_file`` there.
_PASTE = "gunicorn.app.pasterapp"


class Write(NamedTuple):
    """
    A value that Gunicorn took for a setting.

    Attributes:
        raw: What it was given.
        value: What its validator made of it.
        source: Where *raw* came from; None if we ourselves set it.
    """

    raw: object
    value: object
    source: str | None


def _noted(compare: Callable[[int, int], bool]) -> Callable[[Number, int], bool]:
    def compare_and_note(self: Number, other: int) -> bool:
        self.is_compared = True
        return compare(self, other)

    return compare_and_note


class Number(int):
    """
    A number that we offered. It notes whether it was compared with another.

    ``min(workers, 8)`` returns the object that it was given: a number that has been compared may
    be the result of a bound, which the plan does not know.
    """

    is_compared = False
    __lt__ = _noted(int.__lt__)
    __le__ = _noted(int.__le__)
    __gt__ = _noted(int.__gt__)
    __ge__ = _noted(int.__ge__)


def offer(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *settings* with values whose identity sets them apart from equal ones."""
    return MappingProxyType({name: _unique(value) for name, value in settings.items()})


def _unique(value: Any) -> Any:
    if type(value) is int:
        return Number(value)
    # To join the characters makes a new string.
    return "".join(list(value)) if type(value) is str else value


def record_writes() -> None:
    """Have each of Gunicorn's settings remember its last value and the source, from now on."""
    setting_class = gunicorn_config().Setting
    take = setting_class.set
    if hasattr(take, _NAME):
        return
    set_default = setting_class.__init__.__code__

    @functools.wraps(take)
    def take_and_remember(self: Any, val: Any) -> None:
        take(self, val)
        caller = sys._getframe(1)  # noqa: SLF001 - the only way to see who has called
        if caller.f_code is not set_default:
            setattr(self, _NAME, Write(val, self.value, source_of(self, caller)))

    setattr(take_and_remember, _NAME, True)
    setting_class.set = take_and_remember


def set_ours(cfg: Any, name: str, value: Any) -> None:
    """Set *name* to a *value* of ours that was not offered before."""
    cfg.set(name, value)
    setattr(cfg.settings[name], _NAME, Write(value, cfg.settings[name].value, None))


def set_by_operator(
    cfg: Any, offered: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Explicit]:
    """Return those settings among *names* whose value in *cfg* is not ours, with their source."""
    settings = (cfg.settings[name] for name in names if name in cfg.settings)
    sources = {setting.name: _operators_source(setting, offered) for setting in settings}
    return {
        name: Explicit(value=cfg.settings[name].get(), source=source, applied=True)
        for name, source in sources.items()
        if source
    }


def _operators_source(setting: Any, offered: Mapping[str, Any]) -> str | None:
    """Where the value of *setting* comes from; None if it is ours or not set."""
    write: Write | None = getattr(setting, _NAME, None)
    is_offered = setting.name in offered
    if write is None or write.value is not setting.value:
        if setting.get() != default_setting(setting.name).get():
            return "your own code"
        # Gunicorn's default where we offered a value: it was deleted or not taken over.
        return "Gunicorn's default" if is_offered else None
    if write.source is None:
        return None
    is_ours = is_offered and write.raw is offered[setting.name]
    return None if is_ours and not getattr(write.raw, "is_compared", False) else write.source


def source_of(setting: Any, caller: FrameType) -> str:
    """Return where the value that *caller* sets comes from: an option, a file, a line of code."""
    in_file = code_of("load_config_from_module_name_or_filename")
    in_application = code_of("load_config")
    frame: FrameType | None = caller
    while frame:
        if frame.f_code is in_file:
            return _shown(str(frame.f_locals.get("location")))
        if frame.f_code is in_application:
            given = parsed_in(frame.f_locals)
            if given.options.get(setting.name) is not None:
                return str(setting.cli[-1])
            if given.cmd_args.get(setting.name) is not None:
                return "GUNICORN_CMD_ARGS"
            return f"{type(frame.f_locals.get('self')).__name__}.init()"
        name = str(frame.f_globals.get("__name__"))
        if name == _PASTE and "config_file" in frame.f_locals:
            return _shown(frame.f_locals["config_file"])
        if not f"{name}.".startswith(_GUNICORN):
            return f"{_shown(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return "your own code"


def _shown(location: str) -> str:
    """Return *location*, a path below the working directory as ``./path``."""
    path = location.removeprefix("file:")
    if location.startswith("python:") or not os.path.isabs(path):
        return path
    below = os.path.relpath(path)
    return path if below.startswith(os.pardir) else os.path.join(os.curdir, below)
