"""Unknown GUNICORN_* names: what is suggested exists, is never a hook and never the opposite."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from builders import declare
from gunicorn.config import KNOWN_SETTINGS
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.plan.alias_table import ALIASES, Alias
from gunicorn_autoconf.plan.aliases import HOOKS
from gunicorn_autoconf.plan.variables import VARIABLES
from gunicorn_autoconf.server.gunicorn import setting_flags

DOCS = Path(__file__).parents[2] / "docs"
SUGGESTION = re.compile(r"; did you mean GUNICORN_([A-Z_]+)(?:=(\S+))?\?$")
SETTINGS = {setting.name.upper() for setting in KNOWN_SETTINGS}
OURS = {variable.keyword.upper() for variable in VARIABLES}
INSTALLED_HOOKS = {setting.name for setting in KNOWN_SETTINGS if setting.section.endswith("Hooks")}

# A value that each suggested variable takes.
TAKEN = {
    "ACCESSLOG": "-",
    "ACCESS_LOG_FORMAT": "%(h)s",
    "BIND": "127.0.0.1:8000",
    "CERTFILE": "server.crt",
    "ERRORLOG": "-",
    "GRACEFUL_TIMEOUT": "30",
    "KEEPALIVE": "5",
    "KEYFILE": "server.key",
    "LIMIT_REQUEST_FIELD_SIZE": "8190",
    "LIMIT_REQUEST_LINE": "4094",
    "LOGLEVEL": "info",
    "MAX_REQUESTS": "1000",
    "MAX_REQUESTS_JITTER": "50",
    "PIDFILE": "app.pid",
    "PRELOAD_APP": "true",
    "THREADS": "4",
    "TIMEOUT": "60",
    "WORKERS": "3",
    "WORKER_CLASS": "gthread",
    "WORKER_CONNECTIONS": "1000",
    "WORKER_MEMORY": "200MiB",
    "WORKER_TMP_DIR": "/dev/shm",
}


def suggested(name: str) -> str | None:
    """The variable that the warning about GUNICORN_<name> names, without its prefix."""
    (warning,) = declare({f"GUNICORN_{name}": "sesame"}).warnings
    found = SUGGESTION.search(warning)
    return found[1] if found else None


# Each once misled: the nearest name by spelling means something else.
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("PRELOAD", "GUNICORN_PRELOAD_APP"),
        ("NUM_WORKERS", "GUNICORN_WORKERS"),
        ("N_WORKERS", "GUNICORN_WORKERS"),
        ("WORKER_COUNT", "GUNICORN_WORKERS"),
        ("WORKER_TIMEOUT", "GUNICORN_TIMEOUT"),
        ("WORKER_TYPE", "GUNICORN_WORKER_CLASS"),
        ("WORKER_THREADS", "GUNICORN_THREADS"),
        ("LOG_FILE", "GUNICORN_ERRORLOG"),
        ("HOST", "GUNICORN_BIND=<host>:<port>"),
        ("PORT", "GUNICORN_BIND=<host>:<port>"),
        ("SOCKET", "GUNICORN_BIND=unix:<path>"),
        ("OPTS", "GUNICORN_CMD_ARGS"),
        ("ARGS", "GUNICORN_CMD_ARGS"),
    ],
)
def test_what_other_images_call_it(name: str, instead: str) -> None:
    assert declare({f"GUNICORN_{name}": "sesame"}).warnings == (
        f"GUNICORN_{name} is unknown and has no effect; did you mean {instead}?",
    )


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("CONF", "Gunicorn takes its configuration by -c only"),
        ("CONFIG_FILE", "Gunicorn takes its configuration by -c only"),
        ("APP_MODULE", "Gunicorn takes the application from its command line"),
        (
            "WORKERS_PER_CORE",
            "the plan counts the cores itself; GUNICORN_WORKERS sets a count",
        ),
    ],
)
def test_what_no_variable_does(name: str, note: str) -> None:
    assert declare({f"GUNICORN_{name}": "sesame"}).warnings == (
        f"GUNICORN_{name} has no effect: {note}",
    )


# Flags of which Gunicorn's setting has another name.
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("ACCESS_LOGFORMAT", "ACCESS_LOG_FORMAT"),
        ("ERROR_LOGFILE", "ERRORLOG"),
        ("LOG_CONFIG", "LOGCONFIG"),
        ("LOG_SYSLOG_TO", "SYSLOG_ADDR"),
        ("NAME", "PROC_NAME"),
        ("PROXY_ALLOW_FROM", "PROXY_ALLOW_IPS"),
        ("RELOAD_EXTRA_FILE", "RELOAD_EXTRA_FILES"),
    ],
)
def test_gunicorns_own_flags(name: str, setting: str) -> None:
    assert suggested(name) == setting


@pytest.mark.parametrize(
    "name",
    [
        "ENV",  # --env sets raw_env, and GUNICORN_ENV is "production".
        "NO_SENDFILE",  # The opposite of SENDFILE.
        "RELOADS_PRE",
        "MEDIA",
        "VERSION",
        "DEBUG",
        "TMP_DIR",  # Seen for worker_tmp_dir and for tmp_upload_dir.
        "POST_FROK",  # A hook.
        "WORKER_INIT",  # Near to the hook worker_int.
        "CHILD_EXITS",
        "MID_WORKERS",  # As near to MIN_WORKERS as to MAX_WORKERS.
        "CONTROL_SOCKET_ENABLE",  # The opposite of CONTROL_SOCKET_DISABLE.
        "",
    ],
)
def test_no_suggestion_rather_than_a_wrong_one(name: str) -> None:
    assert declare({f"GUNICORN_{name}": "sesame"}).warnings == (
        f"GUNICORN_{name} is unknown and has no effect",
    )


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("WROKERS", "WORKERS"),
        ("THREAD", "THREADS"),
        ("GRACEFULL_TIMEOUT", "GRACEFUL_TIMEOUT"),
        ("MAX_REQUESTS_JITER", "MAX_REQUESTS_JITTER"),
        ("PRELOADS", "PRELOAD_APP"),
        ("RELOADS", "RELOAD"),
        ("MEMORY_GAURD", "MEMORY_GUARD"),
    ],
)
def test_a_slip(name: str, setting: str) -> None:
    assert suggested(name) == setting


def test_without_gunicorns_flags_the_table_still_answers() -> None:
    from gunicorn_autoconf.plan.declaration import read_declaration

    environ = {"GUNICORN_MAX_WORKER": "3", "GUNICORN_OPTS": "-w 3", "GUNICORN_NAME": "shop"}
    assert read_declaration(environ).warnings == (
        "GUNICORN_MAX_WORKER is unknown and has no effect; did you mean GUNICORN_MAX_WORKERS?",
        "GUNICORN_NAME is unknown and has no effect",
        "GUNICORN_OPTS is unknown and has no effect; did you mean GUNICORN_CMD_ARGS?",
    )


def test_hooks_are_those_of_gunicorn() -> None:
    assert set() == INSTALLED_HOOKS - HOOKS


def test_flags_that_switch_off_are_left_out() -> None:
    flags = setting_flags()
    assert "no-sendfile" not in flags
    assert flags["log-file"] == "errorlog"
    assert flags["worker-tmp-dir"] == "worker_tmp_dir"


def test_a_name_has_one_row_and_is_no_variable_itself() -> None:
    names = [alias.name for alias in ALIASES]
    assert len(names) == len(set(names))
    assert set(names) & ((SETTINGS - {"CONFIG"}) | OURS) == set()
    assert len(names) >= 60


def test_a_repository_is_named_with_its_file() -> None:
    seen = [alias.seen for alias in ALIASES if alias.seen]
    assert len(seen) >= 25
    assert [text for text in seen if not re.fullmatch(r"[\w.-]+/[\w.-]+:[\w./-]+", text)] == []


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.name)
def test_every_row_can_be_followed(alias: Alias) -> None:
    if not alias.variable:
        assert alias.note
        return
    assert suggested(alias.name) == alias.variable
    if alias.variable != "CMD_ARGS":
        value = TAKEN[alias.variable]
        assert declare({f"GUNICORN_{alias.variable}": value}).warnings == ()


def test_names_without_a_prefix_lead_to_variables_that_are_read() -> None:
    """The page lists them by the start script that reads them; see ``docs/elsewhere.py``."""
    scripts = runpy.run_path(str(DOCS / "elsewhere.py"))["ELSEWHERE"]
    assert sum(len(script.here) for script in scripts) >= 60
    for script in scripts:
        for here in script.here.values():
            named = re.findall(r"GUNICORN_([A-Z_]+)", here)
            assert set(named) <= SETTINGS | OURS | {"CMD_ARGS"}
            assert named or "on Gunicorn's command line" in here


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
KNOWN = sorted(SETTINGS | OURS | {alias.name for alias in ALIASES})


@st.composite
def misspelt(draw: st.DrawFn) -> str:
    """A known name with up to three letters changed, added or left out."""
    name: str = draw(st.sampled_from(KNOWN))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(name)))
        name = name[:at] + draw(st.sampled_from(["", *LETTERS])) + name[at + 1 :]
    return name


class TestAnyName:
    """Never a hook, never the opposite, and none at all rather than a wrong one."""

    @given(misspelt() | st.text(LETTERS, max_size=20))
    def test_a_suggestion_is_read_and_no_hook(self, name: str) -> None:
        if name in SETTINGS | OURS:
            return
        for warning in declare({f"GUNICORN_{name}": "1"}).warnings:
            found = SUGGESTION.search(warning)
            if found:
                assert found[1] in SETTINGS | OURS | {"CMD_ARGS"}
                assert found[1].lower() not in HOOKS
                assert found[1] != "CONFIG"

    @given(misspelt())
    def test_less_is_never_more(self, name: str) -> None:
        if name in SETTINGS | OURS:
            return
        for warning in declare({f"GUNICORN_{name}": "1"}).warnings:
            found = SUGGESTION.search(warning)
            if found and "MIN_" in name:
                assert "MAX_" not in found[1]
            if found and "MAX_" in name:
                assert "MIN_" not in found[1]
