"""The pictures of the documentation: what `top` and `explain` show in a terminal."""

from __future__ import annotations

import io
import re

from click.testing import CliRunner
from rich.console import Console, RenderableType
from rich.text import Text

from gunicorn_autoconf.cli.inside import Inside, WorkerInside
from gunicorn_autoconf.cli.main import main
from gunicorn_autoconf.cli.top.order import Order
from gunicorn_autoconf.cli.top.screen import draw_screen
from gunicorn_autoconf.cli.top.view import (
    MemorySample,
    ProcessSample,
    ServerSample,
    follow,
    total_bytes,
)
from gunicorn_autoconf.fleet.counters import Counters
from gunicorn_autoconf.load.capacity import Backlog
from gunicorn_autoconf.machine.facts import ProcessMemory
from gunicorn_autoconf.metrics.snapshot import State


def top() -> str:
    """Return a picture of `top`: four workers in 512 MiB, one of which leaks."""
    mib = 1024 * 1024

    def process(pid: int, at: int, cpu: float, uss: float) -> ProcessSample:
        memory = ProcessMemory(int((uss + 24) * mib), int((uss + 6) * mib), int(uss * mib))
        return ProcessSample(
            pid, 7300 + at, "running" if cpu > 0.5 else "sleeping", at * cpu, memory
        )

    def told(pid: int, at: int) -> WorkerInside:
        busy, rate = {21: (6.9, 43), 22: (7.4, 46), 23: (6.2, 39), 24: (6.6, 41)}[pid]
        counters = Counters(requests=at * rate, slot_seconds=at * busy)
        return WorkerInside(State.READY, counters, 85 * mib, 58 * mib)

    status = {
        "worker_class": "gunicorn_autoconf.workers.ThreadWorker",
        "threads": 8,
        "slots_per_worker": 8,
        "interface": "wsgi",
        "workload": "mixed",
        "load": {
            "text": "load 169/s, 160 ms each (7.4 ms computing), 27 of 32 slots busy, cores 63 %, "
            "3 waiting: bound by slots",
            "bound_by": "slots",
        },
        "verdict": None,
    }

    def sample(at: int) -> ServerSample:
        leaked, cached = 61 + 3.4 * at, min(61 + at / 2, 68)
        arbiter = process(17, at, 0.001, 14)
        workers = (
            process(21, at, 0.34, cached),
            process(22, at, 0.62, leaked),
            process(23, at, 0.29, 61.2),
            process(24, at, 0.31, cached - 3),
        )
        limit, reserve, others = 512 * mib, int(51.2 * mib), 50 * mib
        memory = MemorySample(
            limit_bytes=limit,
            source="/sys/fs/cgroup/memory.max",
            budget_bytes=limit - reserve - others,
            reserve_bytes=reserve,
            headroom_bytes=limit - total_bytes([arbiter, *workers]) - others,
        )
        command = "/usr/bin/python3 /usr/bin/gunicorn -c python:gunicorn_autoconf.conf shop:app"
        return ServerSample(
            *(at, command, arbiter, workers),
            cores=2.0,
            memory=memory,
            listeners=(Backlog("0.0.0.0:8000", 3),),
            inside=Inside(at, status, {each.pid: told(each.pid, at) for each in workers}),
        )

    view = follow(None, sample(0))
    for at in range(2, 25, 2):
        view = follow(view, sample(at))
    columns = 104
    return picture(draw_screen(view, Order(), columns, 18), "top", columns)


def explain() -> str:
    """Return a picture of what `explain` prints on the machine that builds the documentation."""
    options = "--cpus 2 --memory 1GiB --workload io gunicorn_autoconf.demo:app"
    printed = CliRunner().invoke(main, ["explain", *options.split()], color=True).stdout
    return picture(Text.from_ansi(printed), "explain")


def picture(shown: RenderableType, name: str, columns: int = 80) -> str:
    """Return *shown* as a picture of a terminal, the same on every machine."""
    console = Console(
        file=io.StringIO(),
        width=columns,
        record=True,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        _environ={},
    )
    console.print(shown)
    # The id tells two pictures on one page apart.
    svg = console.export_svg(title=f"gunicorn-autoconf {name}", unique_id=name)
    # A page must not load its fonts from elsewhere.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
