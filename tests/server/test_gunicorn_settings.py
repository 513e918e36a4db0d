"""Settings from the environment and the command line, against the installed Gunicorn."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from builders import declare, plan_for
from gunicorn.config import KNOWN_SETTINGS, Config, validate_bool, validate_pos_int

from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.plan.declaration import Explicit
from gunicorn_autoconf.server.command_line import read_command_line
from gunicorn_autoconf.server.gunicorn import setting_parsers

pytestmark = pytest.mark.each_gunicorn

SETTINGS = [setting for setting in KNOWN_SETTINGS if "Hooks" not in setting.section]
SWITCHES = sorted(s.name for s in KNOWN_SETTINGS if s.validator is validate_bool)
NUMBERS = sorted(
    s.name for s in KNOWN_SETTINGS if s.validator is validate_pos_int and s.type is int
)
LISTS = sorted(
    s.name for s in KNOWN_SETTINGS if s.action == "append" and s.name != "reload_extra_files"
)


class TestParsers:
    def test_every_setting_has_one(self) -> None:
        assert setting_parsers().keys() == Config().settings.keys()

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("workers", "7", 7),
            ("timeout", "0", 0),
            ("timeout", "090", 90),
            ("worker_class", "gevent", "gevent"),
            ("loglevel", "debug", "debug"),
            ("accesslog", "-", "-"),
            ("access_log_format", '%(h)s "%(r)s"', '%(h)s "%(r)s"'),
            # octal, as in a shell
            ("umask", "022", 18),
            ("umask", "0o27", 23),
            ("umask", "0", 0),
            ("umask", "0x1f", 31),
            # switches
            ("preload_app", "true", True),
            ("preload_app", "True", True),
            ("preload_app", "1", True),
            ("preload_app", "yes", True),
            ("preload_app", "ON", True),
            ("preload_app", "false", False),
            ("preload_app", "0", False),
            ("preload_app", "No", False),
            ("preload_app", "off", False),
            ("sendfile", "off", False),
            # lists are shell words
            ("bind", ":8000", [":8000"]),
            ("bind", "0.0.0.0:80 unix:/run/app", ["0.0.0.0:80", "unix:/run/app"]),
            ("raw_env", "A=1 'B=two words'", ["A=1", "B=two words"]),
            # mappings are JSON
            (
                "secure_scheme_headers",
                '{"X-FORWARDED-PROTO": "https"}',
                {"X-FORWARDED-PROTO": "https"},
            ),
            ("logconfig_dict", "{}", {}),
            # Gunicorn makes of these what it would not take from a configuration
            ("forwarded_allow_ips", "10.0.0.1,10.0.0.2", "10.0.0.1,10.0.0.2"),
            ("forwarder_headers", "SCRIPT_NAME", "SCRIPT_NAME"),
            ("statsd_host", "localhost:8125", "localhost:8125"),
            # hooks stay the names they are: to look them up would run the user's code
            ("on_starting", "no.such.function", "no.such.function"),
        ],
    )
    def test_value(self, name: str, text: str, value: object) -> None:
        parsed = setting_parsers()[name](text)
        assert parsed == value
        assert type(parsed) is type(value)

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
    def test_gunicorn_takes_every_value_from_a_configuration(
        self, setting: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Its own validator: a test before this one may have had ours put in its place.
        own = inspect.unwrap(setting.validator)
        monkeypatch.setattr(setting, "validator", staticmethod(own))
        parse = setting_parsers()[setting.name]
        for text in (
            "1",
            "true",
            "off",
            "auto",
            "h1",
            "INET",
            "refuse",
            "localhost:1",
            "{}",
            "/tmp",
        ):
            try:
                value = parse(text)
            except ValueError:
                continue
            Config().set(setting.name, value)  # Raises what it likes.

    @pytest.mark.parametrize("name", SWITCHES)
    def test_every_switch_can_be_turned_on_and_off(self, name: str) -> None:
        parse = setting_parsers()[name]
        assert [parse(text) for text in ("1", "yes", "on", "true")] == [True] * 4
        assert [parse(text) for text in ("0", "no", "off", "false")] == [False] * 4

    @pytest.mark.parametrize("name", NUMBERS)
    def test_every_number(self, name: str) -> None:
        assert setting_parsers()[name]("12") == 12

    @pytest.mark.parametrize("name", LISTS)
    def test_every_list(self, name: str) -> None:
        assert setting_parsers()[name]("a 'b c'") == ["a", "b c"]

    @pytest.mark.parametrize(
        ("name", "text", "reason"),
        [
            ("timeout", "soon", "use a whole number of at least 0"),
            ("timeout", "-1", "use a whole number of at least 0"),
            ("timeout", "1.5", "use a whole number of at least 0"),
            ("workers", "0", "use a whole number of at least 1, or unset it for the plan"),
            ("workers", "auto", "use a whole number of at least 1, or unset it for the plan"),
            ("threads", "0", "use a whole number of at least 1, or unset it for the plan"),
            ("threads", "-2", "use a whole number of at least 1, or unset it for the plan"),
            ("umask", "rwx", "use a whole number of at least 0"),
            ("preload_app", "maybe", "use true or false"),
            ("preload_app", "2", "use true or false"),
            ("secure_scheme_headers", "{", "use a JSON object"),
            ("secure_scheme_headers", "[1]", "use a JSON object"),
            ("secure_scheme_headers", "X: https", "use a JSON object"),
            ("bind", "'open", "Gunicorn says: No closing quotation"),
            ("chdir", "/nowhere/at/all", "Gunicorn says: can't chdir to '/nowhere/at/all'"),
            ("user", "nobody-of-that-name", "Gunicorn says: No such user: 'nobody-of-that-name'"),
            ("on_starting", "function", "use module.function"),
        ],
    )
    def test_refused(self, name: str, text: str, reason: str | None) -> None:
        with pytest.raises(DeclarationError) as caught:
            declare({f"GUNICORN_{name.upper()}": text})
        error = caught.value
        assert (error.name, error.value) == (f"GUNICORN_{name.upper()}", text)
        assert reason is None or error.remedy == reason
        assert len(str(error).splitlines()) == 1


def command_line(*words: str, cmd_args: str = "") -> dict[str, list[tuple[Any, str]]]:
    """Value and source of each setting, for Gunicorn called with *words*."""
    environ = {"GUNICORN_CMD_ARGS": cmd_args}
    settings = read_command_line(["/usr/bin/gunicorn", *words], environ).settings
    return {name: [(e.value, e.source) for e in given] for name, given in settings.items()}


class TestCommandLine:
    def test_application_and_options(self) -> None:
        read = read_command_line(["gunicorn", "-w", "7", "--preload", "mysite.asgi:app"], {})
        assert read.target == "mysite.asgi:app"
        assert read.settings == {
            "workers": (Explicit(value=7, source="--workers", applied=True),),
            "preload_app": (Explicit(value=True, source="--preload", applied=True),),
        }

    @pytest.mark.parametrize(
        ("words", "settings"),
        [
            (["--workers=7", "app:app"], {"workers": [(7, "--workers")]}),
            (["-k", "gevent"], {"worker_class": [("gevent", "--worker-class")]}),
            (
                ["-t10", "--keep-alive", "5"],
                {"timeout": [(10, "--timeout")], "keepalive": [(5, "--keep-alive")]},
            ),
            (["-b", ":80", "-b", ":81"], {"bind": [([":80", ":81"], "--bind")]}),
            (["-m", "022"], {"umask": [(18, "--umask")]}),
            (["--no-sendfile"], {"sendfile": [(False, "--no-sendfile")]}),
            (
                ["-c", "python:gunicorn_autoconf.conf"],
                {"config": [("python:gunicorn_autoconf.conf", "--config")]},
            ),
            (["app:app"], {}),
            ([], {}),
        ],
    )
    def test_options(self, words: list[str], settings: dict[str, object]) -> None:
        assert command_line(*words) == settings

    @pytest.mark.parametrize(
        "program",
        [
            "gunicorn",
            "/usr/local/bin/gunicorn",
            "gunicorn3",
            "/opt/venv/lib/python3.12/site-packages/gunicorn/__main__.py",
        ],
    )
    def test_gunicorn_is_known_by_its_name(self, program: str) -> None:
        read = read_command_line([program, "--workers", "7", "app:app"], {})
        assert read.target == "app:app"
        assert list(read.settings) == ["workers"]

    @pytest.mark.parametrize(
        "program",
        [
            "/usr/bin/uvicorn",
            "celery",
            "pytest",
            "-c",
            "-m",
            "",
            "__main__.py",
            "/opt/site-packages/uvicorn/__main__.py",
            "/srv/gunicorn/manage.py",
        ],
    )
    def test_another_program_says_nothing(self, program: str) -> None:
        read = read_command_line([program, "--workers", "7", "app:app"], {})
        assert (read.target, read.settings) == (None, {})

    def test_no_program_says_nothing(self) -> None:
        assert read_command_line([], {}).settings == {}

    def test_another_program_still_has_the_environment(self) -> None:
        read = read_command_line(["celery", "--workers", "7"], {"GUNICORN_CMD_ARGS": "--workers 6"})
        assert read.settings == {
            "workers": (Explicit(value=6, source="GUNICORN_CMD_ARGS", applied=True),)
        }

    def test_an_option_beats_cmd_args(self) -> None:
        assert command_line("-w", "7", "app:app", cmd_args="-w 6 --timeout 20") == {
            "workers": [(7, "--workers"), (6, "GUNICORN_CMD_ARGS")],
            "timeout": [(20, "GUNICORN_CMD_ARGS")],
        }

    def test_cmd_args_are_shell_words(self) -> None:
        assert command_line(cmd_args="--access-logformat '%(h)s %(s)s'") == {
            "access_log_format": [("%(h)s %(s)s", "GUNICORN_CMD_ARGS")]
        }

    def test_an_application_in_cmd_args_is_ignored_as_gunicorn_does(self) -> None:
        read = read_command_line(["gunicorn"], {"GUNICORN_CMD_ARGS": "--workers 6 app:app"})
        assert read.target is None
        assert list(read.settings) == ["workers"]

    @pytest.mark.parametrize(
        "cmd_args",
        [
            "--no-such-option",
            "--workers many",
            "--workers -1",
            "--workers",
            "--bind 'open",
            "--chdir /nowhere/at/all",
            "--workers 6 --user nobody-of-that-name",
            "--version",
            "--help",
        ],
    )
    def test_what_gunicorn_refuses_is_left_to_gunicorn(
        self, cmd_args: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert command_line("--timeout", "9", "app:app", cmd_args=cmd_args) == {
            "timeout": [(9, "--timeout")]
        }
        assert capfd.readouterr() == ("", "")

    def test_a_command_line_that_gunicorn_refuses(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert command_line("--workers", "many", "app:app", cmd_args="-w 6") == {
            "workers": [(6, "GUNICORN_CMD_ARGS")]
        }
        assert capfd.readouterr() == ("", "")


class TestPrecedence:
    """Command line, `GUNICORN_CMD_ARGS`, ``GUNICORN_<SETTING>``, the plan."""

    @pytest.mark.parametrize(
        ("argv", "environ", "timeout"),
        [
            ([], {}, 60),
            ([], {"GUNICORN_TIMEOUT": "70"}, 70),
            ([], {"GUNICORN_TIMEOUT": "70", "GUNICORN_CMD_ARGS": "-t 80"}, 80),
            (
                ["gunicorn", "-t", "90"],
                {"GUNICORN_TIMEOUT": "70", "GUNICORN_CMD_ARGS": "-t 80"},
                90,
            ),
            (["gunicorn", "-t", "90"], {"GUNICORN_TIMEOUT": "70"}, 90),
            (["uvicorn", "-t", "90"], {"GUNICORN_TIMEOUT": "70"}, 70),
            ([], {"GUNICORN_TIMEOUT": "70", "GUNICORN_CMD_ARGS": "-t soon"}, 70),
        ],
    )
    def test_of_the_timeout(self, argv: list[str], environ: dict[str, str], timeout: int) -> None:
        assert plan_for(environ, argv=argv).settings["timeout"] == timeout

    def test_the_reason_names_all_who_set_it(self) -> None:
        planned = plan_for(
            {"GUNICORN_TIMEOUT": "70", "GUNICORN_CMD_ARGS": "-t 80"}, argv=["gunicorn", "-t", "90"]
        )
        (reason,) = planned.reasons_for("timeout")
        assert reason.source == "--timeout"
        assert reason.inputs == {"GUNICORN_CMD_ARGS": 80, "GUNICORN_TIMEOUT": 70}
