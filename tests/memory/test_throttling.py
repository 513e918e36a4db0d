"""Whether want of memory has slowed the server down, and what is said of it."""

from __future__ import annotations

import pytest

from gunicorn_autoconf.machine.pressure import Pressure
from gunicorn_autoconf.memory.throttling import Held, High, render_slowdown, slowdown

HIGHS = (High("/sys/fs/cgroup/a", 200 * 2**20), High("/sys/fs/cgroup", None))
NONE = Pressure(0, 0)


def test_memory_high_and_pressure() -> None:
    slow = slowdown(Held(0, (5, 0), Pressure(1, 1)), Held(60, (5326, 0), Pressure(46, 31)), HIGHS)
    assert slow is not None
    assert render_slowdown(slow) == (
        "in the last 60 s memory pressure, not your code, slowed the server down: processes waited "
        "for memory for 45.0 s, all at once for 30.0 s; memory.high 200 MiB at /sys/fs/cgroup/a "
        "was exceeded 5321 times"
    )


def test_pressure_alone() -> None:
    slow = slowdown(Held(0, (0, 0), NONE), Held(60, (0, 0), Pressure(9, 4)), HIGHS)
    assert slow is not None
    assert render_slowdown(slow) == (
        "in the last 60 s memory pressure, not your code, slowed the server down: processes waited "
        "for memory for 9.0 s, all at once for 4.0 s"
    )


def test_memory_high_where_the_kernel_does_not_tell_for_how_long() -> None:
    slow = slowdown(Held(0, (0, 2)), Held(60, (0, 12)), HIGHS)
    assert slow is not None
    assert render_slowdown(slow) == (
        "in the last 60 s memory pressure, not your code, slowed the server down: memory.high at "
        "/sys/fs/cgroup was exceeded 10 times"
    )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(Held(0, (0, 0), NONE), Held(60, (0, 0), NONE), id="nothing"),
        pytest.param(Held(0, (0, 0), NONE), Held(60, (0, 0), Pressure(5.9, 0)), id="little"),
        pytest.param(Held(0, (0, 0), NONE), Held(60, (900, 0), NONE), id="passed, yet no wait"),
        pytest.param(Held(0, (0, 0)), Held(60, (9, 0)), id="passed now and then"),
        pytest.param(Held(0, ()), Held(60, ()), id="no counters"),
    ],
)
def test_what_is_not_worth_a_line(before: Held, now: Held) -> None:
    assert slowdown(before, now, HIGHS) is None
