"""``gunicorn-autoconf explain``. Reads the machine and the application's source, prints."""

from __future__ import annotations

import json
import os

import click

from gunicorn_autoconf._autoconf import build
from gunicorn_autoconf._commands.options import by_flag, declaring
from gunicorn_autoconf._json import to_json
from gunicorn_autoconf._report import render_explanation


@click.command()
@click.argument("app", required=False)
@declaring
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def explain(app: str | None, as_json: bool, **options: str | None) -> None:
    """
    Show what the machine grants, what was declared, what is planned, and why.

    APP is the application as Gunicorn takes it, such as mysite.asgi:application; its source is
    read to tell ASGI from WSGI, nothing of it is run. The options stand for what the environment
    would declare.
    """
    argv = ["gunicorn", *([app] if app else [])]
    result = build(by_flag(options), dict(os.environ), argv, "/")
    parts = (result.machine, result.declaration, result.plan)
    if as_json:
        document = to_json(*parts, result.application, result.warnings)
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(render_explanation(*parts, result.warnings), nl=False)
