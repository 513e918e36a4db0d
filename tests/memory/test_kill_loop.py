"""Many OOM kills in a row are told once."""

from __future__ import annotations

from gunicorn_autoconf.memory.kill_loop import KillLoop

MIB = 2**20


def test_two_are_told_one_by_one() -> None:
    loop = KillLoop()
    assert [loop.add(at, None) for at in (0, 10, 20, 30)] == [True, True, False, False]


def test_kills_that_are_far_apart_are_no_loop() -> None:
    loop = KillLoop()
    assert all(loop.add(at, None) for at in (0, 61, 122, 183, 244))
    assert loop.due(400) is None


def test_one_line_when_it_is_over() -> None:
    loop = KillLoop()
    for nth in range(11):
        loop.add(nth * 9, (170 + nth % 6) * MIB)
    # The loop has gone on for more than a minute by then.
    found = loop.due(90)
    assert found is not None
    assert (found.kills, found.seconds, found.size_bytes) == (11, 90, 175 * MIB)
    assert loop.due(200) is None


def test_waits_for_the_end_of_a_short_one() -> None:
    loop = KillLoop()
    for at in (0, 5, 10, 15):
        loop.add(at, MIB)
    assert loop.due(34.9) is None
    found = loop.due(35)
    assert found is not None
    assert (found.kills, found.seconds) == (4, 15)


def test_one_that_goes_on_is_told_once_a_minute() -> None:
    loop = KillLoop()
    told = []
    for at in range(0, 200, 5):
        loop.add(at, MIB)
        if found := loop.due(at):
            told.append((found.kills, found.seconds))
    assert told == [(13, 60), (25, 120), (37, 180)]


def test_what_was_not_told_is_told_at_the_end_of_the_server() -> None:
    loop = KillLoop()
    for at in (0, 1, 2):
        loop.add(at, None)
    assert loop.due(2, at_once=True) is not None
    assert loop.due(2, at_once=True) is None


def test_nothing_is_told_of_none() -> None:
    assert KillLoop().due(100, at_once=True) is None
