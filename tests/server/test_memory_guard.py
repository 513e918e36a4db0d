"""The memory guard of the real server: it grows, shrinks and recycles, the operator first."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading

import pytest
from cgroups import Cgroup
from gunicorn import version_info
from harness import (
    GUNICORN_SCRIPT,
    MODULE_DOOR,
    Launcher,
    Server,
    wait_until,
)
from memory_servers import (
    BY_MEMORY,
    EARLY,
    EVERY_SAMPLE,
    LEAK,
    MIB,
    ON_DEMAND,
    QUICK,
    SMALL,
    TWO_WORKERS,
    WSGI,
    answering,
    fill,
    load,
    stays,
    wait_for_memory_lines,
)
from patience import stretched

pytestmark = [
    pytest.mark.server,
    pytest.mark.one_python,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard reads Linux's /proc"),
]

PATIENT = "from gunicorn_autoconf.conf import *"

# A leak.


@pytest.mark.cgroup
@pytest.mark.parametrize(
    ("application", "workload", "worker_class"),
    [
        ("app:wsgi_app", "", "sync"),
        pytest.param("app:wsgi_app", "io", "ThreadWorker", marks=pytest.mark.slow),
        pytest.param("app:asgi_app", "mixed", "UvicornWorker", marks=pytest.mark.slow),
    ],
)
def test_leaking_workers_are_replaced_and_nobody_notices(
    cgroup: Cgroup, confined: Launcher, application: str, workload: str, worker_class: str
) -> None:
    if worker_class == "ThreadWorker" and version_info < (24,):
        pytest.skip("Gunicorn 23's gthread drops what it has accepted and not read yet")
    confined.write("app.py", LEAK)
    # Once with all the patience that the guard has.
    confined.write("gunicorn.conf.py", PATIENT if worker_class == "sync" else QUICK)
    server = confined.start(application, GUNICORN_WORKERS="2", GUNICORN_WORKLOAD=workload)
    assert server.lines(rf"Using worker: .*{worker_class}")
    server.wait_for_workers(2)

    retired = r"worker \d+ was retired by the guard"
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(server.worker_pids()))
        return len(server.lines(retired)) >= 2

    with load(server) as outcomes:
        wait_until(done, "two workers are retired", 60)
        workers = server.wait_for_workers(2)

    assert set(outcomes) == {"200"}
    assert cgroup.oom_kills == 0
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

    with load(server, clients=4, rate=10):
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
        GUNICORN_WORKER_MEMORY="60MiB",
        **EVERY_SAMPLE,
    )
    server.wait_for_workers(3)
    confined.write("fill", "")
    server.wait_for("guard: shrink by 1", 90)
    server.wait_for_workers(left)
    stays(server, left, times=5)
    assert cgroup.oom_kills == 0
    assert len(server.lines("guard: shrink by 1")) == 3 - left
    assert server.get().status == 200


@pytest.mark.cgroup
@pytest.mark.slow
def test_count_follows_the_limit(cgroup: Cgroup, confined: Launcher) -> None:
    cgroup.set_limit(512 * MIB)
    server = confined.start(
        *MODULE_DOOR, WSGI, **BY_MEMORY, GUNICORN_WORKER_MEMORY="100MiB", **EVERY_SAMPLE
    )
    server.wait_for_workers(4)
    # A change is one between two samples: the first has been when its line is there.
    server.wait_for(" memory workers=4 ")
    two_samples = 2 * 0.5 + 1.0

    cgroup.set_limit(1024 * MIB)
    server.wait_for("memory limit changed from 512 MiB to 1 GiB", two_samples)
    server.wait_for_workers(8)

    cgroup.set_limit(320 * MIB)
    server.wait_for("memory limit changed from 1 GiB to 320 MiB", two_samples)
    # Two are planned for it, and three still fit.
    server.wait_for_workers(3)
    assert server.get().status == 200
    assert cgroup.oom_kills == 0


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


# The operator is first.


@pytest.mark.cgroup
def test_explicit_count_stays_and_a_leak_is_recycled(cgroup: Cgroup, confined: Launcher) -> None:
    confined.write("gunicorn.conf.py", QUICK)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(400 * MIB)
    server = confined.start("app:app", "--workers", "3", **BY_MEMORY, **EVERY_SAMPLE)
    server.wait_for_workers(3)
    stays(server, 3)
    cgroup.set_limit(350 * MIB)
    server.wait_for("memory limit changed from 400 MiB to 350 MiB")
    stays(server, 3)

    fill(server, cgroup)
    recycled = int(server.wait_for(r"guard: recycle worker (\d+)").group(1))
    server.wait_for(rf"worker {recycled} was retired by the guard: .*uss=")
    server.wait_for_workers(3, replacing={recycled})
    stays(server, 3)
    assert not server.lines("guard: (grow|shrink)")
    assert cgroup.oom_kills == 0


@pytest.mark.cgroup
@pytest.mark.slow
def test_operator_signal_ends_resizing_but_not_recycling(
    cgroup: Cgroup, confined: Launcher
) -> None:
    count = 3
    confined.write("gunicorn.conf.py", QUICK)
    confined.write("app.py", ON_DEMAND)
    cgroup.set_limit(512 * MIB)
    server = confined.start("app:app", **BY_MEMORY, GUNICORN_WORKER_MEMORY="200MiB", **EVERY_SAMPLE)
    server.wait_for_workers(2)
    stays(server, 2)

    server.signal(signal.SIGTTIN)
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
    assert cgroup.oom_kills == 0


# What the operator does while a recycle is under way: right after the guard has decided, when the
# replacement is forked. Every order of these is in
# tests/memory/test_executor.py.
MOMENTS = {
    "decided": "guard: recycle worker",
    "booting": "Booting worker with pid",
}


@pytest.fixture
def recycling(cgroup: Cgroup, confined: Launcher, request: pytest.FixtureRequest) -> Server:
    """A server of two that has come to the moment that the test names."""
    # Plenty is left when it acts, so that the replacement boots first.
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
    server.wait_for(MOMENTS[request.param], since=started.start())
    return server


@pytest.mark.cgroup
@pytest.mark.slow
@pytest.mark.parametrize("recycling", ["booting"], indirect=True)
def test_hangup_amid_a_recycle_leaves_the_count(recycling: Server) -> None:
    server = recycling
    since = server.mark()
    for nth in range(2):
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
@pytest.mark.parametrize(
    ("recycling", "promoted"),
    [("decided", True), ("booting", False)],
    indirect=["recycling"],
)
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
    server.wait_for("child_exit hook replaces ours; .*the memory guard only observes")

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
    server.wait_for(f"worker {recycled} was retired by the guard")
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
    draining.join(stretched())
    server.wait_for(rf"worker {first} was retired by the guard")

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


def test_off_without_a_log_says_nothing(gunicorn: Launcher) -> None:
    server = gunicorn.start(
        *MODULE_DOOR,
        WSGI,
        **TWO_WORKERS,
        GUNICORN_MEMORY_GUARD="off",
        GUNICORN_MEMORY_LOG_INTERVAL="0",
    )
    answering(server, 2)
    # Its own, the watchdog's, and the one that measures the load.
    assert server.arbiter.num_threads() <= 3
    assert not server.lines("memory workers=|guard")


def test_reload_that_turns_the_log_on_has_an_effect(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        import os
        from gunicorn_autoconf import autoconf

        interval = 1 if os.path.exists("on") else 0
        globals().update(autoconf(memory_guard="off", memory_log_interval=interval).settings)
        """,
    )
    server = gunicorn.start(WSGI, GUNICORN_WORKERS="1")
    server.wait_for("worker .* booted")
    gunicorn.write("on", "")
    server.arbiter.send_signal(signal.SIGHUP)
    server.wait_for("memory workers=1 ")
