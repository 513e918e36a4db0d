"""The invariants notice what they are there for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from arena import lives
from harness import Launcher, children, wait_until
from invariants import MIB, Vitals, descriptors, growth, leaks, slots_taken, zombies

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="everything is seen in /proc")

CALM = Vitals(
    arbiter=1,
    workers=3,
    zombies=0,
    descriptors=("anon_inode:[eventpoll]", "pipe:", "socket:"),
    threads=2,
    slots=3,
    files=(),
    anonymous_bytes=20 * MIB,
    uss_bytes=10 * MIB,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 2},
        {"zombies": 1},
        {"descriptors": (*CALM.descriptors, "/tmp/left")},
        {"threads": 3},
        {"slots": 4},
        {"files": ("left",)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_leaks_is_told(changes: dict[str, Any]) -> None:
    (told,) = leaks(CALM, replace(CALM, **changes))
    assert told.startswith(f"{next(iter(changes))}: ")


def test_another_arbiter_that_is_as_well_is_no_leak() -> None:
    other = replace(CALM, arbiter=2, anonymous_bytes=25 * MIB, uss_bytes=8 * MIB)
    assert leaks(CALM, other) == []


def sizes(*rows: tuple[int, float]) -> list[Vitals]:
    return [replace(CALM, arbiter=pid, anonymous_bytes=round(mib * MIB)) for pid, mib in rows]


@pytest.mark.parametrize(
    ("rounds", "has_settled"),
    [
        (sizes((1, 20), (1, 23.9)), True),
        (sizes((1, 20), (1, 24.1)), False),
        (sizes((1, 20), (2, 23.5), (2, 23.9)), True),  # Another arbiter is no larger, either.
        (sizes((1, 20), (2, 19), (2, 24.1)), False),
        (sizes((1, 20), (1, 25), (1, 21)), True),
    ],
)
def test_memory_of_the_last_arbiter_has_settled(rounds: list[Vitals], has_settled: bool) -> None:
    assert (growth(rounds) == []) is has_settled


# What is read in /proc ----------------------------------------------------------------------------


def test_zombies_are_seen() -> None:
    parent = "import subprocess, sys; kept = subprocess.Popen(['true']); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
        wait_until(lambda: zombies(process.pid) != [], "its child has ended")
        (child,) = children(process.pid)
        assert not lives(child)
        assert lives(process.pid)


@pytest.mark.server
@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux shows shared memory")
def test_slots_and_descriptors_are_seen(gunicorn: Launcher) -> None:
    gunicorn.write(
        "gunicorn.conf.py",
        """
        import os
        from gunicorn_autoconf import compose
        from gunicorn_autoconf.conf import *

        def child_exit_that_leaks(server, worker):
            os.open("gunicorn.conf.py", os.O_RDONLY)

        child_exit = compose(child_exit, child_exit_that_leaks)
        """,
    )
    server = gunicorn.start("gunicorn_autoconf.demo:wsgi_app", GUNICORN_WORKERS="2")
    before = server.wait_for_workers(2)
    assert slots_taken(server.pid) == 2
    calm = descriptors(server.pid)

    os.kill(min(before), 9)
    server.wait_for_workers(2, replacing={min(before)})
    assert slots_taken(server.pid) == 2
    (leaked,) = set(descriptors(server.pid)) - set(calm)
    assert leaked.endswith("gunicorn.conf.py")
