"""What a stall is blamed on, and how often that is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_autoconf.errors import MalformedFileError
from gunicorn_autoconf.machine.kernel_files import parse_cpu_stat
from gunicorn_autoconf.watchdog.causes import Cause, Evidence, render_excuse
from gunicorn_autoconf.watchdog.patrol import is_much
from gunicorn_autoconf.watchdog.quota import QuotaCounters, Throttling, since
from gunicorn_autoconf.watchdog.stacks import Frame
from gunicorn_autoconf.watchdog.tally import MAX_PLACES, Place, Tally


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (Evidence(0.3), Cause.CODE),
        (Evidence(0.24), None),
        (Evidence(0.3, queued_seconds=0.28), Cause.MACHINE),
        (Evidence(0.3, queued_seconds=0.28, throttled_seconds=0.2), Cause.QUOTA),
        (Evidence(2.0, stopped_seconds=1.99), Cause.STOPPED),
        (Evidence(0.3, computing_seconds=0.3, collecting_seconds=0.25), Cause.COLLECTOR),
        # The kernel made room first, for which threads wait in D; a sleep is the code's.
        (Evidence(9.0, computing_seconds=0.2, pressure_seconds=8.9), Cause.MEMORY),
        (Evidence(9.0, asleep_seconds=8.9, pressure_seconds=9.0), Cause.CODE),
        (Evidence(9.0, computing_seconds=4.0, pressure_seconds=5.0), Cause.CODE),
        # Both clocks saw the same time: it is taken off once.
        (Evidence(0.6, queued_seconds=0.3, stopped_seconds=0.3), Cause.CODE),
        # Two causes that are not the code, neither of which has had half of it.
        (Evidence(1.0, queued_seconds=0.4, collecting_seconds=0.45), Cause.COLLECTOR),
        # Neither has had half of it, nor both.
        (Evidence(0.3, queued_seconds=0.07, collecting_seconds=0.07), None),
        # A counter that ran on for longer than the stall.
        (Evidence(0.3, queued_seconds=5.0), Cause.MACHINE),
        # "late by 12 s, not because of your code", of which one second was.
        (
            Evidence(
                12.0,
                computing_seconds=3.0,
                collecting_seconds=2.0,
                queued_seconds=9.0,
                throttled_seconds=9.0,
            ),
            Cause.CODE,
        ),
        # The quota was blamed for 10 s at 0.02 s of throttling.
        (Evidence(10.0, queued_seconds=9.9, throttled_seconds=0.02), Cause.MACHINE),
        # A collection in another thread, for which the loop's waited.
        (Evidence(1.0, computing_seconds=0.0, collecting_seconds=0.95), Cause.COLLECTOR),
        # So little of a long stall is the error of the clocks.
        (Evidence(20.0, queued_seconds=19.5), Cause.MACHINE),
    ],
)
def test_cause(evidence: Evidence, cause: Cause | None) -> None:
    assert evidence.cause(0.25) is cause


seconds = st.floats(min_value=0, max_value=1e6)


@given(st.builds(Evidence, seconds, seconds, seconds, seconds, seconds, seconds), seconds)
def test_code_is_blamed_for_its_own_time_only(evidence: Evidence, threshold: float) -> None:
    if evidence.cause(threshold) is Cause.CODE:
        own = evidence.blocked_seconds - max(evidence.queued_seconds, evidence.stopped_seconds)
        assert max(0.0, own - evidence.collecting_seconds) >= threshold


def test_excuses_name_what_was_seen() -> None:
    late = Evidence(0.5, queued_seconds=0.45, throttled_seconds=0.4, stopped_seconds=0.45)
    path = "/sys/fs/cgroup/cpu.stat"

    assert "0.40 s of it throttled by the CPU quota" in render_excuse(late, Cause.QUOTA, path)
    assert "ready to run and got no CPU for 0.45 s" in render_excuse(late, Cause.MACHINE, None)
    stopped = render_excuse(late, Cause.STOPPED, None)
    assert stopped.endswith("SIGSTOP or a debugger had stopped the process for 0.45 s")


HERE = Frame("shop.py", 8, "query")


def test_place_is_reported_once_a_minute() -> None:
    tally = Tally()
    assert tally.is_due(HERE, 0.0)
    assert tally.report(HERE, 0.0) == 0
    tally.count(HERE, 0.5, was_reported=True)
    for _ in range(3):
        tally.count(HERE, 0.5, was_reported=False)
        assert not tally.is_due(HERE, 59.0)
    assert tally.is_due(Frame("/srv/shop.py", 9, "query"), 59.0)
    assert tally.is_due(HERE, 60.0)
    assert tally.report(HERE, 60.0) == 3
    assert tally.report(HERE, 120.0) == 0


def test_stall_that_is_much_longer_than_the_muted_ones_is_reported() -> None:
    tally = Tally()
    tally.report(HERE, 0.0)
    tally.count(HERE, 0.5, was_reported=True)

    assert not tally.is_due(HERE, 10.0, seconds=1.9)
    assert tally.is_due(HERE, 10.0, seconds=2.0)


def test_tally_is_bounded() -> None:
    tally = Tally()
    for number in range(10 * MAX_PLACES):
        tally.count(Frame("/srv/shop.py", number, "query"), 1.0, was_reported=True)

    text = tally.render() or ""
    assert text.startswith("in the life of this worker its event loop was blocked 1000 times\n")
    assert "  900 at other places: 900.00 s, the longest 1.00 s" in text
    assert text.endswith("and 91 more places")
    assert Tally().render() is None


def tally_of(*counted: tuple[Place, float]) -> Tally:
    tally = Tally()
    for place, blocked_seconds in counted:
        tally.count(place, blocked_seconds, was_reported=True)
    return tally


MACHINE = (Cause.MACHINE, 0.44)


def test_what_was_not_the_code_is_not_said_to_block() -> None:
    both = tally_of((HERE, 0.6), (HERE, 0.7), MACHINE)
    late = tally_of(MACHINE, MACHINE, (Cause.COLLECTOR, 0.3))

    assert both.has_blocked
    assert both.render() == (
        "in the life of this worker its event loop was blocked 2 times, late once, not because of "
        "your code\n"
        "  2 at shop.py:8 in query(): 1.30 s, the longest 0.70 s\n"
        "  1 late, a crowded machine: 0.44 s"
    )
    assert not late.has_blocked
    assert late.render() == (
        "in the life of this worker its event loop was late 3 times, not because of your code\n"
        "  2 late, a crowded machine: 0.88 s, the longest 0.44 s\n"
        "  1 late, garbage collection: 0.30 s"
    )


def test_code_of_which_no_line_is_to_blame_blocks() -> None:
    tally = tally_of((None, 1.0))
    assert tally.has_blocked
    assert "  1 at no single line: 1.00 s" in (tally.render() or "")


@pytest.mark.parametrize("text", ["nr_throttled x", "nr_throttled"])
def test_malformed_cpu_stat(text: str) -> None:
    with pytest.raises(MalformedFileError):
        parse_cpu_stat(text)
    assert parse_cpu_stat("usage_usec 5") is None


def test_quota_counts_between_two_reads(tmp_path: Path) -> None:
    proc, group = tmp_path / "proc/self", tmp_path / "sys/fs/cgroup/pod"
    proc.mkdir(parents=True)
    group.mkdir(parents=True)
    (proc / "cgroup").write_text("0::/pod\n")
    (proc / "mountinfo").write_text("30 20 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    text = "nr_periods {}\nnr_throttled {}\nthrottled_usec {}\n"
    (group / "cpu.stat").write_text(text.format(10, 5, 900_000))
    counters = QuotaCounters(str(tmp_path))
    before = counters.read()
    assert since(before, counters.read()) is None

    (group / "cpu.stat").write_text(text.format(484, 439, 87_900_000))

    found = since(before, counters.read())
    path = str(group / "cpu.stat")
    assert found == Throttling(periods=474, throttled=434, seconds=87.0, path=path)
    assert is_much(found)
    assert not is_much(found._replace(throttled=10))
    assert not is_much(found._replace(seconds=0.5))
