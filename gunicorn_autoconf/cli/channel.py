"""
Asks a running server what it tells of itself, without its taking part.

Maps its shared page, reads /proc/PID/status.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from gunicorn_autoconf.cli.inside import Inside, WorkerInside
from gunicorn_autoconf.cli.top.arbiters import open_arbiter
from gunicorn_autoconf.errors import AutoconfError
from gunicorn_autoconf.fleet.counters import parse_counters
from gunicorn_autoconf.fleet.shared_memory import UnreachableError
from gunicorn_autoconf.fleet.shared_page import Region, SharedPage, copy_numbers, open_page
from gunicorn_autoconf.metrics.snapshot import State
from gunicorn_autoconf.watchdog.stamps import Stamps


def look_inside(pid: int, workers: Iterable[int]) -> Inside:
    """
    Return what the arbiter *pid* tells of itself and of its *workers*.

    Raises:
        UnreachableError: It tells nothing, or not to us.
    """
    page = open_page(pid)
    now = time.monotonic()
    told = dict(filter(None, (_worker(page, slot, now) for slot in page.taken_slots())))
    status = json.loads(page.read_status() or b"{}")
    exiting = status.get("exiting_pids", ())
    seen = {}
    for worker in workers:
        inner = _inner_pid(worker)
        seen[worker] = told.get(inner, WorkerInside(State.BOOTING))
        # A sync worker in the middle of a request does not know yet.
        if inner in exiting:
            seen[worker] = seen[worker]._replace(phase=State.DRAINING)
    return Inside(now, status, seen)


def read_status(pid: int, source: str) -> Mapping[str, Any]:
    """
    Return what the arbiter *pid* has written of itself; *source* is the option that named it.

    Raises:
        AutoconfError: There is no such arbiter, it has not, or we may not read it.
    """
    open_arbiter(pid, source)
    try:
        status = look_inside(pid, ()).status
    except UnreachableError as error:
        raise AutoconfError(f"{source}: arbiter {pid} does not tell: {error}") from None
    if not status:
        raise AutoconfError(f"{source}: arbiter {pid} has just started; ask again in a second")
    return status


def _worker(page: SharedPage, slot: int, now: float) -> tuple[int, WorkerInside] | None:
    """Return the pid of a worker as it sees itself, and the worker; None until it can serve."""
    report = page.read(slot)
    if report is None:
        return None
    stamps = Stamps(page.doubles(slot, Region.STAMPS), page.raw(slot, Region.REQUEST_LINE))
    return report.pid, WorkerInside(
        State.DRAINING if stamps.read().ending_since else State.READY,
        parse_counters(copy_numbers(page.doubles(slot, Region.COUNTERS)), now),
        report.rss_bytes,
        report.uss_bytes,
    )


def _inner_pid(pid: int) -> int:
    """Return the pid of a process in its own namespace, such as that of a container."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            row = next((line for line in file if line.startswith("NSpid:")), "")
    except OSError:
        return pid
    return int(row.split()[-1]) if row else pid
