"""
What must hold once a round of faults is over and the server had time to recover.

Everything is seen from outside, in /proc: the arbiter is asked nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from accounts import stuck
from arena import Arena, links, lives
from harness import children, wait_until

from gunicorn_autoconf.fleet.shared_memory import UnreachableError
from gunicorn_autoconf.fleet.shared_page import open_page

MIB = 2**20

# The arbiter's memory moves by the arenas of Python's allocator, 1 MiB each: in ten minutes of all
# faults by 3.0 to 3.5 MiB, of which 2.4 with the first reload. Then it settles: the last 2,000 of
# 3,200 kills of workers added 0.2 MiB, and `tracemalloc` sees nothing grow.
MEMORY_SETTLING_BYTES = 4 * MIB


@dataclass(frozen=True)
class Vitals:
    """
    How an arbiter is.

    Attributes:
        arbiter: Its pid.
        workers: How many workers it has.
        zombies: Children that have ended and that it did not ask for.
        descriptors: Its open files, by what they are; names and numbers that differ left out.
        threads: How many it has.
        slots: How many slots of the shared page are taken; None where we may not look.
        files: What lies in its temporary folder and in /dev/shm, where they are its own.
        anonymous_bytes: Its own memory, shared with its workers by fork or not.
        uss_bytes: What of that is not shared.
    """

    arbiter: int
    workers: int
    zombies: int
    descriptors: tuple[str, ...]
    threads: int
    slots: int | None
    files: tuple[str, ...]
    anonymous_bytes: int
    uss_bytes: int


def wait_for_calm(arena: Arena) -> Vitals:
    """Return the vitals once the count is that of the plan and nothing is going on any more."""
    arena.wait_for_calm()
    wait_until(lambda: not zombies(arena.server.pid), "the arbiter has asked for every child")
    return take_vitals(arena)


def take_vitals(arena: Arena) -> Vitals:
    pid = arena.server.pid
    status = Path(f"/proc/{pid}/status").read_text()
    (anonymous_kib,) = re.findall(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    folders = [arena.tmp, Path("/dev/shm")] if arena.has_own_tmp else []
    return Vitals(
        arbiter=pid,
        workers=len(arena.workers()),
        zombies=len(zombies(pid)),
        descriptors=descriptors(pid),
        threads=psutil.Process(pid).num_threads(),
        slots=slots_taken(pid),
        files=tuple(sorted(file.name for each in folders for file in arena.seen(each).iterdir())),
        anonymous_bytes=int(anonymous_kib) * 1024,
        uss_bytes=psutil.Process(pid).memory_full_info().uss,
    )


def zombies(pid: int) -> list[int]:
    return [child for child in children(pid) if not lives(child)]


def descriptors(pid: int) -> tuple[str, ...]:
    """Return what the descriptors of *pid* are, without the numbers and names that chance gives."""
    found = [re.sub(r"\[\d+\]|wgunicorn-\w+", "", target) for _, target in links(pid)]
    return tuple(sorted(name for name in found if not name.startswith(("/proc", "/sys"))))


def slots_taken(pid: int) -> int | None:
    """Return how many slots of the shared page are taken, as `top` would read it."""
    try:
        return len(open_page(pid).taken_slots())
    except UnreachableError:
        return None


def leaks(calm: Vitals, now: Vitals) -> list[str]:
    """Return what *now* is otherwise than it was at the *calm* start."""
    found = [
        f"{name}: {before} at the start, {after} now"
        for name in ("workers", "zombies", "threads", "slots")
        if (before := getattr(calm, name)) != (after := getattr(now, name))
    ]
    for name in ("descriptors", "files"):
        before, after = Counter(getattr(calm, name)), Counter(getattr(now, name))
        if before != after:
            more, fewer = sorted((after - before).elements()), sorted((before - after).elements())
            found.append(f"{name}: {more} more than at the start, {fewer} fewer")
    return found


def growth(calms: Sequence[Vitals]) -> list[str]:
    """Return what grows: the memory of the last arbiter, if it has not settled in the *calms*."""
    if not calms:
        return []
    young, last = calms[0].anonymous_bytes, calms[-1].anonymous_bytes
    if last - young > MEMORY_SETTLING_BYTES:
        sizes = ", ".join(f"{each.anonymous_bytes / MIB:.1f}" for each in calms)
        return [f"the arbiter's memory grows, round by round: {sizes} MiB"]
    return []


# What is an error to Gunicorn or to us and is what the faults ask for.
EXPECTED_ERRORS = (
    r"WORKER TIMEOUT",
    r"Worker \(pid:\d+\) was sent SIGKILL!",
    r"Worker \(pid:\d+\) exited with code 1\.",
    r"was killed by the kernel's OOM killer",
    r"Error handling request GET /hang",
    r"no heartbeat from this worker for",
    r"GET /stuck has run for .* longer than GUNICORN_REQUEST_TIMEOUT",
    r"Exception in ASGI application",  # The request that hangs, on SIGABRT.
    r"was sent SIGTERM!",
)


def _errors_of_lost(pid: int) -> str:
    """
    Return the pattern of what is said where worker *pid* ends before its requests do.

    By Uvicorn; and by the limit of a request, where an arbiter that stops no longer looks for
    `timeout` while it waits for a worker that a fault has stopped.
    """
    too_long = r"gunicorn-autoconf: \w+ \S+ has run for .* longer than GUNICORN_REQUEST_TIMEOUT"
    return rf"\[{pid}\] \[ERROR\] (Cancel \d+ running task\(s\)|{too_long})"


def mistakes(arena: Arena) -> list[str]:
    """Return what the log tells that no fault asks for."""
    lost = {loss.pid for loss in arena.losses()} | stuck(arena.begun(), arena.timed_out)
    errors = arena.log.lines(r"\[(CRITICAL|ERROR)\]|gunicorn-autoconf: .* failed")
    expected = re.compile("|".join((*EXPECTED_ERRORS, *map(_errors_of_lost, sorted(lost)))))
    found = [line for line in errors if not expected.search(line)]
    found += [
        f"worker {pid} was killed by no fault" for pid in sorted(arena.killed_by_fault() - lost)
    ]
    told = len(arena.log.lines("was killed by the kernel's OOM killer"))
    if told != arena.oom_kills():
        found.append(f"OOM kills: {told} told, {arena.oom_kills()} counted")
    return found
