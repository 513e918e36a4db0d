"""One look at a server's processes and at the limit above them. Asks psutil, reads the cgroup."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import psutil

from gunicorn_autoconf.cli.top.arbiters import list_children, printable, read_listed, select_workers
from gunicorn_autoconf.cli.top.view import MemorySample, ProcessSample, ServerSample, total_bytes
from gunicorn_autoconf.errors import DeclarationError
from gunicorn_autoconf.fleet.sampler import tightest_level
from gunicorn_autoconf.machine.detect import detect_machine
from gunicorn_autoconf.machine.facts import Machine, MemorySupply, ProcessMemory
from gunicorn_autoconf.machine.host import Host
from gunicorn_autoconf.machine.process_memory import read_process_memory
from gunicorn_autoconf.plan.budget import memory_budget
from gunicorn_autoconf.plan.declaration import Declaration, read_declaration

# What a server of ours was told of its memory counts here too; a plain one is not told.
_DECLARES = ("GUNICORN_MEMORY", "GUNICORN_MEMORY_RESERVE")


class _OtherHost(Host):
    """What the operating system answers about the process *pid*."""

    def __init__(self, pid: int, own_bytes: int) -> None:
        self._pid = pid
        self._own_bytes = own_bytes

    def affinity(self) -> int:
        get_affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
        return len(get_affinity(self._pid)) if get_affinity else self.online()

    def own_memory(self, environ: Mapping[str, str]) -> int:
        return self._own_bytes


def sample_server(arbiter: psutil.Process) -> ServerSample | None:
    """Return one look at *arbiter*, its workers and its limit; None where it has ended."""
    try:
        if not arbiter.is_running():  # also false where another process has its pid now
            return None
        listed = read_listed(arbiter)
        pids = select_workers(listed, list_children(arbiter))
    except psutil.NoSuchProcess:
        return None
    workers = [worker for pid in pids if (worker := _sample_process(pid)) is not None]
    first = _sample_process(arbiter.pid)
    if first is None:
        return None
    host = _OtherHost(arbiter.pid, total_bytes([first, *workers]))
    machine = detect_machine(environ={}, host=host, pid=arbiter.pid)
    return ServerSample(
        at_seconds=time.monotonic(),
        command=printable(listed.text),
        arbiter=first,
        workers=tuple(workers),
        cores=machine.cpu.cores,
        memory=_sample_memory(machine, _read_declaration(arbiter)),
    )


def _sample_process(pid: int) -> ProcessSample | None:
    """Return one look at *pid*, or None where it has ended, be it as a zombie."""
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
    # A process that is just ending has no pages left.
    return sample if sample.memory.rss_bytes else None


def _read_declaration(arbiter: psutil.Process) -> Declaration:
    """Return what the environment of *arbiter* says of memory, as far as it may be read."""
    try:
        environ = arbiter.environ()
        return read_declaration({name: environ.get(name, "") for name in _DECLARES})
    except (psutil.Error, OSError, DeclarationError):  # another user's; not a server of ours
        return Declaration()


def _sample_memory(machine: Machine, declaration: Declaration) -> MemorySample | None:
    tightest = tightest_level(machine.memory, declaration.memory_bytes)
    budget = memory_budget(machine.memory, declaration)
    if tightest is None or budget is None:
        return None
    limit_bytes, headroom_bytes = tightest
    reserve_bytes = declaration.memory_reserve.of(limit_bytes)
    return MemorySample(
        limit_bytes=limit_bytes,
        source=_source(machine.memory, tightest) or budget.source,
        budget_bytes=min(budget.budget_bytes, limit_bytes - reserve_bytes),
        reserve_bytes=reserve_bytes,
        headroom_bytes=headroom_bytes,
    )


def _source(memory: MemorySupply, tightest: tuple[int, int]) -> str | None:
    """Return the file of the level that leaves least; None where that was declared."""
    limit_bytes, headroom_bytes = tightest
    for level in memory.levels:
        seen = (level.limit_bytes, level.working_set_bytes)
        if seen == (limit_bytes, limit_bytes - headroom_bytes):
            return level.origin.path
    return None
