"""``gunicorn-autoconf tune``. Runs the application under candidates, prints the best."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import click

from gunicorn_autoconf.cli.layout import echo
from gunicorn_autoconf.cli.options import by_flag, option_for_each
from gunicorn_autoconf.errors import AutoconfError, DeclarationError
from gunicorn_autoconf.plan.variables import VARIABLES
from gunicorn_autoconf.units import parse_duration, parse_seconds

_DECLARING = ("interface", "cpus", "memory", "worker_memory", "max_workers", "max_concurrency")
_ROWS = [row for row in VARIABLES if row.keyword in _DECLARING]
DEFAULT_SECONDS = 600.0


@click.command()
@click.argument("app", required=False)
@click.option("--url", "urls", multiple=True, metavar="REQUEST", help="What to ask. [/]")
@click.option("--urls", "url_files", multiple=True, metavar="FILE", help="One REQUEST a line.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="With each.")
@click.option("--host", metavar="NAME", help="The host name to ask for.")
@click.option("--clients", type=click.IntRange(min=1), metavar="N", help="Clients at once.")
@click.option("--slo", metavar="DURATION", help="Limit of the 99th percentile, such as 200ms.")
@click.option("--time", "budget", metavar="SECONDS", help="How long it may take. [600]")
@click.option("--threads-safe", is_flag=True, help="The code may run in threads: try gthread.")
@option_for_each(_ROWS)
def tune(
    *,
    app: str | None,
    urls: tuple[str, ...],
    url_files: tuple[str, ...],
    headers: tuple[str, ...],
    host: str | None,
    clients: int | None,
    slo: str | None,
    budget: str | None,
    threads_safe: bool,
    **declared: str | None,
) -> None:
    """Measure which workers serve your application best on this machine."""
    if find_spec("aiohttp") is None:
        raise AutoconfError("tune needs aiohttp: pip install 'gunicorn-autoconf[tune]'")
    from gunicorn_autoconf.cli.tune.asked import requests_of
    from gunicorn_autoconf.cli.tune.progress import Lines
    from gunicorn_autoconf.cli.tune.session import Asked, run_session
    from gunicorn_autoconf.cli.tune.text import render_report

    asked = Asked(
        application=app,
        requests=requests_of(urls, url_files, headers, host),
        clients=clients,
        slo_seconds=_duration("--slo", slo),
        budget_seconds=_seconds("--time", budget) or DEFAULT_SECONDS,
        has_threads=threads_safe,
        declared=by_flag(declared),
    )
    report = run_session(asked, dict(os.environ), Lines())
    echo(render_report(report))
    sys.exit(0)


def _duration(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise DeclarationError(option, text, "use a duration such as 200ms or 0.5s") from error


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise DeclarationError(option, text, "use seconds such as 60") from error


@contextmanager
def _unused() -> Iterator[None]:
    yield
