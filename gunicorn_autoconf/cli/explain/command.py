"""``gunicorn-autoconf explain``. Reads the machine and the application's source, prints."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import click

from gunicorn_autoconf.cli.channel import read_status
from gunicorn_autoconf.cli.explain.document import to_json
from gunicorn_autoconf.cli.explain.running import render_status
from gunicorn_autoconf.cli.explain.text import render_explanation, render_short
from gunicorn_autoconf.cli.layout import echo, echo_json, echo_to_paste
from gunicorn_autoconf.cli.options import by_flag, declared_texts, declaring
from gunicorn_autoconf.cli.paste import FORMS, Content, render
from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.machine.detect import find_file_system
from gunicorn_autoconf.plan.known import Known
from gunicorn_autoconf.plan.plan import Remark, warnings_of
from gunicorn_autoconf.plan.remarks import remarks
from gunicorn_autoconf.server.autoconf import Autoconf, build
from gunicorn_autoconf.server.command_line import check_command_line
from gunicorn_autoconf.server.gunicorn import assigned_values, spellings, taken_settings
from gunicorn_autoconf.server.replan import http_parser
from gunicorn_autoconf.server.worker_class import remedy_for

# The file that Gunicorn reads by default.
CONF_FILE = "./gunicorn.conf.py"


@click.command()
@click.argument("app", required=False)
@declaring
@click.option("--short", is_flag=True, help="Print the plan in one line, and its problems.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--as", "form", type=click.Choice(FORMS), help="Print the plan to paste it.")
@click.option("--pid", type=int, help="Show what the running server of this arbiter does instead.")
@click.option("--strict", is_flag=True, help="Exit with status 1 where there is any problem.")
@click.pass_context
def explain(  # noqa: PLR0913 - one argument for each option
    context: click.Context,
    /,
    app: str | None,
    *,
    short: bool,
    as_json: bool,
    form: str | None,
    pid: int | None,
    strict: bool,
    **options: str | None,
) -> None:
    """
    Show the plan for this machine, and the reasons.

    APP is the application as Gunicorn takes it, such as mysite.asgi:application; its source is
    read to tell ASGI from WSGI. Neither it nor a gunicorn.conf.py is run. An option that takes a
    VALUE overrides the environment variable of the same name.

    To paste: args are for Gunicorn's command line, python is a gunicorn.conf.py that needs nothing
    else of this package than its worker class. The variables of env, dockerfile and kubernetes
    are read by gunicorn -c python:gunicorn_autoconf.conf.

    With --pid, or a PID in place of APP, nothing is planned: the running server reports its plan
    with the reasons, its load, what bounds it and what would help. It must use this package and
    run as your user.

    The exit status is 1 where APP cannot be found and no interface is declared, with --strict also
    for any other problem, and 2 for a value that is not allowed.

    \b
    Examples:
      gunicorn-autoconf explain mysite.wsgi
      gunicorn-autoconf explain --short --cpus 2 --memory 1GiB --workload io mysite.wsgi
      gunicorn-autoconf explain --as kubernetes mysite.asgi:application
      gunicorn-autoconf explain 17
    """
    if short + as_json + bool(form) > 1:
        raise AutoconfError("--short, --json and --as exclude each other: use one")
    if app and app.isdecimal() and pid is None:  # No module has a number for a name.
        pid, app = int(app), None
    if pid is not None:
        given = [name for name, text in by_flag(options).items() if text is not None]
        _explain_running(pid, ["APP"] * bool(app) + given, as_json=as_json, others=[short, form])
        return
    argv = ["gunicorn", *([app] if app else [])]
    environ = dict(os.environ)
    check_command_line(environ)
    result = build(by_flag(options), environ, argv, "/")
    found = _remarks(result)
    parts = (result.machine, result.declaration, result.plan)
    if form:
        _print_to_paste(form, result, declared_texts(options, environ))
    elif as_json:
        echo_json(to_json(*parts, result.application, found))
    else:
        echo((render_short if short else render_explanation)(*parts, found))
    asked = result.application if result.declaration.interface is None else None
    if (asked and asked.missing_module) or (strict and warnings_of(found)):
        context.exit(1)


def _explain_running(
    pid: int, planned: Sequence[str], *, as_json: bool, others: Sequence[object]
) -> None:
    """Print what the running server tells; *planned* are the names of what it takes no account."""
    if planned or any(others):
        what = planned[0] if planned else "--short or --as"
        raise AutoconfError(f"--pid shows a server as it runs: leave out {what}")
    status = read_status(pid, f"--pid={pid}")
    if as_json:
        echo_json(status)
    else:
        echo(render_status(status))


def _remarks(result: Autoconf) -> tuple[Remark, ...]:
    """All remarks, with those on what only this command looks up."""
    exists = os.path.exists(CONF_FILE)
    assigned = assigned_values(CONF_FILE)
    heartbeat = result.plan.settings.get("worker_tmp_dir") or _temporary_directory()
    known = Known(
        machine=result.machine,
        declaration=result.declaration,
        plan=result.plan,
        application=result.application,
        http_parser=http_parser(),
        has_uvloop=bool(find_spec("uvloop")) or platform.python_implementation() != "CPython",
        heartbeat_directory=heartbeat,
        heartbeat_file_system=find_file_system(heartbeat),
        conf_file=CONF_FILE if exists else None,
        conf_file_assigns=tuple(sorted(assigned.keys() & taken_settings({}).keys())),
        conf_file_class=_refused_class(assigned.get("worker_class")),
    )
    return replace(result, plan=replace(result.plan, remarks=remarks(known))).remarks


def _refused_class(value: object) -> str | None:
    """Why Gunicorn will not take the worker class that a file assigns; None where it will."""
    remedy = remedy_for(value)
    return f"worker_class={value!r}: {remedy}" if remedy else None


def _temporary_directory() -> str:
    """Return the directory in which Gunicorn creates its files by default."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # none is writable, as on a read-only file system
        return "/tmp"  # noqa: S108 - no file is made here


def _print_to_paste(form: str, result: Autoconf, declared: dict[str, str]) -> None:
    parts = (result.machine, result.declaration, result.plan)
    pasted = render(form, Content(*parts, declared, spellings()))
    notes = [*result.warnings, *pasted.notes]
    pins_the_class = form != "kubernetes"
    if pins_the_class and result.application is None and not result.declaration.interface:
        notes.append("no application was named: this is for WSGI; name it, or set --interface")
    if pasted.left_out:
        notes.append(f"left out: {', '.join(pasted.left_out)}")
    echo_to_paste(pasted.text, notes)
