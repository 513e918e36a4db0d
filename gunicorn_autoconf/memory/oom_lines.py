"""OOM kills to lines of the log. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.fleet.sample import Helper, WorkerSample
from gunicorn_autoconf.memory.kill_loop import Loop
from gunicorn_autoconf.units import format_bytes, plural

PREFIX = "gunicorn-autoconf: "


class OomKill(NamedTuple):
    """
    What is known of an OOM kill.

    Attributes:
        workers: How many workers there were.
        directory: The cgroup whose limit was hit; None where no counter shows it.
        limit_bytes: That limit.
        machine_bytes: The memory of the machine, where there is no limit.
        shared_bytes: What of the used memory is shared memory, where that is a good part.
        shared_counter: The cgroup that counts, where it counts others' processes, too.
        while_ending: Whether the worker had begun to end.
        freed_bytes: What the worker can have used at most, by what became free.
    """

    workers: int
    directory: str | None = None
    limit_bytes: int | None = None
    machine_bytes: int | None = None
    shared_bytes: int | None = None
    shared_counter: str | None = None
    while_ending: bool = False
    freed_bytes: int | None = None


class Doubt(NamedTuple):
    """Why a worker that is gone was hardly what the OOM killer took: too little became free."""

    limit_bytes: int
    left_bytes: int
    largest_bytes: int
    """What the worker can have used at most."""


def render_oom(pid: int, last: WorkerSample | None, kill: OomKill) -> str:
    """Return the line of a worker that the kernel killed for want of memory."""
    facts = []
    if kill.directory is not None and kill.limit_bytes is not None:
        facts.append(f"limit {format_bytes(kill.limit_bytes)} at {kill.directory}")
    elif kill.directory is not None:
        facts.append(f"limit at {kill.directory}")
    elif kill.machine_bytes is not None:
        facts.append(f"the machine has {format_bytes(kill.machine_bytes)}")
    else:
        facts.append("no limit visible here was hit")
    if kill.shared_bytes:
        facts.append(shared_memory(kill.shared_bytes))
    facts.append(plural(kill.workers, "worker"))
    if last:
        boot = f" ({format_bytes(last.boot_uss_bytes)} at boot)" if last.boot_uss_bytes else ""
        facts.append(f"it used {format_bytes(last.uss_bytes)}{boot} when last seen")
    if kill.shared_counter:
        facts.append(f"the count of kills at {kill.shared_counter} is shared with other processes")
    what = "was killed by the kernel's OOM killer"
    if kill.shared_counter:
        what = "was probably killed by the kernel's OOM killer"
    elif kill.while_ending:
        what = "was killed by the kernel's OOM killer while exiting"
    return f"{PREFIX}worker {pid} {what}: {', '.join(facts)}"


def shared_memory(shared_bytes: int) -> str:
    """Return how much of what is used is shared memory."""
    return f"{format_bytes(shared_bytes)} of it in shared memory (/dev/shm, tmpfs)"


def render_helper_kill(helper: Helper, *, is_certain: bool) -> str:
    """Return the line of a process, started by a worker or the arbiter, that the kernel killed."""
    whose = "the arbiter" if helper.worker is None else f"worker {helper.worker}"
    took = "the kernel's OOM killer killed process"
    if not is_certain:
        took = "the kernel's OOM killer probably killed process"
    return (
        f"{PREFIX}{took} {helper.pid} ({helper.name}), "
        f"a child process of {whose}: it used {format_bytes(helper.rss_bytes)} when last seen"
    )


def render_others_kill(processes: int) -> str:
    """Return the line of processes that the kernel killed and that were not known before."""
    what = "process in this cgroup that was not a worker"
    if processes > 1:
        what = "processes in this cgroup that were not workers"
    return f"{PREFIX}the kernel's OOM killer killed {processes} {what}"


def render_loop(loop: Loop, fits: int | None) -> str:
    """Return the line of workers that are killed one after the other."""
    each = f" at {format_bytes(loop.size_bytes)} each" if loop.size_bytes else ""
    fit = f": {fits} fit{'s' * (fits == 1)}" if fits is not None and loop.size_bytes else ""
    return f"{PREFIX}{loop.kills} workers OOM-killed in {loop.seconds:.0f} s{each}{fit}"
