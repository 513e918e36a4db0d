"""
What the log says of memory on cgroup v2: one row for each case, in a virtual machine of its own.

    python -m benchmarks.cgroup_v2 --vmrun PATH [ROW ...]

*PATH* is a command that boots a Linux with nothing but cgroup v2, makes the cgroups of ``--cg``,
copies the directory of ``--share`` to /share and runs the words after ``--`` in a cgroup. Its image
needs Python, Gunicorn, uvicorn, uvicorn-worker and psutil. An emulated machine is ten times slower
than the host, and each row boots one: all take about ten minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PORT = 8000
LOG = Path("/tmp/server.log")
MIB = 2**20
# A row's own waits are shorter; this is for a machine that hangs.
ROW_SECONDS = 900
# An emulated machine on a busy host may take minutes to start Python.
WAIT_SECONDS = 240

# Answers with its pid; allocates memory, reads files or starts children when a path asks for it.
APP = """
import atexit, os, subprocess, sys, time

kept = []

def grow(mib):
    for _ in range(mib):
        kept.append(os.urandom(4096) * 256)

def act(path):
    _, what, *rest = path.split("/")
    number = int(rest[0]) if rest else 0
    if what == "grow":
        grow(number)
    elif what == "grow-at-exit":
        atexit.register(grow, number)
    elif what == "child":
        code = "import os, time; x = [os.urandom(4096) * 256 for _ in range(%d)]; time.sleep(600)"
        kept.append(subprocess.Popen([sys.executable, "-c", code % number]))
    elif what == "slow-child":
        code = "import os, time\\nx = []\\nwhile True:\\n"
        code += " x.append(os.urandom(4096) * 256 * %d)\\n time.sleep(1)"
        kept.append(subprocess.Popen([sys.executable, "-c", code % number]))
    elif what == "file":
        with open("/var/tmp/big", "wb") as file:
            for _ in range(number):
                file.write(os.urandom(4096) * 256)
            os.fsync(file.fileno())
        for _ in range(3):
            with open("/var/tmp/big", "rb") as file:
                while file.read(2**20):
                    pass
    elif what == "shm":
        with open("/dev/shm/big", "ab") as file:
            for _ in range(number):
                file.write(os.urandom(4096) * 256)
    return str(os.getpid()).encode()

def app(environ, start_response):
    body = act(environ["PATH_INFO"])
    start_response("200 OK", [])
    return [body]

async def loop(scope, receive, send):
    if scope["type"] == "http":
        body = act(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""


class Guest:
    """The server, in the virtual machine."""

    def __init__(self, workers: int, app: str = "app", **environ: str) -> None:
        """Start it with so many *workers*, and wait until all have booted."""
        options = ["-c", "python:gunicorn_autoconf.conf", "-b", f"127.0.0.1:{PORT}", "-t", "300"]
        if workers:
            options += ["-w", str(workers)]
        with LOG.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *options, f"app:{app}"],
                env={**os.environ, "GUNICORN_MEMORY_LOG_INTERVAL": "10", **environ},
                stdout=log,
                stderr=log,
            )
        if not self.wait_for("memory workers="):
            raise TimeoutError(f"no worker was up after {WAIT_SECONDS} s")

    def wait_for(self, pattern: str, seconds: float = WAIT_SECONDS) -> bool:
        """Return whether the line appears in the log in time; the table shows a miss."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if re.search(pattern, LOG.read_text(errors="replace")):
                return True
            time.sleep(0.2)
        return False

    def get(self, path: str) -> int:
        """Ask for *path*; return the pid that answered, 0 where none did."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=120) as answer:
                return int(answer.read())
        except OSError:
            return 0

    @property
    def workers(self) -> list[int]:
        """The children of the arbiter."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in Path(path).read_text().split()]

    def stop(self) -> None:
        """End the server and show its log."""
        self.process.terminate()
        self.process.wait(WAIT_SECONDS)
        sys.stdout.write(LOG.read_text(errors="replace"))


def _parent() -> None:
    sibling = "import os, time; x = [os.urandom(4096) * 256 for _ in range(100)]; time.sleep(600)"
    join = 'echo $$ > /sys/fs/cgroup/a/sibling/cgroup.procs && exec "$@"'
    other = subprocess.Popen(["sh", "-c", join, "sh", sys.executable, "-c", sibling])
    time.sleep(15)
    server = Guest(1, GUNICORN_MEMORY_GUARD="off")
    server.get("/grow/220")
    server.wait_for("OOM killer")
    other.kill()
    server.stop()


def _while_it_ended() -> None:
    server = Guest(2)
    pid = server.get("/grow-at-exit/400")
    os.kill(pid, signal.SIGTERM)
    server.wait_for("OOM killer")
    time.sleep(15)
    server.stop()


def _kill_9() -> None:
    # On a slow machine the child grows slowly, and the guard would act before the kernel.
    server = Guest(2, GUNICORN_MEMORY_GUARD="off")
    time.sleep(5)
    pid = server.get("/child/400")
    until = time.monotonic() + WAIT_SECONDS
    events = Path("/sys/fs/cgroup/a/memory.events")
    while "oom_kill 0" in events.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(next(each for each in server.workers if each != pid), signal.SIGKILL)
    server.wait_for("not a worker|a child process")
    server.stop()


def _helper() -> None:
    server = Guest(2, GUNICORN_MEMORY_GUARD="off")
    server.get("/slow-child/20")
    server.wait_for("a child process of")
    server.stop()


def _grows_once() -> None:
    server = Guest(1, GUNICORN_MEMORY_GUARD="off")
    server.get("/grow/400")
    server.wait_for("OOM killer")
    server.stop()


def _starts() -> None:
    Guest(1).stop()


def _file() -> None:
    server = Guest(0, GUNICORN_WORKER_MEMORY="60MiB")
    server.get("/file/150")
    time.sleep(25)
    server.stop()


def _shared() -> None:
    server = Guest(1, GUNICORN_MEMORY_GUARD="off")
    server.get("/shm/280")
    time.sleep(11)
    server.get("/grow/150")
    server.wait_for("OOM killer")
    server.stop()


def _high(app: str = "app") -> None:
    server = Guest(1, app, GUNICORN_MEMORY_GUARD="off")
    # Without swap each page that a process needs beyond memory.high costs it up to 2 s. In the same
    # cgroup this process would never come to raise it again.
    Path("/sys/fs/cgroup/cgroup.procs").write_text(str(os.getpid()))
    asking = threading.Thread(target=server.get, args=("/grow/100",))
    Path("/sys/fs/cgroup/a/memory.high").write_text("100M")
    asking.start()
    # An emulated machine may take long to get there; the wait counts only from then on.
    until = time.monotonic() + WAIT_SECONDS
    events = Path("/sys/fs/cgroup/a/memory.events")
    while "high 0\n" in events.read_text() and time.monotonic() < until:
        time.sleep(1)
    time.sleep(30)
    Path("/sys/fs/cgroup/a/memory.high").write_text("max")
    # The arbiter was slowed down as well, so its next look may be late.
    server.wait_for("memory pressure")
    asking.join(WAIT_SECONDS)
    server.stop()


def _shrink() -> None:
    server = Guest(0, GUNICORN_WORKER_MEMORY="100MiB", GUNICORN_CPUS="4", GUNICORN_WORKLOAD="cpu")
    for _ in range(12):
        server.get("/grow/20")
    Path("/sys/fs/cgroup/a/memory.max").write_text("330M")
    server.wait_for("retired by the guard")
    server.stop()


def _children() -> None:
    server = Guest(1)
    pid = server.get("/child/1")
    os.kill(pid, signal.SIGTERM)
    server.wait_for("exited")
    ps = ["ps", "axo", "pid,ppid,args"]
    left = subprocess.run(ps, check=True, capture_output=True, text=True)
    orphans = [
        line for line in left.stdout.splitlines() if "urandom" in line and "ps ax" not in line
    ]
    sys.stdout.write(f"orphans={len(orphans)}\n")
    server.stop()


@dataclass(frozen=True)
class Row:
    """
    One case.

    Attributes:
        cgroups: The cgroups, as ``vmrun --cg`` takes them; the last one is the server's.
        run: What is done in the virtual machine.
        says: What must be in the log.
        is_silent_on: What must not be there.
    """

    cgroups: Sequence[str]
    run: Callable[[], None]
    says: Sequence[str] = ()
    is_silent_on: Sequence[str] = ()


OOM = "killed by the kernel's OOM killer"
GROUP = "memory.oom.group is 1"
ROWS = {
    "parent's limit": Row(
        ["a:memory.max=260M", "a/sibling", "a/leaf:memory.max=240M"],
        _parent,
        [rf"was {OOM}: limit 260 MiB at /sys/fs/cgroup/a, 1 worker"],
        ["grants only", "limit 240 MiB at"],
    ),
    "leaf's limit": Row(
        ["b:memory.max=260M", "b/leaf:memory.max=240M"],
        _grows_once,
        [rf"was {OOM}: limit 240 MiB at /sys/fs/cgroup/b/leaf, 1 worker"],
    ),
    "killed while it ended": Row(
        ["a:memory.max=300M"],
        _while_it_ended,
        [rf"was {OOM} while exiting: limit 300 MiB"],
        ["retired", "not a worker"],
    ),
    "child, then kill -9": Row(
        ["a:memory.max=300M"],
        _kill_9,
        [
            "ended without its exit hooks, (probably )?not by the kernel's OOM killer",
            "not a worker|a child process",
        ],
        [rf"worker \d+ was {OOM}"],
    ),
    "helper": Row(
        ["a:memory.max=300M"],
        _helper,
        [r"killed process \d+ \(python3?[.0-9]*\), a child process of worker \d+: it used \d+"],
        [rf"worker \d+ was {OOM}"],
    ),
    "leaf without the controller": Row(
        ["a:memory.max=200M,cgroup.subtree_control=", "a/leaf"],
        _grows_once,
        [rf"was probably {OOM}: .*/sys/fs/cgroup/a is shared with other processes"],
    ),
    "oom.group above the limit": Row(
        ["a:memory.oom.group=1", "a/leaf:memory.max=300M"], _starts, is_silent_on=[GROUP]
    ),
    "oom.group at the limit": Row(
        ["a:memory.max=300M,memory.oom.group=1", "a/leaf"], _starts, [GROUP]
    ),
    "a file read three times": Row(
        ["a:memory.max=300M"], _file, [r"memory workers=4 .*cache=1\d\d"], ["guard: shrink"]
    ),
    "shared memory": Row(
        ["a:memory.max=400M"],
        _shared,
        [r"280 MiB of it in shared memory \(/dev/shm, tmpfs\)", r"memory workers=1 .*shared=280"],
    ),
    "memory.high": Row(
        ["a:memory.max=400M"],
        _high,
        [r"memory pressure, not your code, slowed the server down: processes waited .*memory.high"],
    ),
    "memory.high, event loop": Row(
        ["a:memory.max=400M"],
        lambda: _high("loop"),
        [
            "memory pressure, not your code, slowed the server down",
            r"waited for memory for \S+ s of it|late by \S+ s, not because .* waited for memory",
        ],
    ),
    "shrink": Row(["a:memory.max=520M"], _shrink, ["was retired by the guard"]),
    "children": Row(
        ["a:memory.max=300M"], _children, [r"ends its child processes: \[\d+\]", "orphans=0"]
    ),
}


def run_row(vmrun: str, name: str, row: Row, share: str) -> list[str]:
    """Run one row in a new virtual machine; return what is wrong with its log."""
    cgroups = [word for each in row.cgroups for word in ("--cg", each)]
    command = f"cd /share && python3 cgroup_v2.py --guest {shlex.quote(name)}"
    options = ["--smp", "2", "--mem", "1024", "--timeout", str(ROW_SECONDS)]
    result = subprocess.run(
        [vmrun, *options, *cgroups, "--share", share, "--", command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    log = result.stdout
    Path(share, "..", f"{name.replace(' ', '_')}.log").write_text(log + result.stderr)
    # Without a log nothing is wrong in it.
    says = ("Listening at: ", *row.says)
    missing = [f"not said: {each}" for each in says if not re.search(each, log)]
    wrong = [f"said: {each}" for each in row.is_silent_on if re.search(each, log)]
    failed = [] if "rc=0" in log else [f"the machine: {(result.stderr or log)[-300:]}"]
    return [*missing, *wrong, *failed]


def main() -> int:
    """Run the rows and print the table; return 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmrun")
    parser.add_argument("--guest", help=argparse.SUPPRESS)
    parser.add_argument("--keep", help="a directory for the logs")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    options = parser.parse_args()
    if options.guest:
        ROWS[options.guest].run()
        return 0
    here = Path(__file__).resolve()
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        share = Path(options.keep or temporary, "share")
        package = here.parents[1] / "gunicorn_autoconf"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, share / "gunicorn_autoconf", ignore=ignored, dirs_exist_ok=True)
        shutil.copy(here, share / "cgroup_v2.py")
        (share / "app.py").write_text(APP)
        print("| case | as it should be | seconds |\n|---|---|---|")
        for name in options.rows or ROWS:
            began = time.monotonic()
            problems = run_row(options.vmrun, name, ROWS[name], str(share))
            wrong += bool(problems)
            took = time.monotonic() - began
            print(f"| {name} | {'; '.join(problems) or 'yes'} | {took:.0f} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
