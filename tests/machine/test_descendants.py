"""The child processes of a process, and theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import wait_until

from gunicorn_autoconf.machine.descendants import list_descendants

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
