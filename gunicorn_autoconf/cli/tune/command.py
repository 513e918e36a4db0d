"""``gunicorn-autoconf tune``. Runs the application under candidates, prints the best."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from gunicorn_autoconf.cli.end_signals import end_signals_raise
from gunicorn_autoconf.cli.layout import echo, echo_json, echo_to_paste
from gunicorn_autoconf.cli.options import option_for_each
from gunicorn_autoconf.cli.paste import FORMS, Pasted
from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.plan.variables import VARIABLES
from gunicorn_autoconf.units import parse_duration, parse_time

if TYPE_CHECKING:
    from gunicorn_autoconf.cli.tune.report import Report
    from gunicorn_autoconf.cli.tune.session import Session

DEFAULT_SECONDS, LEAST_SECONDS = 600.0, 20.0
_SLO = "use a duration such as 200ms or 0.5s"
_TIME = f"use at least {LEAST_SECONDS:.0f} s, such as 60, 90s or 10m"
_COMMAND = "use the command that runs Gunicorn, such as 'gunicorn -w 4 app:app'"
_DECLARING = (
    "workload",
    "interface",
    "cpus",
    "memory",
    "worker_memory",
    "memory_reserve",
    "max_workers",
    "max_concurrency",
)


@click.command()
@click.argument("app", required=False)
@click.option("--url", "urls", multiple=True, metavar="REQUEST", help="What to ask. [/]")
@click.option("--urls", "url_files", multiple=True, metavar="FILE", help="One REQUEST a line.")
@click.option(
    "--access-log",
    "access_logs",
    multiple=True,
    metavar="FILE",
    help="What to ask, in the common or combined format.",
)
@click.option("--unsafe", is_flag=True, help="Repeat POST and the like from an access log, too.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="With each.")
@click.option("--host", metavar="NAME", help="The host name to ask for. [127.0.0.1]")
@click.option("--warm-up", metavar="REQUEST", help="Sent first to each server. [the first one]")
@click.option(
    "--clients",
    type=click.IntRange(1, 10_000),
    metavar="COUNT",
    help="The most requests at once. [as many as raise the rate]",
)
@click.option("--new-connections", is_flag=True, help="A connection for each request.")
@click.option(
    "--slo",
    metavar="DURATION",
    help="Limit of the 99th percentile, such as 200ms. [4 times what an idle server takes]",
)
@click.option("--time", "budget", metavar="DURATION", help="At most so long, such as 90s. [10m]")
@click.option("--threads-safe", is_flag=True, help="The code may run in threads: try gthread.")
@click.option("--current", metavar="COMMAND", help="What runs now: 'gunicorn -w 4 …'.")
@option_for_each([row for row in VARIABLES if row.keyword in _DECLARING])
@click.option("--html", "page", type=click.Path(dir_okay=False), help="Write a page with curves.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--as", "form", type=click.Choice(FORMS), help="Print the best to paste it.")
@click.pass_context
def tune(
    context: click.Context,
    /,
    *,
    app: str | None,
    urls: tuple[str, ...],
    url_files: tuple[str, ...],
    access_logs: tuple[str, ...],
    unsafe: bool,
    headers: tuple[str, ...],
    host: str | None,
    warm_up: str | None,
    clients: int | None,
    new_connections: bool,
    slo: str | None,
    budget: str | None,
    threads_safe: bool,
    current: str | None,
    page: str | None,
    as_json: bool,
    form: str | None,
    **declared: str | None,
) -> None:
    """
    Measure which workers serve your application best.

    APP is the application as Gunicorn takes it. It is run for real, on a port of its own, with the
    database and whatever else its environment names. A REQUEST is [WEIGHT] [METHOD] /PATH [@FILE].
    Ctrl-C prints what is known so far.

    The exit status is 0 with an answer, 3 where it cannot tell, 130 after Ctrl-C, and 2 for a value
    that is not allowed.

    \b
    Examples:
      gunicorn-autoconf tune mysite.wsgi --url '3 /items?page=2' --url 'POST /orders @order.json'
      gunicorn-autoconf tune mysite.wsgi --access-log access.log --threads-safe --html tune.html
      gunicorn-autoconf tune --current 'gunicorn -w 9 mysite.wsgi' --url /items --slo 200ms
    """
    if as_json and form:
        raise AutoconfError("--json and --as exclude each other: use one")
    if find_spec("aiohttp") is None:
        raise AutoconfError("tune needs aiohttp: pip install 'gunicorn-autoconf[tune]'")
    # What follows takes 0.2 s to import, which `--help` need not wait for.
    from gunicorn_autoconf.cli.tune.asked import parse_command, parsed, read_requests
    from gunicorn_autoconf.cli.tune.conclude import conclude
    from gunicorn_autoconf.cli.tune.progress import showing
    from gunicorn_autoconf.cli.tune.run import Run
    from gunicorn_autoconf.cli.tune.session import Asked, prepare, run_session

    asked = Asked(
        application=app,
        requests=read_requests(
            urls=urls,
            url_files=url_files,
            access_logs=access_logs,
            is_unsafe_wanted=unsafe,
            headers=headers,
            host=host,
            warm_up=warm_up,
        ),
        clients=clients,
        is_new_connections=new_connections,
        slo_seconds=None if slo is None else parsed("--slo", slo, parse_duration, _SLO),
        budget_seconds=DEFAULT_SECONDS
        if budget is None
        else parsed("--time", budget, _budget, _TIME),
        has_threads=threads_safe,
        current=None if current is None else parsed("--current", current, parse_command, _COMMAND),
        declared=declared,
    )
    session = prepare(asked, os.environ)
    run = Run(budget_seconds=asked.budget_seconds, slo_seconds=asked.slo_seconds)
    with end_signals_raise(), showing(asked.budget_seconds) as display:
        run_session(session, run, display)
    report = conclude(session, run)
    if page:
        _write_page(page, report)
    _print(report, session, as_json=as_json, form=form)
    context.exit(_status(report))


def _print(report: Report, session: Session, *, as_json: bool, form: str | None) -> None:
    from gunicorn_autoconf.cli.tune.document import to_json
    from gunicorn_autoconf.cli.tune.session import paste
    from gunicorn_autoconf.cli.tune.text import render_report

    best = report.verdict.best
    if as_json:
        echo_json(to_json(report))
        return
    if form:
        pasted = paste(form, session, best) if best else Pasted("", ())
        echo_to_paste(pasted.text, [report.verdict.text, *pasted.notes])
        return
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    echo(render_report(report, has_blocks=encoding == "utf8"))
    if best:
        click.echo(f"\n{click.style('To paste', bold=True)}")
        click.echo(f"  {paste('args', session, best).text}", nl=False)


def _status(report: Report) -> int:
    if report.is_interrupted:
        return 130  # As a shell counts Ctrl-C.
    return 3 if report.verdict.answer == "cannot-tell" else 0


def _write_page(path: str, report: Report) -> None:
    from gunicorn_autoconf.cli.tune.page import render_page

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(render_page(report))
    except OSError as error:
        # The run took long: its result is printed whatever becomes of the page.
        click.echo(f"Error: --html={path!r}: {error.strerror}", err=True)


def _budget(text: str) -> float:
    seconds = parse_time(text)
    if seconds < LEAST_SECONDS:
        raise ValueError
    return seconds
