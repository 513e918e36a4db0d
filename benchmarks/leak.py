"""What becomes of a leak? ``python -m benchmarks.leak``, as root and with hey installed.

Runs an application that keeps 100 kB a request in a memory cgroup of 300 MiB, with two workers and
under load: with this package, and with plain Gunicorn and the same settings, for each worker
class. Prints what was answered, the kernel's count of OOM kills and the guard's recycles. An
emulated machine answers a tenth of the requests: let them keep more there (``--kept 1000``).
"""

from __future__ import annotations

import argparse
import os
import pprint
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.cgroups import limited
from gunicorn_autoconf import autoconf

# Not b"\0": what is never written takes no memory.
MODULE = """
kept = []


async def asgi_app(scope, receive, send):
    if scope["type"] == "http":
        kept.append(b"x" * KEPT_BYTES)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"kept"})


def wsgi_app(environ, start_response):
    kept.append(b"x" * KEPT_BYTES)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"kept"]
"""
WORKERS = 2
LIMIT_BYTES = 300 * 2**20
# By name: the application and the workload for which the package plans that class; empty where it
# is what nothing declared gives.
CLASSES = {
    "sync": ("app:wsgi_app", ""),
    "gthread": ("app:wsgi_app", "io"),
    "uvicorn": ("app:asgi_app", "mixed"),
}
PLAIN = "plain Gunicorn"
HOWS = (PLAIN, "gunicorn-autoconf")
# hey gives up a request after this time; so long a silence is no answer to its user either.
ANSWER_SECONDS = 10
# An emulated machine takes minutes to start Python where its host is busy.
DEADLINE_SECONDS = 300.0


class Outcome(NamedTuple):
    """What one server has made of the load."""

    statuses: Counter[str]
    errors: int
    oom_kills: int
    recycles: int
    boots: int


def write_static_config(folder: Path, application: str, workload: str) -> Path:
    """Write the planned values as a configuration file without a hook."""
    chosen = autoconf(
        workload=workload or None,
        argv=["gunicorn", "--chdir", str(folder), application],
        environ={"GUNICORN_WORKERS": str(WORKERS)},
    )
    path = folder / f"static_{workload}_{application.rpartition(':')[2]}.py"
    lines = (f"{name} = {pprint.pformat(v)}\n" for name, v in chosen.plan.settings.items())
    path.write_text("".join(lines))
    return path


def run(config: str, application: str, workload: str, folder: Path, load: list[str]) -> Outcome:
    """Start a server with *config*, put the *load* on it, stop it."""
    log_path = folder / f"{uuid.uuid4().hex}.log"
    command = [sys.executable, "-m", "gunicorn", "-c", config, "-b", "127.0.0.1:0"]
    command += ["--chdir", str(folder), application]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GUNICORN_")}
    environ = {**inherited, "HOME": str(folder), "GUNICORN_WORKLOAD": workload}
    environ |= {"GUNICORN_WORKERS": str(WORKERS)}
    with limited(LIMIT_BYTES) as cgroup, log_path.open("wb") as log:
        wrapped = cgroup.wrap(command)
        server = subprocess.Popen(wrapped, env=environ, stdout=log, stderr=log)
        try:
            url = until_listening(server, log_path)
            asked = subprocess.run([*load, url], check=True, capture_output=True, text=True)
            oom_kills = cgroup.oom_kills
        finally:
            server.terminate()
            try:
                server.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    logged = log_path.read_text(errors="replace")
    statuses = re.findall(r"^\s+\[(\d{3})\]\s+(\d+) responses", asked.stdout, re.MULTILINE)
    _, _, errors = asked.stdout.partition("Error distribution:")
    return Outcome(
        statuses=Counter({status: int(count) for status, count in statuses}),
        errors=sum(map(int, re.findall(r"^\s+\[(\d+)\]", errors, re.MULTILINE))),
        oom_kills=oom_kills,
        recycles=logged.count("guard: recycle worker"),
        boots=logged.count("Booting worker with pid"),
    )


def until_listening(server: subprocess.Popen[bytes], log_path: Path) -> str:
    """Return the URL of *server* once all of its workers are forked."""
    ends = time.monotonic() + DEADLINE_SECONDS
    while server.poll() is None and time.monotonic() < ends:
        logged = log_path.read_text(errors="replace")
        listening = re.search(r"Listening at: (\S+) \(", logged)
        if listening and logged.count("Booting worker with pid") >= WORKERS:
            return f"{listening.group(1)}/"
        time.sleep(0.05)
    sys.exit(f"The server did not start:\n{log_path.read_text(errors='replace')}")


def row(name: str, how: str, outcome: Outcome) -> str:
    """One line of the table."""
    answered = outcome.statuses.total()
    good = outcome.statuses["200"]
    return (
        f"| {name} | {how} | {answered + outcome.errors} | {good} | {answered - good} "
        f"| {outcome.errors} | {outcome.oom_kills} | {outcome.recycles} | {outcome.boots} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of load on each server [60]")
    parser.add_argument("--keep", type=Path, help="a directory for the logs")
    parser.add_argument("--only", choices=HOWS, help="with this package, or without")
    parser.add_argument("--kept", type=int, default=100, help="kB that each request keeps [100]")
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=list(CLASSES))
    options = parser.parse_args()
    hey = shutil.which("hey")
    if hey is None:
        sys.exit("hey makes the load: apt-get install hey, or github.com/rakyll/hey")
    load = [hey, "-z", f"{options.seconds}s", "-c", "8", "-q", "30", "-t", str(ANSWER_SECONDS)]
    limit = f"limit {LIMIT_BYTES >> 20} MiB, {options.kept} kB kept"
    print(f"{' '.join(load[1:])}, {WORKERS} workers, {limit}\n")
    print("| class | with | requests | 200 | not 200 | errors | OOM kills | recycles | boots |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        (folder / "app.py").write_text(MODULE.replace("KEPT_BYTES", str(options.kept * 1000)))
        for each in options.classes:
            application, workload = CLASSES[each]
            for how in [options.only] if options.only else HOWS:
                config = "python:gunicorn_autoconf.conf"
                if how == PLAIN:
                    config = str(write_static_config(folder, application, workload))
                outcome = run(config, application, workload, folder, load)
                print(row(each, how, outcome), flush=True)


if __name__ == "__main__":
    main()
