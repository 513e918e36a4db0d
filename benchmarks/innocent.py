"""Does the watchdog accuse a healthy server? ``python -m benchmarks.innocent``.

Runs a server whose code blocks nothing under a CPU quota of half a core and a load that uses it up,
for ten minutes, and prints every line that blames the code for a late event loop. There must be
none: whatever is late is late because of the quota or of a crowded machine. Makes a cgroup: root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

APPLICATION = """
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    sum(range(500_000))  # Some ten milliseconds.
    await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
PERIOD_US = 100_000


@contextlib.contextmanager
def quota(cores: float) -> Iterator[Path]:
    """Make a cgroup, v1 or v2, that grants so many cores; remove it once it is empty."""
    v1 = Path("/sys/fs/cgroup/cpu")
    directory = (v1 if v1.exists() else Path("/sys/fs/cgroup")) / f"autoconf_{uuid.uuid4().hex[:8]}"
    directory.mkdir()
    if v1.exists():
        (directory / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD_US)))
    else:
        (directory / "cpu.max").write_text(f"{int(cores * PERIOD_US)} {PERIOD_US}")
    try:
        yield directory
    finally:
        while (directory / "cgroup.procs").read_text().strip():
            time.sleep(0.1)
        directory.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of load [600]")
    parser.add_argument("--cores", type=float, default=0.5, help="of the quota [0.5]")
    parser.add_argument("--connections", type=int, default=8, help="of wrk [8]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, quota(options.cores) as group:
        place = Path(name)
        (place / "app.py").write_text(APPLICATION)
        log = place / "server.log"
        join = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
        command = [
            "/bin/sh",
            "-c",
            join,
            "sh",
            sys.executable,
            "-m",
            "gunicorn",
            "-b",
            "127.0.0.1:0",
        ]
        command += ["-c", "python:gunicorn_autoconf.conf", "app:app"]
        with log.open("wb") as stderr:
            environ = {**os.environ, "HOME": name, "GUNICORN_WORKERS": "2"}
            server = subprocess.Popen(command, cwd=name, env=environ, stderr=stderr)
        while log.read_text().count("Application startup complete") < 2:
            time.sleep(0.2)
        url = re.search(r"Listening at: (\S+)", log.read_text())
        assert url
        wrk = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", url[1]]
        print(subprocess.run(wrk, capture_output=True, text=True, check=True).stdout)
        server.send_signal(signal.SIGTERM)
        server.wait()
        lines = log.read_text().splitlines()
    accusing = [
        "\n".join(lines[number : number + 4])  # With the cure and the shares.
        for number, line in enumerate(lines)
        if re.search(r"been blocked|loop was blocked|no heartbeat from", line)
    ]
    late = [line for line in lines if "not because of your code" in line or "throttled" in line]
    print(*late[-5:], f"\n{len(accusing)} accusations:", *accusing, sep="\n")
    return len(accusing)


if __name__ == "__main__":
    sys.exit(main())
