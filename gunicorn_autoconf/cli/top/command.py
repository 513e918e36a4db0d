"""``gunicorn-autoconf top``. Reads the processes of a running server, shows them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections.abc import Sequence

import click
import psutil

from gunicorn_autoconf.cli.layout import echo_json
from gunicorn_autoconf.cli.top.arbiters import Listed, describe, find_arbiter
from gunicorn_autoconf.cli.top.document import to_json
from gunicorn_autoconf.cli.top.sample import sample_server
from gunicorn_autoconf.cli.top.view import View, follow
from gunicorn_autoconf.errors import AutoconfError

INTERVAL_SECONDS = 2.0
# CPU time is counted in hundredths of a second: this resolves shares of 2 %.
ONCE_SECONDS = 0.5


@click.command()
@click.argument("bare_pid", metavar="[PID]", required=False, type=int)
@click.option("--pid", type=int, help="The arbiter to watch; a bare PID does the same.")
@click.option("--pidfile", help="The file in which Gunicorn keeps its pid (its --pid).")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    metavar="SECONDS",
    help=f"Seconds between two samples [{INTERVAL_SECONDS:g}; {ONCE_SECONDS:g} with --once].",
)
@click.option("--once", is_flag=True, help="Print one table and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print one sample as JSON and exit.")
def top(  # noqa: PLR0913 - one argument for each option
    *,
    bare_pid: int | None,
    pid: int | None,
    pidfile: str | None,
    interval: float | None,
    once: bool,
    as_json: bool,
) -> None:
    """
    Watch a running Gunicorn: memory, CPU, requests, its bound.

    Any Gunicorn will do; the columns on requests need this package in it. Without a PID it finds
    the Gunicorn that runs, and asks which one if there are several. The key ? shows all keys.

    \b
    Examples:
      gunicorn-autoconf top
      gunicorn-autoconf top 17
      gunicorn-autoconf top --once --pidfile /run/gunicorn.pid
    """
    if bare_pid is not None and (pid is not None or pidfile is not None):
        raise AutoconfError(f"two arbiters are named: leave out {bare_pid}")
    pid = bare_pid if pid is None else pid
    arbiter = find_arbiter(pid, pidfile, None if as_json or not _has_terminal() else _choose)
    if as_json:
        echo_json(to_json(_look(arbiter, interval)))
        return
    if not once and not _has_terminal():
        raise AutoconfError("top needs a terminal; --once and --json do without")
    if importlib.util.find_spec("rich") is None:
        raise AutoconfError("top needs rich: pip install 'gunicorn-autoconf[top]'")
    if once:
        click.echo(_table(_look(arbiter, interval)))
        return
    from gunicorn_autoconf.cli.top.terminal import watch

    if not watch(lambda: sample_server(arbiter), interval or INTERVAL_SECONDS):
        click.echo(f"arbiter {arbiter.pid} has ended")


def _look(arbiter: psutil.Process, interval_seconds: float | None) -> View:
    """Return the view after two samples, which shares of CPU need."""
    if (first := sample_server(arbiter)) is not None:
        time.sleep(interval_seconds or ONCE_SECONDS)
        if (second := sample_server(arbiter)) is not None:
            return follow(follow(None, first), second)
    raise AutoconfError(f"arbiter {arbiter.pid} has ended")


def _table(view: View) -> str:
    from rich.console import Console

    from gunicorn_autoconf.cli.top.screen import draw_once

    console = Console(width=shutil.get_terminal_size().columns, color_system=None)
    with console.capture() as captured:
        console.print(draw_once(view, console.width))
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    # Where the output cannot encode the blocks, question marks are better than a traceback.
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


def _choose(arbiters: Sequence[Listed]) -> int:
    """Ask which of *arbiters* to watch; return its pid."""
    width = shutil.get_terminal_size().columns
    for number, row in enumerate(describe(arbiters), 1):
        click.echo(f"{number:>3}  {row}"[:width])
    numbers = click.IntRange(1, len(arbiters))
    number = click.prompt("Which one", type=numbers, default=1)
    return arbiters[number - 1].pid


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
