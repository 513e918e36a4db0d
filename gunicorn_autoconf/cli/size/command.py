"""``gunicorn-autoconf size``. Reads its options and what --from names, prints."""

from __future__ import annotations

from collections.abc import Mapping

import click

from gunicorn_autoconf.cli.layout import echo, echo_json, echo_to_paste
from gunicorn_autoconf.cli.options import by_flag, option_for_each
from gunicorn_autoconf.cli.size.requirements import (
    SIZE_OPTIONS,
    Requirements,
    read_requirements,
)
from gunicorn_autoconf.cli.size.sizing import size as size_for
from gunicorn_autoconf.cli.size.source import read_source
from gunicorn_autoconf.cli.size.text import render_kubernetes, render_sizing, sizing_json
from gunicorn_autoconf.errors import AutoconfError


@click.command()
@click.argument("pid", metavar="[PID]", required=False, type=int)
@option_for_each(SIZE_OPTIONS)
@click.option(
    "--from",
    "source",
    metavar="PID|URL|FILE",
    help="Take rate, latency and computing time from a running server: its arbiter's pid, the URL "
    "of its metrics (looked at twice), or a file of metrics or of what top --json or "
    "explain --pid --json printed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["kubernetes"]),
    help="Print something to paste: resources, variables and an autoscaler.",
)
def size(
    pid: int | None,
    as_json: bool,
    form: str | None,
    source: str | None,
    **options: str | None,
) -> None:
    """
    Compute the CPU and memory that a load or workers need.

    It reads neither this machine nor its environment. With --from, or a PID, a running server
    supplies rate, latency and computing time; an option that you give overrides it.

    \b
    Examples, the second one for 300 requests per second of 80 ms that compute for 20 ms:
      gunicorn-autoconf size --workers 4 --worker-memory 180MiB --workload io
      gunicorn-autoconf size --rate 300 --latency 80ms --compute 20ms
      gunicorn-autoconf size 17 --rate 300
    """
    if as_json and form:
        raise AutoconfError("--json and --as exclude each other: use one")
    if pid is not None:
        if source is not None:
            raise AutoconfError(f"two sources are named: leave out {pid} or --from")
        source = str(pid)
    sizing = size_for(_requirements(options, source))
    if as_json:
        echo_json(sizing_json(sizing))
    elif form:
        echo_to_paste(render_kubernetes(sizing), sizing.notes)
    else:
        echo(render_sizing(sizing))


def _requirements(options: Mapping[str, str | None], source: str | None) -> Requirements:
    """Return what is asked for, with what *source* has measured where no option says it."""
    if source is None:
        return read_requirements(by_flag(options))
    if options["workers"] is not None:
        raise AutoconfError("--from asks for what a load takes: leave out --workers")
    measured, text = read_source(source)
    if measured.rate is None and options["rate"] is None:
        raise AutoconfError(f"--from={source!r}: a single sample has no rate; add --rate")
    given = {name: text for name, text in options.items() if text is not None}
    asked = read_requirements(by_flag({**options, **measured.options, **given}))
    return asked._replace(measured=text)
