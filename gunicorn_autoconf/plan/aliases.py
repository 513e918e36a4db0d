"""What other images call Gunicorn's settings, and what to set instead. Pure.

Most names were seen in public code: Dockerfiles, entrypoints, charts and `gunicorn.conf.py` files
that read the environment. The rest, CONFIG and WORKER_MEM among them, are likely slips. A name with
two meanings, such as `TMP_DIR`, has no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

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

_CONFIGURATION = "Gunicorn takes its configuration by -c only"
_APPLICATION = "Gunicorn takes the application from its command line"
_PER_CORE = "the plan counts the cores itself; GUNICORN_WORKERS sets a count"


class Alias(NamedTuple):
    """
    One row of the table. Names are without the prefix.

    Attributes:
        name: The variable as others call it.
        variable: What to set instead, or "" if no variable does it.
        seen: A public repository that uses the name, "" where none is on record.
        form: How the value is written there, if not as it was.
        note: What to do where no variable does it.
    """

    name: str
    variable: str
    seen: str = ""
    form: str = ""
    note: str = ""

    @property
    def instead(self) -> str:
        """What to set instead, as it is written."""
        return written(self.variable, self.form) if self.variable else self.note


ALIASES: tuple[Alias, ...] = (
    Alias("NUM_WORKERS", "WORKERS", "gramps-project/gramps-web-api"),
    Alias("N_WORKERS", "WORKERS"),
    Alias("NB_WORKERS", "WORKERS"),
    Alias("WORKER_COUNT", "WORKERS"),
    Alias("WORKERS_COUNT", "WORKERS"),
    Alias("WORKER_NUM", "WORKERS"),
    Alias("WORKER_NUMBER", "WORKERS"),
    Alias("WORKER_NO", "WORKERS"),
    Alias("PROCESSES", "WORKERS", "bcgov/lear"),
    Alias("CONCURRENCY", "WORKERS", "TencentBlueKing/blueking-paas"),
    Alias("NUM_THREADS", "THREADS"),
    Alias("N_THREADS", "THREADS"),
    Alias("WORKER_THREADS", "THREADS"),
    Alias("THREADS_PER_WORKER", "THREADS"),
    Alias("WORKER_TYPE", "WORKER_CLASS"),
    Alias("CONNECTIONS", "WORKER_CONNECTIONS"),
    Alias("WORKER_TIMEOUT", "TIMEOUT", "archesproject/arches"),
    Alias("WORKER_TIMEOUT_SEC", "TIMEOUT"),
    Alias("W_TIMEOUT", "TIMEOUT"),
    Alias("SHUTDOWN_TIMEOUT", "GRACEFUL_TIMEOUT"),
    Alias("KEEP_ALIVE", "KEEPALIVE", "Flagsmith/flagsmith"),
    Alias("MAX_REQUEST", "MAX_REQUESTS"),
    Alias("WORKER_MAX_REQUESTS", "MAX_REQUESTS"),
    Alias("MAX_REQUEST_JITTER", "MAX_REQUESTS_JITTER"),
    Alias("REQUESTS_JITTER", "MAX_REQUESTS_JITTER", "mayan-edms/Mayan-EDMS"),
    Alias("MAX_RQ_JITTER", "MAX_REQUESTS_JITTER"),
    Alias("JITTER", "MAX_REQUESTS_JITTER"),
    Alias("REQUEST_LINE_LIMIT", "LIMIT_REQUEST_LINE", "RedHatInsights/insights-host-inventory"),
    Alias(
        "REQUEST_FIELD_LIMIT",
        "LIMIT_REQUEST_FIELD_SIZE",
        "RedHatInsights/insights-host-inventory",
    ),
    Alias("HOST", "BIND", "benoitc/gunicorn", form="<host>:<port>"),
    Alias("PORT", "BIND", "benoitc/gunicorn", form="<host>:<port>"),
    Alias("BIND_ADDRESS", "BIND"),
    Alias("BIND_PORT", "BIND", form="<host>:<port>"),
    Alias("ADDRESS", "BIND"),
    Alias("ADDR", "BIND"),
    Alias("LISTEN", "BIND"),
    Alias("LISTEN_ADDRESS", "BIND"),
    Alias("LISTEN_PORT", "BIND", form="<host>:<port>"),
    Alias("SERVER_HOST", "BIND", form="<host>:<port>"),
    Alias("SERVER_PORT", "BIND", form="<host>:<port>"),
    Alias("SOCKET", "BIND", form="unix:<path>"),
    Alias("SSL_CERTFILE", "CERTFILE"),
    Alias("SSL_CRT", "CERTFILE"),
    Alias("SSL_KEYFILE", "KEYFILE"),
    Alias("SSL_KEY", "KEYFILE"),
    Alias("LOG_LEVEL", "LOGLEVEL", "TandoorRecipes/recipes"),
    Alias("LOG_FILE", "ERRORLOG", "PnX-SI/UsersHub"),
    Alias("ERROR_LOG", "ERRORLOG"),
    Alias("ERROR_LOGFILE", "ERRORLOG"),
    Alias("ACCESS_LOG", "ACCESSLOG"),
    Alias("ACCESS_LOGFILE", "ACCESSLOG", "pgadmin-org/pgadmin4"),
    Alias("ACCESS_LOGS", "ACCESSLOG", "praekeltfoundation/docker-django-bootstrap", form="-"),
    Alias("LOGFORMAT", "ACCESS_LOG_FORMAT", "mozilla/kitsune"),
    Alias("PID_FILE", "PIDFILE"),
    Alias("PRELOAD", "PRELOAD_APP", "benoitc/gunicorn"),
    Alias("WORKER_DIR", "WORKER_TMP_DIR"),
    Alias("WORKER_MEM", "WORKER_MEMORY"),
    Alias("ARGS", "CMD_ARGS", "benoitc/gunicorn"),
    Alias("OPTS", "CMD_ARGS", "internetarchive/openlibrary"),
    Alias("OPTIONS", "CMD_ARGS", "ansible/galaxy_ng"),
    Alias("FLAGS", "CMD_ARGS", "reviewboard/reviewboard"),
    Alias("PARAMS", "CMD_ARGS", "camptocamp/c2cwsgiutils"),
    Alias("EXTRA_ARGS", "CMD_ARGS"),
    Alias("EXTRA_FLAGS", "CMD_ARGS"),
    Alias("DEBUG_ARGS", "CMD_ARGS", "akvo/akvo-rsr"),
    Alias("CLI_EXTEND", "CMD_ARGS"),
    Alias("CONFIG", "", note=_CONFIGURATION),
    Alias("CONFIG_FILE", "", note=_CONFIGURATION),
    Alias("CONFIG_FILE_PATH", "", note=_CONFIGURATION),
    Alias("CONF", "", "tiangolo/uvicorn-gunicorn-docker", note=_CONFIGURATION),
    Alias("APP_MODULE", "", "tenstorrent/ttnn-visualizer", note=_APPLICATION),
    Alias("MODULE", "", note=_APPLICATION),
    Alias("CALLABLE", "", note=_APPLICATION),
    Alias("WORKERS_PER_CORE", "", note=_PER_CORE),
    Alias("WORKER_MULTIPLIER", "", "RedHatInsights/insights-rbac", note=_PER_CORE),
)

_BY_NAME = {alias.name: alias for alias in ALIASES}


def written(variable: str, form: str = "") -> str:
    """Return *variable* as it is set: with its prefix, and *form* if its value has one."""
    return f"{PREFIX}{variable}={form}" if form else PREFIX + variable


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
