"""
The server under chaos: in a cgroup and with a small temporary folder of its own, where that may be.

Knows its arbiters and workers, follows its log through every rotation, and keeps account of the
workers that a fault has killed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import NamedTuple

import psutil
from accounts import Begun, Counted, Loss
from cgroups import Cgroup, make_cgroup
from harness import GUNICORN_SCRIPT, Launcher, Server, children, wait_until
from namespaces import may_unshare
from tail import Tail

MIB = 2**20

TIMEOUT_SECONDS = 7
GRACEFUL_SECONDS = 5
HANG_SECONDS = TIMEOUT_SECONDS + 2
# Longer than any other request takes, a slow client's on a busy machine too.
REQUEST_SECONDS = 12
# How long a request that notes what its worker holds may lead to that worker's end. gthread's
# survives the one that hangs, and is a worker like any other then.
HELD_SECONDS = {"hang": HANG_SECONDS + GRACEFUL_SECONDS, "hog": inf}
# The application's ballast makes workers of it whose PSS is 70 to 78 MiB, which the plan takes for
# 91 to 101: three of them, as the cores want, and two in 90 % of the lower limit. The higher one
# has room for the six of a reload.
BALLAST_MIB = 60
WORKERS, FEWER_WORKERS = 3, 2
LIMIT_BYTES, LOWER_LIMIT_BYTES = 800 * MIB, 295 * MIB

# A recycle, a reload with growth from the guess, a kill by `timeout`: the longest of what is waited
# for takes some 10 s on a machine that has nothing else to do.
LONGEST_SECONDS = 60.0

CONF = """
    from gunicorn_autoconf import compose
    from gunicorn_autoconf.conf import *
    from gunicorn_autoconf.memory import kill_loop as _kill_loop

    # Each OOM kill has a line of its own, by which it is counted.
    _kill_loop.OWN_LINES = 1_000_000

    def let_requests_hold_accept(worker):
        import served
        if hasattr(worker, "accept") and hasattr(worker, "method_queue"):  # of threads
            accept = worker.accept

            def accept_one(listener):
                with served.accepting:
                    accept(listener)

            worker.accept = accept_one

    post_worker_init = compose(post_worker_init, let_requests_hold_accept)

    def note_counters(server):
        import threading, time
        import served
        from gunicorn_autoconf.server.state import state_of

        def run():
            while True:
                total = state_of(server).records.tally(server.WORKERS).total
                served.note("counters", total.requests, total.in_flight, total.busy_seconds,
                            total.slot_seconds, total.cpu_seconds)
                time.sleep(0.2)

        threading.Thread(target=run, daemon=True).start()

    when_ready = compose(when_ready, note_counters)
"""


class Note(NamedTuple):
    """A line of the application's journal: when, who, and words."""

    at: float
    pid: int
    words: tuple[str, ...]


class Arena:
    """One server that is to live through it."""

    def __init__(
        self, launcher: Launcher, cgroup: Cgroup | None, workload: str, application: str
    ) -> None:
        self.folder = launcher.folder
        self.cgroup = cgroup
        self.tmp = self.folder / "tmp"
        self.tmp.mkdir()
        self.has_own_tmp = may_unshare()
        launcher.write("gunicorn.conf.py", CONF)
        self.log = Tail(self.folder / "error.log")
        self.journal = Tail(self.folder / "journal")
        self.server = self._launch(launcher, workload, application)
        self.log.wait_for("Listening at: ")
        # What is asked of the server's log from now on stands there.
        self.server.log_path = self.log.path
        address = self.server.address
        assert isinstance(address, tuple)
        self.address = address
        self.timed_out: set[str] = set()
        """The requests that never end and were answered 504."""
        self._suspects: list[Loss] = []
        self._lock = threading.Lock()

    def _launch(self, launcher: Launcher, workload: str, application: str) -> Server:
        wrapper = self.cgroup.wrapper if self.cgroup else ()
        if self.has_own_tmp:
            mounts = (
                'mount -t tmpfs -o size=1m,nr_inodes=64 none "$0" && mount -t tmpfs none /dev/shm'
            )
            wrapper = (*wrapper, "unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"')
            wrapper = (*wrapper, str(self.tmp))
        confined = Launcher(launcher.folder, launcher.servers, wrapper)
        return confined.launch(
            *("--error-logfile", str(self.log.path)),
            *("--pythonpath", str(Path(__file__).parent)),
            f"served:{application}",
            program=GUNICORN_SCRIPT,
            GUNICORN_WORKLOAD=workload,
            GUNICORN_CPUS=str(WORKERS),
            GUNICORN_MAX_WORKERS=str(WORKERS),  # The plan for gthread has a spare.
            # So large that all fit into the one limit and only the fewer into the other, from the
            # start on: a guess would be waiting for requests first.
            GUNICORN_WORKER_MEMORY="120MiB",
            **({} if self.cgroup else {"GUNICORN_MEMORY": str(LIMIT_BYTES)}),
            GUNICORN_TIMEOUT=str(TIMEOUT_SECONDS),
            GUNICORN_GRACEFUL_TIMEOUT=str(GRACEFUL_SECONDS),
            GUNICORN_REQUEST_TIMEOUT=str(REQUEST_SECONDS),
            GUNICORN_MEMORY_LOG_INTERVAL="1",
            CHAOS_JOURNAL=str(self.journal.path),
            CHAOS_BALLAST_MIB=str(BALLAST_MIB),
            CHAOS_HANG_SECONDS=str(HANG_SECONDS),
            TMPDIR=str(self.tmp),
        )

    # The processes

    def arbiters(self) -> list[int]:
        """Return the arbiter, and during an upgrade the other one, too."""
        said = self.log.pids(r"Listening at: \S+ \((\d+)\)")
        return [self.server.pid, *(set(children(self.server.pid)) & said)]

    def workers(self, arbiter: int | None = None) -> set[int]:
        """Return the workers of *arbiter*, by default of the one that the signals go to."""
        arbiter = arbiter or self.server.pid
        return {pid for pid in children(arbiter) if lives(pid)} - set(self.arbiters())

    def booted(self, arbiter: int | None = None) -> set[int]:
        """Return those that have booted."""
        return self.workers(arbiter) & self.log.pids(r"worker (\d+) (?:booted|ready)")

    def wait_for_workers(self, count: int, *, replacing: set[int] | None = None) -> set[int]:
        """Return the workers once *count* are booted, and no other is there."""

        def are_there() -> bool:
            pids = self.workers()
            return len(pids) == count and pids == self.booted() and not pids & (replacing or set())

        wait_until(are_there, f"there are {count} booted workers", LONGEST_SECONDS)
        return self.workers()

    def wait_for_calm(self) -> None:
        """Return once the count is that of the plan, and the guard has seen that, twice."""
        self.wait_for_workers(WORKERS)
        for _ in range(2):
            # Each worker has a size there, none of them is "booting".
            calm = rf"memory workers={WORKERS} (?!.*booting)"
            self.log.wait_for(calm, self.log.mark(), LONGEST_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the arbiter."""
        os.kill(self.server.pid, number)

    # Workers that come to harm

    def stop(self, pid: int, why: str, until: float = inf) -> bool:
        """
        Hold a worker still, and note whom it serves; return whether it was still there.

        After *until* it serves as before, and what it loses later is none of this fault.
        """
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            os.kill(pid, signal.SIGSTOP)
            process = psutil.Process(pid)
            wait_until(
                lambda: process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE),
                f"{pid} is stopped",
            )
            port = self.address[1]
            ports = frozenset(
                row.raddr.port
                for row in process.net_connections("tcp4")
                if row.status != psutil.CONN_LISTEN and row.laddr.port == port
            )
            self.suspect(Loss(pid, time.monotonic(), why, ports, until))
            return True
        return False

    def suspect(self, loss: Loss) -> None:
        """Note that what a worker has inside is lost, should it be killed."""
        with self._lock:
            self._suspects.append(loss)

    def losses(self) -> list[Loss]:
        """Return the workers that were killed, by a signal of ours or by what a fault led to."""
        held = [
            Loss(note.pid, note.at, why, frozenset(map(int, ports)), note.at + HELD_SECONDS[why])
            for note in self.notes("held")
            for why, *ports in [note.words]
        ]
        killed = self.killed()
        return [loss for loss in (*self._suspects, *held) if loss.pid in killed]

    def killed(self) -> set[int]:
        """Return the workers that were killed, whoever did it."""
        return self.killed_by_fault() | self.killed_at_the_end()

    def killed_by_fault(self) -> set[int]:
        """Return those of which a running arbiter said so."""
        return self.log.pids(r"WORKER TIMEOUT \(pid:(\d+)\)|\(pid:(\d+)\) was sent SIGKILL")

    def killed_at_the_end(self) -> set[int]:
        """
        Return those of whose end no arbiter has told: it kills what is left, and is gone itself.

        That is `graceful_timeout` after the SIGTERM of an upgrade. gthread may need it all with no
        request inside: slow clients hold up its main thread for 2 s, and kept connections stay
        open for another 2 s. What was lost then in one that no fault has held, is lost outside.
        """
        began = self.log.pids(r"Booting worker with pid: (\d+)")
        told = self.log.pids(r"worker (\d+) (?:exited|ended|was)\b")
        return {pid for pid in began - told if not lives(pid)}

    def notes(self, what: str) -> Iterator[Note]:
        """Yield the lines of the journal that tell of *what*."""
        for line in self.journal.text.splitlines():
            at, pid, told, *words = line.split(" ")
            if told == what:
                yield Note(float(at), int(pid), tuple(words))

    def begun(self) -> dict[str, list[Begun]]:
        """Return who began each request."""
        by: dict[str, list[Begun]] = defaultdict(list)
        for note in self.notes("begin"):
            by[note.words[0]].append(Begun(note.pid, note.at))
        return by

    def counted(self) -> dict[int, list[Counted]]:
        """Return what each arbiter has counted, in the order of time."""
        by: dict[int, list[Counted]] = defaultdict(list)
        for note in self.notes("counters"):
            requests, in_flight, *seconds = note.words
            found = Counted(note.at, int(requests), int(in_flight), tuple(map(float, seconds)))
            by[note.pid].append(found)
        return by

    # Memory and temporary files

    def oom_kills(self) -> int:
        """Return how often the kernel's OOM killer struck; without a cgroup nothing asks it to."""
        return self.cgroup.oom_kills if self.cgroup else 0

    def seen(self, path: str | Path) -> Path:
        """Return *path* as the server sees it."""
        return Path(f"/proc/{self.server.pid}/root{path}")


@contextmanager
def memory_cgroup() -> Iterator[Cgroup | None]:
    """Make a memory cgroup; None where we may not."""
    try:
        made = make_cgroup("memory")
    except OSError:
        yield None
        return
    try:
        made.set_limit(LIMIT_BYTES)
        with suppress(OSError):  # Cgroups v2 on a machine that swaps: what is too much is killed.
            (made.memory / "memory.swap.max").write_text("0")
        yield made
    finally:
        made.remove()


def links(pid: int) -> Iterator[tuple[str, str]]:
    """Yield the number of each descriptor of *pid*, and where it leads."""
    with suppress(FileNotFoundError):  # It has ended.
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # Closed meanwhile.
                yield link.name, os.readlink(link)


def lives(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
