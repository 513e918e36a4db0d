"""One process's CPU time."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from gunicorn_autoconf.machine.process_cpu import read_cpu_seconds


def test_our_own() -> None:
    before = read_cpu_seconds(os.getpid())
    assert before is not None
    ends = time.process_time() + 0.2
    while time.process_time() < ends:
        pass
    after = read_cpu_seconds(os.getpid())
    assert after is not None
    assert 0.15 <= after - before <= 2


def test_agrees_with_the_process() -> None:
    seconds = read_cpu_seconds(os.getpid())
    assert seconds == pytest.approx(time.process_time(), abs=0.1)


def test_name_with_spaces_and_parentheses() -> None:
    rename = "open('/proc/self/comm', 'w').write('a) R 1 (b')"
    work = "while time.process_time() < 0.1: pass"
    program = f"import time\n{rename}\n{work}\nprint()\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        seconds = read_cpu_seconds(process.pid)
        process.communicate(b"\n")
    assert seconds is not None
    assert 0.05 < seconds < 5


def test_process_that_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert read_cpu_seconds(process.pid) is None
