"""Whom a stall is blamed on, which line is named, and how often it is said."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import wait_until
from hypothesis import given
from hypothesis import strategies as st
from patience import stretched

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.kernel_files import parse_cpu_stat
from gunicorn_autoconf.watchdog import witnesses
from gunicorn_autoconf.watchdog.heartbeat import _LongRequests
from gunicorn_autoconf.watchdog.stacks import (
    MAX_FRAMES,
    MAX_REQUEST_LENGTH,
    Frame,
    Origins,
    ThreadStack,
    find_culprit,
    render_request,
    render_stack,
    render_threads,
    trim,
)
from gunicorn_autoconf.watchdog.stall import (
    NO_LINE,
    Cause,
    Evidence,
    Stall,
    Throttling,
    find_suspect,
    render_excuse,
    render_stall,
)
from gunicorn_autoconf.watchdog.tally import ELSEWHERE, EXCUSED, MAX_PLACES, Tally
from gunicorn_autoconf.watchdog.threads import (
    Serving,
    find_origins,
    read_stack,
    read_threads,
)
from gunicorn_autoconf.watchdog.witnesses import Delay, OwnDelay, QuotaWitness, ThreadWitness

ORIGINS = Origins(libraries=("/usr/lib/python3.11",), own=("/venv/site-packages/shop",))

SLEEP = Frame("/usr/lib/python3.11/socket.py", 706, "SocketIO.readinto")
CLIENT = Frame("/venv/site-packages/requests/api.py", 73, "get")
PRICES = Frame("/srv/prices.py", 8, "query")
VIEW = Frame("/venv/site-packages/shop/views.py", 12, "price")
TURN = Frame("/usr/lib/python3.11/asyncio/runners.py", 118, "Runner.run")
WORKER = Frame("/venv/site-packages/uvicorn_worker/_workers.py", 126, "UvicornWorker.run")
BASE = Frame("/venv/site-packages/gunicorn/workers/base.py", 143, "Worker.init_process")
SCRIPT = Frame("/venv/bin/gunicorn", 10, "<module>")
START = (TURN, WORKER, BASE, SCRIPT)


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (Evidence(0.3), Cause.CODE),
        (Evidence(0.24), None),
        (Evidence(0.3, queued_seconds=0.28), Cause.KERNEL),
        (Evidence(2.0, away_seconds=1.99), Cause.KERNEL),
        (Evidence(0.3, collecting_seconds=0.25), Cause.COLLECTOR),
        # Both witnesses saw the same time: it is taken off once.
        (Evidence(0.6, queued_seconds=0.3, away_seconds=0.3), Cause.CODE),
        # Neither has had half of it.
        (Evidence(0.3, queued_seconds=0.07, collecting_seconds=0.07), None),
        # A counter that ran on for longer than the stall.
        (Evidence(0.3, queued_seconds=5.0), Cause.KERNEL),
    ],
)
def test_cause(evidence: Evidence, cause: Cause | None) -> None:
    assert evidence.cause(0.25) is cause


seconds = st.floats(min_value=0, max_value=1e6)


@given(st.builds(Evidence, seconds, seconds, seconds, seconds, seconds, seconds), seconds)
def test_code_is_blamed_for_its_own_time_only(evidence: Evidence, threshold: float) -> None:
    if evidence.cause(threshold) is Cause.CODE:
        own = evidence.blocked_seconds - max(evidence.queued_seconds, evidence.away_seconds)
        assert max(0.0, own - evidence.collecting_seconds) >= threshold


@pytest.mark.parametrize(
    ("stack", "culprit"),
    [
        ((SLEEP, CLIENT, PRICES, VIEW), PRICES),
        ((SLEEP, CLIENT, VIEW), VIEW),  # an installed package that is the application's own
        ((SLEEP, CLIENT), CLIENT),
        ((SLEEP,), SLEEP),
        ((Frame("<string>", 1, "f"), VIEW), VIEW),
        ((), None),
    ],
)
def test_culprit(stack: tuple[Frame, ...], culprit: Frame | None) -> None:
    assert find_culprit(stack, ORIGINS) == culprit


def test_start_of_the_server_is_left_out() -> None:
    assert trim((SLEEP, PRICES, *START)) == (SLEEP, PRICES)
    assert trim(START) == ()


def test_listener_of_the_garbage_collector_is_left_out() -> None:
    """The collector calls it wherever the thread is; that place is the one to name."""
    listener = Frame(witnesses.__file__, 1, "CollectorWitness.__call__")

    assert trim((listener, PRICES, *START)) == (PRICES,)


def test_suspect_has_half_of_the_samples() -> None:
    samples = [(), (PRICES, VIEW), (VIEW,), (PRICES._replace(line=9), VIEW)]

    assert find_suspect(samples, ORIGINS).number == 1
    assert find_suspect(samples, ORIGINS).place == "/srv/prices.py:8 in query()"


def test_suspect_is_none_among_many() -> None:
    samples = [(Frame("/srv/app.py", n, f"view_{n}"),) for n in range(5)]

    assert find_suspect(samples, ORIGINS).place == NO_LINE
    assert find_suspect([(), ()], ORIGINS).place == NO_LINE
    text = render_stall(Stall(0.3), Evidence(0.3), find_suspect([], ORIGINS), (), None, ORIGINS)
    assert "by no single line" in text


def test_long_stack_is_cut_in_the_middle() -> None:
    lines = render_stack((PRICES, *[SLEEP] * 5000, VIEW), ORIGINS)

    assert len(lines) == MAX_FRAMES + 1
    assert "query" in lines[0]
    assert "price" in lines[-1]


def test_threads_at_the_same_place_share_a_stack() -> None:
    threads = [ThreadStack(f"pool-{n}", (SLEEP,)) for n in range(3)]

    lines = render_threads([ThreadStack("main", (PRICES,), "GET /a"), *threads], ORIGINS)

    assert lines[0] == "  thread main, serving GET /a, at /srv/prices.py:8 in query()"
    assert lines[2] == "  thread pool-0, pool-1, pool-2"
    assert len(lines) == 4


@given(st.text(), st.text())
def test_request_fits_a_line(method: str, path: str) -> None:
    text = render_request(method, path)

    assert text.isprintable()
    assert len(text) <= MAX_REQUEST_LENGTH + 3


def test_place_is_reported_once_a_minute() -> None:
    tally = Tally()
    assert tally.is_due("here", 0.0)
    assert tally.report("here", 0.0) == 0
    for _ in range(4):  # The one that was reported, and three more.
        tally.count("here", 0.5)
        assert not tally.is_due("here", 59.0)
    assert tally.is_due("there", 59.0)
    assert tally.is_due("here", 60.0)
    assert tally.report("here", 60.0) == 3
    assert tally.report("here", 120.0) == 0


def test_tally_is_bounded() -> None:
    tally = Tally()
    for number in range(10 * MAX_PLACES):
        tally.count(f"place {number}", 1.0)

    text = tally.render() or ""
    assert text.startswith("the event loop was blocked 1000 times in the life of this worker")
    assert f"  900 at {ELSEWHERE}: 900.00 s, the longest 1.00 s" in text
    assert text.endswith("and 91 more places")
    assert Tally().render() is None


def tally_of(*counted: tuple[str, float]) -> str:
    tally = Tally()
    for place, seconds in counted:
        tally.count(place, seconds)
    return tally.render() or ""


def test_what_was_not_the_code_is_not_said_to_block() -> None:
    kernel = (EXCUSED[Cause.KERNEL], 0.44)
    assert tally_of(("shop.py:8 in query()", 0.6), ("shop.py:8 in query()", 0.7), kernel) == (
        "the event loop was blocked 2 times in the life of this worker, and late once not because "
        "of your code\n"
        "  2 at shop.py:8 in query(): 1.30 s, the longest 0.70 s\n"
        "  1 late, the kernel gave no CPU: 0.44 s, the longest 0.44 s"
    )
    assert tally_of(kernel, kernel, (EXCUSED[Cause.COLLECTOR], 0.3)) == (
        "the event loop was late 3 times in the life of this worker, not because of your code\n"
        "  2 late, the kernel gave no CPU: 0.88 s, the longest 0.44 s\n"
        "  1 late, garbage collection: 0.30 s, the longest 0.30 s"
    )


def test_what_was_not_the_code_is_told_apart_from_any_number_of_places() -> None:
    places = [(f"place {number}", 1.0) for number in range(MAX_PLACES + 5)]
    shown = tally_of(*places, (EXCUSED[Cause.KERNEL], 500.0))
    assert shown.startswith(f"the event loop was blocked {MAX_PLACES + 5} times in the life of ")
    assert "\n  1 late, the kernel gave no CPU: 500.00 s" in shown


def test_excuses_name_what_was_seen() -> None:
    quota = Throttling(4, 0.38, "/sys/fs/cgroup/cpu.stat")
    kernel = Evidence(0.5, queued_seconds=0.45)

    assert "throttled 4 times" in render_excuse(kernel, Cause.KERNEL, quota)
    assert "ready to run and got no CPU for 0.45 s" in render_excuse(kernel, Cause.KERNEL, None)
    stopped = Evidence(2.0, away_seconds=1.9)
    assert "the process did not run for 1.90 s" in render_excuse(stopped, Cause.KERNEL, None)


@pytest.mark.parametrize("text", ["nr_throttled x", "nr_throttled"])
def test_malformed_cpu_stat(text: str) -> None:
    with pytest.raises(MalformedFileError):
        parse_cpu_stat(text)
    assert parse_cpu_stat("usage_usec 5") is None


def test_quota_counts_since_the_last_look(tmp_path: Path) -> None:
    proc, group = tmp_path / "proc/self", tmp_path / "sys/fs/cgroup/pod"
    proc.mkdir(parents=True)
    group.mkdir(parents=True)
    (proc / "cgroup").write_text("0::/pod\n")
    (proc / "mountinfo").write_text("30 20 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (group / "cpu.stat").write_text("nr_throttled 5\nthrottled_usec 900000\n")
    witness = QuotaWitness(str(tmp_path))
    assert witness.look() is None

    (group / "cpu.stat").write_text("nr_throttled 8\nthrottled_usec 1200000\n")

    found = witness.look()
    assert found is not None
    assert (found.times, round(found.seconds, 3)) == (3, 0.3)
    assert found.path == str(group / "cpu.stat")
    assert witness.look() is None


def test_applications_package_is_its_own() -> None:
    """Wherever it is installed; of our own package only the demo is."""
    assert find_origins("hypothesis.extra:app").is_own(str(Path(st.__file__)))
    demo = find_origins("gunicorn_autoconf.demo:app")
    package = Path(sys.modules["gunicorn_autoconf"].__file__ or "").parent
    assert not demo.is_own(str(package / "hooks.py"))
    assert demo.is_own(str(package / "demo.py"))
    assert not find_origins(None).is_own(threading.__file__)


def test_thread_is_read_where_it_is() -> None:
    inside, done = threading.Event(), threading.Event()

    def wait_here(scope: dict[str, str]) -> None:
        inside.set()
        done.wait()

    scope = {"type": "http", "method": "GET", "path": "/here"}
    thread = threading.Thread(target=wait_here, args=(scope,), name="reader")
    thread.start()
    try:
        assert inside.wait(stretched(10))
        assert thread.ident is not None
        (found,) = read_threads(thread.ident)
        stack, request = read_stack(thread.ident)
    finally:
        done.set()
        thread.join()

    assert found.name == "reader"
    assert found.request == request == "GET /here"
    own = find_culprit(stack, find_origins(None))
    assert own is not None
    assert own.function.endswith("wait_here")
    assert any(frame.source == "done.wait()" for frame in found.stack)
    assert read_stack(thread.ident) == ((), None)


class Proxy:
    """Stands for a request, as Flask's does: outside of its thread nothing may be asked of it."""

    def refuse(self) -> Any:
        raise RuntimeError("Working outside of request context.")

    __dict__ = property(refuse)
    __class__ = property(refuse)


@pytest.mark.parametrize("name", ["request", "scope", "environ"])
def test_request_that_is_a_proxy_costs_no_stack(name: str) -> None:
    namespace: dict[str, Any] = {"read_stack": read_stack, "get_ident": threading.get_ident}
    exec(f"def view({name}):\n    return read_stack(get_ident())", namespace)

    stack, request = namespace["view"](Proxy())

    assert [frame.function for frame in stack if frame.function == "view"] == ["view"]
    assert request is None


def test_long_requests_that_were_not_reported_are_counted() -> None:
    done, said = threading.Event(), list[str]()
    long_requests = _LongRequests(5.0, find_origins(None), said.append)
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.ident is not None
        for now in (0.0, 20.0, 40.0, 61.0, 122.0):
            long_requests._report(Serving(thread.ident, 0), 6.0, now)
    finally:
        done.set()
        thread.join()

    first, second, third = (text.splitlines()[0] for text in said)
    assert first.endswith("which ends no request in this worker class")
    assert second.endswith("worker class; 2 more here since the last report")
    assert third == first


@pytest.mark.skipif(sys.platform != "linux", reason="told by counters that Linux has")
def test_gil_is_told_from_a_process_that_does_not_run() -> None:
    """Here nobody stops the thread: all of its delay is the GIL's, which native code holds."""
    late_by, delay = 0.0, Delay()

    def late() -> tuple[float, Delay]:
        own = OwnDelay()
        own.begin()
        due = time.monotonic() + 0.2
        time.sleep(0.2)
        late_by = time.monotonic() - due
        return late_by, own.end(late_by)

    def is_late() -> bool:
        nonlocal late_by, delay
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(late)
            ctypes.PyDLL(None).usleep(800_000)
            late_by, delay = waiting.result()
        return late_by > 0.2  # Else the thread has slept before the GIL was taken.

    wait_until(is_late, "the thread wants the GIL while native code holds it")

    # Each wake-up counts for one interval; on a busy machine it takes several.
    assert delay.native_seconds > late_by / 10


def test_thread_times() -> None:
    witness = ThreadWitness(threading.get_native_id(), threading.get_ident())
    before = witness.read().computing_seconds
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass

    assert witness.read().computing_seconds - before >= 0.04
    assert witness.is_runnable()
    witness.close()
