"""The real server and its memory: it grows, shrinks, recycles, explains kills, never in the way."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from gunicorn import version_info
from harness import (
    DEADLINE_SECONDS,
    GUNICORN_SCRIPT,
    MODULE_DOOR,
    PYTHON_GUNICORN,
    Launcher,
    Server,
    get,
    wait_until,
)
from test_server_cgroup import Cgroup, _make

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard reads Linux's /proc"),
]

MIB = 1024 * 1024

ASGI = "gunicorn_autoconf.demo:app"
WSGI = "gunicorn_autoconf.demo:wsgi_app"

# Each request keeps 100 kB. Not zeros: what is never written takes no memory.
LEAK = """
    kept = []

    async def asgi_app(scope, receive, send):
        if scope["type"] == "http":
            kept.append(b"x" * 100_000)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"kept"})

    def wsgi_app(environ, start_response):
        kept.append(b"x" * 100_000)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"kept"]
"""

# Answers with its pid, as the demo does, and takes memory when it is told to.
ON_DEMAND = """
    import os, time

    time.sleep(float(os.environ.get("APP_BOOT_SECONDS", "0")))
    kept = []

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/keep":
            kept.append(b"x" * (8 * 2**20))
        elif path == "/hog":
            kept.append(b"x" * (1024 * 2**20))
        elif path == "/hang":
            time.sleep(60)
        elif path == "/wait":
            while not os.path.exists("go"):
                time.sleep(0.05)
        start_response("200 OK", [])
        return [b"answered by worker %d" % os.getpid()]
"""

# A configuration with another patience of the guard.
IMPATIENT = """
    from gunicorn_autoconf import autoconf
    from gunicorn_autoconf.memory.timing import Timing
    from gunicorn_autoconf.server.hooks import ServerHooks
    found = autoconf()
    globals().update(found.settings)
    globals().update(ServerHooks(found, Timing({timing})).by_name())
"""
SOON = (
    "min_age_seconds=1.0, slowest_seconds=0.2, booting_seconds=0.2, fastest_seconds=0.1, "
    "low_fraction={low_fraction}"
)
# It acts when half of the limit is used, ...
QUICK = IMPATIENT.format(timing=SOON.format(low_fraction=0.5))
# ... or already while plenty is left, so that the replacement boots first.
EARLY = IMPATIENT.format(timing=SOON.format(low_fraction=0.8))

EVERY_SAMPLE = {"GUNICORN_MEMORY_LOG_INTERVAL": "0.1"}
TWO_WORKERS = {"GUNICORN_WORKERS": "2", "GUNICORN_WORKLOAD": "cpu"}
# What is larger is more than workers are said to need.
SMALL = {"GUNICORN_WORKER_MEMORY": "20MiB"}
# Enough cores that memory decides.
BY_MEMORY = {"GUNICORN_CPUS": "8", "GUNICORN_WORKLOAD": "cpu"}


# Cgroups, load, and what stands in the log.


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A memory cgroup with a limit of 300 MiB."""
    try:
        version, directory = _make("memory", f"autoconf_{os.getpid()}_{uuid.uuid4().hex[:8]}")
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    made = Cgroup(version=version, cpu=directory, memory=directory)
    try:
        try:
            made.set_limit(300 * MIB)
        except OSError as error:
            pytest.skip(f"no limit can be set: {error}")
        yield made
    finally:
        made.remove()


@pytest.fixture
def confined(cgroup: Cgroup, gunicorn: Launcher) -> Launcher:
    """Starts the server in *cgroup*; it is stopped before that is removed."""
    return replace(gunicorn, wrapper=cgroup.wrapper)


def oom_kills(cgroup: Cgroup) -> int:
    name = "memory.oom_control" if cgroup.version == 1 else "memory.events"
    rows = (line.split() for line in (cgroup.memory / name).read_text().splitlines())
    return int(dict(rows)["oom_kill"])


def used_fraction(cgroup: Cgroup) -> float:
    name = "memory.usage_in_bytes" if cgroup.version == 1 else "memory.current"
    used = int((cgroup.memory / name).read_text())
    return used / int(cgroup.limit_file.read_text())


def fill(server: Server, cgroup: Cgroup, fraction: float = 0.6) -> None:
    """Let the workers take 80 MiB a second until *fraction* is used or the guard has seen it."""
    due = time.monotonic()

    def is_full() -> bool:
        nonlocal due
        if time.monotonic() >= due:
            assert server.get("/keep").status == 200
            due = time.monotonic() + 0.1
        return used_fraction(cgroup) >= fraction or bool(server.lines("recycle worker"))

    wait_until(is_full, f"{fraction:.0%} of the limit are used")


@contextmanager
def load(server: Server, clients: int = 8, rate: float = 30) -> Iterator[Counter[str]]:
    """
    Ask from *clients* threads, each *rate* times a second and on a new connection each time.

    Hands over how often there was which status or error; it is complete after the block.
    """
    outcomes: Counter[str] = Counter()
    address, stop, lock = server.address, threading.Event(), threading.Lock()

    def ask() -> None:
        due = time.monotonic()
        while not stop.wait(max(due - time.monotonic(), 0)):
            due = max(due + 1 / rate, time.monotonic())
            try:
                outcome = str(get(address).status)
            except (OSError, http.client.HTTPException) as error:
                outcome = repr(error)
            with lock:
                outcomes[outcome] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def answering(server: Server, count: int, *, replacing: set[int] | None = None) -> set[int]:
    """Return the pids once there are *count* workers and each one has answered."""
    answered: set[int] = set()

    def complete() -> bool:
        pids = server.worker_pids()
        if len(pids) != count or pids & (replacing or set()):
            return False
        response = server.get()
        assert response.status == 200
        answered.add(int(response.body.rpartition(" ")[2]))
        return pids <= answered

    wait_until(complete, f"{count} workers answer")
    return server.worker_pids()


def wait_for_memory_lines(server: Server, times: int, workers: int) -> list[str]:
    """Return the lines of the next *times* samples; each of them sees so many *workers*."""
    known = len(server.lines(" memory workers="))

    def new() -> list[str]:
        return server.lines(" memory workers=")[known:]

    wait_until(lambda: len(new()) >= times, f"{times} lines about the memory")
    assert all(f"memory workers={workers} " in line for line in new()), new()
    return new()


def stays(server: Server, workers: int, times: int = 3) -> None:
    """Wait until *times* samples running see as many *workers*, all of them booted."""
    known = len(server.lines(" memory workers="))
    calm = rf" memory workers={workers} (?!.*booting)"

    def all_the_same() -> bool:
        lines = server.lines(" memory workers=")[known:][-times:]
        is_calm = len(lines) == times and all(re.search(calm, line) for line in lines)
        # A signal from before a reload may come late: one more is there then for a moment.
        return is_calm and len(server.worker_pids()) == workers

    wait_until(all_the_same, f"{times} samples of {workers} booted workers", 30)


def last_line(server: Server) -> str:
    lines = server.lines(" memory workers=")
    return lines[-1] if lines else ""


# A leak.


@pytest.mark.cgroup
@pytest.mark.parametrize(
    ("application", "workload", "worker_class"),
    [
        ("app:wsgi_app", "", "sync"),
        pytest.param("app:wsgi_app", "io", "gthread", marks=pytest.mark.slow),
        pytest.param("app:asgi_app", "mixed", "UvicornWorker", marks=pytest.mark.slow),
    ],
)
def test_leaking_workers_are_replaced_and_nobody_notices(
    cgroup: Cgroup, confined: Launcher, application: str, workload: str, worker_class: str
) -> None:
    if worker_class == "gthread" and version_info < (24,):
        pytest.skip("Gunicorn 23's gthread drops what it has accepted and not read yet")
    confined.write("app.py", LEAK)
    server = confined.start(
        *MODULE_DOOR, application, GUNICORN_WORKERS="2", GUNICORN_WORKLOAD=workload
    )
    assert server.lines(rf"Using worker: .*{worker_class}")
    server.wait_for_workers(2)

    retired = r"worker \d+ was retired by the memory guard"
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(server.worker_pids()))
        return len(server.lines(retired)) >= 2

    with load(server) as outcomes:
        wait_until(done, "two workers are retired", 60)
        workers = server.wait_for_workers(2)

    assert set(outcomes) == {"200"}
    assert oom_kills(cgroup) == 0
    assert len(workers) == 2
    # One at a time: each is gone before the next one's turn comes.
    told = re.findall(r"guard: (recycle) worker (\d+)|worker (\d+) was (retired)", server.log)
    order = [(recycle or gone, victim or pid) for recycle, victim, pid, gone in told]
    for first, second in zip(order[::2], order[1::2], strict=False):
        assert (first[0], second[0]) == ("recycle", "retired")
        assert first[1] == second[1]
    assert most <= 3
    assert server.lines(r"guard: recycle worker \d+ .*MiB left of 300 MiB.*at boot")
    assert not server.mistakes()


# The count.


@pytest.mark.cgroup
def test_count_grows_to_what_fits(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write(
        "app.py",
        """
        from gunicorn_autoconf.demo import wsgi_app as app
        ballast = b"x" * (20 * 2**20)
        """,
    )
    cgroup.set_limit(1024 * MIB)
    server = confined.start(*MODULE_DOOR, "app:app", GUNICORN_CPUS="4", **EVERY_SAMPLE)
    first = server.wait_for_workers(3)

    with load(server, clients=4):
        wait_until(lambda: len(server.worker_pids()) == 9, "nine workers", 120)
        workers = server.wait_for_workers(9)
    assert first < workers
    steps = server.lines("guard: grow by")
    assert len(steps) == 2
    for step in steps:
        assert re.search(r"grow by 3: workers need up to [\d.]+ MiB, the plan is 9", step)
    wait_for_memory_lines(server, 1, 9)
    assert len(server.lines("guard: ")) == 2


# Each worker takes memory once it is told to, as a cache does that fills, and then no more.
PLATEAU = """
    import os, threading, time
    from gunicorn_autoconf.demo import wsgi_app as app

    kept = []

    def fill():
        while not os.path.exists("fill"):
            time.sleep(0.05)
        for _ in range({mib}):
            kept.append(b"x" * 2**20)
            time.sleep(0.02)

    threading.Thread(target=fill, daemon=True).start()
"""


@pytest.mark.cgroup
@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit_mib", "reserve", "mib", "left"),
    [
        (330, "30%", 75, 2),  # More than is planned for, yet none needs to go at once.
        (480, "10%", 140, 2),  # So much that the headroom is low, too.
        (1000, "80%", 250, 1),  # Not even one fits in what is planned for: it stays.
    ],
)
def test_count_shrinks_where_all_have_grown(
    cgroup: Cgroup, confined: Launcher, limit_mib: int, reserve: str, mib: int, left: int
) -> None:
    confined.write("app.py", PLATEAU.format(mib=mib))
    cgroup.set_limit(limit_mib * MIB)
    server = confined.start(
        *MODULE_DOOR,
        "app:app",
        GUNICORN_CPUS="3",
        GUNICORN_WORKLOAD="cpu",
        GUNICORN_MEMORY_RESERVE=reserve,
        **EVERY_SAMPLE,
    )
    with load(server, clients=4):
        wait_until(lambda: len(server.worker_pids()) == 3, "three workers", 120)
        server.wait_for_workers(3)

    confined.write("fill", "")
    server.wait_for("guard: shrink by 1", 90)
    server.wait_for_workers(left)
    stays(server, left, times=5)
    assert oom_kills(cgroup) == 0
    assert len(server.lines("guard: shrink by 1")) == 3 - left
    assert server.get().status == 200


@pytest.mark.cgroup
@pytest.mark.slow
def test_count_follows_the_limit(cgroup: Cgroup, confined: Launcher) -> None:
    cgroup.set_limit(512 * MIB)
    server = confined.start(*MODULE_DOOR, WSGI, **BY_MEMORY, GUNICORN_WORKER_MEMORY="100MiB")
    server.wait_for_workers(4)
    # A change is one between two samples: the first has been when its line is there.
    server.wait_for(" memory workers=4 ")
    two_samples = 2 * 5.0 + 1.0

    cgroup.set_limit(1024 * MIB)
    server.wait_for("memory limit changed from 512 MiB to 1 GiB", two_samples)
    server.wait_for_workers(8)

    cgroup.set_limit(320 * MIB)
    server.wait_for("memory limit changed from 1 GiB to 320 MiB", two_samples)
    # Two are planned for it, and three still fit.
    server.wait_for_workers(3)
    assert server.get().status == 200
    assert oom_kills(cgroup) == 0


@pytest.mark.cgroup
def test_count_follows_the_limit_with_the_quick_guard(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write("gunicorn.conf.py", QUICK)
    cgroup.set_limit(512 * MIB)
    server = confined.start(WSGI, **BY_MEMORY, GUNICORN_WORKER_MEMORY="200MiB", **EVERY_SAMPLE)
    server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    cgroup.set_limit(1024 * MIB)
    server.wait_for_workers(4)
    stays(server, 4)

    cgroup.set_limit(512 * MIB)
    server.wait_for_workers(2)
    stays(server, 2)
    assert server.get().status == 200


# Who killed the worker?


@pytest.mark.cgroup
def test_oom_kill_is_told_with_its_numbers(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write("app.py", ON_DEMAND)
    server = confined.start(*MODULE_DOOR, "app:app", **TWO_WORKERS)
    before = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    with server.ask("/hog") as answer, pytest.raises((ConnectionError, http.client.HTTPException)):
        answer()

    told = server.wait_for(r"worker (\d+) was killed by the kernel's OOM killer: (.*)")
    killed = int(told.group(1))
    assert oom_kills(cgroup) == 1
    assert killed in before
    assert f"limit 300 MiB at {cgroup.memory}, 2 workers, it used " in told.group(2)
    assert re.search(r"it used [\d.]+ MiB \([\d.]+ MiB at boot\)", told.group(2))
    after = answering(server, 2)
    assert after & before == before - {killed}
    assert len(server.lines("OOM killer")) == 1


@pytest.mark.cgroup
@pytest.mark.slow
def test_kill_of_another_process_is_told_as_that(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write(
        "app.py",
        """
        import subprocess, sys
        from gunicorn_autoconf.demo import wsgi_app as app

        subprocess.Popen([sys.executable, "-c", "b'x' * 2**30"])
        """,
    )
    confined.write("gunicorn.conf.py", IMPATIENT.format(timing="claim_seconds=0.5"))
    server = confined.start("app:app", GUNICORN_WORKERS="1")
    (worker,) = server.wait_for_workers(1)

    server.wait_for("OOM killer took 1 process")
    assert oom_kills(cgroup) == 1
    assert server.worker_pids() == {worker}
    assert not server.lines(r"worker \d+ was killed by the kernel")


@pytest.mark.cgroup
@pytest.mark.parametrize(
    "application", ["wsgi:app", pytest.param("asgi:app", marks=pytest.mark.slow)]
)
def test_timeout_is_told_to_be_no_oom_kill(
    cgroup: Cgroup, confined: Launcher, application: str
) -> None:
    confined.write("wsgi.py", ON_DEMAND)
    confined.write(
        "asgi.py",
        """
        import time

        async def app(scope, receive, send):
            if scope["type"] == "http":
                time.sleep(60)
        """,
    )
    server = confined.start(*MODULE_DOOR, application, "--timeout", "2", **TWO_WORKERS)
    before = server.wait_for_workers(2)

    with server.ask("/hang") as answer:
        told = server.wait_for(
            r"worker (\d+) was killed by Gunicorn after timeout, not by the kernel's OOM killer"
        )
        with suppress(OSError):
            assert answer().status == 500

    killed = int(told.group(1))
    assert killed in before
    after = server.wait_for_workers(2, replacing={killed})
    assert after & before == before - {killed}
    assert not server.lines("was killed by the kernel's")


# The operator is first.


@pytest.mark.cgroup
@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        pytest.param(("--workers", "3"), {}, id="workers"),
        pytest.param((), {"WEB_CONCURRENCY": "3"}, id="web_concurrency", marks=pytest.mark.slow),
    ],
)
def test_explicit_count_stays_and_a_leak_is_recycled(
    cgroup: Cgroup, confined: Launcher, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    confined.write("gunicorn.conf.py", QUICK)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(400 * MIB)
    server = confined.start("app:app", *arguments, **variables, **BY_MEMORY, **EVERY_SAMPLE)
    server.wait_for_workers(3)
    stays(server, 3)
    cgroup.set_limit(350 * MIB)
    server.wait_for("memory limit changed from 400 MiB to 350 MiB")
    stays(server, 3)

    fill(server, cgroup)
    recycled = int(server.wait_for(r"guard: recycle worker (\d+)").group(1))
    server.wait_for(rf"worker {recycled} was retired by the memory guard: .*uss=")
    server.wait_for_workers(3, replacing={recycled})
    stays(server, 3)
    assert not server.lines("guard: (grow|shrink)")
    assert oom_kills(cgroup) == 0


@pytest.mark.cgroup
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "count"),
    [(signal.SIGTTIN, 3), (signal.SIGTTOU, 1)],
)
def test_operator_signal_ends_resizing_but_not_recycling(
    cgroup: Cgroup, confined: Launcher, number: signal.Signals, count: int
) -> None:
    confined.write("gunicorn.conf.py", QUICK)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(512 * MIB)
    server = confined.start("app:app", **BY_MEMORY, GUNICORN_WORKER_MEMORY="200MiB", **EVERY_SAMPLE)
    server.wait_for_workers(2)
    stays(server, 2)

    server.signal(number)
    server.wait_for_workers(count)
    server.wait_for(f"an operator set the count to {count}")
    cgroup.set_limit(1024 * MIB)
    server.wait_for("memory limit changed from 512 MiB to 1 GiB")
    stays(server, count)
    cgroup.set_limit(300 * MIB)
    server.wait_for("memory limit changed from 1 GiB to 300 MiB")
    stays(server, count)

    fill(server, cgroup, 0.85)  # Up to 200 MiB a worker is as large as it was said to be.
    recycled = int(server.wait_for(r"guard: recycle worker (\d+)").group(1))
    server.wait_for_workers(count, replacing={recycled})
    stays(server, count)
    assert not server.lines("guard: (grow|shrink)")
    assert oom_kills(cgroup) == 0


# What the operator does while a recycle is under way: right after the guard has decided, when the
# replacement is forked, when it has booted and the old one goes.
MOMENTS = ("guard: recycle worker", "Booting worker with pid", "worker \\d+ (booted|ready)")


@pytest.fixture
def recycling(cgroup: Cgroup, confined: Launcher, request: pytest.FixtureRequest) -> Server:
    """A server of two that has come to the moment that the test names."""
    confined.write("gunicorn.conf.py", EARLY)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(1024 * MIB)
    server = confined.start(
        "app:app",
        program=GUNICORN_SCRIPT,
        APP_BOOT_SECONDS="1",
        **TWO_WORKERS,
        **EVERY_SAMPLE,
        **SMALL,
    )
    server.wait_for_workers(2)
    since = server.mark()
    fill(server, cgroup, 0.23)
    started = server.wait_for(r"guard: recycle worker \d+ after its replacement", since=since)
    server.wait_for(request.param, since=started.start())
    return server


@pytest.mark.cgroup
@pytest.mark.slow
@pytest.mark.parametrize("recycling", MOMENTS, indirect=True)
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_hangup_amid_a_recycle_leaves_the_count(recycling: Server, times: int) -> None:
    server = recycling
    since = server.mark()
    for nth in range(times):
        server.signal(signal.SIGHUP)
        wait_until(
            lambda nth=nth: len(server.lines("planned again")) > nth,  # type: ignore[misc]
            "the reload is logged",
        )
    server.wait_for("Booting worker", since=since)

    stays(server, 2)
    # Gunicorn's own count, too: one more is three.
    server.signal(signal.SIGTTIN)
    server.wait_for_workers(3)
    stays(server, 3)
    assert not server.mistakes()


@pytest.mark.cgroup
@pytest.mark.slow
@pytest.mark.parametrize("recycling", MOMENTS, indirect=True)
@pytest.mark.parametrize("promoted", [True, False], ids=["promoted", "taken back"])
def test_upgrade_amid_a_recycle_leaves_the_count(recycling: Server, promoted: bool) -> None:
    server = recycling
    since = server.mark()
    server.signal(signal.SIGUSR2)
    new = int(server.wait_for(r"Listening at: \S+ \((\d+)\)", since=since).group(1))
    wait_until(
        lambda: len(re.findall(r"worker \d+ (?:booted|ready)", server.log[since:])) >= 2,
        "new workers",
    )

    if promoted:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        server.adopt(new)
        server.wait_for("Master has been promoted")
    else:
        os.kill(new, signal.SIGTERM)
        wait_until(lambda: len(server.lines("Shutting down: Master")) == 1, "the new one ends")
        wait_until(lambda: new not in server.worker_pids(), "the new one is gone")

    stays(server, 2)
    server.signal(signal.SIGTTIN)
    server.wait_for_workers(3)
    assert not server.mistakes()


# Hooks of the user's own, and an operator who takes the last worker's place away.

# What Prometheus' client documents for its multiprocess mode.
OWN_CHILD_EXIT = """
    def child_exit(server, worker):
        server.log.info("worker %s is marked as dead", worker.pid)
"""


@pytest.mark.cgroup
def test_own_child_exit_has_the_guard_observe(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write("gunicorn.conf.py", QUICK + OWN_CHILD_EXIT)
    confined.write("app.py", ON_DEMAND)
    server = confined.start("app:app", **TWO_WORKERS, **EVERY_SAMPLE)
    first, _ = server.wait_for_workers(2)
    server.wait_for("the guard only observes, as your own child_exit replaced ours")

    fill(server, cgroup)
    server.wait_for(r"guard would recycle worker \d+")
    os.kill(first, signal.SIGTERM)
    server.wait_for(f"worker {first} is marked as dead")
    server.wait_for_workers(2, replacing={first})
    stays(server, 2)
    assert not server.lines("guard: recycle")


@pytest.mark.cgroup
def test_own_child_exit_beside_ours_leaves_the_count(cgroup: Cgroup, confined: Launcher) -> None:
    composed = """
    from gunicorn_autoconf import compose

    child_exit = compose(ours, child_exit)
    """
    text = QUICK + "    ours = child_exit\n" + OWN_CHILD_EXIT + composed
    confined.write("gunicorn.conf.py", text)
    confined.write("app.py", ON_DEMAND)
    server = confined.start("app:app", **TWO_WORKERS, **EVERY_SAMPLE)
    server.wait_for_workers(2)

    fill(server, cgroup)
    recycled = int(server.wait_for(r"guard: recycle worker (\d+)").group(1))
    server.wait_for(f"worker {recycled} was retired by the memory guard")
    server.wait_for(f"worker {recycled} is marked as dead")
    server.wait_for_workers(2, replacing={recycled})
    stays(server, 2)


@pytest.mark.cgroup
def test_count_that_is_lowered_while_the_last_worker_drains(
    cgroup: Cgroup, confined: Launcher
) -> None:
    """Two run for a moment, and the operator takes one away: the replacement stays."""
    confined.write("gunicorn.conf.py", EARLY)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(1024 * MIB)
    server = confined.start(
        "app:app",
        "--worker-class=gthread",
        "--threads=4",
        GUNICORN_WORKERS="1",
        **EVERY_SAMPLE,
        **SMALL,
    )
    (first,) = server.wait_for_workers(1)
    draining = threading.Thread(target=lambda: server.get("/wait"))
    draining.start()
    fill(server, cgroup, 0.23)
    server.wait_for(rf"guard: recycle worker {first} after its replacement")
    wait_until(
        lambda: len(server.lines(r"worker \d+ (?:booted|ready)")) == 2, "the replacement boots"
    )

    server.signal(signal.SIGTTOU)
    server.wait_for("Handling signal: ttou")
    (confined.folder / "go").touch()
    draining.join(DEADLINE_SECONDS)
    server.wait_for(rf"worker {first} was retired by the memory guard")

    server.wait_for_workers(1, replacing={first})
    stays(server, 1)
    assert not server.mistakes()


# The modes.


@pytest.mark.cgroup
def test_observe_says_what_it_would_do(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write("gunicorn.conf.py", QUICK)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(400 * MIB)
    server = confined.start("app:app", **BY_MEMORY, **EVERY_SAMPLE, GUNICORN_MEMORY_GUARD="observe")
    before = server.wait_for_workers(1)
    with load(server, clients=1):
        server.wait_for("guard would grow by 1: ", 60)

    fill(server, cgroup)
    server.wait_for(rf"guard would recycle worker {before.pop()}")
    known = server.worker_pids()
    wait_for_memory_lines(server, 3, 1)
    told = server.lines("guard would recycle")
    wait_for_memory_lines(server, 3, 1)
    assert server.worker_pids() == known
    assert not server.lines("guard: ")
    # When it comes to that, not with every sample.
    assert server.lines("guard would recycle") == told


@pytest.mark.cgroup
def test_off_does_nothing_and_says_nothing(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write("gunicorn.conf.py", QUICK)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(400 * MIB)
    server = confined.start("app:app", **BY_MEMORY, **EVERY_SAMPLE, GUNICORN_MEMORY_GUARD="off")
    before = server.wait_for_workers(1)
    fill(server, cgroup)
    wait_for_memory_lines(server, 3, 1)
    assert server.worker_pids() == before
    assert not server.lines("guard")


def test_off_without_a_log_starts_no_thread(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR,
        WSGI,
        **TWO_WORKERS,
        GUNICORN_MEMORY_GUARD="off",
        GUNICORN_MEMORY_LOG_INTERVAL="0",
    )
    answering(server, 2)
    assert server.arbiter.num_threads() == 1
    assert not server.lines("memory workers=|guard")


# What is logged, and sent.


def test_memory_of_all_workers_is_logged_every_interval(gunicorn: Launcher) -> None:
    server = gunicorn.start(*MODULE_DOOR, WSGI, **TWO_WORKERS, GUNICORN_MEMORY_LOG_INTERVAL="1")
    pids = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    # Every second, with room for a loaded machine.
    wait_until(lambda: len(server.lines(" memory workers=2 ")) >= 4, "a line each second", 6)
    line = last_line(server)
    for name in ("pss", "budget", "headroom", "limit"):
        assert re.search(rf" {name}=[\d.]+MiB", line), line
    for pid in pids:
        (uss,) = re.findall(rf" {pid}=([\d.]+)MiB\([+-][\d.]+\)", line)
        assert 3 < float(uss) < 100


@pytest.mark.slow
def test_memory_is_seen_while_workers_come_and_go(gunicorn: Launcher) -> None:
    """The thread rests for each fork; that must not put off its next look for ever."""
    server = gunicorn.start(*MODULE_DOOR, WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")
    due = time.monotonic()

    def told() -> bool:
        nonlocal due
        if time.monotonic() >= due:
            os.kill(min(server.worker_pids()), signal.SIGKILL)
            due = time.monotonic() + 0.3
        return len(server.lines(" memory workers=")) >= 3

    wait_until(told, "two more lines about the memory")
    answering(server, 2)


def test_memory_goes_to_statsd(gunicorn: Launcher) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(DEADLINE_SECONDS)
        host, port = statsd.getsockname()
        server = gunicorn.start(
            *MODULE_DOOR, WSGI, "--statsd-host", f"{host}:{port}", **TWO_WORKERS, **EVERY_SAMPLE
        )
        server.wait_for_workers(2)
        names = {"workers", "headroom", "pss", "worker.uss", "budget"}
        gauges: dict[str, int] = {}
        while names - gauges.keys():
            text = statsd.recv(4096).decode()
            if found := re.fullmatch(r"gunicorn\.autoconf\.([\w.]+):(\d+)\|g", text):
                gauges[found.group(1)] = int(found.group(2))
    assert gauges["workers"] == 2
    assert 3 * MIB < gauges["worker.uss"] < gauges["pss"] < 200 * MIB
    assert gauges["headroom"] > 0
    assert gauges["budget"] > 0


@pytest.mark.parametrize("application", [WSGI, ASGI])
def test_exit_line_tells_the_last_known_memory(gunicorn: Launcher, application: str) -> None:
    server = gunicorn.start(*MODULE_DOOR, application, **TWO_WORKERS)
    first, *_ = workers = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    os.kill(first, signal.SIGTERM)
    server.wait_for(
        rf"worker {first} exited: age=\d+s uss=[\d.]+MiB boot_uss=[\d.]+MiB pss=[\d.]+MiB"
    )
    server.wait_for_workers(2, replacing={first})
    assert len(workers) == 2


def test_exit_line_tells_the_memory_at_the_end(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        kept = []

        def app(environ, start_response):
            kept.append(b"x" * (50 * 2**20))
            start_response("200 OK", [])
            return [b""]
        """,
    )
    # No sample comes between the request and the end.
    server = gunicorn.start(*MODULE_DOOR, "app:app", GUNICORN_WORKERS="1")
    (worker,) = server.wait_for_workers(1)
    server.wait_for(" memory workers=1 ")
    assert server.get().status == 200

    os.kill(worker, signal.SIGTERM)

    told = server.wait_for(rf"worker {worker} exited: age=\d+s uss=([\d.]+)MiB")
    assert 50 < float(told.group(1)) < 100


@pytest.mark.cgroup
@pytest.mark.parametrize("application", [WSGI, ASGI])
def test_worker_that_somebody_kills_is_told_to_be_no_oom_kill(
    cgroup: Cgroup, confined: Launcher, application: str
) -> None:
    server = confined.start(*MODULE_DOOR, application, **TWO_WORKERS)
    first, *_ = server.wait_for_workers(2)

    os.kill(first, signal.SIGKILL)

    server.wait_for(rf"worker {first} ended without its exit hooks, not by the kernel's OOM killer")
    server.wait_for_workers(2, replacing={first})


def test_nothing_is_made_of_exit_hooks_that_are_not_ours(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gunicorn_autoconf.conf import *

        def worker_exit(server, worker):
            pass
        """,
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS)
    first, *_ = server.wait_for_workers(2)

    os.kill(first, signal.SIGTERM)

    server.wait_for(rf"worker {first} exited")


def test_nothing_is_made_of_exit_hooks_that_never_run(gunicorn: Launcher) -> None:
    """Uvicorn's own worker skips them when it is told to end."""
    server = gunicorn.start(
        *MODULE_DOOR, ASGI, "--worker-class=uvicorn_worker.UvicornWorker", **TWO_WORKERS
    )
    first, *_ = server.wait_for_workers(2)
    server.wait_for(" memory workers=2 ")

    os.kill(first, signal.SIGTERM)

    server.wait_for(rf"worker {first} exited: age=")
    assert not server.lines("without its exit hooks")


# Preload.

REMAINS = "importing the application left"


def test_preload_warns_of_a_thread_and_a_socket(gunicorn: Launcher) -> None:
    gunicorn.write(
        "app.py",
        """
        import socket, threading
        from gunicorn_autoconf.demo import wsgi_app as app

        database = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(database.getsockname())
        pool = threading.Thread(target=threading.Event().wait, name="pool-1", daemon=True)
        pool.start()
        """,
    )
    server = gunicorn.start(*MODULE_DOOR, "app:app", "--preload", **TWO_WORKERS)
    server.wait_for_workers(2)
    warnings = server.lines(REMAINS)
    assert any("a running thread (pool-1)" in warning for warning in warnings)
    assert any(re.search(r"an open socket \(127\.0\.0\.1:\d+ to ", line) for line in warnings)
    assert len(warnings) == 3
    assert server.get().status == 200


@pytest.mark.parametrize("how", ["plain", "statsd", "stdout is a socket", "unix", "syslog"])
def test_preload_is_silent_where_nothing_is_left(gunicorn: Launcher, how: str) -> None:
    arguments: list[str] = []
    bind = "127.0.0.1:0"
    with (
        socket.socket(socket.AF_UNIX) as journal,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("127.0.0.1", 0))
        host, port = datagrams.getsockname()
        path = str(gunicorn.folder / "journal.sock")
        journal.bind(path)
        journal.listen()
        if how == "statsd":
            arguments = ["--statsd-host", f"{host}:{port}"]
        elif how == "syslog":
            arguments = ["--log-syslog", "--log-syslog-to", f"udp://{host}:{port}"]
        elif how == "unix":
            bind = f"unix:{gunicorn.folder / 'app.sock'}"
        elif how == "stdout is a socket":
            become = (
                "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
                "os.dup2(s.fileno(), 1); os.execv(sys.argv[2], sys.argv[2:])"
            )
            gunicorn = replace(gunicorn, wrapper=(sys.executable, "-c", become, path))
        server = gunicorn.start(
            *MODULE_DOOR, WSGI, "--preload", *arguments, bind=bind, **TWO_WORKERS
        )
        server.wait_for_workers(2)
        assert server.get().status == 200
        assert not server.lines(REMAINS)
        assert not server.mistakes()
        server.close()


# Never in the way.

BROKEN = """
    import {module} as module

    def broken(*args, **kwargs):
        raise RuntimeError("injected")

    module.{name} = broken
    from gunicorn_autoconf.conf import *
"""


def serves_on(server: Server) -> None:
    """See it serve: at start, after a reload, one more, one fewer, and a worker's sudden end."""
    workers = answering(server, 2)
    server.signal(signal.SIGHUP)
    workers = answering(server, 2, replacing=workers)
    server.signal(signal.SIGTTIN)
    workers = answering(server, 3)
    killed = workers.pop()
    os.kill(killed, signal.SIGKILL)
    answering(server, 3, replacing={killed})


@pytest.mark.parametrize(
    "broken",
    [
        "server.hooks.create_state",
        pytest.param("server.hooks.replan", marks=pytest.mark.slow),
        pytest.param("server.hooks.render_final", marks=pytest.mark.slow),
        pytest.param("server.hooks.detect_machine", marks=pytest.mark.slow),
        pytest.param("server.hooks.read_process_memory", marks=pytest.mark.slow),
        pytest.param("server.hooks.interface_of", marks=pytest.mark.slow),
        pytest.param("server.state.find_oom_files", marks=pytest.mark.slow),
        pytest.param("server.state.read_oom_kills", marks=pytest.mark.slow),
        pytest.param("server.state.Supervisor", marks=pytest.mark.slow),
        pytest.param("server.state.ServerState.replanned", marks=pytest.mark.slow),
        pytest.param("server.state.ServerState.count_changed", marks=pytest.mark.slow),
        "server.state.ServerState.ended",
        pytest.param("server.state.ServerState.stop", marks=pytest.mark.slow),
        pytest.param("fleet.records.WorkerRecords.forking", marks=pytest.mark.slow),
        pytest.param("fleet.records.WorkerRecords.booted", marks=pytest.mark.slow),
        "server.supervisor.detect_machine",
        pytest.param("server.supervisor.Supervisor.step", marks=pytest.mark.slow),
        "server.paused_thread.PausedThread.pause",
        pytest.param("server.paused_thread.PausedThread.resume", marks=pytest.mark.slow),
        pytest.param("fleet.sampler.Sampler.sample", marks=pytest.mark.slow),
        pytest.param("server.supervisor.decide", marks=pytest.mark.slow),
        pytest.param("server.guard_log.render_memory", marks=pytest.mark.slow),
    ],
)
def test_server_serves_whatever_is_broken(gunicorn: Launcher, broken: str) -> None:
    module, name = re.fullmatch(r"((?:\w+\.)+?\w+)\.([A-Za-z]\w+(?:\.\w+)?)", broken).groups()  # type: ignore[union-attr]
    gunicorn.write(
        "gunicorn.conf.py", BROKEN.format(module=f"gunicorn_autoconf.{module}", name=name)
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    if broken != "server.state.ServerState.stop":
        server.wait_for("injected")
    server.close()
    # It is not silent either; and what a thread stumbles over is said once.
    assert "injected" in server.log
    assert len(server.lines("the memory guard failed and ends")) <= 1


PROCESS_MEMORY = "import gunicorn_autoconf.machine.process_memory as m; m.open = refuse"


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        # A kernel without smaps_rollup, or a process of another user: psutil has to tell.
        PROCESS_MEMORY,
        # psutil cannot tell either.
        f"import psutil; {PROCESS_MEMORY}; psutil.Process = refuse",
        # There is no psutil.
        f"{PROCESS_MEMORY}; sys.modules['psutil'] = None",
        # No shared page.
        "import gunicorn_autoconf.fleet.shared_page as m; m.mmap.mmap = refuse",
        # Nothing of the kernel's can be read.
        "import gunicorn_autoconf.machine.host as m; m.open = refuse",
    ],
    ids=["smaps", "psutil", "no-psutil", "page", "host"],
)
def test_server_serves_where_nothing_is_told(gunicorn: Launcher, lines: str) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        f"""
        import sys

        def refuse(*args, **kwargs):
            raise PermissionError("injected")

        {lines}
        from gunicorn_autoconf.conf import *
        """,
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    assert not server.lines("Traceback")


def test_memory_is_logged_without_a_shared_page(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        import types
        import gunicorn_autoconf.fleet.shared_page as status

        def refuse(*args):
            raise OSError("injected")

        status.mmap = types.SimpleNamespace(mmap=refuse)
        from gunicorn_autoconf.conf import *
        """,
    )
    server = gunicorn.start(WSGI, **TWO_WORKERS, **EVERY_SAMPLE)
    pids = answering(server, 2)
    line = server.wait_for(" memory workers=2 .*").group()
    assert all(re.search(rf" {pid}=[\d.]+MiB", line) for pid in pids)
    assert not server.mistakes()


has_gevent = pytest.mark.skipif(
    not importlib.util.find_spec("gevent"), reason="gevent is not installed"
)


@has_gevent
def test_gevent_workers_are_watched(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR, WSGI, "--worker-class", "gevent", **TWO_WORKERS, **EVERY_SAMPLE
    )
    answering(server, 2)
    server.wait_for(" memory workers=2 ")
    assert not server.mistakes()


@has_gevent
@pytest.mark.slow
def test_gevent_in_the_arbiter_is_not_held_up(gunicorn: Launcher) -> None:
    """Some patch the arbiter, too: the guard's thread is a greenlet then."""
    gunicorn.write(
        "gunicorn.conf.py",
        """
        from gevent import monkey
        monkey.patch_all()
        from gunicorn_autoconf.conf import *
        """,
    )
    server = gunicorn.start(WSGI, "--worker-class", "gevent", **TWO_WORKERS, **EVERY_SAMPLE)
    serves_on(server)
    server.wait_for(" memory workers=3 ")


def test_reload_option_works_beside_the_guard(gunicorn: Launcher) -> None:
    text = """
        import os

        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"{answer} by worker %d" % os.getpid()]
    """
    gunicorn.write("app.py", text.format(answer="old"))
    server = gunicorn.start(
        *MODULE_DOOR,
        *("app:app", "--reload", "--reload-engine", "poll"),
        GUNICORN_WORKERS="1",
        **EVERY_SAMPLE,
    )
    before = answering(server, 1)
    gunicorn.edit("app.py", text.format(answer="brand new"), server)
    answering(server, 1, replacing=before)
    assert server.get().body.startswith("brand new")
    wait_for_memory_lines(server, 1, 1)
    assert not server.mistakes()


# Python warns of a fork while there are threads from 3.12 on.
def test_no_warning_is_raised(gunicorn: Launcher) -> None:
    python, *rest = PYTHON_GUNICORN
    server = gunicorn.start(
        *MODULE_DOOR, WSGI, program=(python, "-W", "error", *rest), **TWO_WORKERS, **EVERY_SAMPLE
    )
    serves_on(server)
    server.wait_for(" memory workers=3 ")
    assert not server.lines("Warning|Traceback")
