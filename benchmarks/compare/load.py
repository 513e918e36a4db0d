"""Puts wrk's load on a server, in three patterns of connections."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from .workloads import Workload

Pattern = Literal["at-once", "gradual", "new"]
PATTERNS: dict[Pattern, str] = {
    "at-once": "keep-alive, all connections opened at once",
    "gradual": "keep-alive, connections opened one after the other while others are served",
    "new": "a new connection for each request",
}

SCRIPT = Path(__file__).with_name("load.lua")
# From the first connection to the last of the pattern "gradual".
RAMP_SECONDS = 0.5
# A silence of this length is no answer to a user.
ANSWER_SECONDS = 10
MISSING = "wrk makes the load and is not installed: apt-get install wrk, or github.com/wg/wrk"


class Answer(NamedTuple):
    """What wrk has seen."""

    rate: float
    """Requests per second."""
    p50_ms: float
    p99_ms: float
    requests: int
    errors: int
    """Connections refused or broken, answers that did not come, statuses from 400 on."""


def require_wrk() -> str:
    """Return the path of wrk; end with one line where there is none."""
    return shutil.which("wrk") or sys.exit(MISSING)


def begin(
    wrk: str, workload: Workload, pattern: Pattern, address: str, seconds: int
) -> subprocess.Popen[str]:
    """Start wrk for *seconds*; `finish` takes its answer."""
    connections = workload.connections
    threads = connections if pattern == "gradual" else 1
    command = [wrk, f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)]
    command += ["--timeout", f"{ANSWER_SECONDS}s"]
    headers = [*workload.headers, *(["Connection: close"] if pattern == "new" else [])]
    command += [word for header in headers for word in ("-H", header)]
    environ = {**os.environ, "COMPARE_BODY": workload.body, "COMPARE_PAUSE_MS": "0"}
    if pattern == "gradual":
        environ["COMPARE_PAUSE_MS"] = str(round(RAMP_SECONDS * 1000 / connections))
    url = f"http://{address}{workload.path}"
    return subprocess.Popen([*command, url], env=environ, stdout=subprocess.PIPE, text=True)


def finish(running: subprocess.Popen[str], pattern: Pattern) -> Answer:
    """Wait for wrk to end and return what it has seen."""
    printed, _ = running.communicate()
    if running.returncode:
        raise RuntimeError(f"wrk ended with status {running.returncode}:\n{printed}")
    return parse(printed, ramp_seconds=RAMP_SECONDS if pattern == "gradual" else 0.0)


def parse(printed: str, *, ramp_seconds: float) -> Answer:
    """
    Return the figures in the output of ``load.lua``.

    wrk's clock starts when the last thread has started, while it counts all requests; so
    *ramp_seconds* are added.
    """
    (line,) = (row for row in printed.splitlines() if row.startswith("COMPARE "))
    seen = json.loads(line.removeprefix("COMPARE "))
    errors = sum(seen[kind] for kind in ("connect", "read", "write", "status", "timeout"))
    # wrk counts an answer with a bad status as a request, too.
    good = seen["requests"] - seen["status"]
    return Answer(
        rate=good / (seen["duration_us"] / 1e6 + ramp_seconds),
        p50_ms=seen["p50_us"] / 1000,
        p99_ms=seen["p99_us"] / 1000,
        requests=good,
        errors=errors,
    )
