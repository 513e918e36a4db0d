"""The real server in real cgroups: it plans with what the kernel grants, now and later."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
import pytest
from harness import GUNICORN_SCRIPT, MODULE_DOOR, Launcher, wait_until

pytestmark = [
    pytest.mark.server,
    pytest.mark.cgroup,
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's"),
]

Version = Literal[1, 2]

MIB = 1024 * 1024

ASGI = "gunicorn_autoconf.demo:app"
WSGI = "gunicorn_autoconf.demo:wsgi_app"

# Enough cores that memory decides.
BY_MEMORY = {"GUNICORN_CPUS": "8", "GUNICORN_WORKLOAD": "cpu"}


@dataclass(frozen=True)
class Cgroup:
    """
    A cgroup that a test has made, with its controllers in one directory (v2) or in two (v1).

    Attributes:
        version: Of the hierarchies.
        cpu: The directory in which the CPU quota is set.
        memory: The directory in which the memory limit is set.
    """

    version: Version
    cpu: Path
    memory: Path

    @property
    def directories(self) -> set[Path]:
        return {self.cpu, self.memory}

    @property
    def quota_file(self) -> Path:
        return self.cpu / ("cpu.cfs_quota_us" if self.version == 1 else "cpu.max")

    @property
    def limit_file(self) -> Path:
        return self.memory / ("memory.limit_in_bytes" if self.version == 1 else "memory.max")

    def set_quota(self, quota_us: int, period_us: int) -> None:
        if self.version == 1:
            (self.cpu / "cpu.cfs_period_us").write_text(str(period_us))
            self.quota_file.write_text(str(quota_us))
        else:
            self.quota_file.write_text(f"{quota_us} {period_us}")

    def set_limit(self, limit_bytes: int) -> None:
        self.limit_file.write_text(str(limit_bytes))

    @property
    def wrapper(self) -> tuple[str, ...]:
        """The words that run the words after them inside."""
        join = " && ".join(f"echo $$ > '{path}/cgroup.procs'" for path in self.directories)
        return ("/bin/sh", "-c", f'{join} && exec "$@"', "sh")

    def remove(self) -> None:
        """Remove the directories as soon as the kernel lets go of their last process."""
        for directory in self.directories:
            wait_until(lambda path=directory: _removed(path), f"{directory} is removed")  # type: ignore[misc]


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _parents(controller: str) -> Iterator[tuple[Version, Path]]:
    """Where the cgroups below can be limited by *controller*, our own one and its parents first."""
    memberships = [
        line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()
    ]
    for mount in psutil.disk_partitions(all=True):
        for _, controllers, path in memberships:
            own = Path(mount.mountpoint + path)
            for parent in (own, *own.parents):
                if not (parent / "cgroup.procs").exists():
                    continue
                if mount.fstype == "cgroup" and controller in mount.opts.split(","):
                    if controller in controllers.split(","):
                        yield 1, parent
                elif mount.fstype == "cgroup2" and not controllers:
                    passed_on = parent / "cgroup.subtree_control"
                    if passed_on.exists() and controller in passed_on.read_text().split():
                        yield 2, parent


def _make(controller: str, name: str) -> tuple[Version, Path]:
    """Make the directory *name* where *controller* can be set, as near to our own as may be."""
    for version, parent in _parents(controller):
        (parent / name).mkdir(exist_ok=True)
        return version, parent / name
    raise FileNotFoundError(f"no hierarchy in which {controller} can be limited")


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    name = f"autoconf_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    made: list[Cgroup] = []
    try:
        version, cpu = _make("cpu", name)
        made.append(Cgroup(version=version, cpu=cpu, memory=cpu))
        memory_version, memory = _make("memory", name)
        made.append(Cgroup(version=memory_version, cpu=memory, memory=memory))
        both = Cgroup(version=version, cpu=cpu, memory=memory)
        if version != memory_version:
            pytest.skip("cpu and memory are in hierarchies of different versions")
        try:
            both.set_quota(150_000, 100_000)
            both.set_limit(512 * MIB)
        except OSError as error:
            pytest.skip(f"no limit can be set: {error}")
        yield both
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(f"no cgroup can be made: {error}")
    finally:
        for part in made:
            part.remove()


@pytest.fixture
def confined(cgroup: Cgroup, gunicorn: Launcher) -> Launcher:
    """Starts the server in *cgroup*; it is stopped before that is removed."""
    return replace(gunicorn, wrapper=cgroup.wrapper)


def test_plan_follows_quota_and_limit(cgroup: Cgroup, confined: Launcher) -> None:
    server = confined.start(*MODULE_DOOR, WSGI)

    server.wait_for_workers(1)
    (found,) = server.lines("workload mixed")
    assert f"1.5 cores ({cgroup.quota_file})" in found
    assert f"512 MiB ({cgroup.limit_file})" in found
    assert server.lines(r"\]   workers +1 +budget // worker_memory, .*wanted = 4 ")
    assert server.get().status == 200


def test_explain_names_the_files(cgroup: Cgroup, confined: Launcher) -> None:
    explain = (sys.executable, "-m", "gunicorn_autoconf", "explain")

    text = confined.run(ASGI, program=explain, GUNICORN_WORKER_MEMORY="64MiB")
    assert (text.returncode, text.stderr) == (0, "")
    assert str(cgroup.quota_file) in text.stdout
    assert str(cgroup.limit_file) in text.stdout

    document = json.loads(confined.run(ASGI, "--json", program=explain).stdout)
    assert document["machine"]["cpu"]["quota"]["cores"] == 1.5
    assert document["machine"]["memory"]["limits"][0]["limit_bytes"] == 536_870_912
    assert document["machine"]["container"]["path"] == str(cgroup.limit_file)


@pytest.mark.parametrize(
    ("asked", "cores", "limit_mib", "rule", "threads"),
    [
        # As where nothing is declared: 4 * 40 + 32 = 192, / 0.9 = 213.3, in steps of 16.
        (("--workers", "4"), 1.5, 224, r"4 +floor\(2 \* c\) \+ 1, c = 1.5 ", 1),
        # 2 * 40 + 32 = 112, / 0.9 = 124.4.
        (("--workers", "2", "--workload", "mixed"), 1.0, 128, r"2 +ceil\(c\) \+ 1, c = 1 ", 8),
    ],
    ids=["undeclared", "mixed"],
)
def test_size_gives_the_workers_that_were_asked_for(
    cgroup: Cgroup,
    confined: Launcher,
    asked: tuple[str, ...],
    cores: float,
    limit_mib: int,
    rule: str,
    threads: int,
) -> None:
    size = (sys.executable, "-m", "gunicorn_autoconf", "size", "--json")
    answer = json.loads(confined.run(*asked, "--worker-memory", "40MiB", program=size).stdout)
    assert (answer["cores"], answer["memory_limit_bytes"]) == (cores, limit_mib * MIB)
    cgroup.set_quota(int(cores * 100_000), 100_000)
    cgroup.set_limit(limit_mib * MIB)

    server = confined.start(*MODULE_DOOR, WSGI, **answer["variables"])

    count = answer["workers"]
    server.wait_for_workers(count)
    assert server.lines(rf"\]   workers +{rule}")
    assert server.lines(rf"running with .*workers={count} threads={threads} ")
    server.wait_for(rf"memory workers={count} .*limit={limit_mib}\.0MiB")


def test_hangup_follows_the_limit(cgroup: Cgroup, confined: Launcher) -> None:
    cgroup.set_limit(256 * MIB)
    server = confined.start(*MODULE_DOOR, WSGI, **BY_MEMORY, GUNICORN_WORKER_MEMORY="100MiB")
    workers = server.wait_for_workers(2)

    cgroup.set_limit(512 * MIB)
    server.signal(signal.SIGHUP)
    workers = server.wait_for_workers(4, replacing=workers)
    server.wait_for("planned again: workers 2 -> 4")

    cgroup.set_limit(256 * MIB)
    server.signal(signal.SIGHUP)
    server.wait_for_workers(2, replacing=workers)
    server.wait_for("planned again: workers 4 -> 2")
    assert server.get().status == 200


def test_hangup_follows_the_quota(cgroup: Cgroup, confined: Launcher) -> None:
    cgroup.set_quota(50_000, 100_000)
    server = confined.start(
        *MODULE_DOOR, ASGI, GUNICORN_WORKER_MEMORY="64MiB", GUNICORN_WORKLOAD="mixed"
    )
    workers = server.wait_for_workers(2)

    cgroup.set_quota(100_000, 100_000)
    server.signal(signal.SIGHUP)

    server.wait_for_workers(3, replacing=workers)
    server.wait_for("planned again: workers 2 -> 3")


def test_upgrade_does_not_count_the_old_server_as_others(
    cgroup: Cgroup, confined: Launcher
) -> None:
    confined.write(
        "app.py",
        """
        from gunicorn_autoconf.demo import wsgi_app as app
        ballast = b"x" * (50 * 1024 * 1024)
        """,
    )
    # 576 MiB less the others' are for workers of 140 MiB: four. The old server uses more than
    # 200 MiB; were that the others', it would be two.
    cgroup.set_limit(640 * MIB)
    server = confined.start(
        *MODULE_DOOR,
        "app:app",
        program=GUNICORN_SCRIPT,
        **BY_MEMORY,
        GUNICORN_WORKER_MEMORY="140MiB",
    )
    workers = server.wait_for_workers(4)

    since = server.mark()
    server.signal(signal.SIGUSR2)
    listening = server.wait_for(r"Listening at: \S+ \((\d+)\)", since=since)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.adopt(int(listening.group(1)))

    workers = server.wait_for_workers(4, replacing=workers)
    assert len(server.lines(r"\]   workers +4 ")) == 2
    server.wait_for("Master has been promoted")
    server.signal(signal.SIGHUP)
    server.wait_for_workers(4, replacing=workers)
    assert server.lines("planned again: nothing changed")
    assert server.get().status == 200
