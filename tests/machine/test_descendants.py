"""The child processes of a process, and theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import wait_until

from gunicorn_autoconf.machine import descendants, host
from gunicorn_autoconf.machine.descendants import list_descendants
from gunicorn_autoconf.machine.facts import ProcessMemory

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="reads Linux's /proc/<pid>/task"
)

# Starts a child from a thread of its own, which starts another one; all wait for their input.
PARENT = """
import subprocess, sys, threading
GRANDCHILD = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
CHILD = [sys.executable, "-c", f"import subprocess; subprocess.run({GRANDCHILD!r})"]
threading.Thread(target=lambda: subprocess.run(CHILD)).start()
"""


def test_children_of_all_threads_and_theirs() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        found = list_descendants(parent.pid)
        assert len(found) == 2
        child, grandchild = found
        assert list_descendants(child) == [grandchild]
        assert list_descendants(grandchild) == []
        assert parent.stdin is not None
        parent.stdin.close()
    wait_until(lambda: list_descendants(parent.pid) == [], "they are gone")


def test_memory_is_summed_over_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large machine runs more of them than any worker has helpers."""
    workers = range(2, 2 + 2 * descendants.MAX_DESCENDANTS)
    monkeypatch.setattr(descendants, "_children", lambda pid: [*workers] if pid == 1 else [])
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(host, "read_process_memory", lambda pid: ProcessMemory(3, 2, 1))

    assert host.Host().own_memory({}) == 2 * (1 + len(workers))
