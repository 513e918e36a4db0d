"""What to set instead of a `GUNICORN_*` name that nothing reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gunicorn_autoconf.plan.alias_table import ALIASES
from gunicorn_autoconf.plan.variables import PREFIX

# Gunicorn's server hooks: to set one is to name a function, which no other variable means.
HOOKS = frozenset(
    {
        "child_exit",
        "dirty_post_fork",
        "dirty_worker_exit",
        "dirty_worker_init",
        "nworkers_changed",
        "on_dirty_starting",
        "on_exit",
        "on_reload",
        "on_starting",
        "post_fork",
        "post_request",
        "post_worker_init",
        "pre_exec",
        "pre_fork",
        "pre_request",
        "ssl_context",
        "when_ready",
        "worker_abort",
        "worker_exit",
        "worker_int",
    }
)

# Flags whose name is often that of something else: `--env` sets raw_env, but GUNICORN_ENV is
# "production" wherever it is used.
_OTHERWISE_USED = frozenset({"ENV"})

# Two names of one slip are at least so alike (difflib's ratio): one letter of four in CPUS, two of
# fourteen in GRACEFUL_TIMEOUT. NUM_WORKERS and MIN_WORKERS have 0.82.
_ALIKE = 0.85
_MAX_SLIP_LETTERS = 2

_BY_NAME = {alias.name: alias for alias in ALIASES}


def unknown_name(name: str, known: Iterable[str], flags: Mapping[str, str]) -> str:
    """
    Return the warning that nothing reads ``GUNICORN_<name>``, with what to set instead.

    Args:
        name: The name without its prefix.
        known: The names that are read, without their prefix.
        flags: Gunicorn's own flags as they would be written in a variable, and the name of the
            variable that does the same.
    """
    alias = _BY_NAME.get(name)
    if alias and not alias.variable:
        return f"{PREFIX}{name} has no effect: {alias.note}"
    instead = _instead(name, frozenset(known), flags)
    question = f"; did you mean {instead}?" if instead else ""
    return f"{PREFIX}{name} is unknown and has no effect{question}"


def _instead(name: str, known: frozenset[str], flags: Mapping[str, str]) -> str:
    """What to set instead of *name*, as it is written; "" rather than a wrong one."""
    readable = {word: PREFIX + word for word in known - {hook.upper() for hook in HOOKS}}
    readable |= {
        alias.name: alias.instead
        for alias in ALIASES
        if alias.variable in readable or alias.variable == "CMD_ARGS"
    }
    readable |= {
        flag: PREFIX + variable
        for flag, variable in flags.items()
        if variable in readable and flag not in _OTHERWISE_USED
    }
    return readable.get(name) or _near(name, readable)


def _near(name: str, readable: Mapping[str, str]) -> str:
    """What to set instead of the name of which *name* is a slip, "" if that is not certain."""
    from difflib import get_close_matches  # Imported only if a name is unknown.

    candidates = [word for word in readable if _may_be_slip(name, word)]
    near = get_close_matches(name, candidates, n=2, cutoff=_ALIKE)
    answers = {readable[word] for word in near}
    return answers.pop() if len(answers) == 1 else ""


def _may_be_slip(name: str, word: str) -> bool:
    """Whether *name* may be *word* with a slip: never its opposite, never much longer."""
    return (
        name[:1] == word[:1]
        and abs(len(name) - len(word)) <= _MAX_SLIP_LETTERS
        and _sense(name) == _sense(word)
    )


def _sense(name: str) -> tuple[bool, ...]:
    return tuple(word in name for word in ("DISABLE", "ENABLE", "NO_", "MIN_", "MAX_"))
