"""What becomes of real applications in the limit they are usually given? ``benchmarks.real_apps``.

Run it as root: ``python -m benchmarks.real_apps --folder /some/where [NAME ...]``. Installs each
application into a virtual environment of its own, which it keeps in the folder, and serves it in a
memory cgroup with a light load: first with our configuration, then with plain Gunicorn and the same
worker class and count. Prints a table: workers at the start and settled; what the guard took one
worker to need when it last planned, and what the largest then had; use of the limit; OOM kills;
recycles and shrinks, which are all needless as none of these applications leaks.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.applications import APPLICATIONS, Application
from benchmarks.cgroups import Cgroup, limited

ROOT = Path(__file__).parent.parent
MIB = 2**20
HOST, PORT = "127.0.0.1", 8741
CLIENTS, PAUSE_SECONDS = 4, 0.2  # At most 20 requests per second: light load.
BOOT_SECONDS = 600.0  # Five workers import LiteLLM for minutes on a busy machine.

# Our configuration, which also writes down what the guard takes one worker to need: `grow` is its
# last rule, so that it comes to it whenever nothing else is due.
CONFIGURATION = """
import json, time
from gunicorn_autoconf.conf import *
from gunicorn_autoconf.memory import count as _count, guard as _guard

_grow = _guard.grow


def _noting(now, permissions, needed, plans):
    action = _grow(now, permissions, needed, plans)
    if now.workers and now.is_settled:
        worked = _count._have_worked(now, leaking=permissions.leaking)
        largest = max(map(_count._with_growth, now.workers))
        size = max(needed.largest, largest if worked else needed.first)
        row = {"workers": now.target, "bytes": size, "measured": worked, "grows": bool(action)}
        with open("needs.jsonl", "a") as file:
            file.write(json.dumps(row) + "\\n")
    return action


_guard.grow = _noting
"""


class Result(NamedTuple):
    """One run of a server."""

    at_start: int
    settled: int
    forecast_mib: float | None
    """What the guard took one worker to need when it last changed its mind about the count."""
    is_guess: bool
    measured_mib: float
    used_fraction: float
    oom_kills: int
    recycles: int
    shrinks: int
    worker_class: str
    answers: Counter[str]
    log: str

    @property
    def error(self) -> float | None:
        """By how much of the measured size the forecast is off."""
        if self.forecast_mib is None or not self.measured_mib:
            return None
        return self.forecast_mib / self.measured_mib - 1


class Place(NamedTuple):
    """Where an application is installed and runs."""

    folder: Path
    programs: Path
    environ: Mapping[str, str]


class Load:
    """A few clients that ask for one path after the other, each on a new connection."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.answers: Counter[str] = Counter()
        self._paths = paths
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the last answers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            number += 1
            self.answers[ask(self._paths[number % len(self._paths)])] += 1


def ask(path: str) -> str:
    """Return the status of the answer, or what went wrong."""
    address, _, body = path.partition(" ")
    connection = http.client.HTTPConnection(HOST, PORT, timeout=60)
    headers = {"Content-Type": "application/json"} if body else {}
    try:
        connection.request("POST" if body else "GET", address, body or None, headers)
        response = connection.getresponse()
        response.read()
        return str(response.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def install(application: Application, folder: Path) -> Path:
    """Return the directory of the programs of the application's virtual environment."""
    programs = folder / "bin"
    if not (folder / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(programs / "pip"), "install", "-q", application.packages, "-e", f"{ROOT}[tune]"]
        subprocess.run(pip, check=True)
        (folder / "done").touch()
    return programs


def environment(application: Application, folder: Path, programs: Path) -> dict[str, str]:
    """Return the variables of the application: nothing of ours from outside."""
    kept = {name: os.environ[name] for name in ("LANG",) if name in os.environ}
    own = {name: text.format(folder=folder) for name, text in application.environ.items()}
    path = f"{programs}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "HOME": str(folder), "PYTHONPATH": str(folder), **own}


def prepare(application: Application, folder: Path, environ: Mapping[str, str]) -> None:
    """Write the application's files and run its commands, once."""
    if (folder / "prepared").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in application.files.items():
        (folder / name).write_text(text)
    (folder / "autoconf_needs.py").write_text(CONFIGURATION)
    for command in application.prepare:
        words = command.replace("{folder}", str(folder))
        subprocess.run(words, shell=True, check=True, cwd=folder, env=environ)
    (folder / "prepared").touch()


@contextlib.contextmanager
def serving(
    command: list[str], place: Place, cgroup: Cgroup
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a server in *cgroup* until the end of the block."""
    log = place.folder / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            cgroup.wrap(command), cwd=place.folder, env=place.environ, stdout=file, stderr=file
        )
    try:
        yield server, log
    finally:
        server.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(60)
        server.kill()
        server.wait()


def run(application: Application, options: list[str], place: Place, seconds: float) -> Result:
    """Serve the application with Gunicorn's *options* and measure it."""
    folder = place.folder
    needs = folder / "needs.jsonl"
    needs.unlink(missing_ok=True)
    command = [
        str(place.programs / "gunicorn"),
        "-b",
        f"{HOST}:{PORT}",
        *options,
        application.target,
    ]
    paths = tuple(path.replace("{folder}", str(folder)) for path in application.paths)
    with (
        limited(application.limit_mib * MIB) as cgroup,
        serving(command, place, cgroup) as (server, log),
    ):
        wait_for_answer(server, log, paths[0])
        at_start = len(psutil.Process(server.pid).children())
        load = Load(paths)
        time.sleep(seconds)
        load.stop()
        workers = psutil.Process(server.pid).children()
        sizes = [worker.memory_full_info().pss / MIB for worker in workers]
        used = working_set(cgroup) / (application.limit_mib * MIB)
        kills = cgroup.oom_kills
        text = log.read_text(errors="replace")
    rows = [json.loads(line) for line in needs.read_text().splitlines()] if needs.exists() else []
    last = next((row for row in reversed(rows) if row["grows"]), None) or next(
        (row for row in rows if row["measured"]), rows[-1] if rows else None
    )
    planned = re.search(r"worker_class\s+(\S+)", text)
    return Result(
        at_start=int(found[1]) if (found := re.search(r"  workers\s+(\d+)", text)) else at_start,
        settled=len(workers),
        forecast_mib=last["bytes"] / MIB if last else None,
        is_guess=bool(last) and not last["measured"],
        measured_mib=max(sizes, default=0.0),
        used_fraction=used,
        oom_kills=kills,
        recycles=len(re.findall(r"guard: recycle", text)),
        shrinks=len(re.findall(r"guard: shrink", text)),
        worker_class=planned[1] if planned else "",
        answers=load.answers,
        log=text,
    )


def wait_for_answer(server: subprocess.Popen[bytes], log: Path, path: str) -> None:
    """Return once the server answers."""
    ends = time.monotonic() + BOOT_SECONDS
    while not ask(path).isdecimal():
        if server.poll() is not None or time.monotonic() > ends:
            sys.exit(f"The server did not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.5)


def working_set(cgroup: Cgroup) -> int:
    """Return what is in use in *cgroup*, without page cache that the kernel can drop."""
    usage = {1: "memory.usage_in_bytes", 2: "memory.current"}[cgroup.version]
    lines = (cgroup.directory / "memory.stat").read_text().splitlines()
    rows = {name: int(value) for name, value in (line.split() for line in lines)}
    prefix = "total_" if cgroup.version == 1 else ""
    cache = rows[f"{prefix}inactive_file"] + rows[f"{prefix}active_file"]
    return int((cgroup.directory / usage).read_text()) - cache


HEAD = (
    "| application | limit | workers at start | settled | forecast | measured | error "
    "| use of the limit | OOM kills | recycles, shrinks | plain: use | kills | answers other "
    "than 2xx, 3xx: ours, plain |"
)


def row(name: str, application: Application, ours: Result, plain: Result) -> str:
    """One line of the table."""
    guess = " (guess)" if ours.is_guess else ""
    forecast = "-" if ours.forecast_mib is None else f"{ours.forecast_mib:.0f} MiB{guess}"
    error = "-" if ours.error is None else f"{ours.error:+.0%}"
    return (
        f"| {name} | {application.limit_mib} MiB | {ours.at_start} | {ours.settled} | {forecast} "
        f"| {ours.measured_mib:.0f} MiB | {error} | {ours.used_fraction:.0%} | {ours.oom_kills} "
        f"| {ours.recycles}, {ours.shrinks} | {plain.used_fraction:.0%} | {plain.oom_kills} "
        f"| {others(ours.answers)}, {others(plain.answers)} |"
    )


def others(answers: Counter[str]) -> str:
    """How many answers were neither 2xx nor 3xx, of how many."""
    bad = sum(count for answer, count in answers.items() if answer[0] not in "23")
    return f"{bad} of {sum(answers.values())}"


def main() -> None:
    """Run the applications that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(APPLICATIONS))
    parser.add_argument("--folder", type=Path, required=True, help="for what is installed")
    parser.add_argument("--seconds", type=float, default=120, help="of load, ours [120]")
    parser.add_argument("--logs", action="store_true", help="print the lines of the guard")
    chosen = parser.parse_args()
    print(HEAD + "\n" + "|---" * 13 + "|", flush=True)
    errors = []
    for name in chosen.names:
        application = APPLICATIONS[name]
        programs = install(application, chosen.folder / "venvs" / name)
        folder = chosen.folder / "apps" / name
        environ = environment(application, folder, programs)
        prepare(application, folder, environ)
        place = Place(folder, programs, environ)
        ours = run(application, ["-c", "autoconf_needs.py"], place, chosen.seconds)
        (folder / "ours.log").write_text(ours.log)
        same = ["-k", ours.worker_class, "-w", str(ours.settled)]
        plain = run(application, same, place, chosen.seconds / 2)
        (folder / "plain.log").write_text(plain.log)
        print(row(name, application, ours, plain), flush=True)
        if chosen.logs:
            lines = [line for line in ours.log.splitlines() if "guard:" in line]
            print("\n".join(f"    {line[:200]}" for line in lines), flush=True)
        errors += [abs(ours.error)] if ours.error is not None else []
    if errors:
        print(f"\nmedian error of the forecast: {statistics.median(errors):.0%}")


if __name__ == "__main__":
    main()
