"""``gunicorn-autoconf size``. Reads nothing but its options, prints."""

from __future__ import annotations

import json

import click

from gunicorn_autoconf.cli.layout import echo
from gunicorn_autoconf.cli.options import by_flag, option_for_each
from gunicorn_autoconf.cli.size.requirements import SIZE_OPTIONS, read_requirements
from gunicorn_autoconf.cli.size.sizing import size as size_for
from gunicorn_autoconf.cli.size.text import render_kubernetes, render_sizing, sizing_json
from gunicorn_autoconf.errors import AutoconfError


@click.command()
@option_for_each(SIZE_OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["kubernetes"]),
    help="Print something to paste: resources, variables and an autoscaler.",
)
def size(as_json: bool, form: str | None, **options: str | None) -> None:
    r"""
    Say how much CPU and memory a load or workers need.

    Neither this machine nor its environment is looked at.

    \b
    Examples, the second one for 300 requests per second of 80 ms that compute for 20 ms:
      gunicorn-autoconf size --workers 4 --worker-memory 180MiB --workload io
      gunicorn-autoconf size --rate 300 --latency 80ms --compute 20ms
    """
    if as_json and form:
        raise AutoconfError("--json and --as exclude each other: use one")
    sizing = size_for(read_requirements(by_flag(options)))
    if as_json:
        click.echo(json.dumps(sizing_json(sizing), indent=2))
    elif form:
        for note in sizing.notes:
            click.echo(f"Note: {note}", err=True)
        click.echo(render_kubernetes(sizing), nl=False)
    else:
        echo(render_sizing(sizing))
