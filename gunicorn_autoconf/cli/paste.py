"""
A plan to paste: as arguments, variables, a configuration file, ``ENV`` or YAML. Pure.

It contains what the plan chose and what the operator set. It leaves out, and names, hooks, settings
that hold secrets, and settings that cannot be written in the form.
"""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gunicorn_autoconf.cli.kubernetes import (
    CPUS_FROM_LIMIT,
    MEMORY_FROM_LIMIT,
    env_entries,
    resources,
)
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.plan.report import NAME, describe
from gunicorn_autoconf.plan.variables import PREFIX, SECRET_SETTINGS
from gunicorn_autoconf.server.spelling import Spelling
from gunicorn_autoconf.worker_classes import class_name

# The width of a comment in a configuration file.
_WIDTH = 80

# Where the settings are, or that nothing is to be served: not a part of what is pasted.
_ASIDE = frozenset({"config", "check_config", "print_config"})

# The variables that a pod gets from its limits.
_FROM_LIMITS = frozenset({f"{PREFIX}CPUS", f"{PREFIX}MEMORY"})


class Content(NamedTuple):
    """
    What there is to paste.

    Attributes:
        declared: The variables of this package that were declared, as name to text.
        spellings: Gunicorn's settings by name, without hooks.
    """

    machine: Machine
    declaration: Declaration
    plan: Plan
    declared: Mapping[str, str]
    spellings: Mapping[str, Spelling]

    @property
    def cores(self) -> float:
        """The cores that the plan is made for."""
        return self.declaration.cpus or self.machine.cpu.cores


class Pasted(NamedTuple):
    """
    What `render` returns.

    Attributes:
        text: What to paste, with a line feed at its end.
        left_out: The settings that are not in it.
        notes: What else the reader should know, one sentence each.
    """

    text: str
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()


# Writes the value of a setting; None where it cannot be written.
_Write = Callable[[Any, Spelling], str | None]


def render(form: str, content: Content) -> Pasted:
    """Return *content* in one of `FORMS`."""
    return _FORMS[form](content)


def _written(content: Content, write: _Write) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return each setting as *write* writes it, and the names of those that are left out."""
    values = content.plan.settings
    for name in content.declaration.settings:
        if explicit := content.declaration.explicit(name):
            values.setdefault(name, explicit.value)
    written, left_out = {}, []
    for name, value in values.items():
        if name in _ASIDE:
            continue
        spelling, text = content.spellings.get(name), None
        if spelling and name not in SECRET_SETTINGS:
            text = write(class_name(value) if isinstance(value, type) else value, spelling)
        if text is None:
            left_out.append(name)
        else:
            written[name] = text
    return written, tuple(left_out)


def _text(value: Any, spelling: Spelling) -> str | None:
    """Return the text that Gunicorn reads as *value*, or None where there is none."""
    for candidate in _candidates(value):
        try:
            if candidate == value or spelling.read(candidate) == value:
                return candidate
        except ValueError:
            continue
    return None


def _candidates(value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, (list, tuple)):
        words = [str(item) for item in value]
        yield shlex.join(words)
        yield ",".join(words)
        yield ":".join(words)  # a host and its port
    elif isinstance(value, dict):
        yield json.dumps(value)
    elif isinstance(value, (int, float)):
        yield format(value, "d" if isinstance(value, int) else "")
    elif value is not None:
        yield str(value)


def _args(content: Content) -> Pasted:
    written, left_out = _written(content, _argument)
    return Pasted(" ".join(filter(None, written.values())) + "\n", left_out)


def _argument(value: Any, spelling: Spelling) -> str | None:
    flag = spelling.flag
    if spelling.action in ("store_true", "store_const"):
        if value == spelling.default:
            return ""
        return flag if value is (spelling.action == "store_true") else None
    if flag is None:
        return None
    if spelling.action == "append":
        return " ".join(_option(flag, str(item)) for item in value)
    text = _text(value, spelling)
    return None if text is None else _option(flag, text)


def _option(flag: str, text: str) -> str:
    # A value that begins with a dash would be read as the next option.
    joint = "=" if text.startswith("-") and text != "-" else " "
    return flag + joint + shlex.quote(text)


def _variables(content: Content) -> tuple[dict[str, str], tuple[str, ...]]:
    written, left_out = _written(content, _text)
    settings = {PREFIX + name.upper(): text for name, text in written.items()}
    return {**content.declared, **settings}, left_out


def _env(content: Content) -> Pasted:
    variables, left_out = _variables(content)
    lines = [f"{name}={shlex.quote(text)}\n" for name, text in variables.items()]
    return Pasted("".join(lines), left_out)


def _dockerfile(content: Content) -> Pasted:
    variables, left_out = _variables(content)
    words, broken = [], []
    for name, text in variables.items():
        # Source: BuildKit, frontend/dockerfile/shell/lex.go, processDoubleQuote.
        escaped = re.sub(r'["$\\]', r"\\\g<0>", text)
        # The instruction ends with its line, and a line feed cannot be escaped in it.
        words.append(f'{name}="{escaped}"') if text.isprintable() else broken.append(name)
    return Pasted("ENV " + " \\\n    ".join(words) + "\n", (*left_out, *broken))


def _python(content: Content) -> Pasted:
    written, left_out = _written(content, _literal)
    blocks = [_comment(f"Planned by {NAME} for {content.cores:g} cores; 'explain' says why.")]
    for name, text in written.items():
        reasons = content.plan.reasons_for(name)
        blocks.append((_comment(describe(reasons[-1])) if reasons else "") + f"{name} = {text}\n")
    return Pasted("\n".join(blocks), left_out)


def _comment(text: str) -> str:
    # A reason cannot end its comment: textwrap treats all that breaks a line as a blank.
    lines = textwrap.wrap(text, _WIDTH - len("# "), break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _literal(value: Any, spelling: Spelling) -> str | None:
    is_plain = value is None or type(value) in (bool, int, float, str)
    if is_plain or spelling.action == "append" or isinstance(value, dict):
        return repr(value)
    text = _text(value, spelling)
    return None if text is None else repr(text)


_ENV = """\
env:
  # The limits, for a runtime that hides its cgroups. Without these the plan reads
  # them from the cgroup, and follows when they are changed in place.
"""


def _kubernetes(content: Content) -> Pasted:
    """Write the resources and what was declared, from which the pod makes the same plan again."""
    declaration, machine, budget = content.declaration, content.machine, content.plan.memory
    written, left_out = _written(content, _text)
    variables = {name: text for name, text in content.declared.items() if name not in _FROM_LIMITS}
    for name, text in written.items():
        if declaration.explicit(name):
            variables[PREFIX + name.upper()] = text
    text = resources(content.cores, budget.limit_bytes if budget else None) + _ENV
    text += CPUS_FROM_LIMIT + (MEMORY_FROM_LIMIT if budget else "") + env_entries(variables)
    notes = []
    if declaration.cpus is None and not machine.cpu.is_limited:
        found = "no CPU limit was found, so this requests all cores of this machine"
        notes.append(f"{found}; set --cpus for fewer")
    if declaration.memory_bytes is None and not machine.memory.limits:
        found = "no memory limit was found, so this requests all memory of this machine"
        notes.append(f"{found}; set --memory for less")
    return Pasted(text, left_out, tuple(notes))


_FORMS: Mapping[str, Callable[[Content], Pasted]] = {
    "args": _args,
    "env": _env,
    "python": _python,
    "dockerfile": _dockerfile,
    "kubernetes": _kubernetes,
}

FORMS = tuple(_FORMS)
