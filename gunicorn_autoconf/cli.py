"""The ``gunicorn-autoconf`` command. Reads the machine and the application's source, prints."""

from __future__ import annotations

import json
import os
import sys

import click

import gunicorn_autoconf
from gunicorn_autoconf import AutoconfError
from gunicorn_autoconf._autoconf import build
from gunicorn_autoconf._environment import VARIABLES
from gunicorn_autoconf._json import to_json
from gunicorn_autoconf._report import render_explanation

_HELP = {
    variable.keyword: f"{variable.meaning}: {variable.allowed} [{variable.default}]"
    for variable in VARIABLES
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gunicorn_autoconf.__version__, package_name="gunicorn-autoconf")
def main() -> None:
    """Fit Gunicorn to the machine it runs on, and say why."""


@main.command()
@click.argument("app", required=False)
@click.option("--cpus", help=_HELP["cpus"])
@click.option("--memory", help=_HELP["memory"])
@click.option("--workload", help=_HELP["workload"])
@click.option("--interface", help=_HELP["interface"])
@click.option("--worker-memory", help=_HELP["worker_memory"])
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def explain(
    app: str | None,
    cpus: str | None,
    memory: str | None,
    workload: str | None,
    interface: str | None,
    worker_memory: str | None,
    as_json: bool,
) -> None:
    """
    Show what the machine grants, what was declared, what is planned, and why.

    APP is the application as Gunicorn takes it, such as mysite.asgi:application; its source is
    read to tell ASGI from WSGI, nothing of it is run. The options stand for what the environment
    would declare.
    """
    options = {
        "--cpus": cpus,
        "--memory": memory,
        "--workload": workload,
        "--interface": interface,
        "--worker-memory": worker_memory,
    }
    try:
        result = build(options, dict(os.environ), ["gunicorn", *([app] if app else [])], "/")
    except AutoconfError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    parts = (result.machine, result.declaration, result.plan)
    if as_json:
        document = to_json(*parts, result.application, result.warnings)
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(render_explanation(*parts, result.warnings), nl=False)
