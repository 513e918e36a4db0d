"""The capacity of a server that answers faster than the load process asks. Runs wrk."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from gunicorn_autoconf.cli.tune.job import Job, Seen
from gunicorn_autoconf.cli.tune.latencies import Latencies
from gunicorn_autoconf.cli.tune.request import Request

_MARK = "TUNE "
# What wrk takes longer than its duration, at most.
_MORE_SECONDS = 20.0


def find_wrk() -> str | None:
    """Return the path of wrk; None where it is not installed."""
    return shutil.which("wrk")


def run_wrk(program: str, job: Job, requests: Sequence[Request]) -> Seen:
    """
    Return what wrk has seen in a closed loop; its latencies are of no use.

    Its ramp is not left out: it is short for a server that is as fast as this.
    """
    with tempfile.TemporaryDirectory(prefix="gunicorn-autoconf-tune-") as folder:
        script = os.path.join(folder, "load.lua")
        with open(script, "wb") as file:
            file.write(render_script(requests, is_new_connections=job.new_connections))
        seconds = max(round(job.seconds), 1)
        command = [program, "-t1", f"-c{job.clients}", f"-d{seconds}s", "-s", script]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(
                [*command, f"http://127.0.0.1:{job.port}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                timeout=seconds + _MORE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Seen(seconds=seconds, latencies=Latencies(), unanswered={"wrk hangs": 1})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return parse_output(done.stdout.decode("utf-8", "replace"), used)


def parse_output(text: str, cpu_seconds: float) -> Seen:
    """Return what the script has printed in *text*."""
    lines = [line for line in text.splitlines() if line.startswith(_MARK)]
    if not lines:
        return Seen(seconds=1.0, latencies=Latencies(), unanswered={"wrk failed": 1})
    found = json.loads(lines[-1].removeprefix(_MARK))
    good = max(found["requests"] - found["status"], 0)
    unanswered = {name: found[name] for name in ("connect", "read", "write", "timeout")}
    return Seen(
        seconds=found["duration_us"] / 1e6,
        latencies=Latencies({0: good} if good else {}),
        statuses={200: good, **({500: found["status"]} if found["status"] else {})},
        unanswered={name: count for name, count in unanswered.items() if count},
        cpu_seconds=cpu_seconds,
    )


def render_script(requests: Sequence[Request], *, is_new_connections: bool) -> bytes:
    """Return the script for wrk: it draws requests by their weights."""
    total, passed = sum(request.weight for request in requests), 0.0
    rows = []
    for request in requests:
        passed += request.weight
        headers = [*request.headers, *([("Connection", "close")] if is_new_connections else [])]
        fields = ", ".join(f"[{_quote(name)}] = {_quote(value)}" for name, value in headers)
        body = _quote(request.body) if request.body else "nil"
        rows.append(
            f"  {{{passed / total!r}, wrk.format({_quote(request.method)}, "
            f"{_quote(request.target)}, {{{fields}}}, {body})}},\n"
        )
    return _SCRIPT.replace("ROWS", "".join(rows)).encode()


def _quote(text: str | bytes) -> str:
    """Return *text* as Lua reads it: each byte that is no plain character by its number."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03}" for b in raw)
    return f'"{"".join(plain)}"'


_SCRIPT = """\
local rows
function init(args)
  rows = {
ROWS  }
end
function request()
  local chosen = math.random()
  for _, row in ipairs(rows) do
    if chosen <= row[1] then return row[2] end
  end
  return rows[#rows][2]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'TUNE {"requests": %d, "duration_us": %d, "connect": %d, "read": %d, "write": %d, ' ..
    '"status": %d, "timeout": %d}\\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout))
end
"""
