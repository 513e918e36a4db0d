"""What does the memory guard cost? ``python -m benchmarks.guard``.

Starts Gunicorn with sleeping workers of about 40 MiB, with the guard and its log and without, in
turns (A B A B ...). Prints the CPU time of the guard's thread by the kernel's account, as a share
of one core, and the memory that the arbiter uses more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gunicorn.config
import psutil

# Not b"\0": what is never written takes no memory.
MODULE = """
ballast = b"x" * (16 * 2**20)


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
VARIANTS = {
    "without": {"GUNICORN_MEMORY_GUARD": "off", "GUNICORN_MEMORY_LOG_INTERVAL": "0"},
    "with": {"GUNICORN_MEMORY_GUARD": "act"},
}
# The kernel keeps 15 letters of a thread's name, where Python tells it (from 3.14 on).
THREAD_NAME = "gunicorn-autoconf"[:15]
# The first samples come faster; what is measured is the cost of a server that just runs.
SETTLE_SECONDS = 8.0
DEADLINE_SECONDS = 120.0


class Cost(NamedTuple):
    """What an arbiter has used."""

    thread_fraction: float
    """CPU time of the guard's thread by time passed; 0 where there is none."""
    arbiter_fraction: float
    """The same of all threads."""
    rss_bytes: int
    uss_bytes: int
    worker_rss_bytes: int
    """Of one worker, to know what was measured."""


@contextlib.contextmanager
def serving(workers: int, variables: dict[str, str], folder: Path) -> Iterator[psutil.Process]:
    """Run a server until the end of the block; hand over its arbiter once all workers booted."""
    log_path = folder / "server.log"
    command = [sys.executable, "-m", "gunicorn", "-c", "python:gunicorn_autoconf.conf"]
    command += ["-b", f"unix:{folder}/guard.sock", "--chdir", str(folder), "app:app"]
    command += ["--log-level", "debug"]  # A line for each worker that has booted.
    if "control_socket_disable" in gunicorn.config.Config().settings:
        command.append("--no-control-socket")  # It has a thread of its own.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GUNICORN_")}
    environ = {**inherited, "HOME": str(folder), "GUNICORN_WORKERS": str(workers), **variables}
    with log_path.open("wb") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        ends = time.monotonic() + DEADLINE_SECONDS
        while len(re.findall(r"worker \d+ (?:booted|ready)", log_path.read_text())) < workers:
            if server.poll() is not None or time.monotonic() > ends:
                sys.exit(f"The server did not start:\n{log_path.read_text()}")
            time.sleep(0.1)
        yield psutil.Process(server.pid)
    finally:
        server.terminate()
        try:
            server.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def measure(workers: int, variables: dict[str, str], folder: Path, seconds: float) -> Cost:
    """Start a server, let it come to rest, look at its arbiter for *seconds*, stop it."""
    with serving(workers, variables, folder) as arbiter:
        time.sleep(SETTLE_SECONDS)
        tasks = Path(f"/proc/{arbiter.pid}/task")
        guard = [int(task.name) for task in tasks.iterdir() if _is_guard(task, arbiter.pid)]
        if len(guard) != (variables["GUNICORN_MEMORY_GUARD"] != "off"):
            sys.exit(f"threads besides the arbiter's own: {guard}")
        everything = [arbiter.pid, *guard]
        before = {task: cpu_seconds(tasks / str(task)) for task in everything}
        began = time.monotonic()
        time.sleep(seconds)
        after = {task: cpu_seconds(tasks / str(task)) for task in everything}
        passed = time.monotonic() - began
        memory = arbiter.memory_full_info()
        worker = arbiter.children()[0].memory_info()
    used = {task: (after[task] - before[task]) / passed for task in everything}
    return Cost(
        thread_fraction=sum(used[task] for task in guard),
        arbiter_fraction=sum(used.values()),
        rss_bytes=memory.rss,
        uss_bytes=memory.uss,
        worker_rss_bytes=worker.rss,
    )


def _is_guard(task: Path, pid: int) -> bool:
    """Whether *task* is the guard's, by its name or, where that is not told, by not being main."""
    name = (task / "comm").read_text().strip()
    return name == THREAD_NAME if sys.version_info >= (3, 14) else int(task.name) != pid


def cpu_seconds(task: Path) -> float:
    """
    Return how long *task* has run on a CPU.

    Source:
        Linux, scheduler/sched-stats.rst, "/proc/<pid>/schedstat".
    """
    return int((task / "schedstat").read_text().split()[0]) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="starts of each kind [2]")
    parser.add_argument("--seconds", type=float, default=35, help="of each measurement [35]")
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 16, 64])
    options = parser.parse_args()
    print("| workers | RSS of one | guard's thread | arbiter, without | with | RSS added | USS |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(MODULE)
        for workers in options.workers:
            costs: dict[str, list[Cost]] = {variant: [] for variant in VARIANTS}
            for _ in range(options.rounds):
                for variant, variables in VARIANTS.items():
                    cost = measure(workers, variables, folder, options.seconds)
                    costs[variant].append(cost)
            print(row(workers, costs["without"], costs["with"]), flush=True)


def row(workers: int, without: list[Cost], with_guard: list[Cost]) -> str:
    """One line of the table: medians."""
    median = statistics.median
    pairs = list(zip(without, with_guard, strict=True))
    rss_mib = median(b.rss_bytes - a.rss_bytes for a, b in pairs) / 2**20
    uss_mib = median(b.uss_bytes - a.uss_bytes for a, b in pairs) / 2**20
    return (
        f"| {workers} | {median(c.worker_rss_bytes for c in with_guard) / 2**20:.0f} MiB "
        f"| {median(c.thread_fraction for c in with_guard):.3%} of a core "
        f"| {median(c.arbiter_fraction for c in without):.3%} "
        f"| {median(c.arbiter_fraction for c in with_guard):.3%} "
        f"| {rss_mib:+.1f} MiB | {uss_mib:+.1f} MiB |"
    )


if __name__ == "__main__":
    main()
