"""How a worker is asked for its stacks, and how its answers are read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import wait_until
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.watchdog.answer import parse_answer, render_answer
from gunicorn_autoconf.watchdog.clocks import Clock, catches, list_threads, read_clock
from gunicorn_autoconf.watchdog.stack_pipe import Asked, StackPipe, stands_still
from gunicorn_autoconf.watchdog.stacks import Frame, ThreadStack

# Python 3.11 and 3.14, a path with a quote, a name that is not ASCII, a stack that was cut off.
DUMP = r"""Thread 0x00007f1 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x00007f2 [MainThread] (most recent call first):
  Garbage-collecting
  File "/srv/a "b"/app.py", line 12 in gr\xfc\xdfe
  File "/srv/app.py", line 3 in <module>
  ...
  File "/srv/cut"""


def test_dump_of_faulthandler() -> None:
    other, current = parse_answer(DUMP)

    assert other == ThreadStack(
        "0x00007f1", (Frame("/usr/lib/python3.11/threading.py", 982, "run"),)
    )
    assert current.name == "0x00007f2"
    assert current.stack == (
        Frame('/srv/a "b"/app.py', 12, "grüße"),
        Frame("/srv/app.py", 3, "<module>"),
    )


def test_dump_of_one_thread() -> None:
    (only,) = parse_answer('Stack (most recent call first):\n  File "app.py", line 1 in f\n')

    assert only == ThreadStack("", (Frame("app.py", 1, "f"),))


@given(st.text())
def test_any_text_is_read_as_far_as_it_goes(text: str) -> None:
    assert isinstance(parse_answer(text), list)


@given(st.integers(min_value=0, max_value=400))
def test_answer_that_breaks_off_has_the_threads_before(length: int) -> None:
    threads = [ThreadStack(f"t{n}", (Frame("/srv/ä.py", n, "f"),), f"GET /{n}") for n in range(5)]
    whole = render_answer(threads)

    assert parse_answer(whole.decode()) == threads
    found = parse_answer(whole[:length].decode())
    assert found == threads[: len(found)]


def clock(computing: float, state: str = "R", runs: int = 0) -> Clock:
    return Clock(computing, 0.0, runs, state)


MAIN = 7
START = clock(1.0)


@pytest.mark.parametrize(
    ("main", "other", "stands"),
    [
        # The main thread waits; the other one may run Python code.
        (clock(1.0, "S"), clock(1.5), {MAIN}),
        # Nothing has run: both wait.
        (clock(1.0, "S"), clock(1.0, "S"), {MAIN, 8}),
        # It is ready to run and has not: nobody knows where it is.
        (clock(1.0), clock(1.0, "S"), {8}),
        # It has computed for long enough to answer, and has not: native code.
        (clock(1.1), clock(1.0, "S"), {MAIN, 8}),
        (clock(1.01), clock(1.0, "S"), {8}),
        # It asks for the GIL in vain, and one thread alone computes: that one is in native code.
        (clock(1.001, "S", runs=40), clock(1.2), {MAIN, 8}),
    ],
)
def test_stack_that_stands_still(main: Clock, other: Clock, stands: set[int]) -> None:
    asked = {MAIN: Asked(START, main), 8: Asked(START, other)}

    assert {tid for tid in asked if stands_still(MAIN, tid, asked)} == stands


def test_one_of_two_threads_that_compute_may_run_python_code() -> None:
    asked = {
        MAIN: Asked(START, clock(1.001, "S", runs=40)),
        8: Asked(START, clock(1.1)),
        9: Asked(START, clock(1.1)),
    }

    assert {tid for tid in asked if stands_still(MAIN, tid, asked)} == {MAIN}


WORKER = """
    import mmap, sys, threading, time
    from gunicorn_autoconf.watchdog.listener import Listener
    from gunicorn_autoconf.watchdog.stamps import Stamps, State

    page = memoryview(mmap.mmap(-1, 320))
    stamps = Stamps(page[:64].cast("d"), page[64:])

    def wait():
        threading.Event().wait()

    def compute(request=None):
        n = 0
        while True:
            n = len(str(n))

    def native():
        sum(range(10**11))

    def serve(scope):
        compute()

    if sys.argv[2] == "both":
        threading.Thread(target=wait).start()
    Listener(stamps, int(sys.argv[1])).listen()
    print("ready", flush=True)
    if sys.argv[2] in ("compute", "both"):
        serve({"type": "http", "method": "GET", "path": "/x"})
    {"wait": wait, "native": native}[sys.argv[2]]()
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="told by files that Linux has")


@contextmanager
def working(what: str) -> Iterator[tuple[StackPipe, int]]:
    pipe = StackPipe()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), str(pipe.write_fd), what],
        stdout=subprocess.PIPE,
        pass_fds=[pipe.write_fd],
    )
    try:
        pipe.forked()
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield pipe, process.pid
        assert process.poll() is None, "asking does not end it"
    finally:
        process.kill()
        process.communicate()
        pipe.close()


@linux
@pytest.mark.parametrize("what", ["wait", "compute", "native"])
def test_main_thread_is_seen_whatever_it_does(what: str) -> None:
    with working(what) as (pipe, pid):
        found: list[ThreadStack] = []

        def answered() -> bool:
            if not pipe.is_waiting:
                pipe.ask(pid, listens=True)
            found.extend(pipe.read(pid, listens=True))
            return any(what in [frame.function for frame in t.stack] for t in found)

        wait_until(answered, "the main thread's stack")
        assert (what == "compute") == (found[-1].request == "GET /x")


@linux
def test_all_threads_answer_with_their_names() -> None:
    with working("both") as (pipe, pid):
        found: list[ThreadStack] = []

        def serves() -> bool:
            found[:] = pipe.ask_all(pid, listens=True, patience_seconds=20)
            return "compute" in [frame.function for frame in found[0].stack]

        wait_until(serves, "the main thread has come to its request")
        main, other = found
        assert (main.name, main.request) == ("MainThread", "GET /x")
        assert other.name.startswith("Thread-1")
        assert "wait" in [frame.function for frame in other.stack]


@linux
def test_asking_a_thousand_times_harms_nobody() -> None:
    """A worker that runs Python code died of it once in 26 to 8,000 times by faulthandler alone."""
    with working("compute") as (pipe, pid):
        answers = 0
        for _ in range(1000):
            pipe.ask(pid, listens=True)
            time.sleep(0.001)
            answers += len(pipe.read(pid, listens=True))

        assert answers > 0


@linux
def test_late_native_answer_is_no_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no name, and shows what the thread did when it was asked before."""
    late = 'Stack (most recent call first):\n  File "/srv/app.py", line 3 in view\n'
    answer = [ThreadStack("MainThread", (Frame("/srv/app.py", 7, "other"),))]
    pipe = StackPipe()

    def write(seconds: float) -> None:
        os.write(pipe.write_fd, late.encode() + render_answer(answer))

    with working("wait") as (_, pid):
        monkeypatch.setattr(time, "sleep", write)
        assert pipe.ask_all(pid, listens=True, patience_seconds=20) == answer
        monkeypatch.undo()
    pipe.close()


@linux
def test_process_without_handlers_is_left_alone() -> None:
    pipe = StackPipe()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        pipe.ask(process.pid, listens=True)
        assert pipe.ask_all(process.pid, listens=True, patience_seconds=0.1) == []
        assert not catches(process.pid, signal.SIGTERM)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
        pipe.close()


@linux
def test_clock_of_a_thread() -> None:
    before = read_clock(os.getpid(), os.getpid())
    assert before is not None
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass

    after = read_clock(os.getpid(), os.getpid())
    assert after is not None
    assert after.computing_seconds - before.computing_seconds >= 0.04
    assert after.state == "R"
    assert list_threads(os.getpid())[0] == os.getpid()
    assert read_clock(2**22 + 1, 1) is None


def test_text_of_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    frame = Frame(str(tmp_path / ("x" * 200)), 1, "f")

    assert parse_answer(render_answer([ThreadStack("a", (frame,))]).decode())[0].stack == (frame,)
