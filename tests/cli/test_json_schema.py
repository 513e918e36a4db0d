"""The published schema of ``explain --json`` holds for what is printed, and names all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import ASGI, WSGI, declare, machine, memory
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError
from machine_roots import CASES, machine_of
from schemas import closed

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.cli.explain.document import SCHEMA, to_json
from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.machine.facts import Machine
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.plan import Remark, Severity
from gunicorn_autoconf.plan.remarks import RULES, remarks
from gunicorn_autoconf.plan.steps import plan

PATH = Path(__file__).parents[2] / "docs" / "reference" / "explain.schema.json"
PUBLISHED = json.loads(PATH.read_text(encoding="utf-8"))


VALIDATOR = Draft202012Validator(closed(PUBLISHED))


def document(
    on: Machine, environ: dict[str, str], app: Finding | None = WSGI, problems: tuple[str, ...] = ()
) -> Any:
    declaration = declare(environ)
    planned = plan(on, declaration, application=app)
    known = Known(on, declaration, planned, app, has_uvloop=False, conf_file="gunicorn.conf.py")
    told = [Remark("machine", Severity.PROBLEM, text) for text in problems]
    shown = to_json(on, declaration, planned, app, [*told, *remarks(known)])
    return json.loads(json.dumps(shown))


DECLARED = {
    "GUNICORN_WORKLOAD": "io",
    "GUNICORN_MEMORY_RESERVE": "10%",
    "GUNICORN_INTERFACE": "auto",
    "GUNICORN_BIND": ":80 :81",
    "GUNICORN_RAW_ENV": "TOKEN=hunter2",
    "GUNICORN_STATSD_HOST": "localhost:8125",
    "WEB_CONCURRENCY": "3",
}


def test_schema_is_one() -> None:
    Draft202012Validator.check_schema(PUBLISHED)


def test_version() -> None:
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA == 1
    assert document(machine(), {})["schema"] == 1


@pytest.mark.parametrize("environ", [{}, DECLARED], ids=["nothing", "much"])
@pytest.mark.parametrize("case", CASES)
def test_every_machine(case: str, environ: dict[str, str]) -> None:
    on = machine_of(case)

    VALIDATOR.validate(document(on, environ, ASGI))


def test_where_nothing_is_known() -> None:
    VALIDATOR.validate(document(machine(supply=memory(None)), {}, None))
    unknown = Finding(interface=None, evidence="no such file")
    VALIDATOR.validate(document(machine(), {}, unknown, ("something is wrong",)))


def test_what_the_command_prints() -> None:
    result = CliRunner().invoke(main, ["explain", "--json", "gunicorn_autoconf.demo:app"])
    VALIDATOR.validate(json.loads(result.output))


def test_topics() -> None:
    items = PUBLISHED["properties"]["advice"]["items"]
    topics = [topic for topic, severity, _ in RULES if severity is Severity.ADVICE]
    assert items["properties"]["topic"]["enum"] == topics


@pytest.mark.parametrize("name", ["schema", "machine", "plan", "advice"])
def test_a_name_that_is_missing_or_new_is_noticed(name: str) -> None:
    shown = document(machine(), {})
    with pytest.raises(ValidationError):
        VALIDATOR.validate({key: value for key, value in shown.items() if key != name})
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**shown, f"{name}_2": 1})
