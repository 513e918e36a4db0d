"""What is done to the server, each fault a function that returns when it is over."""

from __future__ import annotations

import errno
import http.client
import itertools
import os
import random
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from accounts import Loss
from arena import (
    FEWER_WORKERS,
    GRACEFUL_SECONDS,
    LIMIT_BYTES,
    LONGEST_SECONDS,
    LOWER_LIMIT_BYTES,
    WORKERS,
    Arena,
    links,
    lives,
)
from harness import wait_until
from load import Load, ask_slowly, flood
from patience import stretched
from schedule import Fault

Course = Callable[[Arena, Load, random.Random], None]

# Well below the graceful timeout, so that whoever waits for the worker to end still sees it do so.
LONGEST_STOP_SECONDS = 2.0
FLOOD_CONNECTIONS = 300
SLOW_CLIENTS = 2
BLOCKING_REQUESTS = 3
HOG_TRIES = 3
# Until the operator has done everything, at last.
STUCK_TRIES = 30
GATEWAY_TIMEOUT = 504


# To workers.


def kill(arena: Arena, load: Load, rng: random.Random) -> None:
    pid = pick(arena, rng)
    if arena.stop(pid, "SIGKILL"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid), f"{pid} is gone")


def stop(arena: Arena, load: Load, rng: random.Random) -> None:
    pid = pick(arena, rng)
    seconds = rng.uniform(0.1, LONGEST_STOP_SECONDS)
    arena.stop(pid, "SIGSTOP", until=time.monotonic() + seconds + GRACEFUL_SECONDS)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def freeze(arena: Arena, load: Load, rng: random.Random) -> None:
    pid = pick(arena, rng)
    if arena.stop(pid, "SIGSTOP until timeout"):
        wait_until(lambda: not lives(pid), f"{pid} is killed by timeout", LONGEST_SECONDS)


def pick(arena: Arena, rng: random.Random) -> int:
    """
    Return one of the workers, of either arbiter, that has served.

    Gunicorn's `timeout` counts from the first heartbeat on: until then the file that tells of them
    has the time of its making, by the wall clock, which is ahead of any other. A worker that is
    stopped before is never killed.
    """
    found: list[int] = []

    def is_there() -> bool:
        served = arena.journal.pids(r"(?m)^\S+ (\d+) begin ")
        workers = {pid for arbiter in arena.arbiters() for pid in arena.workers(arbiter)}
        found[:] = sorted(workers & served)
        return bool(found)

    wait_until(is_there, "a worker that is booted", LONGEST_SECONDS)
    return rng.choice(found)


# By requests.


def block(arena: Arena, load: Load, rng: random.Random) -> None:
    ask_at_once(load, "/block", BLOCKING_REQUESTS)


def hang(arena: Arena, load: Load, rng: random.Random) -> None:
    load.ask("/hang")


def stuck(arena: Arena, load: Load, rng: random.Random) -> None:
    # What an operator does may end the worker first.
    assert any(run_too_long(arena, load, rng) for _ in range(STUCK_TRIES))


def run_too_long(arena: Arena, load: Load, rng: random.Random) -> bool:
    """Have a request run until it is ended; return whether it came to that."""
    since, request = arena.log.mark(), f"stuck-{rng.getrandbits(32)}"
    connection = http.client.HTTPConnection(*load.address, timeout=stretched(LONGEST_SECONDS))
    status = None
    with suppress(http.client.HTTPException, ConnectionError), closing(connection):
        connection.request("GET", f"/stuck?{request}")
        status = connection.getresponse().status
    if status == GATEWAY_TIMEOUT:
        arena.timed_out.add(request)
    if not arena.log.lines("GET /stuck has run for .* longer than GUNICORN_REQUEST", since):
        return False
    if status is None:  # No thread can be interrupted: its worker is replaced.
        (by,) = arena.begun()[request]
        wait_until(lambda: not lives(by.pid), f"{by.pid} is gone", LONGEST_SECONDS)
    else:
        assert status == GATEWAY_TIMEOUT
    return True


def slow(arena: Arena, load: Load, rng: random.Random) -> None:
    with ThreadPoolExecutor(SLOW_CLIENTS) as pool:
        for answer in [pool.submit(ask_slowly, load) for _ in range(SLOW_CLIENTS)]:
            answer.result()


def crowd(arena: Arena, load: Load, rng: random.Random) -> None:
    flood(load, FLOOD_CONNECTIONS)


def leak(arena: Arena, load: Load, rng: random.Random) -> None:
    # While the count is on its way to the plan, a worker that leaks is a large one and no more.
    arena.wait_for_calm()
    since = arena.log.mark()
    leaking: int | None = None

    def is_retired() -> bool:
        nonlocal leaking
        if leaking is None or not lives(leaking):  # An accident has befallen it.
            leaking = load.ask("/leak").answered_by
        return bool(arena.log.lines(r"worker \d+ was retired by the guard", since))

    wait_until(is_retired, "the guard has retired the worker that leaks", LONGEST_SECONDS)


def hog(arena: Arena, load: Load, rng: random.Random) -> None:
    since = arena.log.mark()
    # An accident may befall the worker first.
    assert any(run_out_of_memory(arena, load) for _ in range(HOG_TRIES))
    ended = arena.log.mark()
    looked = " memory workers="
    wait_until(lambda: len(arena.log.lines(looked, ended)) > 1, "the guard has looked")
    if arena.log.lines("guard: shrink", since):
        # It saw the worker grow: until a reload, any worker may need as much.
        reload(arena, load, rng)


def run_out_of_memory(arena: Arena, load: Load) -> bool:
    """Have a worker allocate more than there is; return whether it came to that."""
    since, asked_at, counted = arena.log.mark(), time.monotonic(), arena.oom_kills()
    asked = load.ask("/hog")
    wait_until(
        lambda: len(oom_killed(arena, since)) == arena.oom_kills() - counted,
        "each OOM kill is told",
        LONGEST_SECONDS,
    )
    killed = oom_killed(arena, since)
    began = {one.pid for one in arena.begun().get(asked.id, ())}
    for pid in killed - began:
        # While the memory of the first is taken back, the kernel may choose a second.
        arena.suspect(Loss(pid, asked_at, "OOM beside another", None, until=time.monotonic()))
    return bool(killed & began)


def oom_killed(arena: Arena, since: int) -> set[int]:
    """Return the workers of which the log says since then that the kernel killed them."""
    pattern = r"worker (\d+) was killed by the kernel's OOM killer"
    return {int(pid) for pid in re.findall(pattern, arena.log.text[since:])}


def ask_at_once(load: Load, kind: str, times: int) -> None:
    with ThreadPoolExecutor(times) as pool:
        for answer in [pool.submit(load.ask, kind) for _ in range(times)]:
            answer.result()


# By an operator.


def reload(arena: Arena, load: Load, rng: random.Random) -> None:
    before = arena.workers()
    arena.signal(signal.SIGHUP)
    wait_until(
        lambda: bool(arena.booted()) and not arena.workers() & before,
        "a reload has replaced every worker",
        LONGEST_SECONDS,
    )


def upgrade(arena: Arena, load: Load, rng: random.Random) -> None:
    new, old = start_successor(arena), arena.server.pid
    since = arena.log.mark()
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: not lives(old), "the old arbiter ends", LONGEST_SECONDS)
    arena.server.process.poll()  # No zombie of ours.
    arena.server.adopt(new)
    arena.log.wait_for("Master has been promoted", since)


def roll_back(arena: Arena, load: Load, rng: random.Random) -> None:
    new = start_successor(arena)
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{new}").exists(), "the new arbiter ends", LONGEST_SECONDS)


def start_successor(arena: Arena) -> int:
    """Have the arbiter start another one; return its pid once it serves."""
    since = arena.log.mark()
    arena.signal(signal.SIGUSR2)
    new = int(arena.log.wait_for(r"Listening at: \S+ \((\d+)\)", since).group(1))
    wait_until(lambda: bool(arena.booted(new)), "the new arbiter serves", LONGEST_SECONDS)
    return new


def count(arena: Arena, load: Load, rng: random.Random) -> None:
    arena.wait_for_workers(WORKERS)
    steps = [(signal.SIGTTIN, WORKERS + 1), (signal.SIGTTOU, WORKERS - 1)]
    rng.shuffle(steps)
    (first, reached), (second, _) = steps
    for number, workers in ((first, reached), (second, WORKERS)):
        arena.signal(number)
        arena.wait_for_workers(workers)
    # Until a reload the guard leaves alone the count that an operator has set.
    reload(arena, load, rng)


def limit(arena: Arena, load: Load, rng: random.Random) -> None:
    assert arena.cgroup
    # Workers that have leaked are large, and fewer fit.
    reload(arena, load, rng)
    arena.wait_for_calm()
    try:
        arena.cgroup.set_limit(LOWER_LIMIT_BYTES)
        arena.wait_for_workers(FEWER_WORKERS)
    finally:
        arena.cgroup.set_limit(LIMIT_BYTES)
    arena.wait_for_workers(WORKERS)


def rotate(arena: Arena, load: Load, rng: random.Random) -> None:
    aside = arena.log.rotate()
    arena.signal(signal.SIGUSR1)
    wait_until(
        lambda: not holders(arena, aside),
        lambda: f"nobody has {aside.name} open, but {holders(arena, aside)}",
    )
    assert arena.log.path.exists()


def holders(arena: Arena, path: Path) -> dict[int, dict[str, str]]:
    """Return who of the server has *path* open, with all of its descriptors and where they lead."""
    pids = [pid for each in arena.arbiters() for pid in (each, *arena.workers(each))]
    opened = {pid: dict(links(pid)) for pid in pids}
    return {pid: found for pid, found in opened.items() if str(path) in found.values()}


def tmp_full(arena: Arena, load: Load, rng: random.Random) -> None:
    fill(arena.seen(arena.tmp))
    try:
        kill(arena, load, rng)
        reload(arena, load, rng)
    finally:
        for file in arena.seen(arena.tmp).iterdir():
            file.unlink()


def fill(folder: Path) -> None:
    """Leave no block and no name for a file in *folder*."""
    with suppress(OSError), (folder / "blocks").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)
    with suppress(OSError):
        for number in itertools.count():
            (folder / f"name-{number}").touch()
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))):
        (folder / "one-more").touch()


COURSES: dict[Fault, Course] = {
    Fault.KILL: kill,
    Fault.STOP: stop,
    Fault.FREEZE: freeze,
    Fault.BLOCK: block,
    Fault.HANG: hang,
    Fault.STUCK: stuck,
    Fault.SLOW: slow,
    Fault.FLOOD: crowd,
    Fault.RELOAD: reload,
    Fault.UPGRADE: upgrade,
    Fault.ROLL_BACK: roll_back,
    Fault.COUNT: count,
    Fault.LIMIT: limit,
    Fault.LEAK: leak,
    Fault.HOG: hog,
    Fault.ROTATE: rotate,
    Fault.TMP_FULL: tmp_full,
}


def impossible(arena: Arena) -> set[Fault]:
    """Return the faults for which this machine gives no means."""
    faults: set[Fault] = set()
    if arena.cgroup is None:
        faults |= {Fault.LIMIT, Fault.HOG}
    if "sync" in arena.log.text.partition("Using worker: ")[2].partition("\n")[0]:
        faults |= {Fault.STUCK}  # A request that hangs: its `timeout` comes first.
    if not arena.has_own_tmp:
        faults |= {Fault.TMP_FULL}
    return faults
