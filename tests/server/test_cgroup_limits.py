"""The real server in real cgroups: it plans with what the kernel grants, now and later."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest
from cgroups import Cgroup, limited
from harness import GUNICORN_SCRIPT, MODULE_DOOR, Launcher

pytestmark = [
    pytest.mark.server,
    pytest.mark.each_gunicorn,
    pytest.mark.cgroup,
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's"),
]

MIB = 1024 * 1024

ASGI = "gunicorn_autoconf.demo:app"
WSGI = "gunicorn_autoconf.demo:wsgi_app"

# Enough cores that memory decides.
BY_MEMORY = {"GUNICORN_CPUS": "8", "GUNICORN_WORKLOAD": "cpu"}


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup with 1.5 cores and 512 MiB."""
    with limited("cpu", "memory", quota_us=150_000, memory_bytes=512 * MIB) as made:
        yield made


def test_plan_follows_quota_and_limit(cgroup: Cgroup, confined: Launcher) -> None:
    server = confined.start(*MODULE_DOOR, WSGI)

    server.wait_for_workers(1)
    assert server.lines("plan: 1 sync worker: 1.5 cores, 512 MiB, WSGI, workload auto")
    assert server.lines(f"cores from {cgroup.quota_file}; memory from {cgroup.limit_file}; ")
    assert server.lines(r"autoconf:   workers +1 +budget // worker_memory, .*wanted = 4 ")
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
    # A limit shows no container.
    assert str(cgroup.limit_file) not in json.dumps(document["machine"]["container"])


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
    assert server.lines(rf"autoconf:   workers +{rule}")
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
    assert len(server.lines(r"autoconf:   workers +4 ")) == 2
    server.wait_for("Master has been promoted")
    server.signal(signal.SIGHUP)
    server.wait_for_workers(4, replacing=workers)
    assert server.lines("planned again: nothing changed")
    assert server.get().status == 200
