"""
A plan as something to paste: arguments, variables, a configuration file, ``ENV``, YAML. Pure.

What is pasted is what the plan has chosen and what somebody has set. Left out, and told, are hooks,
settings with secrets in them, and what the form has no words for.
"""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gunicorn_autoconf.cli.kubernetes import (
    FROM_THE_LIMITS,
    Resource,
    env_lines,
    literal,
    resource_lines,
)
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.declaration import Declaration
from gunicorn_autoconf.plan.plan import Plan
from gunicorn_autoconf.plan.report import NAME, describe
from gunicorn_autoconf.plan.variables import PREFIX, SECRET_SETTINGS
from gunicorn_autoconf.server.spelling import Spelling
from gunicorn_autoconf.worker_classes import class_name

_WIDTH = 80

# They say where the settings stand, or that nothing is to be served.
_ASIDE = frozenset({"config", "check_config", "print_config"})


class Content(NamedTuple):
    """
    What there is to paste.

    Attributes:
        machine: What the kernel grants.
        declaration: What the operator said.
        plan: What came of both.
        declared: The variables of ours that were declared, by name, with the text that was given.
        spellings: Gunicorn's settings, but for hooks.
    """

    machine: Machine
    declaration: Declaration
    plan: Plan
    declared: Mapping[str, str]
    spellings: Mapping[str, Spelling]

    @property
    def cores(self) -> float:
        """What the plan counts on."""
        return self.declaration.cpus or self.machine.cpu.cores


class Pasted(NamedTuple):
    """
    What `render` returns.

    Attributes:
        text: What to paste, with a line feed at its end.
        left_out: The settings that are not in it.
        notes: What else to know of it, one sentence each.
    """

    text: str
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()


def render(form: str, content: Content) -> Pasted:
    """Return *content* in one of `FORMS`."""
    return _FORMS[form](content)


def _settings(content: Content) -> dict[str, Any]:
    """Everything that is planned or set, by Gunicorn's name."""
    values = content.plan.settings
    for name in content.declaration.settings:
        explicit = content.declaration.explicit(name)
        if explicit and name not in values:
            values[name] = explicit.value
    return {
        name: class_name(value) if isinstance(value, type) else value
        for name, value in values.items()
        if name in content.spellings and name not in _ASIDE
    }


def _split(
    content: Content, write: Callable[[str, Any, Spelling], str | None]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return each setting as *write* has it, and the names of those for which it has nothing."""
    written, left_out = {}, []
    for name, value in _settings(content).items():
        text = None
        if name not in SECRET_SETTINGS:
            text = write(name, value, content.spellings[name])
        if text is None:
            left_out.append(name)
        else:
            written[name] = text
    hooks = [name for name in content.declaration.settings if name not in content.spellings]
    return written, (*left_out, *(name for name in hooks if name not in left_out))


def _text(value: Any, read: Callable[[str], Any]) -> str | None:
    """The text that Gunicorn reads as *value*, or None where there is none."""
    for candidate in _candidates(value):
        try:
            if read(candidate) == value or candidate == value:
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
        yield ":".join(words)  # A host and its port.
    elif isinstance(value, dict):
        yield json.dumps(value)
    elif isinstance(value, (int, float)):
        yield format(value, "d" if isinstance(value, int) else "")
    elif value is not None:
        yield str(value)


def _arguments(content: Content) -> Pasted:
    written, left_out = _split(content, _argument)
    return Pasted(" ".join(filter(None, written.values())) + "\n", left_out)


def _argument(name: str, value: Any, spelling: Spelling) -> str | None:
    flag = spelling.flag
    if spelling.action in ("store_true", "store_const"):
        if value == spelling.default:
            return ""
        return flag if value is (spelling.action == "store_true") else None
    if flag is None:
        return None
    if spelling.action == "append":
        return " ".join(_option(flag, str(item)) for item in value)
    text = _text(value, spelling.read)
    return None if text is None else _option(flag, text)


def _option(flag: str, text: str) -> str:
    # What begins with a dash would be taken for the next option.
    joint = "=" if text.startswith("-") and text != "-" else " "
    return flag + joint + shlex.quote(text)


def _variables(content: Content) -> tuple[dict[str, str], tuple[str, ...]]:
    written, left_out = _split(content, lambda name, value, spelling: _text(value, spelling.read))
    settings = {PREFIX + name.upper(): text for name, text in written.items()}
    return {**content.declared, **settings}, left_out


def _env(content: Content) -> Pasted:
    variables, left_out = _variables(content)
    lines = [f"{name}={shlex.quote(text)}\n" for name, text in variables.items()]
    return Pasted("".join(lines), left_out)


def _dockerfile(content: Content) -> Pasted:
    variables, left_out = _variables(content)
    # The instruction ends with its line, and nothing stands for a line feed within it.
    broken = [name for name, text in variables.items() if not text.isprintable()]
    lines = [
        f"{name}={_docker_quoted(text)}" for name, text in variables.items() if name not in broken
    ]
    return Pasted("ENV " + " \\\n    ".join(lines) + "\n", (*left_out, *broken))


def _docker_quoted(text: str) -> str:
    # Source: BuildKit, frontend/dockerfile/shell/lex.go, processDoubleQuote.
    for character in '\\"$':
        text = text.replace(character, "\\" + character)
    return f'"{text}"'


def _python(content: Content) -> Pasted:
    written, left_out = _split(content, _literal)
    blocks = [_comment(f"Planned by {NAME} for {content.cores:g} cores; 'explain' says why.")]
    for name, text in written.items():
        reasons = content.plan.reasons_for(name)
        blocks.append((_comment(describe(reasons[-1])) if reasons else "") + f"{name} = {text}\n")
    return Pasted("\n".join(blocks), left_out)


def _comment(text: str) -> str:
    # No reason can end its comment: whatever breaks a line is a blank to textwrap.
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    return "".join(f"{line}\n" for line in lines)


def _literal(name: str, value: Any, spelling: Spelling) -> str | None:
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if spelling.action == "append" or isinstance(value, dict):
        return repr(value)
    text = _text(value, spelling.read)
    return None if text is None else repr(text)


_WHY_FROM_THE_LIMITS = (
    "  # The limits, for a runtime that hides its cgroups. Without these the plan reads",
    "  # them from the cgroup, and follows when they are changed in place.",
)


def _kubernetes(content: Content) -> Pasted:
    """The container's share and what was declared; there the plan is made from them again."""
    budget = content.plan.memory
    memory_bytes = budget.limit_bytes if budget else None
    variables: dict[str, str | Resource] = dict(FROM_THE_LIMITS)
    if memory_bytes is None:
        del variables[f"{PREFIX}MEMORY"]
    for name, text in content.declared.items():
        variables.setdefault(name, literal(text))
    written, left_out = _split(content, lambda name, value, spelling: _text(value, spelling.read))
    for name, text in written.items():
        if content.declaration.explicit(name):
            variables[PREFIX + name.upper()] = literal(text)
    head, *entries = env_lines(variables)
    lines = [*resource_lines(content.cores, memory_bytes), head, *_WHY_FROM_THE_LIMITS, *entries]
    return Pasted("".join(f"{line}\n" for line in lines), left_out, tuple(_unlimited(content)))


def _unlimited(content: Content) -> Iterator[str]:
    """Say where the numbers are those of a whole machine, which few mean to ask for."""
    if content.declaration.cpus is None and not content.machine.cpu.is_limited:
        yield "no CPU limit was found, so all cores of this machine are asked for; --cpus says less"
    if content.declaration.memory_bytes is None and not content.machine.memory.limits:
        yield "no memory limit was found, so all there is is asked for; --memory says less"


_FORMS: Mapping[str, Callable[[Content], Pasted]] = {
    "args": _arguments,
    "env": _env,
    "python": _python,
    "dockerfile": _dockerfile,
    "kubernetes": _kubernetes,
}

FORMS = tuple(_FORMS)
