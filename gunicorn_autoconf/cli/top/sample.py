"""One sample of a server: its processes and its memory limit. Asks psutil, reads the cgroup."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

from gunicorn_autoconf.cli.channel import look_inside
from gunicorn_autoconf.cli.inside import Inside
from gunicorn_autoconf.cli.top.arbiters import (
    in_columns,
    list_children,
    read_listed,
    select_workers,
)
from gunicorn_autoconf.cli.top.listening import read_listeners
from gunicorn_autoconf.cli.top.view import MemorySample, ProcessSample, ServerSample, total_bytes
from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.fleet.sampler import tightest_level
from gunicorn_autoconf.fleet.shared_memory import UnreachableError
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.facts import Machine, ProcessMemory
from gunicorn_autoconf.machine.host import Host
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.plan.budget import memory_budget
from gunicorn_autoconf.plan.declaration import Declaration, read_declaration

# The variables that change the limit and the budget of a server that this package configured.
_DECLARES = ("GUNICORN_MEMORY", "GUNICORN_MEMORY_RESERVE")


def sample_server(arbiter: psutil.Process) -> ServerSample | None:
    """Return a sample of *arbiter*, its workers and its limit, or None when it has ended."""
    try:
        if not arbiter.is_running():  # also false when another process has its pid now
            return None
        listed = read_listed(arbiter)
        pids = select_workers(listed, list_children(arbiter))
    except psutil.NoSuchProcess:
        return None
    inside, untold = _look_inside(arbiter.pid, pids)
    workers = [worker for pid in pids if (worker := _sample_process(pid)) is not None]
    first = _sample_process(arbiter.pid)
    if first is None:
        return None
    host = Host(pid=arbiter.pid, own_bytes=total_bytes([first, *workers]))
    machine = detect_machine(environ={}, host=host, pid=arbiter.pid)
    return ServerSample(
        at_seconds=time.monotonic(),
        command=in_columns(listed.text),
        arbiter=first,
        workers=tuple(workers),
        cores=machine.cpu.cores,
        memory=_sample_memory(machine, _read_declaration(arbiter)),
        listeners=read_listeners([arbiter.pid, *pids]),
        inside=inside,
        untold=untold,
    )


def _look_inside(pid: int, workers: Sequence[int]) -> tuple[Inside | None, str]:
    """Return what the arbiter tells of itself, or why it does not."""
    try:
        return look_inside(pid, workers), ""
    except UnreachableError as error:
        return None, str(error)


def _sample_process(pid: int) -> ProcessSample | None:
    """Return a sample of *pid*, or None when it has ended or is a zombie."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            sample = ProcessSample(
                pid=pid,
                age_seconds=max(time.time() - process.create_time(), 0.0),
                state=str(process.status()),
                cpu_seconds=times.user + times.system,
                memory=read_process_memory(pid) or ProcessMemory(0),
            )
    except psutil.Error:
        return None
    # A process has no pages left while it ends.
    return sample if sample.memory.rss_bytes else None


def _read_declaration(arbiter: psutil.Process) -> Declaration:
    """Return what the environment of *arbiter* declares about memory, if it can be read."""
    try:
        environ = arbiter.environ()
        return read_declaration({name: environ.get(name, "") for name in _DECLARES})
    except (psutil.Error, OSError, DeclarationError):  # unreadable, or of another program
        return Declaration()


def _sample_memory(machine: Machine, declaration: Declaration) -> MemorySample | None:
    tightest = tightest_level(machine.memory, declaration.memory_bytes)
    budget = memory_budget(machine.memory, declaration)
    if tightest is None or budget is None:
        return None
    limit_bytes, headroom_bytes = tightest
    reserve_bytes = declaration.memory_reserve.of(limit_bytes)
    files = (
        level.origin.path
        for level in machine.memory.levels
        if level.limit_bytes == limit_bytes and level.in_use_bytes == limit_bytes - headroom_bytes
    )
    return MemorySample(
        limit_bytes=limit_bytes,
        source=next(files, budget.source),  # a declared limit is that of no file
        budget_bytes=min(budget.budget_bytes, limit_bytes - reserve_bytes),
        reserve_bytes=reserve_bytes,
        headroom_bytes=headroom_bytes,
    )
